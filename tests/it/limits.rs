//! Every limit, violated one at a time; overload and deadlines.

// Batches: sizes, and which item is wrong.
mod batches;
// The caller's deadline, and callers who leave.
mod deadlines;
// Names, values and times of single entries.
mod fields;
// Whole messages and headers.
mod messages;
// Too many calls at once.
mod overload;
// Clients that do not read what they asked for.
mod slow_readers;
