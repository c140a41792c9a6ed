//! The limit of the operating system on open files, which include connections.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::LimitsConfig;

/// Files besides gRPC connections: the admin port, the store, origins, logs, and a reserve.
const OTHER_FILES: u64 = 1024;

/// Raises the soft limit to what the configuration needs, as far as the hard limit allows.
pub(super) fn raise_limit(limits: &LimitsConfig) {
    let needed = limits.max_connections as u64 + OTHER_FILES;
    match raise_to(needed) {
        Ok(limit) if limit < needed => tracing::warn!(
            limit,
            needed,
            max_connections = limits.max_connections,
            "the limit on open files is too low for limits.max_connections; raise the hard limit \
             (ulimit -Hn), or lower limits.max_connections"
        ),
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, needed, "cannot raise the limit on open files"),
    }
}

/// Raises the soft limit to `needed` at most. Returns the new one.
fn raise_to(needed: u64) -> nix::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let raised = needed.min(hard);
    if raised <= soft {
        return Ok(soft);
    }
    setrlimit(Resource::RLIMIT_NOFILE, raised, hard)?;
    Ok(raised)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn limit_is_raised_and_never_lowered() {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(raise_to(1).unwrap(), soft);
        let raised = raise_to(soft + 1).unwrap();
        assert_eq!(raised, (soft + 1).min(hard));
    }
}
