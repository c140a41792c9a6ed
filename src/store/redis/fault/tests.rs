use super::*;
use redis::Value;

/// The error for a line of the protocol.
fn error(line: &str) -> RedisError {
    let value = redis::parse_redis_value(format!("-{line}\r\n").as_bytes());
    let Ok(Value::ServerError(error)) = value else { panic!("{line} is no error: {value:?}") };
    error.into()
}

/// Every error answer that the documentation and the sources of Redis and Valkey name.
const ANSWERS: [(&str, Fault, ErrorKind); 40] = [
    ("LOADING Redis is loading the dataset", Fault::Loading, ErrorKind::Unreachable),
    ("MASTERDOWN Link with MASTER is down", Fault::MasterDown, ErrorKind::Unreachable),
    ("BUSY Redis is busy running a script", Fault::Busy, ErrorKind::Unreachable),
    ("UNKILLABLE Sorry the script already executed", Fault::Busy, ErrorKind::Unreachable),
    ("CLUSTERDOWN Hash slot not served", Fault::ClusterDown, ErrorKind::Unreachable),
    ("ERR This instance has cluster support disabled", Fault::NotCluster, ErrorKind::Unreachable),
    (
        "ERR Script attempted to access a non local key in a cluster node script: f",
        Fault::TryAgain,
        ErrorKind::Unreachable,
    ),
    ("TRYAGAIN Multiple keys request", Fault::TryAgain, ErrorKind::Unreachable),
    ("NOAUTH Authentication required.", Fault::Authentication, ErrorKind::Unreachable),
    ("NOAUTH HELLO must be called", Fault::Authentication, ErrorKind::Unreachable),
    ("WRONGPASS invalid username-password", Fault::Authentication, ErrorKind::Unreachable),
    ("ERR max number of clients reached", Fault::MaxClients, ErrorKind::Unreachable),
    ("DENIED Redis is running in protected mode", Fault::ProtectedMode, ErrorKind::Unreachable),
    ("ERR DB index is out of range", Fault::NoDatabase, ErrorKind::Unreachable),
    ("ERR invalid DB index", Fault::NoDatabase, ErrorKind::Unreachable),
    ("READONLY You can't write", Fault::ReadOnly, ErrorKind::Refused),
    ("UNBLOCKED force unblock from blocking", Fault::ReadOnly, ErrorKind::Refused),
    ("REDIRECT 127.0.0.1:6380", Fault::ReadOnly, ErrorKind::Refused),
    ("MOVED 3999 127.0.0.1:6381", Fault::Moved, ErrorKind::Refused),
    ("ASK 3999 127.0.0.1:6381", Fault::Moved, ErrorKind::Refused),
    ("CROSSSLOT Keys in request", Fault::CrossSlot, ErrorKind::Refused),
    ("NOPERM this user has no permissions", Fault::Permission, ErrorKind::Refused),
    (
        "ERR The user executing the script can't run this command",
        Fault::Permission,
        ErrorKind::Refused,
    ),
    (
        "ERR The user executing the script can't access at least one of the keys",
        Fault::Permission,
        ErrorKind::Refused,
    ),
    (
        "ERR ACL failure in script: User u has no permissions to run the 'set' command",
        Fault::Permission,
        ErrorKind::Refused,
    ),
    ("ERR unknown command 'mget', with args", Fault::UnknownCommand, ErrorKind::Refused),
    ("ERR unknown subcommand 'TRACKING'", Fault::UnknownCommand, ErrorKind::Refused),
    ("ERR Unknown Redis command called from script", Fault::UnknownCommand, ErrorKind::Refused),
    ("MISCONF Redis is configured to save RDB", Fault::NotPersisted, ErrorKind::Refused),
    ("NOREPLICAS Not enough good replicas", Fault::NoReplicas, ErrorKind::Refused),
    ("OOM command not allowed", Fault::OutOfMemory, ErrorKind::Full),
    ("ERR Error running script: OOM command not allowed", Fault::OutOfMemory, ErrorKind::Full),
    ("NOSCRIPT No matching script.", Fault::NoScript, ErrorKind::Refused),
    ("WRONGTYPE Operation against a key", Fault::WrongType, ErrorKind::Refused),
    ("EXECABORT Transaction discarded", Fault::Transaction, ErrorKind::Refused),
    ("NOTBUSY No scripts in execution", Fault::Other, ErrorKind::Refused),
    ("NOSUB 'unsubscribe' command executed", Fault::Other, ErrorKind::Refused),
    ("NOPROTO unsupported protocol version", Fault::Other, ErrorKind::Refused),
    ("ERR syntax error", Fault::Other, ErrorKind::Refused),
    ("XYZ a code of a later release", Fault::Other, ErrorKind::Refused),
];

