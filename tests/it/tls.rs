//! TLS of the ports and to Redis, and certificates that are replaced.

// The audit log of callers with certificates.
mod audit;
// Handshakes: versions, ALPN, client certificates, peers without TLS.
mod handshakes;
// Client certificates on the admin port.
mod dashboard;
// An authority, and the files that a server and its clients use.
mod pki;
// The connections to Redis.
mod redis;
// Certificates that are replaced while connections are open.
mod rotation;
// `larder certs`, and the commands that call a server with TLS.
mod commands;
