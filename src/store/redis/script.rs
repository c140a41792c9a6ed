//! Lua scripts: each is one atomic step on one slot.

use std::sync::LazyLock;

use redis::Cmd;

use crate::planted;

/// A script, and the hash under which the server caches it.
pub(super) struct Script {
    code: String,
    hash: String,
    /// Whether its third argument is what the store's clock is ahead of the server's.
    is_timed: bool,
}

/// Arguments of EVALSHA before the keys: the command, the hash and the number of keys.
const BEFORE_KEYS: usize = 3;
/// Number of the argument after the keys that scripts with the time have, from 0 on.
const AHEAD_ARGUMENT: usize = 2;

macro_rules! script {
    ($file:literal) => {
        LazyLock::new(|| {
            Script::new(concat!(
                include_str!("scripts/clock.lua"),
                "\n",
                include_str!("scripts/common.lua"),
                "\n",
                include_str!(concat!("scripts/", $file))
            ))
        })
    };
    (log $file:literal) => {
        LazyLock::new(|| {
            Script::new(concat!(
                include_str!("scripts/clock.lua"),
                "\n",
                include_str!("scripts/ban_log.lua"),
                "\n",
                include_str!(concat!("scripts/", $file))
            ))
        })
    };
}

pub(super) static SET: LazyLock<Script> = script!("set.lua");
pub(super) static DELETE: LazyLock<Script> = script!("delete.lua");
pub(super) static TOUCH: LazyLock<Script> = script!("touch.lua");
pub(super) static INCREMENT: LazyLock<Script> = script!("increment.lua");
pub(super) static ACQUIRE: LazyLock<Script> = script!("acquire.lua");
pub(super) static FILL: LazyLock<Script> = script!("fill.lua");
pub(super) static EXTEND: LazyLock<Script> = script!("extend.lua");
pub(super) static REVALIDATE: LazyLock<Script> = script!("revalidate.lua");
pub(super) static DISCARD: LazyLock<Script> = script!("discard.lua");
pub(super) static ABANDON: LazyLock<Script> = script!("abandon.lua");
pub(super) static RESTAMP: LazyLock<Script> = script!("restamp.lua");
pub(super) static DROP_BANNED: LazyLock<Script> = script!("drop_banned.lua");
pub(super) static READ_BANS: LazyLock<Script> = script!(log "read_bans.lua");
pub(super) static LIST_BANS: LazyLock<Script> = script!(log "list_bans.lua");
pub(super) static APPEND_BAN: LazyLock<Script> = script!(log "append_ban.lua");
pub(super) static DROP_BANS: LazyLock<Script> = script!(log "drop_bans.lua");
pub(super) static DROP_SWEPT_BANS: LazyLock<Script> = script!(log "drop_swept_bans.lua");
pub(super) static ADVANCE_MARKERS: LazyLock<Script> = LazyLock::new(|| {
    Script::new(concat!(
        include_str!("scripts/clock.lua"),
        "\n",
        include_str!("scripts/advance_markers.lua")
    ))
});
pub(super) static DROP_CORRUPT: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/drop_corrupt.lua")));
pub(super) static ANNOUNCE: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/announce.lua")));
pub(super) static STATS: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/stats.lua")));

pub(super) static SHARE_CLOCK: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/share_clock.lua")));
pub(super) static PROBE: LazyLock<Script> =
    LazyLock::new(|| Script::new(include_str!("scripts/probe.lua")));

impl Script {
    fn new(code: &str) -> Self {
        let code = &*planted::in_script(code);
        let hash = redis::Script::new(code).get_hash().to_owned();
        let is_timed = code.starts_with(include_str!("scripts/clock.lua"));
        Self { code: code.to_owned(), hash, is_timed }
    }

    /// The call for a server whose clock the store's clock is ahead of by `ahead_ms`; none if the
    /// call fits as it is.
    pub(super) fn call_with_ahead(&self, call: &Cmd, ahead_ms: i64) -> Option<Cmd> {
        if !self.is_timed {
            return None;
        }
        let bytes = |arg| match arg {
            redis::Arg::Simple(bytes) => bytes,
            _ => &b""[..],
        };
        let keys: usize = std::str::from_utf8(bytes(call.args_iter().nth(BEFORE_KEYS - 1)?))
            .ok()?
            .parse()
            .ok()?;
        let changed = BEFORE_KEYS + keys + AHEAD_ARGUMENT;
        let length = call.args_iter().map(|arg| bytes(arg).len()).sum();
        let mut other = Cmd::with_capacity(call.args_iter().len(), length);
        for (index, arg) in call.args_iter().enumerate() {
            if index == changed {
                other.arg(ahead_ms);
            } else {
                other.arg(bytes(arg));
            }
        }
        Some(other)
    }

    /// Builds a call of the script; its arguments follow. The client library's own `invoke` would
    /// copy every argument once more.
    pub(super) fn call<K: AsRef<[u8]>>(&self, keys: &[K]) -> Cmd {
        let mut cmd = redis::cmd("EVALSHA");
        cmd.arg(&self.hash).arg(keys.len());
        for key in keys {
            cmd.arg(key.as_ref());
        }
        cmd
    }

    /// Builds the command that loads the script into the server.
    pub(super) fn load(&self) -> Cmd {
        let mut cmd = redis::cmd("SCRIPT");
        cmd.arg("LOAD").arg(&self.code);
        cmd
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn words(call: &Cmd) -> Vec<String> {
        let text = |arg| match arg {
            redis::Arg::Simple(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            _ => String::new(),
        };
        call.args_iter().map(text).collect()
    }

    #[test]
    fn a_call_is_adjusted_to_the_clock_of_its_server() {
        let mut call = SET.call(&["marker", "entry", "lease"]);
        call.arg(1000).arg("").arg(5).arg("rest").arg(6);
        let adjusted = SET.call_with_ahead(&call, -7).unwrap();
        let mut expected = words(&call);
        assert_eq!(expected[8], "5");
        expected[8] = "-7".to_owned();
        assert_eq!(words(&adjusted), expected);
        assert!(STATS.call_with_ahead(&STATS.call(&["key"]), -7).is_none(), "it has no time");
    }

    /// By the position of its argument, each of them is adjusted.
    #[test]
    fn every_script_with_the_time_begins_with_it() {
        let timed = [
            &SET,
            &DELETE,
            &TOUCH,
            &INCREMENT,
            &ACQUIRE,
            &FILL,
            &EXTEND,
            &REVALIDATE,
            &DISCARD,
            &ABANDON,
            &RESTAMP,
            &DROP_BANNED,
            &READ_BANS,
            &LIST_BANS,
            &APPEND_BAN,
            &DROP_BANS,
            &DROP_SWEPT_BANS,
            &ADVANCE_MARKERS,
        ];
        assert!(timed.iter().all(|script| script.is_timed));
        let others = [&DROP_CORRUPT, &ANNOUNCE, &STATS, &PROBE];
        assert!(!others.iter().any(|script| script.is_timed));
    }
}
