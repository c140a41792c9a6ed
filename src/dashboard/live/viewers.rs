//! The viewers of live figures whose views are recorded.

use std::{hash::Hash, net::IpAddr, sync::Arc, time::Duration};

use hashlink::LruCache;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::audit::AuditedCaller;

/// Most views that are remembered. A further one takes the place of the least recent one.
const MAX_VIEWS: usize = 256;
/// Time after the begin of a viewer's last stream for which a view is remembered. A stream is
/// shorter, so that a page that stays open is one view.
const MEMORY: Duration = Duration::from_secs(3600);

/// Principal and address of a viewer, and the figures.
type View<F> = (Option<Arc<str>>, Option<IpAddr>, F);

/// Views of figures of the type `F`.
pub(super) struct Viewers<F>(Mutex<LruCache<View<F>, Instant>>);

impl<F: Eq + Hash> Viewers<F> {
    /// None.
    pub(super) fn new() -> Self {
        Self(Mutex::new(LruCache::new(MAX_VIEWS)))
    }

    /// Whether a stream that begins now is a new view: browsers connect again and again.
    pub(super) fn is_new(&self, caller: &AuditedCaller, figures: F) -> bool {
        let view = (caller.principal.clone(), caller.peer.map(|peer| peer.ip()), figures);
        let before = self.0.lock().insert(view, Instant::now());
        before.is_none_or(|at| at.elapsed() >= MEMORY)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn caller(principal: &str, peer: &str) -> AuditedCaller {
        let (principal, peer) = (Some(principal.into()), Some(peer.parse().unwrap()));
        AuditedCaller { principal, peer, ..AuditedCaller::default() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_that_stays_open_is_one_view() {
        let viewers = Viewers::new();
        let alice = caller("alice", "10.0.0.1:1");
        assert!(viewers.is_new(&alice, "keys"));
        for _ in 0..20 {
            tokio::time::advance(Duration::from_secs(600)).await;
            assert!(!viewers.is_new(&caller("alice", "10.0.0.1:2"), "keys"));
        }
        for (other, figures) in [
            (&alice, "others"),
            (&caller("bob", "10.0.0.1:1"), "keys"),
            (&caller("alice", "10.0.0.2:1"), "keys"),
        ] {
            assert!(viewers.is_new(other, figures), "{other:?} {figures}");
        }
        tokio::time::advance(MEMORY).await;
        assert!(viewers.is_new(&alice, "keys"), "it is a view of another time");
    }

    #[test]
    fn views_have_a_bound() {
        let viewers = Viewers::new();
        let alice = caller("alice", "10.0.0.1:1");
        for figures in 0..=MAX_VIEWS {
            assert!(viewers.is_new(&alice, figures));
        }
        assert!(!viewers.is_new(&alice, MAX_VIEWS) && viewers.is_new(&alice, 0));
    }
}
