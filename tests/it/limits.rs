//! Limits, violated one at a time; overload and deadlines.

// Number of items, and errors that name the invalid item.
mod batches;
// Open connections: idle, silent, and too many.
mod connections;
// Deadlines of callers.
mod deadlines;
// One connection that takes as much as it can, and another.
mod fairness;
// Names, values and times of single entries.
mod fields;
// Frames of HTTP/2 that bring no request.
mod floods;
// Whole messages and headers.
mod messages;
// More concurrent calls than the server admits.
mod overload;
// Clients that read slowly or not at all.
mod slow_readers;
