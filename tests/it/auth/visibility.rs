//! Calls that must not show or touch a part that a rule denies.

use larder::pb::v1::{
    BatchGetOrFetchRequest, BatchGetRequest, EventTarget, FlushNearCacheRequest, GetConfigRequest,
    GetHistoryRequest, GetOrFetchRequest, GetRequest, InvalidateRequest, KeyRef,
    ListNamespacesRequest, SetRequest, StatsRequest, Target, Value,
    admin_service_client::AdminServiceClient, cache_service_client::CacheServiceClient, target,
    value,
};
use tonic::{Code, Status, transport::Channel};

use super::{digest, token, with_token};
use crate::support::{
    server::Larder,
    status::{expect_error, reason},
};

const CONFIG: &str = "
strict_events = true
[[events.points_changed]]
namespace = 'secret'
key = 'user:{user_id}'
[auth.roles.all]
allow = [{ verbs = ['*'], namespaces = ['*'] }]
[auth.roles.most]
allow = [{ verbs = ['*'], namespaces = ['*'] }]
deny = [{ verbs = ['*'], namespaces = ['secret'] }]
[auth.roles.part]
allow = [{ verbs = ['invalidate'], namespaces = ['*'], keys = 'pub:' }]
";

struct Caller {
    cache: CacheServiceClient<Channel>,
    admin: AdminServiceClient<Channel>,
    token: String,
}

async fn start(mode: &str) -> Larder {
    let principals = ["all", "most", "part"].map(|name| {
        format!("[auth.principals.{name}]\ntokens = [{:?}]\nroles = [{name:?}]\n", digest(name))
    });
    let mode = format!("[auth]\nmode = '{mode}'\n");
    let (top, tables) = CONFIG.split_once("[auth.roles.all]").unwrap();
    let config = format!("{top}{mode}[auth.roles.all]{tables}{}", principals.concat());
    let server = Larder::memory().config(&config).start().await;
    let mut all = Caller::new(&server, "all").await;
    for namespace in ["shop", "secret"] {
        let value = Some(Value { kind: Some(value::Kind::Text("v".into())) });
        let (namespace, key) = (namespace.into(), "k".into());
        let set = SetRequest { namespace, key, value, ..Default::default() };
        all.cache.set(with_token(set, &all.token)).await.unwrap();
    }
    server
}

impl Caller {
    async fn new(server: &Larder, name: &str) -> Self {
        let url = format!("http://{}", server.address());
        let cache = CacheServiceClient::connect(url.clone()).await.unwrap();
        let admin = AdminServiceClient::connect(url).await.unwrap();
        Self { cache, admin, token: token(name) }
    }

    async fn invalidate(&mut self, target: target::Target) -> Result<usize, Status> {
        let targets = vec![Target { target: Some(target) }];
        let request = InvalidateRequest { targets, ..Default::default() };
        let response = self.cache.invalidate(with_token(request, &self.token)).await?;
        let results = response.into_inner().results.into_iter();
        Ok(results.map(|result| result.namespaces.len()).sum())
    }
}

#[tokio::test]
async fn a_denied_namespace_is_in_no_list_and_no_call_for_all_of_them() {
    let server = start("enforce").await;
    let mut most = Caller::new(&server, "most").await;
    let stats = most.cache.stats(with_token(StatsRequest::default(), &most.token)).await.unwrap();
    let stats = format!("{:?}", stats.into_inner());
    assert!(stats.contains("shop") && !stats.contains("secret"), "{stats}");
    let list = with_token(ListNamespacesRequest::default(), &most.token);
    let list = format!("{:?}", most.admin.list_namespaces(list).await.unwrap().into_inner());
    assert!(list.contains("shop") && !list.contains("secret"), "{list}");

    for (caller, expected) in [("most", 1), ("all", 2)] {
        let mut caller = Caller::new(&server, caller).await;
        let history = with_token(GetHistoryRequest::default(), &caller.token);
        let history = caller.admin.get_history(history).await.unwrap().into_inner();
        let sets = history.totals.iter().map(|step| step.counters.as_ref().unwrap().sets);
        assert_eq!(sets.sum::<u64>(), expected);
    }
    let named = GetHistoryRequest { namespaces: vec!["secret".to_owned()], ..Default::default() };
    let refused = most.admin.get_history(with_token(named, &most.token)).await;
    expect_error(refused, Code::PermissionDenied, "PERMISSION_DENIED");

    let flush = with_token(FlushNearCacheRequest::default(), &most.token);
    let flushed = most.admin.flush_near_cache(flush).await;
    expect_error(flushed, Code::PermissionDenied, "PERMISSION_DENIED");
    let config = with_token(GetConfigRequest::default(), &most.token);
    let shown = most.admin.get_config(config).await;
    expect_error(shown, Code::PermissionDenied, "PERMISSION_DENIED");
    let mut all = Caller::new(&server, "all").await;
    let config = with_token(GetConfigRequest::default(), &all.token);
    all.admin.get_config(config).await.unwrap();
}

