//! The generated messages and clients.
#![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic, clippy::nursery)]
#![allow(clippy::wildcard_enum_match_arm, rustdoc::all)]

include!("gen/larder.v1.rs");
