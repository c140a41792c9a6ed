//! The permission that each method needs: the only place that has them.
//!
//! A handler checks the permission for each namespace and key that the call touches, through
//! [`Access`](super::access::Access). Before that, the pipeline refuses callers that have it
//! nowhere.

use super::method::Method;
use crate::model::Verb;

/// The permission that a method needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permission {
    /// None: probes, and unknown methods.
    Public,
    /// A verb in each namespace of the call.
    Needs(Verb),
    /// The first verb, or the second in the special case that the table names.
    Either(Verb, Verb),
    /// A verb in all namespaces: the call concerns the server.
    Server(Verb),
}
use Permission::{Either, Needs, Public, Server};

/// In the order of the methods.
const PERMISSIONS: [(&str, Permission); Method::COUNT] = [
    ("_OTHER", Public),
    // With touch, here and in the other reads: write as well, in addition.
    ("larder.v1.CacheService/Get", Needs(Verb::Read)),
    // Under a lease: fetch.
    ("larder.v1.CacheService/Set", Either(Verb::Write, Verb::Fetch)),
    // With only_if_cached: read.
    ("larder.v1.CacheService/GetOrFetch", Either(Verb::Fetch, Verb::Read)),
    ("larder.v1.CacheService/BatchGet", Needs(Verb::Read)),
    // With return_value: read as well, in addition.
    ("larder.v1.CacheService/Delete", Either(Verb::Delete, Verb::Read)),
    ("larder.v1.CacheService/InvalidateNamespace", Needs(Verb::Invalidate)),
    ("larder.v1.CacheService/Stats", Needs(Verb::Stats)),
    ("larder.v1.CacheService/FetchStream", Either(Verb::Fetch, Verb::Read)),
    ("larder.v1.CacheService/BatchGetOrFetch", Either(Verb::Fetch, Verb::Read)),
    ("larder.v1.CacheService/Renew", Needs(Verb::Fetch)),
    ("larder.v1.CacheService/Abandon", Needs(Verb::Fetch)),
    ("larder.v1.CacheService/BatchSet", Either(Verb::Write, Verb::Fetch)),
    ("larder.v1.CacheService/BatchDelete", Needs(Verb::Delete)),
    ("larder.v1.CacheService/Touch", Needs(Verb::Write)),
    ("larder.v1.CacheService/Increment", Needs(Verb::Write)),
    // An event: events, and not the permission for what it invalidates.
    ("larder.v1.CacheService/Invalidate", Either(Verb::Invalidate, Verb::Events)),
    ("larder.v1.CacheService/Patch", Needs(Verb::Write)),
    ("larder.v1.CacheService/ListKeys", Needs(Verb::Read)),
    ("larder.v1.CacheService/CountKeys", Needs(Verb::Read)),
    ("larder.v1.CacheService/Watch", Needs(Verb::Watch)),
    ("larder.v1.AdminService/Warm", Needs(Verb::Admin)),
    ("larder.v1.AdminService/ListNamespaces", Needs(Verb::Admin)),
    ("larder.v1.AdminService/ListKeys", Needs(Verb::Admin)),
    ("larder.v1.AdminService/InspectEntry", Needs(Verb::Admin)),
    ("larder.v1.AdminService/HotKeys", Needs(Verb::Admin)),
    ("larder.v1.AdminService/Distributions", Needs(Verb::Admin)),
    // Without a namespace: in all of them.
    ("larder.v1.AdminService/FlushNearCache", Needs(Verb::Admin)),
    ("larder.v1.AdminService/GetConfig", Server(Verb::Admin)),
    ("larder.v1.AdminService/PublishEvent", Needs(Verb::Events)),
    ("larder.v1.AdminService/ListEvents", Server(Verb::Events)),
    ("larder.v1.AdminService/MintToken", Needs(Verb::Admin)),
    ("larder.v1.AdminService/GetHistory", Needs(Verb::Stats)),
    ("larder.v1.AdminService/ListReplicas", Needs(Verb::Admin)),
    // Its records name namespaces and callers.
    ("larder.v1.AdminService/TailAudit", Server(Verb::Admin)),
    ("grpc.health.v1.Health/Check", Public),
    ("grpc.health.v1.Health/Watch", Public),
    ("grpc.health.v1.Health/List", Public),
    ("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Server(Verb::Reflect)),
    ("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Server(Verb::Reflect)),
];

impl Permission {
    /// The permission that a method needs.
    #[inline]
    pub(super) fn of(method: Method) -> Self {
        PERMISSIONS[method.index()].1
    }

    /// The verb, apart from special cases.
    pub(super) fn verb(self) -> Option<Verb> {
        match self {
            Public => None,
            Needs(verb) | Either(verb, _) | Server(verb) => Some(verb),
        }
    }

    /// The verb in the special case of the method.
    pub(super) fn special(self) -> Option<Verb> {
        match self {
            Either(_, special) => Some(special),
            Public | Needs(_) | Server(_) => self.verb(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_has_its_own_row() {
        for (method, (name, _)) in Method::all().zip(PERMISSIONS) {
            assert_eq!(method.name(), name);
        }
    }

    #[test]
    fn only_probes_are_public() {
        let public = Method::all().filter(|method| Permission::of(*method) == Public);
        let public: Vec<_> = public.map(Method::name).collect();
        let expected = ["_OTHER", "Check", "Watch", "List"];
        assert_eq!(public.len(), expected.len());
        assert!(public.iter().zip(expected).all(|(name, end)| name.ends_with(end)), "{public:?}");
    }
}
