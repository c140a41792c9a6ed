//! Every call by every role in every namespace, from the descriptors of the services.

use std::{collections::BTreeSet, fmt::Write as _};

use prost::Message as _;
use prost_reflect::{
    DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, Value,
};
use tonic::Code;
use tonic_types::StatusExt as _;

use super::{digest, status_of, token};
use crate::support::server::Larder;

/// The permission that each call needs. `everywhere`: for all namespaces.
const NEEDED: &[(&str, &str)] = &[
    ("larder.v1.CacheService/Get", "read"),
    ("larder.v1.CacheService/BatchGet", "read"),
    ("larder.v1.CacheService/ListKeys", "read"),
    ("larder.v1.CacheService/CountKeys", "read"),
    ("larder.v1.CacheService/Set", "write"),
    ("larder.v1.CacheService/BatchSet", "write"),
    ("larder.v1.CacheService/Touch", "write"),
    ("larder.v1.CacheService/Increment", "write"),
    ("larder.v1.CacheService/Patch", "write"),
    ("larder.v1.CacheService/GetOrFetch", "fetch"),
    ("larder.v1.CacheService/BatchGetOrFetch", "fetch"),
    ("larder.v1.CacheService/FetchStream", "fetch"),
    ("larder.v1.CacheService/Renew", "fetch"),
    ("larder.v1.CacheService/Abandon", "fetch"),
    ("larder.v1.CacheService/Delete", "delete"),
    ("larder.v1.CacheService/BatchDelete", "delete"),
    ("larder.v1.CacheService/Invalidate", "invalidate"),
    ("larder.v1.CacheService/InvalidateNamespace", "invalidate"),
    ("larder.v1.CacheService/Watch", "watch"),
    ("larder.v1.CacheService/Stats", "stats"),
    ("larder.v1.AdminService/Warm", "admin"),
    ("larder.v1.AdminService/ListKeys", "admin"),
    ("larder.v1.AdminService/InspectEntry", "admin"),
    ("larder.v1.AdminService/HotKeys", "admin"),
    ("larder.v1.AdminService/Distributions", "admin"),
    ("larder.v1.AdminService/FlushNearCache", "admin"),
    ("larder.v1.AdminService/MintToken", "admin"),
    ("larder.v1.AdminService/GetHistory", "stats"),
    ("larder.v1.AdminService/PublishEvent", "events"),
    ("larder.v1.AdminService/GetConfig", "everywhere admin"),
    ("larder.v1.AdminService/TailAudit", "everywhere admin"),
    ("larder.v1.AdminService/ListEvents", "everywhere events"),
    // They name no namespace, and list those that the caller may see.
    ("larder.v1.AdminService/ListNamespaces", "anywhere admin"),
    ("larder.v1.AdminService/ListReplicas", "anywhere admin"),
    ("grpc.health.v1.Health/Check", "nothing"),
    ("grpc.health.v1.Health/List", "nothing"),
    ("grpc.health.v1.Health/Watch", "nothing"),
    ("grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "everywhere reflect"),
    ("grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", "everywhere reflect"),
];
const VERBS: [&str; 10] = [
    "read",
    "fetch",
    "write",
    "delete",
    "invalidate",
    "watch",
    "stats",
    "events",
    "admin",
    "reflect",
];
/// The namespaces of the calls. Roles have a permission for the first, or for all.
const NAMESPACES: [&str; 2] = ["mine", "other"];

/// A role, and what it allows.
struct Role {
    name: String,
    verbs: Vec<&'static str>,
    is_everywhere: bool,
    is_denied: bool,
}

impl Role {
    fn allows(&self, verb: &str, namespace: &str) -> bool {
        self.verbs.contains(&verb)
            && (self.is_everywhere || namespace == "mine")
            && !(self.is_denied && namespace == "mine")
    }

    fn may_call(&self, needed: &str, namespace: &str) -> bool {
        match needed.split_once(' ') {
            None if needed == "nothing" => true,
            None => self.allows(needed, namespace),
            // All of the server's, also of the namespaces that are denied.
            Some(("everywhere", verb)) => {
                let is_denied = self.is_denied && verb != "reflect";
                self.verbs.contains(&verb) && self.is_everywhere && !is_denied
            }
            Some((_anywhere, verb)) => self.verbs.contains(&verb),
        }
    }
}

fn roles() -> Vec<Role> {
    let role = |name: &str, verbs: &[&'static str], is_everywhere| Role {
        name: name.to_owned(),
        verbs: verbs.to_vec(),
        is_everywhere,
        is_denied: false,
    };
    let mut roles = vec![role("none", &[], true), role("all", &VERBS, true)];
    for verb in VERBS {
        roles.push(role(&format!("{verb}-mine"), &[verb], false));
        roles.push(role(&format!("{verb}-everywhere"), &[verb], true));
    }
    roles.push(Role { is_denied: true, ..role("not-mine", &VERBS, true) });
    roles
}

fn config(roles: &[Role]) -> String {
    let mut toml = "[defaults]\nlease_wait = \"0s\"\nabandon_backoff = \"0s\"\n\
                    [auth]\nmode = \"enforce\"\n[auth.minted]\nkeys = [\"${env:MINT_KEY}\"]\n"
        .to_owned();
    for namespace in NAMESPACES {
        let _ = write!(toml, "[[events.of-{namespace}]]\nnamespace = \"{namespace}\"\n");
    }
    for Role { name, verbs, is_everywhere, is_denied } in roles {
        let _ = write!(
            toml,
            "[auth.principals.{name}]\ntokens = [\"{}\"]\nroles = [\"{name}\"]\n\
             [auth.roles.{name}]\n",
            digest(name)
        );
        let namespaces = if *is_everywhere { "*" } else { "mine" };
        if !verbs.is_empty() {
            let _ =
                writeln!(toml, "allow = [{{ verbs = {verbs:?}, namespaces = [{namespaces:?}] }}]");
        }
        if *is_denied {
            let _ = writeln!(toml, "deny = [{{ verbs = [\"*\"], namespaces = [\"mine\"] }}]");
        }
    }
    toml
}

/// A valid request in a namespace, by the names of its fields.
fn request(descriptor: &MessageDescriptor, namespace: &str) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        if let Some(value) = value(descriptor, &field, namespace) {
            let value = if field.is_list() { Value::List(vec![value]) } else { value };
            message.set_field(&field, value);
        }
    }
    message
}

