//! Arguments that several commands share.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read as _},
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use tonic::metadata::AsciiMetadataValue;

pub(super) use super::super::duration;
use super::super::{AddressArgs, security::SecurityArgs};
use super::failure::Error;
use crate::pb::{
    from_duration,
    v1::{Consistency, KeyRef},
};

/// How to reach the server, and how to print its answer.
#[derive(Debug, Args)]
pub(super) struct CallArgs {
    #[command(flatten)]
    pub(super) server: AddressArgs,
    /// Time limit for connecting, and again for an answer, such as 500ms
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = duration)]
    pub(super) timeout: Duration,
    #[command(flatten)]
    pub(super) security: SecurityArgs,
    /// Print one JSON object per line, with durations in seconds
    #[arg(long)]
    pub(super) json: bool,
    /// Read and write entries of this schema version, as clients with `larder-schema-version` do
    #[arg(long, value_name = "VERSION", value_parser = schema_version)]
    pub(super) schema_version: Option<AsciiMetadataValue>,
}

/// One entry.
#[derive(Debug, Args)]
pub(super) struct EntryArgs {
    /// Namespace of the entry
    pub(super) namespace: String,
    /// Key of the entry
    pub(super) key: String,
    #[command(flatten)]
    pub(super) params: ParamArgs,
}

/// Several entries of one namespace, with the same params.
#[derive(Debug, Args)]
pub(super) struct EntriesArgs {
    /// Namespace of the entries
    namespace: String,
    #[command(flatten)]
    keys: KeysArgs,
    #[command(flatten)]
    params: ParamArgs,
}

/// Keys on the command line, or one per line of a file.
#[derive(Debug, Args)]
pub(super) struct KeysArgs {
    /// Keys of the entries
    // A group of both would come before the namespace in the usage.
    #[arg(value_name = "KEY", required_unless_present = "keys_from", conflicts_with = "keys_from")]
    keys: Vec<String>,
    /// Read the keys from a file, one per line; `-` reads standard input
    #[arg(long, value_name = "PATH")]
    keys_from: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ParamArgs {
    /// A param of the key; can be given several times
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = param)]
    params: Vec<(String, String)>,
}

/// Which cached values satisfy a read.
#[derive(Debug, Args)]
pub(super) struct FreshnessArgs {
    /// Longest time past the TTL for which a value is acceptable [default: as configured]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    max_stale: Option<Duration>,
    /// Ask the store, not the near cache of a replica
    #[arg(long)]
    consistent: bool,
}

// === impl EntryArgs ===

impl EntryArgs {
    pub(super) fn key_ref(&self) -> Result<KeyRef, Error> {
        Ok(KeyRef {
            namespace: self.namespace.clone(),
            key: self.key.clone(),
            params: self.params.map()?,
        })
    }
}

// === impl EntriesArgs ===

impl EntriesArgs {
    /// At least one entry.
    pub(super) fn key_refs(&self) -> Result<Vec<KeyRef>, Error> {
        let params = self.params.map()?;
        let key_ref =
            |key| KeyRef { namespace: self.namespace.clone(), key, params: params.clone() };
        Ok(self.keys.read()?.into_iter().map(key_ref).collect())
    }
}

// === impl KeysArgs ===

impl KeysArgs {
    /// At least one key.
    fn read(&self) -> Result<Vec<String>, Error> {
        match &self.keys_from {
            Some(path) => keys_from(path),
            None => Ok(self.keys.clone()),
        }
    }
}

/// The keys in a file, one per line. Empty lines do not count.
pub(super) fn keys_from(path: &Path) -> Result<Vec<String>, Error> {
    let failed = |source| Error::Input { path: path.to_owned(), source };
    let text = if path == Path::new("-") {
        let mut text = String::new();
        io::stdin().lock().read_to_string(&mut text).map_err(failed)?;
        text
    } else {
        fs::read_to_string(path).map_err(failed)?
    };
    let keys: Vec<String> =
        text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if keys.is_empty() {
        return Err(Error::Usage(format!("{} has no keys", path.display())));
    }
    Ok(keys)
}

// === impl ParamArgs ===

impl ParamArgs {
    pub(super) fn map(&self) -> Result<BTreeMap<String, String>, Error> {
        let mut map = BTreeMap::new();
        for (name, value) in &self.params {
            if map.insert(name.clone(), value.clone()).is_some() {
                return Err(Error::Usage(format!("--param {name} is given twice")));
            }
        }
        Ok(map)
    }
}

// === impl FreshnessArgs ===

impl FreshnessArgs {
    pub(super) fn max_stale(&self) -> Option<prost_types::Duration> {
        self.max_stale.map(from_duration)
    }

    pub(super) fn consistency(&self) -> i32 {
        let consistency =
            if self.consistent { Consistency::Store } else { Consistency::Unspecified };
        consistency.into()
    }
}

/// The part of a value to read.
#[derive(Debug, Args)]
pub(super) struct ReadArgs {
    /// Print nothing of a value that has this version
    #[arg(long, value_name = "VERSION", default_value = "", hide_default_value = true)]
    pub(super) if_version_not: String,
    /// Read the facts about the entry without its value
    #[arg(long, conflicts_with = "pointers")]
    pub(super) omit_value: bool,
    /// Print this part of a JSON value: a JSON Pointer such as /user/name; can be given several
    /// times
    #[arg(long = "pointer", value_name = "POINTER")]
    pub(super) pointers: Vec<String>,
    /// Extend the TTL of a fresh value to this from now
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    touch: Option<Duration>,
}

impl ReadArgs {
    pub(super) fn touch(&self) -> Option<prost_types::Duration> {
        self.touch.map(from_duration)
    }
}

fn schema_version(text: &str) -> Result<AsciiMetadataValue, String> {
    text.parse().map_err(|_| "expected ASCII text".to_owned())
}

fn param(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("expected NAME=VALUE".to_owned()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn param_is_split_at_the_first_equals_sign() {
        assert_eq!(param("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert_eq!(param("a="), Ok(("a".to_owned(), String::new())));
        for malformed in ["a", "", "=b"] {
            assert!(param(malformed).is_err(), "{malformed}");
        }
    }

    #[test]
    fn a_param_cannot_be_given_twice() {
        let pair = |name: &str| (name.to_owned(), "1".to_owned());
        let args = ParamArgs { params: vec![pair("a"), pair("b")] };
        assert_eq!(args.map().unwrap().len(), 2);
        let args = ParamArgs { params: vec![pair("a"), pair("a")] };
        assert_eq!(args.map().unwrap_err().to_string(), "--param a is given twice");
    }

    #[test]
    fn keys_are_the_lines_of_a_file() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"a\r\n\n b c\n").unwrap();
        assert_eq!(keys_from(file.path()).unwrap(), ["a", " b c"]);
        let empty = tempfile::NamedTempFile::new().unwrap();
        assert!(keys_from(empty.path()).unwrap_err().to_string().contains("has no keys"));
        let missing = keys_from(Path::new("/nonexistent/keys")).unwrap_err();
        assert_eq!(missing.to_string(), "cannot read /nonexistent/keys");
    }
}
