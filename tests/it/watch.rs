//! Watch: events, and resets where events may be missing.

// Changes of every kind.
mod events;
// Outages of Redis and of its announcements.
mod faults;
// Limits, slow readers and shutdown.
mod limits;
// A client's own cache, kept coherent by Watch, against a model.
mod model;
// Streams that continue an earlier one.
mod resume;
