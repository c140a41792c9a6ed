//! Events of the business: rules, PublishEvent, CloudEvents over HTTP, Redis streams.

// CloudEvents on the admin port.
mod cloud_events;
// PublishEvent, and events as targets of Invalidate.
mod publish;
// Releases with other schema versions.
mod schema_versions;
// Redis streams as sources.
mod streams;
