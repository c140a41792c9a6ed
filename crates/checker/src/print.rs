//! Calls and faults as lines of text.

use std::{fmt, fmt::Write as _};

use crate::{
    history::{Answer, Call, Condition, Fault, Key, Micros, NEVER, ReadValue, Record, Target},
    names::{NAMESPACES, glob, key_name, tag_names},
};

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_record(f, self)
    }
}

/// Writes a call in one line.
fn write_record(f: &mut fmt::Formatter<'_>, record: &Record) -> fmt::Result {
    write!(
        f,
        "{} to {}  client {:<3} replica {}  {} {} -> {}",
        seconds(record.began),
        seconds(record.ended),
        record.client,
        record.replica,
        record.call.name(),
        arguments(&record.call),
        answer(&record.answer)
    )
}

/// A fault in one line.
pub(crate) fn fault(fault: &Fault) -> String {
    let replica = fault.replica.map_or_else(String::new, |number| format!(" of replica {number}"));
    let began = seconds(fault.began);
    format!("{began} to {}  {}{replica} ({:?})", seconds(fault.ended), fault.name, fault.loss)
}

fn seconds(at: Micros) -> String {
    if at == NEVER { format!("{:>12}", "...") } else { format!("{:>12.6}", at as f64 / 1e6) }
}

fn millis(time: Micros) -> String {
    format!("{} ms", time / 1000)
}

fn entry(key: Key) -> String {
    format!("{}/{}", NAMESPACES[usize::from(key.namespace)], key_name(key))
}

fn arguments(call: &Call) -> String {
    match *call {
        Call::Read { key, .. } | Call::Increment { key } => entry(key),
        Call::Write { key, write, ttl, tags, condition } => {
            let mut text = format!("{} write {write}, ttl {}", entry(key), millis(ttl));
            if tags != 0 {
                let _ = write!(text, ", tags {}", tag_names(key.round(), tags).join(" "));
            }
            match condition {
                Condition::IfVersion(version) => {
                    let _ = write!(text, ", version {:08x}", version as u32);
                }
                Condition::Lease(lease) => {
                    let _ = write!(text, ", lease {:08x}", lease as u32);
                }
                Condition::Always | Condition::IfAbsent | Condition::IfPresent => {}
            }
            text
        }
        Call::Touch { key, ttl } => format!("{} ttl {}", entry(key), millis(ttl)),
        Call::Abandon { key, lease } => format!("{} lease {:08x}", entry(key), lease as u32),
        Call::Invalidate(target) => {
            let namespace = NAMESPACES[usize::from(target.namespace())];
            match target {
                Target::Key(key) => entry(key),
                Target::Tags { round, tags, .. } => {
                    format!("{namespace} {}", tag_names(round, tags).join(" "))
                }
                Target::Group { round, group, .. } => format!("{namespace} {}", glob(round, group)),
                Target::Namespace(_) => namespace.to_owned(),
            }
        }
    }
}

fn value(value: &ReadValue) -> String {
    let kind = if value.is_stale { "stale" } else { "hit" };
    let source = match value.source {
        Some((key, write)) => format!("write {write} of {}", entry(key)),
        None => "another value".to_owned(),
    };
    let how = if value.is_coalesced { ", from another caller" } else { "" };
    format!("{kind}, {source}, version {:08x}{how}", value.version as u32)
}

fn answer(answer: &Answer) -> String {
    match answer {
        Answer::Value(read) => value(read),
        Answer::Granted { lease, expires_in, degraded, stale } => {
            let mut text = format!("lease {:08x} for {}", *lease as u32, millis(*expires_in));
            if *degraded {
                text.push_str(", degraded");
            }
            if let Some(stale) = stale {
                let _ = write!(text, ", {}", value(stale));
            }
            text
        }
        Answer::Stored { ttl, version } => {
            format!("stored for {}, version {:08x}", millis(*ttl), *version as u32)
        }
        Answer::Refused(refusal) => format!("{refusal:?}"),
        Answer::Failed(failure) => format!("{failure:?}"),
        Answer::Counted(value) => value.to_string(),
        Answer::Miss { .. }
        | Answer::Contended
        | Answer::NotStored { .. }
        | Answer::Done
        | Answer::Queued
        | Answer::NoEffect => answer.name().to_owned(),
    }
}
