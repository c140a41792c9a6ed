//! The limit of the operating system on open files, which include connections.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::config::LimitsConfig;

/// Files besides gRPC connections: the admin port, the store, origins, logs, and a reserve.
const OTHER_FILES: u64 = 1024;

/// Raises the soft limit to what the configuration needs, as far as the hard limit allows. Returns
/// the number of connections for which it suffices, up to `limits.max_connections`.
pub(super) fn raise_limit(limits: &LimitsConfig) -> usize {
    let needed = limits.max_connections as u64 + OTHER_FILES;
    match raise_to(needed) {
        Ok(limit) if limit < needed => {
            let connections = connections(limit).min(limits.max_connections);
            tracing::warn!(
                limit,
                needed,
                max_connections = limits.max_connections,
                connections,
                "the limit on open files is too low for limits.max_connections, which is lowered \
                 to fit; raise the hard limit (ulimit -Hn), or lower limits.max_connections"
            );
            connections
        }
        Ok(_) => limits.max_connections,
        Err(error) => {
            tracing::warn!(%error, needed, "cannot raise the limit on open files");
            limits.max_connections
        }
    }
}

/// Connections for which a limit on open files suffices. Other files get a quarter of a low limit.
fn connections(limit: u64) -> usize {
    let connections = limit - OTHER_FILES.min(limit / 4);
    usize::try_from(connections).unwrap_or(usize::MAX).max(1)
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
    fn a_low_limit_is_shared_with_other_files() {
        assert_eq!([1, 1024, 4096, 17_408].map(connections), [1, 768, 3072, 16_384]);
    }

    #[test]
    fn limit_is_raised_and_never_lowered() {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        assert_eq!(raise_to(1).unwrap(), soft);
        let raised = raise_to(soft + 1).unwrap();
        assert_eq!(raised, (soft + 1).min(hard));
    }
}
