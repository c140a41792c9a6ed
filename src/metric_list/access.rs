//! Permissions, quotas, the admin port and the audit log.

use super::metrics;

metrics! {
    AUTH_REFUSALS = Counter(
        "larder.auth.refusals",
        ["reason", "principal", "mode"],
        "Calls that were refused, or would be in the mode enforce"
    );
    AUTH_CREDENTIALS = Gauge(
        "larder.auth.credentials",
        [],
        "Credentials that were checked and are looked up since"
    );
    AUTH_KEYS_AGE = Gauge(
        "larder.auth.keys.age",
        ["issuer"],
        "Time since the keys of an issuer of tokens were read"
    ) in "s";
    QUOTA_REFUSALS = Counter(
        "larder.quota.refusals",
        ["namespace", "principal", "figure"],
        "Calls that a quota has refused"
    );
    QUOTA_USED = Gauge(
        "larder.quota.used",
        ["namespace", "principal", "figure"],
        "Calls, streams and leases that count for a quota"
    );
    QUOTA_HELD_REFUSALS = Counter(
        "larder.quota.held.refusals",
        ["namespace", "figure"],
        "Writes refused because the namespace holds as much as it may"
    );
    ADMIN_REFUSALS = Counter(
        "larder.admin.refusals",
        ["reason"],
        "Requests to the admin port that were refused"
    );
    ADMIN_SESSIONS = Gauge(
        "larder.admin.sessions",
        [],
        "Sessions of the admin port that have not ended"
    );
    ADMIN_SESSIONS_ENDED = Counter(
        "larder.admin.sessions_ended",
        ["reason"],
        "Sessions of the admin port that have ended"
    );
    AUDIT_RECORDS = Counter(
        "larder.audit.records",
        ["outcome"],
        "Records of the audit log: written, or lost"
    );
    AUDIT_QUEUED = Gauge(
        "larder.audit.queued",
        [],
        "Records of the audit log that wait to be written"
    );
    AUDIT_FAILING = Gauge("larder.audit.failing", [], "1 while the audit log cannot be written");
}
