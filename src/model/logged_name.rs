//! Keys, tags and patterns in log lines. They often contain personal data, so that by default only
//! a hash is logged, which is equal for equal names.

use std::{
    borrow::Cow,
    sync::atomic::{AtomicBool, Ordering},
};

use xxhash_rust::xxh3::xxh3_64;

use super::text_prefix;

/// Longest name that is logged, in bytes.
const MAX_BYTES: usize = 100;

/// One for the process, as the log is.
static IN_PLAIN_TEXT: AtomicBool = AtomicBool::new(false);

/// Logs names in plain text from now on, or as a hash.
pub fn log_names_in_plain_text(in_plain_text: bool) {
    IN_PLAIN_TEXT.store(in_plain_text, Ordering::Relaxed);
}

/// A name as it is logged: its beginning, or its hash, which for a key is that of the access log.
pub fn logged_name(name: &str) -> Cow<'_, str> {
    if IN_PLAIN_TEXT.load(Ordering::Relaxed) {
        return Cow::Borrowed(text_prefix(name, MAX_BYTES));
    }
    Cow::Owned(format!("#{:016x}", xxh3_64(name.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_hashed_by_default() {
        let name = logged_name("secret");
        assert!(name.starts_with('#') && name.len() == 17, "{name}");
        assert_ne!(name, logged_name("other"));
    }
}
