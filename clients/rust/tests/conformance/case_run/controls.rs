//! Steps that are no calls of the library.

use super::*;

impl CaseRun<'_> {
    pub(super) async fn control(&mut self, step: &Value) -> Step {
        if let Some(name) = text(step, "cancel") {
            let task = self.tasks.get(name).ok_or_else(|| "no such step".to_owned())?;
            task.abort();
        } else if let Some(name) = text(step, "open") {
            self.gates[name].send_replace(true);
        } else if let Some(time) = step.field("advance").and_then(duration) {
            if step.field("real").is_some_and(Value::is_true) {
                tokio::time::sleep(time).await;
            } else {
                self.place.advance(time).await;
            }
        } else if let Some(state) = text(step, "server") {
            self.place.server(state).await;
        } else if let Some(kind) = text(step, "fault") {
            let delay = step.field("delay").and_then(duration).unwrap_or_default();
            let arguments = json!({"kind": kind, "delay": delay.as_millis() as u64});
            self.place.run("fault", arguments).await;
        } else if let Some(rules) = step.field("script") {
            self.place.run("script", json!({"rules": rules.to_json()})).await;
        } else if let Some(expected) = step.field("connections") {
            check(expected, &self.place.connections().await, "connections", &self.bound)?;
        } else if step.field("loading").is_some() {
            self.loading(step).await?;
        } else if step.field("loads").is_some() {
            self.loads(step)?;
        } else if step.field("calls").is_some() {
            self.calls(step).await?;
        } else if step.field("watched").is_some() {
            self.watched(step)?;
        } else if step.field("counters").is_some() {
            self.counters(step)?;
        } else {
            return Err(Failed::Runner(format!("no step {step}")).into());
        }
        Ok(())
    }

    fn begun(&self, name: &str) -> i128 {
        self.loaders[name].begun.load(SeqCst) as i128
    }

    async fn loading(&self, step: &Value) -> Step {
        let deadline = Instant::now() + WAIT;
        for (name, number) in fields(step, "loading") {
            while self.begun(name) < number.as_int().unwrap_or_default() {
                if Instant::now() > deadline {
                    return Err(format!("{name} has not begun").into());
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        Ok(())
    }

    fn loads(&self, step: &Value) -> Step {
        for (name, number) in fields(step, "loads") {
            let begun = Value::Int(self.begun(name));
            check(number, &begun, &format!("loads of {name}"), &self.bound)?;
        }
        for (name, keys) in fields(step, "loaded_keys") {
            let own = Value::List(self.loaders[name].keys.lock().clone());
            check(keys, &own, &format!("keys of {name}"), &self.bound)?;
        }
        Ok(())
    }

    async fn calls(&mut self, step: &Value) -> Step {
        let wanted = step.field("calls").unwrap_or(&Value::Null);
        let arguments = match text(wanted, "method") {
            Some(method) => json!({"method": method}),
            None => json!({}),
        };
        let answer = self.place.run("calls", arguments).await;
        for (name, field) in fields(step, "bind") {
            let value = field.as_text().and_then(|field| answer.field(field));
            self.bound.insert(name.clone(), value.cloned().unwrap_or(Value::Null));
        }
        if let Some(count) = wanted.field("count") {
            let own = answer.field("count").unwrap_or(&Value::Null);
            check(count, own, "number of calls", &self.bound)?;
        }
        let calls = answer.field("calls").and_then(Value::as_list).unwrap_or_default();
        if let Some(each) = wanted.field("each") {
            if calls.is_empty() {
                return Err(Mismatch::from("there is no call").into());
            }
            calls.iter().try_for_each(|call| check(each, call, "call", &self.bound))?;
        }
        if let Some(first) = wanted.field("first") {
            let number = wanted.field("number").and_then(Value::as_int).unwrap_or_default();
            let call = calls.get(number as usize);
            let call = call.ok_or_else(|| format!("there are {} calls", calls.len()))?;
            check(first, call, "call", &self.bound)?;
        }
        Ok(())
    }

    fn watched(&self, step: &Value) -> Step {
        let (watched, _) = &self.watches[text(step, "watched").unwrap_or_default()];
        let watched = watched.lock();
        let events = &watched.events;
        let fits = |wanted: &Value, event: &Value| check(wanted, event, "e", &self.bound).is_ok();
        if step.field("ended").is_some_and(Value::is_true) && !watched.ended {
            return Err(Mismatch::from("the changes go on").into());
        }
        let mut rest = events.iter();
        for wanted in step.field("expect").and_then(Value::as_list).unwrap_or_default() {
            if !rest.any(|event| fits(wanted, event)) {
                let events = Value::List(events.clone());
                return Err(format!("no {wanted} in {events}").into());
            }
        }
        if let Some(never) = step.field("never")
            && events.iter().any(|event| fits(never, event))
        {
            return Err(format!("{never} is among the events").into());
        }
        Ok(())
    }

    fn counters(&self, step: &Value) -> Step {
        let counters = self.clients["a"].counters();
        for (name, number) in fields(step, "counters") {
            let short = name.trim_start_matches("larder.client.");
            let own = |counts: &larder_client::Counts| {
                counts.iter().find(|(own, _)| *own == short).map_or(0, |(_, value)| value)
            };
            let sum: u64 = counters.values().map(own).sum();
            check(number, &Value::Int(sum.into()), name, &self.bound)?;
        }
        Ok(())
    }
}
