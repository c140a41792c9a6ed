//! An action, as its form names it.

use std::collections::BTreeMap;

use crate::{
    cache::InvalidateTarget,
    dashboard::{
        entry_name::{digest, key_of},
        error::Error,
        query::Query,
        text::visible,
    },
    model::{EntryKey, Event, Glob, Namespace, Violation},
};

/// Most tags of an action.
const MAX_TAGS: usize = 100;
/// Most keys of an action that warms.
const MAX_WARM_KEYS: usize = 1000;

/// An action.
#[derive(Debug, Clone)]
pub(super) enum Action {
    /// Deletes one entry. With a digest, the key is as the store names it.
    Delete(EntryKey),
    /// Invalidates something of a namespace.
    Invalidate(InvalidateTarget),
    /// Publishes an event.
    Publish(Event),
    /// Removes copies in the near cache of this replica.
    FlushNear(Option<Namespace>),
    /// Fetches entries of a namespace: those with the keys, or those of its warm list.
    Warm { namespace: Namespace, keys: Vec<EntryKey>, refresh: bool },
}

impl Action {
    /// Reads the fields of a form, or the parameters of a link to the confirmation.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::NotFound`].
    pub(super) fn parse(query: &Query) -> Result<Self, Error> {
        let namespace = || Namespace::new(query.text("namespace"));
        Ok(match query.text("action") {
            "delete" => Self::Delete(key_of(query)?),
            "key" => Self::Invalidate(InvalidateTarget::KeyOfAllVersions(EntryKey::new(
                namespace()?,
                query.text("key"),
                [].into_iter(),
            )?)),
            "tag" => {
                let tags: Vec<String> = lines(query.text("tags")).map(str::to_owned).collect();
                check_count("tags", tags.len(), MAX_TAGS)?;
                Self::Invalidate(InvalidateTarget::Tags(namespace()?, tags))
            }
            "glob" => Self::Invalidate(InvalidateTarget::Pattern(
                namespace()?,
                Glob::new(query.text("glob"))?,
            )),
            "namespace" => Self::Invalidate(InvalidateTarget::Namespace(namespace()?)),
            "event" => Self::Publish(Event::new(
                query.text("name").to_owned(),
                attributes(query.text("attributes"))?,
            )?),
            "flush" if query.is_set("namespace") => Self::FlushNear(Some(namespace()?)),
            "flush" => Self::FlushNear(None),
            "warm" => {
                let namespace = namespace()?;
                let keys = lines(query.text("keys"));
                let keys = keys.map(|key| EntryKey::new(namespace.clone(), key, [].into_iter()));
                let keys = keys.collect::<Result<Vec<_>, _>>()?;
                if !keys.is_empty() {
                    check_count("keys", keys.len(), MAX_WARM_KEYS)?;
                }
                Self::Warm { namespace, keys, refresh: query.is_set("refresh") }
            }
            _ => return Err(Error::NotFound("such action")),
        })
    }

    /// The fields from which [`Self::parse`] makes it.
    pub(super) fn fields(&self) -> Vec<(&'static str, String)> {
        let namespace = |namespace: &Namespace| ("namespace", namespace.to_string());
        let action = |name: &str| ("action", name.to_owned());
        match self {
            Self::Delete(key) => {
                let (name, digest) = (("key", key.key().to_owned()), ("digest", digest(key)));
                vec![action("delete"), namespace(key.namespace()), name, digest]
            }
            Self::Invalidate(target) => {
                let space = namespace(target.namespace());
                match target {
                    InvalidateTarget::Namespace(_) => vec![action("namespace"), space],
                    InvalidateTarget::Tags(_, tags) => {
                        vec![action("tag"), space, ("tags", tags.join("\n"))]
                    }
                    InvalidateTarget::Pattern(_, glob) => {
                        vec![action("glob"), space, ("glob", glob.as_str().to_owned())]
                    }
                    InvalidateTarget::Key(key) | InvalidateTarget::KeyOfAllVersions(key) => {
                        vec![action("key"), space, ("key", key.key().to_owned())]
                    }
                }
            }
            Self::Publish(event) => {
                let attributes = event.attributes().iter();
                let lines: Vec<String> =
                    attributes.map(|(name, value)| format!("{name}={value}")).collect();
                let name = ("name", event.name().to_owned());
                vec![action("event"), name, ("attributes", lines.join("\n"))]
            }
            Self::FlushNear(of) => {
                let of = of.as_ref().map(Namespace::to_string).unwrap_or_default();
                vec![action("flush"), ("namespace", of)]
            }
            Self::Warm { namespace: of, keys, refresh } => {
                let keys: Vec<&str> = keys.iter().map(EntryKey::key).collect();
                let refresh = if *refresh { "on" } else { "" };
                let keys = ("keys", keys.join("\n"));
                vec![action("warm"), namespace(of), keys, ("refresh", refresh.to_owned())]
            }
        }
    }

