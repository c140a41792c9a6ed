package dev.larder.client.internal;

/**
 * Options of the connections of a client. Times are in milliseconds, and null if there are none.
 *
 * @param target where to connect to
 * @param authorization tokens; null: none
 * @param certificates files of TLS; null: plain text
 * @param schemaVersion version of what the program caches; null: none
 * @param keepalive time between two pings while calls run
 * @param keepaliveTimeout time for the answer to a ping
 * @param maxIdle time without a call after which a connection is replaced
 * @param connectTimeout what a call has in addition until there was a first answer
 * @param serverName name in the certificate of the server; null: that of the target
 */
record GrpcOptions(
    Target target,
    Authorization authorization,
    Certificates certificates,
    String schemaVersion,
    Double keepalive,
    double keepaliveTimeout,
    Double maxIdle,
    double connectTimeout,
    String serverName) {}
