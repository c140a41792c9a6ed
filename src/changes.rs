//! Changes of entries: from where they become visible to the watches of callers.
//!
//! A store publishes each change to the [`ChangeHub`]. The embedded store does so itself, and the
//! store in Redis passes on what Redis announces (`store/redis/change_feed.rs`). The hub keeps the
//! latest changes of each watched namespace in lanes, which all watchers of the namespace share: a
//! [`Watcher`] is a position in them. So a change is kept and encoded once, and a watcher that
//! falls behind costs no memory: it is reset when its position is dropped.
//!
//! # Order
//!
//! A change is published after it became visible, so a read that follows the event finds it. A
//! watcher takes its position before it receives Ready, so a change that a read after Ready does
//! not find is published later, and arrives. A change that was visible before Ready need not
//! arrive.
//!
//! # Delay
//!
//! A publication is cheap: it adds the key to a list and wakes no watcher. A task, the dispatcher,
//! passes the lists on, the first at once, and further ones after an interval.

mod batch;
mod changed_keys;
mod channel;
mod hub;
mod lane;
pub mod metrics;
mod reset_reason;
#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
mod token;
mod watcher;

pub use batch::{ChangeBatch, PublishedChange};
pub use changed_keys::{ChangedKey, ChangedKeys};
pub use hub::{ChangeHub, HubStats, MissedChanges, TooManyNamespaces, WatchOptions};
pub use reset_reason::ResetReason;
pub use token::{MAX_TOKEN_BYTES, Proof};
pub use watcher::{WatchSignal, Watcher};
