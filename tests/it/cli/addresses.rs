//! Several addresses, and those of gRPC.

use std::net::{SocketAddr, TcpListener};

use tempfile::TempDir;
use tokio::{
    io::copy_bidirectional,
    net::{TcpStream, UnixListener},
};

use super::{DONE, Printed, REFUSED, USAGE};
use crate::support::server::{Larder, run};

/// An address on which nothing listens.
fn closed() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// A Unix socket that leads to an address.
fn proxy(address: SocketAddr) -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        loop {
            let (mut near, _) = listener.accept().await.unwrap();
            let mut far = TcpStream::connect(address).await.unwrap();
            // Either side ends a connection.
            tokio::spawn(async move { copy_bidirectional(&mut near, &mut far).await });
        }
    });
    (directory, format!("unix:{}", path.display()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_addresses_one_that_can_be_reached_is_used() {
    let larder = Larder::memory().start().await;
    let (address, closed) = (larder.address(), closed());
    for list in [
        format!("{closed},{address}"),
        format!("http://{address},{closed}"),
        format!("dns:///{address}"),
    ] {
        for command in [&["set", "ns", "k", "v"][..], &["get", "ns", "k"], &["healthcheck"]] {
            let line = [command, &["--address", &list][..]].concat();
            let printed = Printed::new(run(&line, &[]));
            assert_eq!(printed.code, DONE, "{command:?} {list}: {printed:?}");
        }
    }
    let (_directory, socket) = proxy(address);
    let line = ["get", "ns", "k", "--address", &socket];
    let printed = Printed::new(run(&line, &[("LARDER_TOKEN", "stays on this host")]));
    assert!(printed.stderr.contains("characters"), "{printed:?}");
    let printed = Printed::new(run(&line, &[("LARDER_TOKEN", "token")]));
    assert_eq!(printed.result(), (DONE, "v"));
    let variable = [("LARDER_ADDRESS", &*format!("{closed},{address}"))];
    for command in [&["get", "ns", "k"][..], &["stats"]] {
        assert_eq!(Printed::new(run(command, &variable)).code, DONE, "{command:?}");
    }
    // A probe is of the server on this machine, whatever the other commands call.
    let variables = [("LARDER_ADDRESS", &*closed), ("LARDER_LISTEN", &*address.to_string())];
    assert_eq!(Printed::new(run(&["healthcheck"], &variables)).code, DONE);
    let flag = ["stats", "--address", &*address.to_string()];
    assert_eq!(Printed::new(run(&flag, &variables[..1])).code, DONE);
}

#[test]
fn each_of_several_addresses_counts() {
    let both = format!("{},{}", closed(), closed());
    let failed = Printed::new(run(&["get", "ns", "k", "--address", &both], &[]));
    failed.expect_failure(REFUSED, &["cannot connect to", &both, "Connection refused"]);
    let wrong = Printed::new(run(&["get", "ns", "k", "--address", "a:1,,b:1"], &[]));
    wrong.expect_failure(USAGE, &["a:1,,b:1 is not an address", "host:port"]);
    // A token stays on this host.
    let line = ["get", "ns", "k", "--address", "127.0.0.1:1,192.0.2.1:1"];
    let refused = Printed::new(run(&line, &[("LARDER_TOKEN", "secret")]));
    refused.expect_failure(USAGE, &["the token is sent with TLS or to this host only"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoint_is_the_only_variable_of_the_client_libraries_with_an_effect() {
    let larder = Larder::memory().start().await;
    let variables = [
        ("LARDER_ADDRESS", &*larder.address().to_string()),
        ("LARDER_ENDPOINT", "127.0.0.1:1"),
        ("LARDER_CA_FILE", "/nonexistent"),
        ("LARDER_CERT_FILE", "/nonexistent"),
    ];
    let stored = Printed::new(run(&["set", "ns", "k", "v"], &variables));
    assert_eq!(stored.code, DONE, "{stored:?}");
    let address = larder.address().to_string();
    let variable = [("LARDER_ENDPOINT", &*address)];
    for command in [&["get", "ns", "k"][..], &["stats"]] {
        assert_eq!(Printed::new(run(command, &variable)).code, DONE, "{command:?}");
        let flag = [command, &["--endpoint", &address]].concat();
        assert_eq!(Printed::new(run(&flag, &[])).code, DONE, "{command:?}");
    }
    // A probe is of the server on this machine.
    let probed = [variable[0], ("LARDER_LISTEN", "127.0.0.1:1")];
    assert_ne!(Printed::new(run(&["healthcheck"], &probed)).code, DONE);
    assert_eq!(Printed::new(run(&["healthcheck", "--endpoint", &address], &[])).code, DONE);
}
