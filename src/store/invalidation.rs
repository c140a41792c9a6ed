//! Invalidations that are kept, to be applied again.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    model::{EntryKey, Glob, Namespace, ParamsDigest, millis_ceil},
    store::{Backend, Ban, BanLimits, ErrorKind, Result},
};

/// An invalidation without its hold-off. Applying it again is harmless.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Invalidation {
    /// One entry.
    Key(EntryKey),
    /// All entries of a namespace.
    Namespace(Namespace),
    /// The entries of a namespace that match a ban.
    Ban(Namespace, BanRecord),
}

/// A ban with the limits of its namespace, so that it can be applied without the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BanRecord {
    tags: Vec<String>,
    globs: Vec<String>,
    keys: Vec<String>,
    max_tags: usize,
    max_globs: usize,
    /// In milliseconds.
    longest_lifetime: u64,
}

/// The form on disk: JSON, so that later versions can add to it.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Encoded {
    Key { namespace: String, key: String, params: Option<String> },
    Namespace(String),
    Ban { namespace: String, ban: BanRecord },
}

impl Invalidation {
    /// The invalidation of the entries that match a ban.
    pub fn of_ban(namespace: &Namespace, ban: &Ban, limits: &BanLimits) -> Self {
        let record = BanRecord {
            tags: ban.tags.clone(),
            globs: ban.globs.iter().map(|glob| glob.as_str().to_owned()).collect(),
            keys: ban.keys.clone(),
            max_tags: limits.max_tags,
            max_globs: limits.max_globs,
            longest_lifetime: millis_ceil(limits.longest_lifetime),
        };
        Self::Ban(namespace.clone(), record)
    }

    /// The ban of all entries of a namespace: unlike its invalidation, it can have a hold-off.
    pub(super) fn of_everything(namespace: &Namespace) -> Self {
        let globs = Glob::new("*").into_iter().collect();
        Self::of_ban(namespace, &Ban { globs, ..Ban::default() }, &BanLimits::default())
    }

    /// Encodes it. Equal invalidations have equal encodings.
    pub fn encode(&self) -> Vec<u8> {
        let encoded = match self {
            Self::Key(key) => Encoded::Key {
                namespace: key.namespace().as_str().to_owned(),
                key: key.key().to_owned(),
                params: key.params().map(ParamsDigest::to_text),
            },
            Self::Namespace(namespace) => Encoded::Namespace(namespace.as_str().to_owned()),
            Self::Ban(namespace, ban) => {
                Encoded::Ban { namespace: namespace.as_str().to_owned(), ban: ban.clone() }
            }
        };
        // Maps with keys that are not text are the only values that JSON has no form for.
        serde_json::to_vec(&encoded).unwrap_or_default()
    }

    /// Decodes what [`Invalidation::encode`] returned; none if it is malformed.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        Some(match serde_json::from_slice(bytes).ok()? {
            Encoded::Key { namespace, key, params } => {
                Self::Key(EntryKey::restored(&namespace, &key, params.as_deref())?)
            }
            Encoded::Namespace(namespace) => Self::Namespace(Namespace::new(&namespace).ok()?),
            Encoded::Ban { namespace, ban } => {
                ban.globs()?;
                Self::Ban(Namespace::new(&namespace).ok()?, ban)
            }
        })
    }

    /// Applies it again, with a hold-off from now. A primary that has it is enough: entries must
    /// not wait for replicas that may not return.
    pub(super) async fn apply(&self, store: &dyn Backend, hold_off: Duration) -> Result<()> {
        let applied = match self {
            Self::Key(key) => store.delete(key, hold_off).await.map(drop),
            Self::Namespace(namespace) => store.invalidate(namespace).await,
            Self::Ban(namespace, record) => {
                let (ban, limits) = (record.ban(hold_off), record.limits());
                store.ban(namespace, &ban, &limits).await.map(drop)
            }
        };
        match applied {
            Err(error) if error.kind == ErrorKind::NotReplicated => Ok(()),
            applied => applied,
        }
    }

    /// The namespace of the entries.
    pub fn namespace(&self) -> &Namespace {
        match self {
            Self::Key(key) => key.namespace(),
            Self::Namespace(namespace) | Self::Ban(namespace, _) => namespace,
        }
    }
}

impl BanRecord {
    /// The ban with a hold-off. A pattern that this version does not accept is left out; there is
    /// none in a record that was decoded.
    pub fn ban(&self, hold_off: Duration) -> Ban {
        let globs = self.globs().unwrap_or_default();
        Ban { tags: self.tags.clone(), globs, keys: self.keys.clone(), hold_off }
    }

    /// The limits of the namespace when it was banned.
    pub fn limits(&self) -> BanLimits {
        BanLimits {
            max_tags: self.max_tags,
            max_globs: self.max_globs,
            longest_lifetime: Duration::from_millis(self.longest_lifetime),
        }
    }

    /// The banned tags, patterns and keys, for people.
    pub fn describe(&self) -> String {
        let parts = [("tags", &self.tags), ("patterns", &self.globs), ("keys", &self.keys)];
        let parts = parts.iter().filter(|(_, names)| !names.is_empty());
        let parts: Vec<String> =
            parts.map(|(kind, names)| format!("{kind} {}", names.join(", "))).collect();
        parts.join("; ")
    }

    fn globs(&self) -> Option<Vec<Glob>> {
        self.globs.iter().map(|glob| Glob::new(glob).ok()).collect()
    }
}

#[cfg(test)]
mod fuzz_tests;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn namespace() -> Namespace {
        Namespace::new("ns").unwrap()
    }

    #[test]
    fn an_invalidation_is_what_was_encoded() {
        let params = [("a", "1"), ("b", "ü")];
        let ban = Ban {
            tags: vec!["t".to_owned()],
            globs: vec![Glob::new("user:*").unwrap()],
            keys: vec!["k\"\n".to_owned()],
            hold_off: Duration::from_secs(1),
        };
        let limits = BanLimits { max_tags: 3, ..BanLimits::default() };
        for invalidation in [
            Invalidation::Key(EntryKey::new(namespace(), "k", [].into_iter()).unwrap()),
            Invalidation::Key(EntryKey::new(namespace(), "k", params.into_iter()).unwrap()),
            Invalidation::Namespace(namespace()),
            Invalidation::of_ban(&namespace(), &ban, &limits),
        ] {
            let encoded = invalidation.encode();
            assert_eq!(Invalidation::decode(&encoded), Some(invalidation.clone()));
            assert_eq!(invalidation.namespace(), &namespace());
            assert!(Invalidation::decode(&encoded[1..]).is_none());
        }
        let Invalidation::Ban(_, record) = Invalidation::of_ban(&namespace(), &ban, &limits) else {
            panic!("not a ban");
        };
        assert_eq!(record.ban(ban.hold_off), ban);
        assert_eq!(record.limits(), limits);
        assert_eq!(record.describe(), "tags t; patterns user:*; keys k\"\n");
    }

    #[test]
    fn names_that_are_not_valid_are_not_decoded() {
        for malformed in [
            r#"{"namespace":"A b"}"#,
            r#"{"key":{"namespace":"ns","key":"","params":null}}"#,
            r#"{"key":{"namespace":"ns","key":"k","params":"short"}}"#,
            r#"{"ban":{"namespace":"ns","ban":{"tags":[],"globs":["a["],"keys":[],
                "max_tags":1,"max_globs":1,"longest_lifetime":1}}}"#,
        ] {
            assert!(Invalidation::decode(malformed.as_bytes()).is_none(), "{malformed}");
        }
    }
}
