//! The peer of a connection.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;

/// The peer of a connection. It stays the same for as long as the connection is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// The leaf certificate that it presented in DER, if it presented one, and it was verified.
    pub certificate: Option<Bytes>,
}

impl Peer {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, certificate: None }
    }
}

impl Default for Peer {
    /// A peer of the loopback interface without a certificate.
    fn default() -> Self {
        Self::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }
}
