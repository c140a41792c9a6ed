//! Addresses of a target over several resolutions.

use std::io;

use super::*;
use crate::transport::target::Target;

fn place(host: &str, port: u16) -> Place {
    Place::Tcp { address: ([127, 0, 0, 1], port).into(), host: host.to_owned() }
}

fn pool() -> Pool {
    let connector = Connector {
        target: Target::parse("a:1,b:2").unwrap_or_else(|error| unreachable!("{error}")),
        timeout: Duration::from_secs(1),
        keepalive: None,
        keepalive_timeout: Duration::from_secs(1),
        #[cfg(feature = "tls")]
        tls: None,
    };
    Pool::new(connector, None)
}

fn resolved(pool: &Pool, places: Vec<Place>, unresolved: &[&str]) -> Vec<Place> {
    let error = |name: &&str| ((*name).to_owned(), io::Error::other("no address"));
    let errors = unresolved.iter().map(error).collect();
    drop(Resolving { pool, found: Some(Resolved { places, errors }) });
    pool.inner.lock().slots.iter().map(|slot| slot.place.clone()).collect()
}

#[test]
fn addresses_of_a_name_that_cannot_be_resolved_stay() {
    let pool = pool();
    let both = vec![place("a", 1), place("b", 2)];
    assert_eq!(resolved(&pool, both.clone(), &[]), both);
    assert!(!pool.inner.lock().outdated);
    assert_eq!(resolved(&pool, vec![place("a", 1)], &["b"]), both);
    assert!(pool.inner.lock().outdated, "the name is asked for again");
    assert_eq!(resolved(&pool, Vec::new(), &["a", "b"]), both);
    let moved = vec![place("a", 1), place("b", 3)];
    assert_eq!(resolved(&pool, moved.clone(), &[]), moved);
    assert!(!pool.inner.lock().outdated);
}
