//! The methods that this server knows, by the path of a request.

/// A method, as metrics and logs name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Method(usize);

/// Unknown methods share one name, so that a caller cannot fill the metrics with names of his own.
const OTHER: &str = "_OTHER";
const CACHE_SERVICE: &str = "/larder.v1.CacheService/";

/// What a call brings with it.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// A key or two, and one answer.
    Single,
    /// Many keys, and one answer.
    Batch,
    /// Any number of answers.
    Stream,
}
use Shape::{Batch, Single, Stream};

const METHODS: [(&str, Shape); 22] = [
    (OTHER, Single),
    ("larder.v1.CacheService/Get", Single),
    ("larder.v1.CacheService/Set", Single),
    ("larder.v1.CacheService/GetOrFetch", Single),
    ("larder.v1.CacheService/BatchGet", Stream),
    ("larder.v1.CacheService/Delete", Single),
    ("larder.v1.CacheService/InvalidateNamespace", Single),
    ("larder.v1.CacheService/Stats", Single),
    ("larder.v1.CacheService/FetchStream", Stream),
    ("larder.v1.CacheService/BatchGetOrFetch", Stream),
    ("larder.v1.CacheService/Renew", Single),
    ("larder.v1.CacheService/Abandon", Single),
    ("larder.v1.CacheService/BatchSet", Batch),
    ("larder.v1.CacheService/BatchDelete", Batch),
    ("larder.v1.CacheService/Touch", Single),
    ("larder.v1.CacheService/Increment", Single),
    ("larder.v1.AdminService/Warm", Stream),
    ("grpc.health.v1.Health/Check", Single),
    ("grpc.health.v1.Health/Watch", Stream),
    ("grpc.health.v1.Health/List", Single),
    ("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Stream),
    ("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Stream),
];

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
                .map_or(0, |place| place + 1),
        )
    }

    /// Whether a path belongs to the cache's own service.
    pub(super) fn is_cache(path: &str) -> bool {
        path.starts_with(CACHE_SERVICE)
    }

    /// Fully qualified name, without a leading slash.
    pub(super) fn name(self) -> &'static str {
        METHODS[self.0].0
    }

    pub(super) fn index(self) -> usize {
        self.0
    }

    /// Whether a call can mean much work.
    pub(super) fn may_spawn(self) -> bool {
        METHODS[self.0].1 != Single
    }

    /// Whether its answer is a stream, so that the call goes on after the response has begun.
    pub(super) fn is_streaming(self) -> bool {
        METHODS[self.0].1 == Stream
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;
    use prost_types::FileDescriptorSet;

    use super::*;

    #[test]
    fn every_method_of_the_proto_is_known_and_streams_as_it_says() {
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
        assert_eq!(seen, 16);
    }

    #[test]
    fn streams_of_the_standard_services_are_known() {
        let streaming: Vec<&str> =
            Method::all().filter(|method| method.is_streaming()).map(Method::name).collect();
        assert_eq!(streaming.len(), 7);
        assert!(streaming.contains(&"grpc.health.v1.Health/Watch"));
        let heavy = |rpc: &str| Method::of(&format!("{CACHE_SERVICE}{rpc}")).may_spawn();
        assert!(heavy("BatchGet") && heavy("BatchSet") && heavy("FetchStream") && !heavy("Get"));
        assert_eq!(Method::of("/larder.v1.CacheService/Nope").name(), OTHER);
        assert_eq!(Method::of("/").name(), OTHER);
    }
}
