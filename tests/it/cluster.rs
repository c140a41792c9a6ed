//! Redis Cluster. Clusters are heavy, so that each test does much.

// Replicas on one cluster.
mod setup;
// Numbered writes and deletes, against reads through another replica.
mod model;
// Calls that concern all primaries, and URLs that do not fit.
mod calls;
// Slots that are moved, under load.
mod resharding;
// A primary that fails, under load.
mod failover;
// Primaries that are added, and that are gone for good.
mod nodes;
