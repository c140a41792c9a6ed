//! A lease on its way to the caller who will fill it.

use std::{sync::Arc, time::Duration};

use crate::{
    key::EntryKey,
    store::{Acquired, Backend, LeaseToken},
};

/// A lease that goes back to the store if it is dropped before it is handed over, so that a caller who has gone does not keep
/// others waiting until it expires.
pub struct LeaseGrant {
    held: Option<(Arc<dyn Backend>, EntryKey)>,
    token: LeaseToken,
}

impl LeaseGrant {
    /// To be made before the store is asked for the lease, because the caller may go while the store answers.
    pub(super) fn new(store: &Arc<dyn Backend>, key: &EntryKey) -> Self {
        Self { held: Some((store.clone(), key.clone())), token: LeaseToken::random() }
    }

    /// A lease that no store knows.
    pub(super) fn unshared() -> Self {
        Self { held: None, token: LeaseToken::random() }
    }

    pub(super) fn token(&self) -> LeaseToken {
        self.token
    }

    /// Takes note of what the store answered: what it did not grant need not go back.
    pub(super) fn settle(&mut self, acquired: &Acquired) {
        if !matches!(acquired, Acquired::Granted { .. }) {
            self.held = None;
        }
    }

    /// The caller has it from now on.
    pub fn hand_over(mut self) -> LeaseToken {
        self.held = None;
        self.token
    }
}

impl Drop for LeaseGrant {
    fn drop(&mut self) {
        if let (Some((store, key)), Ok(runtime)) = (self.held.take(), tokio::runtime::Handle::try_current()) {
            let token = self.token;
            runtime.spawn(async move {
                // If this fails too, the lease expires.
                let _ = store.abandon(&key, token, Duration::ZERO).await;
            });
        }
    }
}

impl std::fmt::Debug for LeaseGrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LeaseGrant(..)")
    }
}
