//! Values of the demo, of different sizes.

use serde_json::{Value, json};

/// Text of about `bytes` bytes.
pub(crate) fn text(bytes: usize) -> String {
    "A cache keeps what is asked for again. ".chars().cycle().take(bytes).collect()
}

/// A user: 200 to 1,200 bytes.
pub(crate) fn user(id: u32) -> Value {
    let about = text(200 + (id as usize * 37) % 1_000);
    json!({ "id": id, "name": format!("user {id}"), "team": id % 20, "about": about })
}

/// A price, which is another one each second.
pub(crate) fn price(id: u32, second: u64) -> Value {
    json!({ "id": id, "cents": 100 + (u64::from(id) * 31 + second) % 9_900 })
}

/// A page of 20 to 60 KiB.
pub(crate) fn page(number: usize) -> Value {
    json!({ "page": number, "html": text((20 + number % 41) * 1_024) })
}

/// A session of some 150 bytes.
pub(crate) fn session(number: usize) -> Value {
    json!({ "user": number, "basket": [number, number + 1], "seen": text(100) })
}
