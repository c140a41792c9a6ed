//! Events of the business: rules, PublishEvent.

// PublishEvent, and events as targets of Invalidate.
mod publish;
