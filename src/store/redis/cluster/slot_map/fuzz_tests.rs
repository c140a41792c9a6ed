//! Fuzz target of the answers of the servers of a cluster.

use super::*;
use crate::fuzzing::check;

/// The answers to CLUSTER SLOTS and CLUSTER INFO. The slots of a view are slots, and its addresses
/// have a host.
#[test]
fn cluster_view() {
    check("cluster_view", |bytes| {
        let sender = Address { host: "h".to_owned(), port: 1 };
        let Ok(Value::Array(answers)) = redis::parse_redis_value(bytes) else { return };
        let Ok(view) = View::parse(answers, &sender) else { return };
        for (first, last, address) in &view.ranges {
            assert!(first <= last && *last < SLOTS && !address.host.is_empty());
        }
        assert!(view.addresses().len() <= view.ranges.len());
    });
}
