//! Events of the business: rules, PublishEvent, CloudEvents over HTTP, Redis streams.

// CloudEvents on the admin port.
mod cloud_events;
// PublishEvent, and events as targets of Invalidate.
mod publish;
// Redis streams as sources.
mod streams;