    /// Its effect, as a heading.
    pub(super) fn title(&self) -> String {
        match self {
            Self::Delete(key) => {
                format!("Delete {} of {}", visible(key.key()), key.namespace())
            }
            Self::Invalidate(target) => {
                let namespace = target.namespace();
                match target {
                    InvalidateTarget::Namespace(_) => format!("Invalidate all of {namespace}"),
                    InvalidateTarget::Tags(_, tags) => {
                        let first = tags.first().map(|tag| visible(tag)).unwrap_or_default();
                        let rest = match tags.len() {
                            0 | 1 => String::new(),
                            number => format!(" and {} more", number - 1),
                        };
                        format!("Invalidate tag {first}{rest} of {namespace}")
                    }
                    InvalidateTarget::Pattern(_, glob) => {
                        format!("Invalidate {} of {namespace}", visible(glob.as_str()))
                    }
                    InvalidateTarget::Key(key) | InvalidateTarget::KeyOfAllVersions(key) => {
                        let key = visible(key.key());
                        format!("Invalidate {key} of {namespace}, with all params and versions")
                    }
                }
            }
            Self::Publish(event) => format!("Publish event {}", visible(event.name())),
            Self::FlushNear(None) => "Flush the near cache of this replica".to_owned(),
            Self::FlushNear(Some(namespace)) => {
                format!("Flush {namespace} from the near cache of this replica")
            }
            Self::Warm { namespace, keys, .. } if keys.is_empty() => {
                format!("Warm {namespace} with its warm list")
            }
            Self::Warm { namespace, keys, .. } => {
                format!("Warm {} keys of {namespace}", keys.len())
            }
        }
    }

    /// The text of its button.
    pub(super) fn verb(&self) -> &'static str {
        match self {
            Self::Delete(_) => "Delete",
            Self::Invalidate(_) => "Invalidate",
            Self::Publish(_) => "Publish",
            Self::FlushNear(_) => "Flush",
            Self::Warm { .. } => "Warm",
        }
    }
}

/// Lines that are not empty. Browsers end them with CR and LF.
fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.is_empty())
}

fn attributes(text: &str) -> Result<BTreeMap<String, String>, Violation> {
    let pairs = lines(text).map(|line| {
        let pair = line.split_once('=');
        let (name, value) = pair
            .ok_or_else(|| Violation::new("attributes", "must have one name=value in each line"))?;
        Ok((name.trim().to_owned(), value.to_owned()))
    });
    pairs.collect()
}

fn check_count(field: &'static str, count: usize, limit: usize) -> Result<(), Violation> {
    if count == 0 {
        return Err(Violation::new(field, "must have one in each line"));
    }
    if count > limit {
        let description = format!("has {count} lines, the limit is {limit}");
        return Err(Violation::over_limit(field, description, limit));
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use url::form_urlencoded::Serializer;

    use super::*;

    fn form(fields: &[(&str, &str)]) -> Query {
        Query::parse(Serializer::new(String::new()).extend_pairs(fields).finish().as_bytes())
    }

    #[test]
    fn a_confirmed_action_is_the_one_that_was_shown() {
        let digest = "A".repeat(43);
        for fields in [
            &[("action", "delete"), ("namespace", "ns"), ("key", "a\r\n<b>"), ("digest", &digest)],
            &[("action", "delete"), ("namespace", "ns"), ("key", "k")][..],
            &[("action", "key"), ("namespace", "ns"), ("key", "k")],
            &[("action", "tag"), ("namespace", "ns"), ("tags", "a\r\nb")],
            &[("action", "glob"), ("namespace", "ns"), ("glob", "a*")],
            &[("action", "namespace"), ("namespace", "ns")],
            &[("action", "event"), ("name", "sale"), ("attributes", "id=a=b\r\n")],
            &[("action", "flush")],
            &[("action", "flush"), ("namespace", "ns")],
            &[("action", "warm"), ("namespace", "ns"), ("keys", "a\nb"), ("refresh", "on")],
        ] {
            let shown = Action::parse(&form(fields)).unwrap();
            let sent = shown.fields();
            let sent: Vec<_> = sent.iter().map(|(name, value)| (*name, &**value)).collect();
            let done = Action::parse(&form(&sent)).unwrap();
            assert_eq!(format!("{shown:?}"), format!("{done:?}"));
            assert!(!shown.title().is_empty());
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (fields, expected) in [
            (&[("action", "tag"), ("namespace", "ns")][..], "tags must have one in each line"),
            (&[("action", "glob"), ("namespace", "ns")], "glob must be set"),
            (&[("action", "namespace")], "namespace must be set"),
            (&[("action", "event"), ("name", "e"), ("attributes", "x")], "name=value"),
            (&[("action", "drop")], "there is no such action"),
        ] {
            let error = Action::parse(&form(fields)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
