//! Parts of namespaces, lists of namespaces, events.

use std::collections::BTreeMap;

use larder::pb::v1::{
    BatchGetRequest, DeleteRequest, EventTarget, GetRequest, InvalidateRequest, KeyRef,
    ListKeysRequest, ListNamespacesRequest, PatternTarget, PublishEventRequest, SetRequest,
    StatsRequest, Target, Value, admin_service_client::AdminServiceClient,
    cache_service_client::CacheServiceClient, get_or_fetch_response::Outcome, target, value,
};
use tonic::{Code, Request, transport::Channel};
use tonic_types::StatusExt as _;

use super::{digest, token, with_token};
use crate::support::{server::Larder, status::expect_error};

const CONFIG: &str = "
[[events.sold]]
namespace = \"shop\"
[[events.moved]]
namespace = \"user\"
[auth.roles.all]
allow = [{ verbs = [\"*\"], namespaces = [\"*\"] }]
[auth.roles.shop]
allow = [
  { verbs = [\"*\"], namespaces = [\"shop\", \"shop.*\"] },
  { verbs = [\"read\", \"delete\", \"invalidate\"], namespaces = [\"user\"], keys = \"public:\" },
]
deny = [{ verbs = [\"write\"], namespaces = [\"shop.prices\"] }]
[auth.roles.eraser]
allow = [{ verbs = [\"delete\"], namespaces = [\"shop\"] }]
[auth.roles.filler]
allow = [{ verbs = [\"fetch\"], namespaces = [\"shop\"] }]
";

struct Caller {
    cache: CacheServiceClient<Channel>,
    admin: AdminServiceClient<Channel>,
    name: &'static str,
}

async fn start() -> Larder {
    let principals = ["all", "shop", "eraser", "filler"].map(|name| {
        format!("[auth.principals.{name}]\ntokens = [{:?}]\nroles = [{name:?}]\n", digest(name))
    });
    Larder::memory().config(&(CONFIG.to_owned() + &principals.concat())).start().await
}

impl Caller {
    async fn new(server: &Larder, name: &'static str) -> Self {
        let url = format!("http://{}", server.address());
        let cache = CacheServiceClient::connect(url.clone()).await.unwrap();
        Self { cache, admin: AdminServiceClient::connect(url).await.unwrap(), name }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        with_token(message, &token(self.name))
    }

    async fn set(&mut self, namespace: &str, key: &str) -> Result<(), tonic::Status> {
        let request = self.request(SetRequest {
            namespace: namespace.into(),
            key: key.into(),
            value: Some(Value { kind: Some(value::Kind::Text("v".into())) }),
            ..Default::default()
        });
        self.cache.set(request).await.map(drop)
    }

    async fn invalidate(&mut self, target: target::Target) -> Result<Vec<String>, tonic::Status> {
        let targets = vec![Target { target: Some(target) }];
        let request = self.request(InvalidateRequest { targets, ..Default::default() });
        let response = self.cache.invalidate(request).await?.into_inner();
        let namespaces = response.results.into_iter().flat_map(|result| result.namespaces);
        Ok(namespaces.map(|result| result.namespace).collect())
    }
}

#[tokio::test]
async fn a_batch_is_refused_as_a_whole_and_names_the_index() {
    let server = start().await;
    let mut caller = Caller::new(&server, "shop").await;
    let key = |namespace: &str, key: &str| KeyRef {
        namespace: namespace.into(),
        key: key.into(),
        ..Default::default()
    };
    let keys = vec![key("shop", "a"), key("user", "public:1"), key("user", "secret:1")];
    let request = caller.request(BatchGetRequest { keys: keys.clone(), ..Default::default() });
    let refused = caller.cache.batch_get(request).await;
    let details = expect_error(refused, Code::PermissionDenied, "PERMISSION_DENIED");
    let metadata = &details.error_info().unwrap().metadata;
    let expected = [("index", "2"), ("namespace", "user"), ("verb", "read")];
    for (name, value) in expected {
        assert_eq!(metadata.get(name).map(String::as_str), Some(value), "{metadata:?}");
    }
    let request =
        caller.request(BatchGetRequest { keys: keys[..2].to_vec(), ..Default::default() });
    caller.cache.batch_get(request).await.unwrap();
}

#[tokio::test]
async fn deny_wins_and_a_begin_of_keys_bounds_lists_and_patterns() {
    let server = start().await;
    let mut caller = Caller::new(&server, "shop").await;
    caller.set("shop.cart", "a").await.unwrap();
    let denied = caller.set("shop.prices", "a").await;
    expect_error(denied, Code::PermissionDenied, "PERMISSION_DENIED");
    for (glob, is_allowed) in
        [("public:*", true), ("public:eu:*", true), ("pub*", false), ("*", false), ("", false)]
    {
        let request = caller.request(ListKeysRequest {
            namespace: "user".into(),
            glob: glob.into(),
            ..Default::default()
        });
        let listed = caller.cache.list_keys(request).await;
        assert_eq!(listed.is_ok(), is_allowed, "{glob}: {listed:?}");
        if glob.is_empty() {
            continue;
        }
        let pattern = PatternTarget { namespace: "user".into(), glob: glob.into() };
        let invalidated = caller.invalidate(target::Target::Pattern(pattern)).await;
        assert_eq!(invalidated.is_ok(), is_allowed, "{glob}: {invalidated:?}");
    }
    let whole = caller.invalidate(target::Target::Namespace("user".into())).await;
    expect_error(whole, Code::PermissionDenied, "PERMISSION_DENIED");
}

#[tokio::test]
async fn lists_and_globs_of_namespaces_have_those_that_the_caller_may_see() {
    let server = start().await;
    let mut all = Caller::new(&server, "all").await;
    for namespace in ["shop", "shop.cart", "user", "wages"] {
        all.set(namespace, "k").await.unwrap();
    }
    let mut shop = Caller::new(&server, "shop").await;
    for (caller, expected) in [
        (&mut all, vec!["shop", "shop.cart", "user", "wages"]),
        (&mut shop, vec!["shop", "shop.cart"]),
    ] {
        let request = caller.request(StatsRequest::default());
        let stats = caller.cache.stats(request).await.unwrap().into_inner();
        let names: Vec<_> = stats.namespaces.iter().map(|one| one.namespace.as_str()).collect();
        assert_eq!(names, expected, "{}", caller.name);
        let request = caller.request(ListNamespacesRequest::default());
        let listed = caller.admin.list_namespaces(request).await.unwrap().into_inner();
        let names: Vec<_> = listed.namespaces.iter().map(|one| one.namespace.as_str()).collect();
        assert_eq!(names, expected, "{}", caller.name);
    }
    let request = shop.request(StatsRequest {
        namespaces: vec!["shop".into(), "wages".into()],
        ..Default::default()
    });
    let refused = shop.cache.stats(request).await;
    expect_error(refused, Code::PermissionDenied, "PERMISSION_DENIED");
    let namespaces = shop.invalidate(target::Target::Namespace("s*".into())).await.unwrap();
    assert_eq!(namespaces, ["shop", "shop.cart"]);
}

#[tokio::test]
async fn an_answer_is_the_same_whether_or_not_a_namespace_exists() {
    let server = start().await;
    let mut all = Caller::new(&server, "all").await;
    all.set("wages", "k").await.unwrap();
    let mut caller = Caller::new(&server, "shop").await;
    let mut answers = Vec::new();
    for (namespace, key) in [("wages", "k"), ("wages", "no"), ("wagez", "k")] {
        let message =
            GetRequest { namespace: namespace.into(), key: key.into(), ..Default::default() };
        let status = caller.cache.get(caller.request(message)).await.unwrap_err();
        let message = status.message().replace(namespace, "NAMESPACE");
        let info = status.get_error_details().error_info().cloned().unwrap();
        let mut metadata: Vec<_> = info.metadata.into_iter().collect();
        metadata.sort();
        let details = format!("{} {metadata:?}", info.reason).replace(namespace, "NAMESPACE");
        answers.push((status.code(), message, details));
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    // The namespace gets no counter by a call that is refused.
    let metrics = server.admin("/metrics").await.body;
    assert!(!metrics.contains("wagez"), "{metrics}");
}

#[tokio::test]
async fn events_need_the_permission_in_the_namespaces_of_their_rules() {
    let server = start().await;
    let mut caller = Caller::new(&server, "shop").await;
    let event = |name: &str| PublishEventRequest { name: name.into(), ..Default::default() };
    caller.admin.publish_event(caller.request(event("sold"))).await.unwrap();
    let refused = caller.admin.publish_event(caller.request(event("moved"))).await;
    expect_error(refused, Code::PermissionDenied, "PERMISSION_DENIED");
    let event = |name: &str| {
        target::Target::Event(EventTarget {
            name: name.into(),
            attributes: BTreeMap::new().into_iter().collect(),
        })
    };
    caller.invalidate(event("sold")).await.unwrap();
    let refused = caller.invalidate(event("moved")).await;
    expect_error(refused, Code::PermissionDenied, "PERMISSION_DENIED");
}

#[tokio::test]
async fn a_deletion_that_returns_the_entry_needs_the_permission_to_read() {
    let server = start().await;
    let mut all = Caller::new(&server, "all").await;
    all.set("shop", "k").await.unwrap();
    let mut eraser = Caller::new(&server, "eraser").await;
    let delete = |return_value| DeleteRequest {
        namespace: "shop".into(),
        key: "k".into(),
        return_value,
        ..Default::default()
    };
    let refused = eraser.cache.delete(eraser.request(delete(true))).await;
    let details = expect_error(refused, Code::PermissionDenied, "PERMISSION_DENIED");
    assert_eq!(details.error_info().unwrap().metadata["verb"], "read");
    let deleted = eraser.cache.delete(eraser.request(delete(false))).await.unwrap().into_inner();
    assert!(deleted.existed);
}

#[tokio::test]
async fn a_fill_under_a_lease_needs_the_permission_to_fetch_and_not_to_write() {
    let server = start().await;
    let mut filler = Caller::new(&server, "filler").await;
    let refused = filler.set("shop", "k").await;
    expect_error(refused, Code::PermissionDenied, "PERMISSION_DENIED");
    let request = filler.request(larder::pb::v1::GetOrFetchRequest {
        namespace: "shop".into(),
        key: "k".into(),
        ..Default::default()
    });
    let answer = filler.cache.get_or_fetch(request).await.unwrap().into_inner();
    let Some(Outcome::Lease(lease)) = answer.outcome else { panic!("{answer:?}") };
    let fill = filler.request(SetRequest {
        namespace: "shop".into(),
        key: "k".into(),
        value: Some(Value { kind: Some(value::Kind::Text("v".into())) }),
        lease_token: lease.token,
        ..Default::default()
    });
    filler.cache.set(fill).await.unwrap();
}
