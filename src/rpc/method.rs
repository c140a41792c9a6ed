//! The methods that this server serves.

/// A method, by its index in [`METHODS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Method(usize);

/// Name of all unknown methods, so that callers cannot create metric labels.
const OTHER: &str = "_OTHER";

/// How much work a call can bring.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// One response, a bounded amount of work.
    Single,
    /// One response for many keys.
    Batch,
    /// A stream of responses to one request.
    Stream,
    /// As above, for as long as its client wants.
    Long,
    /// Streams in both directions, or a stream without end.
    Open,
}
use Shape::{Batch, Long, Open, Single, Stream};

/// Frequent methods first, because the table is searched from the start.
const METHODS: [(&str, Shape); 40] = [
    (OTHER, Single),
    ("larder.v1.CacheService/Get", Single),
    ("larder.v1.CacheService/Set", Single),
    ("larder.v1.CacheService/GetOrFetch", Single),
    ("larder.v1.CacheService/BatchGet", Stream),
    ("larder.v1.CacheService/Delete", Single),
    ("larder.v1.CacheService/InvalidateNamespace", Single),
    ("larder.v1.CacheService/Stats", Single),
    ("larder.v1.CacheService/FetchStream", Open),
    ("larder.v1.CacheService/BatchGetOrFetch", Stream),
    ("larder.v1.CacheService/Renew", Single),
    ("larder.v1.CacheService/Abandon", Single),
    ("larder.v1.CacheService/BatchSet", Batch),
    ("larder.v1.CacheService/BatchDelete", Batch),
    ("larder.v1.CacheService/Touch", Single),
    ("larder.v1.CacheService/Increment", Single),
    ("larder.v1.CacheService/Invalidate", Batch),
    ("larder.v1.CacheService/Patch", Single),
    ("larder.v1.CacheService/ListKeys", Batch),
    ("larder.v1.CacheService/CountKeys", Batch),
    ("larder.v1.CacheService/Watch", Open),
    ("larder.v1.AdminService/Warm", Long),
    ("larder.v1.AdminService/ListNamespaces", Batch),
    ("larder.v1.AdminService/ListKeys", Batch),
    ("larder.v1.AdminService/InspectEntry", Single),
    ("larder.v1.AdminService/HotKeys", Batch),
    ("larder.v1.AdminService/Distributions", Batch),
    ("larder.v1.AdminService/FlushNearCache", Single),
    ("larder.v1.AdminService/GetConfig", Single),
    ("larder.v1.AdminService/PublishEvent", Batch),
    ("larder.v1.AdminService/ListEvents", Batch),
    ("larder.v1.AdminService/MintToken", Single),
    ("larder.v1.AdminService/GetHistory", Batch),
    ("larder.v1.AdminService/ListReplicas", Batch),
    ("larder.v1.AdminService/TailAudit", Open),
    ("grpc.health.v1.Health/Check", Single),
    ("grpc.health.v1.Health/Watch", Open),
    ("grpc.health.v1.Health/List", Single),
    ("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Open),
    ("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Open),
];

/// Index of the first method that is not of the CacheService.
const FIRST_OF_OTHERS: usize = 21;
/// Index of the first method that is not of Larder.
const FIRST_STANDARD: usize = 35;
/// Set, InvalidateNamespace, Renew, Abandon, Touch, Increment and Patch.
const SHORT_RESPONSES: [Method; 7] =
    [Method(2), Method(6), Method(10), Method(11), Method(14), Method(15), Method(17)];
const GET_OR_FETCH: Method = Method(3);
const BATCH_GET_OR_FETCH: Method = Method(9);
const STATS: Method = Method(7);
/// Watch of the CacheService, its last method.
const CHANGES: Method = Method(FIRST_OF_OTHERS - 1);
/// TailAudit of the AdminService, its last method.
const TAIL_AUDIT: Method = Method(FIRST_STANDARD - 1);

impl Method {
    /// Number of methods.
    pub(super) const COUNT: usize = METHODS.len();

    /// All methods.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        (0..Self::COUNT).map(Self)
    }

    /// The method of a path such as `/larder.v1.CacheService/Get`.
    pub(super) fn of(path: &str) -> Self {
        let name = path.strip_prefix('/').unwrap_or(path);
        Self(
            METHODS
                .iter()
                .skip(1)
                .position(|(known, _)| *known == name)
                .map_or(0, |index| index + 1),
        )
    }

    /// Whether the server has no such method.
    #[inline]
    pub(super) fn is_unknown(self) -> bool {
        self.0 == 0
    }

    /// Whether a method is one of the CacheService.
    #[inline]
    pub(super) fn is_cache(self) -> bool {
        (1..FIRST_OF_OTHERS).contains(&self.0)
    }

    /// Whether the response is too short to be compressed.
    pub(super) fn has_short_response(self) -> bool {
        SHORT_RESPONSES.contains(&self)
    }

    /// Fully qualified name, without a leading slash.
    pub(super) fn name(self) -> &'static str {
        METHODS[self.0].0
    }

    pub(super) fn index(self) -> usize {
        self.0
    }

    /// Whether a call may need its own task, because its work is not bounded by one entry.
    pub(super) fn may_spawn(self) -> bool {
        METHODS[self.0].1 != Single
    }

    /// Whether the response is a stream: the call then ends with the response body.
    pub(super) fn is_streaming(self) -> bool {
        matches!(METHODS[self.0].1, Stream | Long | Open)
    }

    /// Whether a call may wait for a value that another call computes.
    pub(super) fn may_wait(self) -> bool {
        matches!(self, GET_OR_FETCH | BATCH_GET_OR_FETCH)
    }

    /// Whether the call watches the server: streams of the health and the reflection service.
    pub(super) fn is_watch(self) -> bool {
        self.0 >= FIRST_STANDARD && self.stays_open()
    }

    /// Whether the call is an endless answer to one message: changes of namespaces, or records of
    /// the audit log.
    pub(super) fn takes_watch_stream(self) -> bool {
        matches!(self, CHANGES | TAIL_AUDIT)
    }

    /// Whether the response is a stream that its service does not end at the deadline of the call.
    pub(super) fn is_endless(self) -> bool {
        self.0 >= CHANGES.0 && self.stays_open()
    }

    /// Whether the time of a call is bounded by its deadline only: it waits for other calls or for
    /// origins, or its client reads a stream.
    pub(super) fn may_take_long(self) -> bool {
        self.may_wait() || self == STATS || METHODS[self.0].1 == Stream
    }

    /// Whether a call may stay open for as long as its client wants. It begins before its request
    /// has arrived, which may be a stream, unless it takes a watch stream.
    pub(super) fn stays_open(self) -> bool {
        METHODS[self.0].1 == Open
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    const CACHE_SERVICE: &str = "/larder.v1.CacheService/";

    #[test]
    fn every_method_of_the_proto_is_known_and_streams_as_declared() {
        let Ok(descriptors) = FileDescriptorSet::decode(crate::pb::FILE_DESCRIPTOR_SET) else {
            panic!("no descriptors")
        };
        let mut seen = 0;
        for file in descriptors.file.iter().filter(|file| file.package() == "larder.v1") {
            for service in &file.service {
                for rpc in &service.method {
                    let method = Method::of(&format!(
                        "/{}.{}/{}",
                        file.package(),
                        service.name(),
                        rpc.name()
                    ));
                    assert_ne!(method.name(), OTHER, "{}", rpc.name());
                    assert_eq!(method.is_streaming(), rpc.server_streaming(), "{}", rpc.name());
                    seen += 1;
                }
            }
        }
        assert_eq!(seen, 34);
    }

    #[test]
    fn streams_of_the_standard_services_are_known() {
        let streaming: Vec<&str> =
            Method::all().filter(|method| method.is_streaming()).map(Method::name).collect();
        assert_eq!(streaming.len(), 9);
        assert!(streaming.contains(&"grpc.health.v1.Health/Watch"));
    }

    #[test]
    fn watches_are_the_open_streams_of_the_standard_services() {
        let watches = Method::all().filter(|method| method.is_watch()).map(Method::name);
        let watches: Vec<&str> = watches.collect();
        assert_eq!(watches.len(), 3, "{watches:?}");
        assert!(watches.iter().all(|name| name.starts_with("grpc.")), "{watches:?}");
    }

    #[test]
    fn only_fetch_streams_and_watches_stay_open() {
        let open = Method::all().filter(|method| method.stays_open() && !method.is_watch());
        let open: Vec<&str> = open.map(Method::name).collect();
        let expected = ["CacheService/FetchStream", "CacheService/Watch", "AdminService/TailAudit"];
        assert_eq!(open, expected.map(|rpc| format!("larder.v1.{rpc}")));
        let endless: Vec<&str> =
            Method::all().filter(|method| method.is_endless()).map(Method::name).collect();
        assert_eq!(endless.len(), 5, "{endless:?}");
        assert!(endless.contains(&"larder.v1.CacheService/Watch"));
    }

    #[test]
    fn responses_without_values_and_lists_are_short() {
        let short: Vec<&str> = Method::all()
            .filter(|method| method.has_short_response())
            .filter_map(|method| method.name().strip_prefix(&CACHE_SERVICE[1..]))
            .collect();
        let expected =
            ["Set", "InvalidateNamespace", "Renew", "Abandon", "Touch", "Increment", "Patch"];
        assert_eq!(short, expected);
    }

    #[test]
    fn only_batches_and_streams_may_spawn() {
        let may_spawn = |rpc: &str| Method::of(&format!("{CACHE_SERVICE}{rpc}")).may_spawn();
        assert!(may_spawn("BatchGet") && may_spawn("BatchSet") && may_spawn("Invalidate"));
        assert!(!may_spawn("Get") && !may_spawn("GetOrFetch") && !may_spawn("Nope"));
    }

    #[test]
    fn unknown_methods_share_one_name() {
        for path in ["/larder.v1.CacheService/Nope", "/", "", "/larder.v1.CacheService/_OTHER"] {
            assert_eq!(Method::of(path).name(), OTHER, "{path:?}");
            assert!(Method::of(path).is_unknown(), "{path:?}");
        }
        for method in Method::all() {
            let is_of_cache = method.name().starts_with(&CACHE_SERVICE[1..]);
            assert_eq!(method.is_cache(), is_of_cache, "{}", method.name());
        }
    }

    #[test]
    fn methods_that_may_wait_are_those_that_fetch() {
        let waiting: Vec<&str> =
            Method::all().filter(|method| method.may_wait()).map(Method::name).collect();
        let expected = ["GetOrFetch", "BatchGetOrFetch"];
        assert_eq!(waiting, expected.map(|rpc| format!("larder.v1.CacheService/{rpc}")));
        let long: Vec<&str> =
            Method::all().filter(|method| method.may_take_long()).map(Method::name).collect();
        let expected = ["GetOrFetch", "BatchGet", "Stats", "BatchGetOrFetch"];
        assert_eq!(long, expected.map(|rpc| format!("larder.v1.CacheService/{rpc}")));
    }

    #[test]
    fn every_method_is_found_by_its_own_name() {
        for (index, method) in Method::all().enumerate() {
            assert_eq!(method.index(), index);
            assert_eq!(Method::of(&format!("/{}", method.name())), method);
        }
    }
}