fn value(
    descriptor: &MessageDescriptor,
    field: &FieldDescriptor,
    namespace: &str,
) -> Option<Value> {
    let text = |text: &str| Some(Value::String(text.to_owned()));
    match (descriptor.name(), field.name()) {
        (_, "namespace") => text(namespace),
        (_, "namespaces") => text(namespace),
        (_, "text") | ("WarmKey" | "AbandonRequest", "key") => text("key"),
        (_, "merge_patch") => text("{}"),
        (_, "verbs") => text("admin"),
        ("PublishEventRequest", "name") => text(&format!("of-{namespace}")),
        ("RenewRequest" | "AbandonRequest", "lease_token") => {
            Some(Value::Bytes(vec![7; 16].into()))
        }
        ("MintTokenRequest", "ttl") => {
            let Kind::Message(duration) = field.kind() else { return None };
            let mut message = DynamicMessage::new(duration);
            message.set_field_by_name("seconds", Value::I64(60));
            Some(Value::Message(message))
        }
        ("ServerReflectionRequest", "list_services") => text(""),
        // A target is one of its kinds.
        ("Target", _) => None,
        (_, "key") if field.kind() == Kind::String => text("key"),
        (_, "keys" | "items" | "targets" | "open" | "value") => match field.kind() {
            Kind::Message(of_field) => Some(Value::Message(request(&of_field, namespace))),
            _ => None,
        },
        _ => None,
    }
}

fn descriptors() -> DescriptorPool {
    let mut pool = DescriptorPool::decode(larder::pb::FILE_DESCRIPTOR_SET).unwrap();
    // Those of the reflection service itself.
    for set in [
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ] {
        pool.decode_file_descriptor_set(set).unwrap();
    }
    pool
}

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_allowed_exactly_to_the_roles_with_its_permission() {
    let roles = roles();
    let server = Larder::memory()
        .env("MINT_KEY", "a-key-of-more-than-32-characters-for-tokens")
        .config(&config(&roles))
        .start()
        .await;
    let pool = descriptors();
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for service in pool.services() {
        for method in service.methods() {
            let name = format!("{}/{}", service.full_name(), method.name());
            let Some((_, needed)) = NEEDED.iter().find(|(known, _)| *known == name) else {
                // The protos of origins are those of other servers.
                assert!(name.starts_with("larder.origin."), "{name} is not in the table");
                continue;
            };
            seen.insert(name.clone());
            for namespace in NAMESPACES {
                let message = request(&method.input(), namespace).encode_to_vec();
                for role in &roles {
                    let bearer = format!("Bearer {}", token(&role.name));
                    let status = status_of(server.address(), &name, Some(&bearer), &message).await;
                    let is_refused = status.code() == Code::PermissionDenied;
                    let is_invalid =
                        matches!(status.code(), Code::InvalidArgument | Code::Unauthenticated);
                    if is_refused == role.may_call(needed, namespace) || is_invalid {
                        wrong.push(format!("{name} in {namespace} by {}: {status:?}", role.name));
                    }
                    if is_refused {
                        let details = status.get_error_details();
                        let reason = &details.error_info().unwrap().reason;
                        assert_eq!(reason, "PERMISSION_DENIED", "{name}");
                    }
                }
                let status = status_of(server.address(), &name, None, &message).await;
                if (status.code() == Code::Unauthenticated) == (*needed == "nothing") {
                    wrong.push(format!("{name} in {namespace} by nobody: {status:?}"));
                }
            }
        }
    }
    assert_eq!(seen.len(), NEEDED.len(), "not all methods of the table exist: {seen:?}");
    assert!(wrong.is_empty(), "{} wrong answers:\n{}", wrong.len(), wrong.join("\n"));
}