#[tokio::test]
async fn rules_of_events_are_hidden_from_callers_that_may_publish_none() {
    let server = start("enforce").await;
    let mut part = Caller::new(&server, "part").await;
    let mut messages = Vec::new();
    for (name, attributes) in
        [("points_change", vec![]), ("points_changed", vec![]), ("points_changed", vec!["user_id"])]
    {
        let attributes = attributes.iter().map(|name| ((*name).to_owned(), "1".to_owned()));
        let event = EventTarget { name: name.to_owned(), attributes: attributes.collect() };
        let refused = part.invalidate(target::Target::Event(event)).await.unwrap_err();
        assert_eq!(reason(&refused), "PERMISSION_DENIED", "{refused:?}");
        messages.push(refused.message().to_owned());
    }
    messages.dedup();
    assert_eq!(messages.len(), 1, "{messages:?}");
}

#[tokio::test]
async fn a_glob_of_namespaces_does_not_show_which_exist() {
    let server = start("enforce").await;
    let mut part = Caller::new(&server, "part").await;
    for glob in ["sec*", "nos*", "*"] {
        let matched = part.invalidate(target::Target::Namespace(glob.to_owned())).await;
        assert_eq!(matched.unwrap(), 0, "{glob}");
    }
    let mut most = Caller::new(&server, "most").await;
    assert_eq!(most.invalidate(target::Target::Namespace("s*".to_owned())).await.unwrap(), 1);
}

#[tokio::test]
async fn the_shadow_mode_counts_a_call_once() {
    let server = start("shadow").await;
    let mut part = Caller::new(&server, "part").await;
    let key = |index: usize| KeyRef {
        namespace: "shop".into(),
        key: index.to_string(),
        ..Default::default()
    };
    let request = BatchGetRequest { keys: (0..100).map(key).collect(), ..Default::default() };
    part.cache.batch_get(with_token(request, &part.token)).await.unwrap();
    let metrics = server.admin("/metrics").await.body;
    let refusals = metrics.lines().filter(|line| line.starts_with("larder_auth_refusals_total{"));
    let of_part: Vec<_> = refusals.filter(|line| line.contains("principal=\"part\"")).collect();
    assert_eq!(of_part.len(), 1, "{of_part:?}");
    assert!(of_part[0].ends_with(" 1"), "{of_part:?}");
}

#[tokio::test]
async fn a_read_that_extends_a_ttl_needs_the_permission_to_write() {
    let roles =
        "[auth.roles.reader]\nallow = [{ verbs = ['read', 'fetch'], namespaces = ['*'] }]\n";
    let principals = format!(
        "[auth.principals.reader]\ntokens = [{:?}]\nroles = ['reader']\n",
        digest("reader")
    );
    let server = Larder::memory().config(&format!("{roles}{principals}")).start().await;
    let reader = Caller::new(&server, "reader").await;
    let touch = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let keys = vec![KeyRef { namespace: "shop".into(), key: "k".into(), ..Default::default() }; 2];
    let get = |touch| GetRequest {
        namespace: "shop".into(),
        key: "k".into(),
        touch,
        ..Default::default()
    };
    let fetch = |touch| GetOrFetchRequest {
        namespace: "shop".into(),
        key: "k".into(),
        touch,
        ..Default::default()
    };
    let batch = |touch| BatchGetRequest { keys: keys.clone(), touch, ..Default::default() };
    let batch_fetch =
        |touch| BatchGetOrFetchRequest { keys: keys.clone(), touch, ..Default::default() };
    let cache = &reader.cache;
    for (touch, is_allowed) in [(None, true), (touch, false)] {
        let token = &reader.token;
        let results = [
            cache.clone().get(with_token(get(touch), token)).await.map(drop),
            cache.clone().get_or_fetch(with_token(fetch(touch), token)).await.map(drop),
            cache.clone().batch_get(with_token(batch(touch), token)).await.map(drop),
            cache.clone().batch_get_or_fetch(with_token(batch_fetch(touch), token)).await.map(drop),
        ];
        for (index, result) in results.into_iter().enumerate() {
            match result {
                Ok(()) => assert!(is_allowed, "{index}"),
                Err(status) => {
                    assert!(!is_allowed, "{index}: {status:?}");
                    assert_eq!(reason(&status), "PERMISSION_DENIED");
                }
            }
        }
    }
}
