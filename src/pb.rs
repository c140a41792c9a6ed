//! Generated protobuf types, and the descriptors of the served protos.

pub mod codec;

use std::time::Duration;

use tonic::Code;

use crate::model::SaturatingFrom as _;

/// `larder.v1`, the services of Larder. The protos are the reference.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::restriction, clippy::pedantic)]
pub mod v1 {
    tonic::include_proto!("larder.v1");
}

/// The service that gRPC origins implement.
pub mod origin {
    /// `larder.origin.v1`. The protos are the reference.
    #[allow(missing_docs, unreachable_pub, clippy::all, clippy::restriction, clippy::pedantic)]
    pub mod v1 {
        tonic::include_proto!("larder.origin.v1");
    }
}

/// `grpc.health.v1`, the health service of gRPC. The proto is the reference.
pub mod health {
    /// `grpc.health.v1`.
    #[allow(missing_docs, unreachable_pub, clippy::all, clippy::restriction, clippy::pedantic)]
    pub mod v1 {
        tonic::include_proto!("grpc.health.v1");
    }
}

/// The encoded `FileDescriptorSet` of the served protos, for reflection.
pub const FILE_DESCRIPTOR_SET: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/larder_descriptors.bin"));

/// A duration of a message; `None` if it is negative or malformed.
pub fn duration(duration: prost_types::Duration) -> Option<Duration> {
    // The conversion of `prost_types` overflows for the most negative numbers.
    let nanos = u32::try_from(duration.nanos).ok().filter(|nanos| *nanos < 1_000_000_000)?;
    Some(Duration::new(u64::try_from(duration.seconds).ok()?, nanos))
}

/// A duration for a message. It is cut off at the longest that protobuf can hold.
pub fn from_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::saturating_from(duration.as_secs()),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or(0),
    }
}

/// Name of a status code in the gRPC specification.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_named_as_in_the_specification() {
        assert_eq!(code_name(Code::Ok), "OK");
        assert_eq!(code_name(Code::ResourceExhausted), "RESOURCE_EXHAUSTED");
        let codes = (0..=16).map(|code| code_name(Code::from_i32(code)));
        assert_eq!(codes.collect::<std::collections::BTreeSet<_>>().len(), 17);
    }

    #[test]
    fn negative_and_malformed_durations_are_none() {
        let convert = |seconds, nanos| duration(prost_types::Duration { seconds, nanos });
        assert_eq!(convert(1, 500_000_000), Some(Duration::from_millis(1500)));
        assert_eq!(convert(0, 0), Some(Duration::ZERO));
        for (seconds, nanos) in [(-1, 0), (0, -1), (i64::MIN, i32::MIN), (0, 1_000_000_000)] {
            assert_eq!(convert(seconds, nanos), None, "{seconds} s, {nanos} ns");
        }
    }

    #[test]
    fn longest_duration_is_cut_off() {
        let convert = |duration| {
            let converted = from_duration(duration);
            (converted.seconds, converted.nanos)
        };
        assert_eq!(convert(Duration::from_millis(1500)), (1, 500_000_000));
        assert_eq!(convert(Duration::MAX).0, i64::MAX);
    }
}
