//! The pages. Each file has one: its handler, and what it shows.

mod analysis;
mod audit;
mod bans;
mod entry;
mod hot_keys;
mod invalidations;
mod key_figures;
mod keys;
mod listing;
mod namespace;
mod namespace_table;
mod namespaces;
mod origins;
mod outcomes;
mod overview;
mod replicas;

pub(super) use analysis::analysis;
pub(super) use audit::audit;
pub(super) use entry::entry;
pub(super) use hot_keys::{hot_keys, minutes, update as hot_keys_update};
pub(super) use invalidations::invalidations;
pub(super) use keys::keys;
pub(super) use namespace::{namespace, update as namespace_update};
pub(super) use namespaces::{Part, content as namespaces_content, namespaces};
pub(super) use origins::{content as origins_content, origins};
pub(super) use overview::{content as overview_content, overview};
pub(super) use replicas::{content as replicas_content, replicas};
