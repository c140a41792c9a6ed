//! Calls, connections, TLS and the load of the server.

use super::metrics;

metrics! {
    RPC_SERVER_CALL_DURATION = Histogram(
        "rpc.server.call.duration",
        ["rpc.system.name", "rpc.method", "rpc.response.status_code", "error.type"],
        "Duration of calls, from request to the end of the response"
    ) in "s";
    REQUESTS_IN_FLIGHT = Gauge("larder.requests.in_flight", [], "Requests being answered");
    REQUESTS_REJECTED = Counter(
        "larder.requests.rejected",
        ["reason"],
        "Calls rejected because of the server's load, by the limit exceeded"
    );
    BUFFERED = Gauge(
        "larder.buffered",
        [],
        "Incomplete requests, and responses that clients have not read"
    ) in "By";
    FETCH_STREAMS_OPEN = Gauge("larder.fetch_streams.open", [], "Open FetchStreams");
    WATCHES_OPEN = Gauge(
        "larder.watches.open",
        [],
        "Open streams of the health and the reflection service"
    );
    REFUSALS_HELD_BACK = Gauge(
        "larder.refusals.held_back",
        [],
        "Refused calls whose answer is held back"
    );
    CONNECTIONS_HELD_BACK = Gauge(
        "larder.connections.held_back",
        [],
        "Connections that are not read because of backpressure"
    );
    CONNECTIONS_OPEN = Gauge("larder.connections.open", ["port"], "Open connections");
    CONNECTIONS_LIMIT = Gauge("larder.connections.limit", ["port"], "Limit on open connections");
    CONNECTIONS_CLOSED = Counter(
        "larder.connections.closed",
        ["port", "reason"],
        "Closed connections, by reason"
    );
    CONNECTIONS_ACCEPT_ERRORS = Counter(
        "larder.connections.accept_errors",
        ["port"],
        "Failures to accept a connection, such as too many open files"
    );
    TLS_HANDSHAKES = Counter(
        "larder.tls.handshakes",
        ["port", "result"],
        "TLS handshakes of callers, by result"
    );
    TLS_HANDSHAKE_DURATION = Histogram(
        "larder.tls.handshake.duration",
        ["port"],
        "Duration of TLS handshakes, the network included"
    ) in "s";
    TLS_CERTIFICATE_EXPIRY = Gauge(
        "larder.tls.certificate.expiry",
        ["certificate"],
        "Time until a certificate expires; negative after that"
    ) in "s";
}
