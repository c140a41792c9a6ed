//! `larder events` publishes events and lists their rules.

use std::collections::BTreeMap;

use clap::Subcommand;
use serde::Serialize;

use super::{
    arguments::CallArgs,
    display::durability_name,
    failure::{Ending, Error},
    output::{Output, table},
    session,
};
use crate::pb::v1::{
    EventRule, EventTargetResult, ListEventsRequest, PublishEventRequest, target::Target as Kind,
};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Invalidate what an event concerns, by the rules of the server's configuration.
    Publish(PublishArgs),
    /// List the events with rules in the server's running configuration.
    List {
        #[command(flatten)]
        call: CallArgs,
    },
}

#[derive(Debug, clap::Args)]
struct PublishArgs {
    /// Name of the event
    name: String,
    /// Attributes of the event
    #[arg(value_name = "NAME=VALUE", value_parser = attribute)]
    attributes: Vec<(String, String)>,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Serialize)]
struct TargetLine<'a> {
    event: &'a str,
    namespace: &'a str,
    pattern: Option<&'a str>,
    key: Option<&'a str>,
    tags: &'a [String],
    existed: bool,
    namespace_invalidated: bool,
    durability: &'static str,
}

#[derive(Serialize)]
struct RuleLine<'a> {
    event: &'a str,
    namespace: &'a str,
    pattern: Option<&'a str>,
    key: Option<&'a str>,
    params: &'a BTreeMap<String, String>,
    tags: &'a [String],
    when: &'a BTreeMap<String, String>,
}

impl Args {
    pub(super) fn run(&self) -> Result<Ending, Error> {
        match &self.command {
            Command::Publish(args) => args.run(),
            Command::List { call } => list(call),
        }
    }
}

impl PublishArgs {
    fn run(&self) -> Result<Ending, Error> {
        let request = self.request()?;
        session::run(&self.call, async |session| {
            let call = session.request(request);
            let response = session.answer(session.admin().publish_event(call)).await?;
            let mut output = Output::stdout(self.call.json);
            let lines: Vec<TargetLine<'_>> =
                response.targets.iter().map(|target| self.line(target)).collect();
            if output.is_json() {
                for line in &lines {
                    output.line(line, String::new)?;
                }
            } else if lines.is_empty() {
                output.line(&(), || "no rule applies: nothing is invalidated".to_owned())?;
            } else {
                let header = ["namespace", "invalidated", "result"];
                output.line(&(), || table(&header, lines.iter().map(TargetLine::row)))?;
            }
            Ok(if lines.is_empty() { Ending::Miss } else { Ending::Done })
        })
    }

    fn request(&self) -> Result<PublishEventRequest, Error> {
        let mut attributes = BTreeMap::new();
        for (name, value) in &self.attributes {
            if attributes.insert(name.clone(), value.clone()).is_some() {
                return Err(Error::Usage(format!("attribute {name} is given twice")));
            }
        }
        Ok(PublishEventRequest {
            name: self.name.clone(),
            attributes,
            ..PublishEventRequest::default()
        })
    }

    fn line<'a>(&'a self, target: &'a EventTargetResult) -> TargetLine<'a> {
        let result = target.result.clone().unwrap_or_default();
        let (mut namespace, mut pattern, mut key, mut tags) = ("", None, None, &[][..]);
        match target.target.as_ref().and_then(|target| target.target.as_ref()) {
            Some(Kind::Namespace(name)) => namespace = name,
            Some(Kind::Pattern(target)) => {
                namespace = &target.namespace;
                pattern = Some(&*target.glob);
            }
            Some(Kind::Key(target)) => {
                namespace = &target.namespace;
                key = Some(&*target.key);
            }
            Some(Kind::Tags(target)) => {
                namespace = &target.namespace;
                tags = &target.tags;
            }
            Some(Kind::Event(_)) | None => {}
        }
        TargetLine {
            event: &self.name,
            namespace,
            pattern,
            key,
            tags,
            existed: result.existed,
            namespace_invalidated: result.namespace_invalidated,
            durability: durability_name(result.durability),
        }
    }
}

impl TargetLine<'_> {
    fn row(&self) -> Vec<String> {
        let result = match (self.namespace_invalidated, self.key, self.existed) {
            _ if self.durability == "queued" => "queued",
            (true, ..) => "whole namespace",
            (false, Some(_), true) => "deleted",
            (false, Some(_), false) => "no entry",
            (false, None, _) => "done",
        };
        let what = selection(self.pattern, self.key, self.tags);
        vec![self.namespace.to_owned(), what, result.to_owned()]
    }
}

fn list(call: &CallArgs) -> Result<Ending, Error> {
    session::run(call, async |session| {
        let mut request = ListEventsRequest::default();
        let mut events = Vec::new();
        loop {
            let call = session.request(request.clone());
            let page = session.answer(session.admin().list_events(call)).await?;
            events.extend(page.events);
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        let mut output = Output::stdout(call.json);
        let lines: Vec<RuleLine<'_>> = events
            .iter()
            .flat_map(|event| event.rules.iter().map(|rule| RuleLine::new(&event.name, rule)))
            .collect();
        if output.is_json() {
            for line in &lines {
                output.line(line, String::new)?;
            }
        } else {
            let header = ["event", "namespace", "invalidates", "when"];
            output.line(&(), || table(&header, lines.iter().map(RuleLine::row)))?;
        }
        Ok(Ending::Done)
    })
}

impl<'a> RuleLine<'a> {
    fn new(event: &'a str, rule: &'a EventRule) -> Self {
        let EventRule { namespace, pattern, key, params, tags, when } = rule;
        let filled = |text: &'a String| (!text.is_empty()).then_some(&**text);
        let (pattern, key) = (filled(pattern), filled(key));
        Self { event, namespace, pattern, key, params, tags, when }
    }

    fn row(&self) -> Vec<String> {
        let mut what = selection(self.pattern, self.key, self.tags);
        if !self.params.is_empty() {
            what.push(' ');
            what.push_str(&pairs(self.params));
        }
        let when = if self.when.is_empty() { "-".to_owned() } else { pairs(self.when) };
        vec![self.event.to_owned(), self.namespace.to_owned(), what, when]
    }
}

fn selection(pattern: Option<&str>, key: Option<&str>, tags: &[String]) -> String {
    match (pattern, key) {
        (Some(pattern), _) => format!("pattern {pattern}"),
        (None, Some(key)) => format!("key {key}"),
        (None, None) if tags.is_empty() => "all".to_owned(),
        (None, None) => format!("tags {}", tags.join(" ")),
    }
}

fn pairs(pairs: &BTreeMap<String, String>) -> String {
    let pairs = pairs.iter().map(|(name, value)| format!("{name}={value}"));
    pairs.collect::<Vec<_>>().join(" ")
}

fn attribute(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("expected NAME=VALUE".to_owned()),
    }
}