#[test]
fn every_answer_has_its_fault_and_its_kind() {
    for (line, fault, kind) in ANSWERS {
        let error = error(line);
        assert_eq!((Fault::of(&error), Fault::of(&error).kind()), (fault, kind), "{line}");
        assert_eq!(Error::from(error).kind, kind, "{line}");
    }
}

#[test]
fn errors_of_the_connection_are_outages() {
    let io = |kind: std::io::ErrorKind| RedisError::from(std::io::Error::from(kind));
    for (error, fault) in [
        (io(std::io::ErrorKind::BrokenPipe), Fault::Connection),
        (io(std::io::ErrorKind::ConnectionRefused), Fault::Connection),
        (io(std::io::ErrorKind::TimedOut), Fault::Timeout),
        (std::io::Error::other("invalid peer certificate: UnknownIssuer").into(), Fault::Tls),
        ((Redis::InvalidClientConfig, "it", "the port speaks TLS".into()).into(), Fault::Tls),
        ((Redis::Parse, "not RESP").into(), Fault::Protocol),
        ((Redis::AuthenticationFailed, "no").into(), Fault::Authentication),
    ] {
        assert_eq!(Fault::of(&error), fault);
        assert!(fault.kind().is_outage(), "{fault:?}");
    }
}

#[test]
fn faults_of_all_rows_are_met_and_named_apart() {
    let mut names: Vec<&str> = Fault::ALL.iter().map(|fault| fault.row().name).collect();
    for (number, fault) in Fault::ALL.iter().enumerate() {
        assert_eq!(*fault as usize, number);
        let is_met = ANSWERS.iter().any(|(_, met, _)| met == fault);
        let is_local = matches!(
            fault,
            Fault::Connection
                | Fault::Timeout
                | Fault::Tls
                | Fault::Protocol
                | Fault::OtherShards
                | Fault::NoSentinel
                | Fault::UnknownService
                | Fault::PrimaryDown
                | Fault::Unusable
        );
        assert!(is_met || is_local, "{fault:?}");
        assert!(!fault.row().remedy.is_empty());
    }
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Fault::ALL.len());
}

#[test]
fn meaning_decides_the_breaker_and_the_health() {
    for fault in Fault::ALL {
        let meaning = fault.row().meaning;
        assert_eq!(fault.kind().is_outage(), meaning == Meaning::Outage, "{fault:?}");
        assert_eq!(fault.is_unhealthy(), meaning != Meaning::Defect, "{fault:?}");
    }
}

/// The faults in the expression of each alert `LarderStoreFault...` with this severity.
fn alerted(severity: &str) -> Vec<&'static str> {
    const ALERTS: &str = include_str!("../../../../deploy/prometheus/rules/store.yml");
    let alerts = ALERTS.split("- alert: ").filter(|alert| alert.starts_with("LarderStoreFault"));
    let of_severity = alerts.filter(|alert| alert.contains(&format!("severity: {severity}")));
    let listed = of_severity.filter_map(|alert| alert.split_once("fault=~\"")?.1.split('"').next());
    listed.flat_map(|faults| faults.split('|')).collect()
}

#[test]
fn alerts_are_critical_for_outages_at_once_and_for_refusals_that_last() {
    let mut expected: Vec<&str> = Fault::ALL
        .iter()
        .filter(|fault| fault.is_reported() && fault.is_unhealthy() && **fault != Fault::TryAgain)
        .map(|fault| fault.row().name)
        .collect();
    let mut critical = alerted("critical");
    expected.sort_unstable();
    critical.sort_unstable();
    assert_eq!(critical, expected);
    assert!(alerted("warning").is_empty(), "the warning is for all faults");
}
