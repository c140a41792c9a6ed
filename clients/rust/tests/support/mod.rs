//! Functions that several tests use.
#![allow(dead_code, reason = "each test uses some of them")]
#![allow(clippy::expect_used)]

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use larder_client::{
    pb,
    testing::{FakeLarder, LarderServer, ServerOptions},
};

pub(crate) const LIMIT: Duration = Duration::from_secs(10);

pub(crate) async fn until(what: &str, is: impl Fn() -> bool) {
    let come = async {
        while !is() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(LIMIT, come).await.is_ok(), "{what}: not within {LIMIT:?}");
}

/// How many calls of a method the fake has had.
pub(crate) fn methods(fake: &FakeLarder, method: &str) -> usize {
    fake.calls().iter().filter(|call| call.method == method).count()
}

pub(crate) fn abandoned(fake: &FakeLarder) -> Vec<pb::AbandonRequest> {
    let calls = fake.calls();
    calls.iter().filter(|call| call.method == "Abandon").filter_map(|call| call.decode()).collect()
}

/// The real server: `LARDER_BIN`, or `target/debug/larder`.
pub(crate) fn binary() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/debug/larder");
    std::env::var_os("LARDER_BIN").map_or(built, PathBuf::from)
}

/// The real server with exact TTLs.
pub(crate) async fn server() -> LarderServer {
    let config = "[defaults]\nttl_jitter = 0\n".to_owned();
    let options = ServerOptions { binary: Some(binary()), config, ..ServerOptions::default() };
    LarderServer::start(options).await.expect("the server starts: LARDER_BIN names its binary")
}
