//! Every limit, violated one at a time; overload and deadlines.

// Batches: sizes, and which item is wrong.
mod batches;
// How many connections, for how long, and who is still there at the other end.
mod connections;
// The caller's deadline, and callers who leave.
mod deadlines;
// Names, values and times of single entries.
mod fields;
// What no client of the protocol would send.
mod garbage;
// Whole messages and headers.
mod messages;
// Too many calls at once.
mod overload;
