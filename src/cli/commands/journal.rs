//! `larder journal` prints and drops what is in the journal of a server that does not run.

use std::{
    panic,
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytesize::ByteSize;
use clap::Subcommand;
use serde::Serialize;

use super::{
    arguments::duration,
    display::{escape, show},
    failure::{Ending, Error},
    output::{Output, remark, table},
};
use crate::{
    cli::{environment, figures::dash},
    config::{self, Overrides, Sources},
    model::{Namespace, ParamsDigest, SaturatingFrom as _, Timestamp},
    pb::from_duration,
    store::{
        Invalidation,
        journal::{
            Pending,
            offline::{OfflineError, OfflineJournal, Selection},
        },
    },
};

/// Rows of a table, unless the caller sets a limit.
const ROWS: usize = 1000;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print the invalidations in the journal, the eldest first.
    Show(ShowArgs),
    /// Drop invalidations: they are not applied, and old values are served until they expire.
    Drop(DropArgs),
}

#[derive(Debug, clap::Args)]
struct ShowArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Print this many at most [default: 1000 in a table, all with --json]
    #[arg(long, value_name = "NUMBER")]
    limit: Option<usize>,
}

#[derive(Debug, clap::Args)]
struct DropArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Only those of this namespace
    #[arg(long, value_name = "NAME", value_parser = namespace)]
    namespace: Option<Namespace>,
    /// Only those that are older, such as 2h
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    before: Option<Duration>,
    /// Drop them; without it, only their number is printed
    #[arg(long)]
    yes: bool,
}

/// Which journal, and how to print.
#[derive(Debug, clap::Args)]
struct FileArgs {
    /// File of the journal [default: journal.path of the configuration]
    #[arg(long, value_name = "FILE")]
    path: Option<PathBuf>,
    /// Configuration file (TOML) of the server
    #[arg(long, value_name = "FILE", env = "LARDER_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
    /// Print one JSON object per line, with durations in seconds
    #[arg(long)]
    json: bool,
}

/// Fields without a value are null.
#[derive(Serialize)]
struct Line<'a> {
    fleet: &'a str,
    namespace: &'a str,
    kind: &'static str,
    key: Option<&'a str>,
    params_digest: Option<String>,
    tags: Vec<String>,
    patterns: Vec<String>,
    keys: Vec<String>,
    age: f64,
    hold_off: Option<f64>,
}

#[derive(Serialize)]
struct DropLine<'a> {
    fleet: &'a str,
    dropped: u64,
    left: u64,
}

impl Args {
    pub(super) fn run(&self) -> Result<Ending, Error> {
        match &self.command {
            Command::Show(args) => args.run(),
            Command::Drop(args) => args.run(),
        }
    }
}

impl ShowArgs {
    fn run(&self) -> Result<Ending, Error> {
        let journal = self.file.open()?;
        let (fleet, now) = (journal.fleet(), now());
        let mut output = Output::stdout(self.file.json);
        let default_limit = if output.is_json() { usize::MAX } else { ROWS };
        let entries = journal.entries().take(self.limit.unwrap_or(default_limit));
        let mut rows = Vec::new();
        for pending in entries {
            let pending = pending?;
            if output.is_json() {
                output.line(&Line::new(fleet, &pending, now), String::new)?;
            } else {
                rows.push(row(&pending, now));
            }
        }
        let size = journal.size();
        if !rows.is_empty() {
            let header = ["age", "hold-off left", "namespace", "what"];
            let shown = rows.len() as u64;
            output.line(&(), || table(&header, rows))?;
            if shown < size.entries {
                remark(&format!("these are the eldest {shown}: --limit prints more"));
            }
        }
        let (entries, bytes, fleet) = (size.entries, ByteSize(size.bytes), escape(fleet));
        remark(&format!("invalidations: {entries} ({bytes}), fleet: {fleet}"));
        Ok(Ending::Done)
    }
}

