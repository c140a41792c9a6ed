use super::*;
use crate::config::SecretTemplate;

fn http_origin() -> OriginConfig {
    OriginConfig::new(Target::Http(UrlTemplate::parse("http://h/{key}").unwrap()))
}

fn grpc_origin() -> OriginConfig {
    OriginConfig::new(Target::Grpc("http://h:1".parse().unwrap()))
}

fn namespace(origin: OriginConfig) -> NamespaceConfig {
    NamespaceConfig { origin: Some(origin), ..NamespaceConfig::default() }
}

fn header(name: &str, value: &str) -> (String, SecretTemplate) {
    (name.to_owned(), SecretTemplate::new(value, &BTreeMap::new()).unwrap())
}

fn config<const N: usize>(
    namespaces: [(&str, NamespaceConfig); N],
) -> BTreeMap<String, NamespaceConfig> {
    namespaces.map(|(name, config)| (name.to_owned(), config)).into()
}

fn registry() -> OriginRegistry {
    OriginRegistry::new(Arc::new(Unobserved))
}

fn client(registry: &OriginRegistry, name: &str) -> Option<Arc<OriginClient>> {
    registry.clients().get(&Namespace::new(name).unwrap()).cloned()
}

#[test]
fn source_depends_on_url_and_headers_and_on_nothing_else() {
    let of = |origin: &OriginConfig| source(origin).unwrap();
    let with =
        |headers: Vec<_>| OriginConfig { headers: headers.into_iter().collect(), ..http_origin() };
    let plain = of(&http_origin());
    let slow = OriginConfig { timeout: Duration::from_secs(99), ..http_origin() };
    assert_eq!(of(&slow), plain);
    assert_ne!(of(&grpc_origin()).target, plain.target);
    assert_eq!(of(&grpc_origin()).headers, plain.headers);
    let one = of(&with(vec![header("a", "1"), header("b", "2")]));
    assert_eq!(one, of(&with(vec![header("B", "2"), header("A", "1")])));
    assert_eq!(one.target, plain.target);
    for other in [vec![], vec![header("a", "1")], vec![header("a", "12"), header("b", "")]] {
        assert_ne!(of(&with(other)).headers, one.headers);
    }
}

