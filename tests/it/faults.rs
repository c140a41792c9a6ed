//! What happens without the store, and after it is back.

// What each call answers without a store.
mod answers;
// Redis is well but for a moment, or for one thing.
mod hiccups;
// Writes that arrive at the store after their caller was told that they failed.
mod late_writes;
// Redis killed, stopped, cut off, slow, under load; and how soon it is used again.
mod outages;
// Starting without Redis, and doing without it on purpose.
mod start;