impl DropArgs {
    fn run(&self) -> Result<Ending, Error> {
        let mut journal = self.file.open()?;
        let selection = Selection {
            namespace: self.namespace.clone(),
            queued_before: self.before.map(|age| before(now(), age)),
        };
        if !self.yes {
            let selected = journal.count(&selection)?;
            let all = journal.size().entries;
            return Err(Error::Usage(format!(
                "{selected} of {all} invalidations would be dropped, without being applied: add \
                 --yes to drop them"
            )));
        }
        let dropped = journal.drop_entries(&selection)?;
        let line = DropLine { fleet: journal.fleet(), dropped, left: journal.size().entries };
        let text = || format!("dropped {dropped}, left {}", line.left);
        Output::stdout(self.file.json).line(&line, text)?;
        Ok(Ending::Done)
    }
}

impl FileArgs {
    fn open(&self) -> Result<OfflineJournal, Error> {
        let path = match &self.path {
            Some(path) => path.clone(),
            None => self.configured_path()?,
        };
        Ok(open_quietly(&path)?)
    }

    fn configured_path(&self) -> Result<PathBuf, Error> {
        let file = self.config.clone().filter(|path| !path.as_os_str().is_empty());
        let sources = Sources { file, env: environment(), overrides: Overrides::default() };
        let missing = || {
            Error::Usage("the configuration has no journal.path: name the file with --path".into())
        };
        config::load(sources)?.journal.path.ok_or_else(missing)
    }
}

/// Opens a journal without the message of a panic: the database panics at some damages, and that is
/// an error of the command.
fn open_quietly(path: &Path) -> Result<OfflineJournal, OfflineError> {
    let hook = panic::take_hook();
    panic::set_hook(Box::new(|_| {}));
    let opened = OfflineJournal::open(path);
    panic::set_hook(hook);
    opened
}

impl<'a> Line<'a> {
    fn new(fleet: &'a str, pending: &'a Pending, now: Timestamp) -> Self {
        let invalidation = &pending.entry.invalidation;
        let mut line = Self {
            fleet,
            namespace: invalidation.namespace().as_str(),
            kind: "namespace",
            key: None,
            params_digest: None,
            tags: Vec::new(),
            patterns: Vec::new(),
            keys: Vec::new(),
            age: now.since(pending.entry.queued_at).as_secs_f64(),
            hold_off: hold_off(pending, now).map(|left| left.as_secs_f64()),
        };
        match invalidation {
            Invalidation::Namespace(_) => {}
            Invalidation::Key(key) => {
                line.kind = "key";
                (line.key, line.params_digest) =
                    (Some(key.key()), key.params().map(ParamsDigest::to_text));
            }
            Invalidation::Ban(_, record) => {
                let ban = record.ban(Duration::ZERO);
                line.kind = "ban";
                line.patterns = ban.globs.iter().map(|glob| glob.as_str().to_owned()).collect();
                (line.tags, line.keys) = (ban.tags, ban.keys);
            }
        }
        line
    }
}

fn row(pending: &Pending, now: Timestamp) -> Vec<String> {
    let queued = &pending.entry;
    let what = match &queued.invalidation {
        Invalidation::Namespace(_) => "all entries".to_owned(),
        Invalidation::Ban(_, record) => record.describe(),
        Invalidation::Key(key) => {
            let params = key.params().map(|digest| format!(" (params {})", digest.to_text()));
            format!("key {}{}", key.key(), params.unwrap_or_default())
        }
    };
    vec![
        show(Some(from_duration(now.since(queued.queued_at)))),
        hold_off(pending, now).map_or_else(dash, |left| show(Some(from_duration(left)))),
        queued.invalidation.namespace().as_str().to_owned(),
        what,
    ]
}

/// The rest of a hold-off, if it has not ended.
fn hold_off(pending: &Pending, now: Timestamp) -> Option<Duration> {
    Some(pending.entry.held_until.since(now)).filter(|left| !left.is_zero())
}

/// The time of this machine, in place of that of the store.
fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::saturating_from(since_epoch.as_millis()))
}

/// The time `age` ago.
fn before(now: Timestamp, age: Duration) -> Timestamp {
    Timestamp(now.0.saturating_sub(u64::saturating_from(age.as_millis())))
}

fn namespace(name: &str) -> Result<Namespace, String> {
    Namespace::new(name).map_err(|violation| violation.to_string())
}