#[tokio::test]
async fn namespaces_with_an_origin_have_a_client() {
    let mut registry = registry();
    let new = registry
        .replace(&config([
            ("a", namespace(http_origin())),
            ("b", namespace(grpc_origin())),
            ("c", NamespaceConfig::default()),
        ]))
        .unwrap();
    let names = |clients: &[Arc<OriginClient>]| {
        clients.iter().map(|client| client.namespace().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(names(&new), ["a", "b"]);
    assert!(Arc::ptr_eq(&client(&registry, "a").unwrap(), &new[0]));
    assert!(client(&registry, "b").is_some() && client(&registry, "c").is_none());
    assert_eq!(new[0].batch_limit(), 1);
    assert_eq!(new[1].batch_limit(), 100);
}

#[tokio::test]
async fn client_is_kept_unless_its_namespace_changes() {
    let mut registry = registry();
    let unchanged = namespace(grpc_origin());
    let before = |changed| config([("a", unchanged.clone()), ("b", namespace(changed))]);
    registry.replace(&before(grpc_origin())).unwrap();
    let (a, b) = (client(&registry, "a").unwrap(), client(&registry, "b").unwrap());
    let changed = OriginConfig { retries: 2, ..grpc_origin() };
    let new = registry.replace(&before(changed)).unwrap();
    assert!(Arc::ptr_eq(&client(&registry, "a").unwrap(), &a));
    let [replaced] = &new[..] else { panic!("{} new clients", new.len()) };
    assert!(Arc::ptr_eq(&client(&registry, "b").unwrap(), replaced));
    assert!(!Arc::ptr_eq(replaced, &b));
    assert!(registry.replace(&config([("a", unchanged.clone())])).unwrap().is_empty());
    assert!(client(&registry, "b").is_none());
    let other_ttl = NamespaceConfig { ttl: Duration::from_secs(1), ..unchanged.clone() };
    assert_eq!(registry.replace(&config([("a", other_ttl)])).unwrap().len(), 1);
}

#[tokio::test]
async fn failure_changes_nothing() {
    let mut registry = registry();
    registry.replace(&config([("a", namespace(http_origin()))])).unwrap();
    let a = client(&registry, "a").unwrap();
    let unreadable = OriginConfig { ca_file: Some("/no/such.pem".into()), ..http_origin() };
    let failing = config([("a", namespace(grpc_origin())), ("b", namespace(unreadable))]);
    let error = registry.replace(&failing).err().unwrap();
    assert_eq!(error.to_string(), "namespaces.b.origin cannot be used");
    assert_eq!(error.cause.to_string(), "cannot read ca_file /no/such.pem");
    assert!(Arc::ptr_eq(&client(&registry, "a").unwrap(), &a));
    assert_eq!(registry.clients().len(), 1);
}

#[tokio::test]
async fn check_builds_the_clients() {
    assert!(check(&config([("a", namespace(http_origin()))])).is_ok());
    let reserved = OriginConfig { headers: [header("range", "x")].into(), ..http_origin() };
    let error = check(&config([("a", namespace(reserved))])).unwrap_err();
    assert!(matches!(error.cause, OriginBuildError::Http(HttpBuildError::ReservedHeader(_))));
    let reserved = OriginConfig { headers: [header("te", "x")].into(), ..grpc_origin() };
    let error = check(&config([("a", namespace(reserved))])).unwrap_err();
    assert!(matches!(error.cause, OriginBuildError::Grpc(GrpcBuildError::Metadata(_))));
    let malformed = OriginConfig { headers: [header("a b", "x")].into(), ..http_origin() };
    let error = check(&config([("a", namespace(malformed))])).unwrap_err();
    assert_eq!(error.cause.to_string(), "header a b cannot be sent");
}

#[test]
fn limits_are_those_of_the_configuration() {
    let origin = OriginConfig {
        timeout: Duration::from_secs(1),
        max_concurrency: 2,
        max_queue: 3,
        retries: 4,
        retry_backoff: Duration::from_secs(5),
        breaker_threshold: 6,
        breaker_cooldown: Duration::from_secs(7),
        ..http_origin()
    };
    let expected = OriginLimits {
        timeout: Duration::from_secs(1),
        max_concurrency: 2,
        max_queue: 3,
        retries: 4,
        retry_backoff: Duration::from_secs(5),
        breaker_threshold: 6,
        breaker_cooldown: Duration::from_secs(7),
    };
    assert_eq!(limits(&origin), expected);
}

#[test]
fn http_options_are_those_of_the_configuration() {
    for (setting, version) in [
        (HttpVersionSetting::Auto, HttpVersion::Auto),
        (HttpVersionSetting::Http1, HttpVersion::Http1),
        (HttpVersionSetting::Http2, HttpVersion::Http2),
    ] {
        let origin = OriginConfig {
            headers: [header("x-api-key", "secret")].into(),
            connect_timeout: Duration::from_secs(1),
            max_redirects: 2,
            http_version: setting,
            cache_headers: false,
            negative_ttl: Duration::from_secs(3),
            ..http_origin()
        };
        let ttl = Duration::from_secs(4);
        let namespace = NamespaceConfig { ttl, max_value_bytes: 5, ..Default::default() };
        let url = UrlTemplate::parse("http://h/{key}").unwrap();
        let options = http_options(&url, &namespace, &origin).unwrap();
        assert_eq!(options.headers["x-api-key"], "secret");
        assert!(options.headers["x-api-key"].is_sensitive());
        assert_eq!((options.connect_timeout, options.max_redirects), (Duration::from_secs(1), 2));
        assert_eq!((options.version, options.respect_cache_headers), (version, false));
        assert_eq!((options.ttl, options.negative_ttl), (ttl, Duration::from_secs(3)));
        assert_eq!((options.max_value_bytes, options.ca_pem), (5, None));
    }
}

#[test]
fn grpc_options_are_those_of_the_configuration() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "pem").unwrap();
    let origin = OriginConfig {
        headers: [header("authorization", "secret")].into(),
        connect_timeout: Duration::from_secs(1),
        max_batch: 2,
        resolve_interval: Duration::from_secs(3),
        ca_file: Some(file.path().to_owned()),
        ..grpc_origin()
    };
    let namespace = NamespaceConfig { max_value_bytes: 4, ..Default::default() };
    let url = "http://h:1".parse().unwrap();
    let options = grpc_options(&url, &namespace, &origin).unwrap();
    assert_eq!(options.url, url);
    assert_eq!(options.metadata["authorization"], "secret");
    assert_eq!((options.max_batch, options.max_value_bytes), (2, 4));
    assert_eq!(options.connect_timeout, Duration::from_secs(1));
    assert_eq!(options.resolve_interval, Duration::from_secs(3));
    assert_eq!(options.ca_pem.as_deref(), Some(&b"pem"[..]));
}
