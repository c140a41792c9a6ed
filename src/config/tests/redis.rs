use secrecy::ExposeSecret;

use super::*;

const FILE: &str = "[store]\nurl = 'redis://file:6379/1'";

fn url(config: &Config) -> &str {
    match &config.store.url {
        StoreUrl::Memory => "memory",
        StoreUrl::Redis(url) => url.expose_secret(),
    }
}

fn check(file: &str, env: &[(&str, &str)], expected: &str) {
    assert_eq!(url(&loaded(file, env)), expected, "{env:?} over {file:?}");
}

#[test]
fn replicas_are_a_number_or_all() {
    let replicas = |value: &str| loaded("", &[("LARDER_STORE__WAIT_REPLICAS", value)]).store;
    assert_eq!(replicas("2").wait_replicas, WaitReplicas::AtLeast(2));
    let all = loaded("[store]\nwait_replicas = 'all'", &[]);
    assert_eq!(all.store.wait_replicas, WaitReplicas::All);
    assert_eq!(loaded(&all.render(), &[]), all);
    for refused in ["'some'", "17", "-1"] {
        let problems = problems(&format!("[store]\nwait_replicas = {refused}"), &[]).join("\n");
        let expected = "store.wait_replicas: expected an integer from 0 to 16, or \"all\", got ";
        assert!(problems.starts_with(expected), "{problems}");
    }
}

#[test]
fn legacy_variables_have_a_fixed_precedence() {
    check("", &[], "memory");
    check(FILE, &[], "redis://file:6379/1");
    check(FILE, &[("REDIS_HOST", "h")], "redis://h:6379/0");
    check("", &[("REDIS_HOST", "h"), ("REDIS_PORT", "7"), ("REDIS_DB", "3")], "redis://h:7/3");
    check("", &[("REDIS_HOST", "::1")], "redis://[::1]:6379/0");
    check(FILE, &[("REDIS_HOST", "h"), ("REDIS_URL", "redis://u")], "redis://u");
    check("", &[("REDIS_URL", "redis://u"), ("LARDER_STORE", "valkey://s")], "valkey://s");
    check("", &[("REDIS_URL", "redis://u"), ("LARDER_STORE__URL", "memory")], "memory");
    check("", &[("REDIS_URL", ""), ("REDIS_HOST", "h")], "redis://h:6379/0");
    check("", &[("REDIS_PORT", "7"), ("REDIS_DB", "3")], "memory");
}

#[test]
fn redis_enabled_overrides_everything_but_the_flag() {
    for off in ["false", "FALSE", "0", "no", "Off"] {
        check(FILE, &[("REDIS_ENABLED", off), ("LARDER_STORE", "redis://s")], "memory");
    }
    check(FILE, &[("REDIS_CACHE_ENABLED", "false"), ("REDIS_URL", "redis://u")], "memory");
    check(
        "",
        &[("REDIS_CACHE_ENABLED", "false"), ("REDIS_ENABLED", "1")],
        "redis://127.0.0.1:6379/0",
    );
    check("", &[("REDIS_ENABLED", "On"), ("REDIS_URL", "redis://u")], "redis://u");
    check("", &[("REDIS_ENABLED", "true"), ("REDIS_PORT", "7")], "redis://127.0.0.1:7/0");
    check(FILE, &[("REDIS_ENABLED", "true")], "redis://file:6379/1");
    check("store.url = 'memory'", &[("REDIS_ENABLED", "yes")], "redis://127.0.0.1:6379/0");

    let (mut sources, _written) = sources(FILE, &[("REDIS_ENABLED", "false")]);
    sources.overrides.store = Some("redis://flag".to_owned());
    assert_eq!(url(&load(sources).unwrap()), "redis://flag");
}

#[test]
fn password_is_filled_in_and_encoded() {
    let password = ("REDIS_PASSWORD", "p@s:s/%41");
    let encoded = "p%40s%3As%2F%2541";
    let user = ("REDIS_USERNAME", "me");
    check("", &[("REDIS_HOST", "h"), password], &format!("redis://:{encoded}@h:6379/0"));
    check("", &[("REDIS_HOST", "h"), password, user], &format!("redis://me:{encoded}@h:6379/0"));
    check("", &[("REDIS_URL", "redis://h"), password], &format!("redis://:{encoded}@h"));
    check("", &[("REDIS_URL", "redis://u@h"), password, user], &format!("redis://u:{encoded}@h"));
    check("", &[("REDIS_URL", "redis://:own@h"), password, user], "redis://:own@h");
    check(FILE, &[password], &format!("redis://:{encoded}@file:6379/1"));
    check("", &[password], "memory");
    let socket = "unix:///run/r.sock?db=1&pass=p%40s%3As%2F%2541&user=me";
    check("", &[("REDIS_URL", "unix:///run/r.sock?db=1"), password, user], socket);
    check("", &[("REDIS_URL", socket), ("REDIS_PASSWORD", "other")], socket);
}

#[test]
fn passwords_of_servers_and_sentinels_are_filled_in_apart() {
    let file = "[store]\nurl = 'redis-sentinel://s1,s2/main'";
    let server = ("REDIS_PASSWORD", "p@");
    let (sentinel, user) = (("REDIS_SENTINEL_PASSWORD", "s&"), ("REDIS_SENTINEL_USERNAME", "me"));
    check(file, &[server], "redis-sentinel://:p%40@s1,s2/main");
    check(
        file,
        &[server, sentinel, user],
        "redis-sentinel://:p%40@s1,s2/main?sentinel_password=s%26&sentinel_username=me",
    );
    check(FILE, &[sentinel], "redis://file:6379/1");
    let own = "redis-sentinel://:own@s/main?sentinel_password=own";
    check("", &[("REDIS_URL", own), server, sentinel, user], own);
}

#[test]
fn kubernetes_ports_are_accepted_and_wrong_values_refused() {
    let host = ("REDIS_HOST", "h");
    check("", &[host, ("REDIS_PORT", "tcp://10.0.0.1:6380")], "redis://h:6380/0");
    check("", &[("REDIS_PORT", "tcp://10.0.0.1:6380")], "memory");
    for (name, value, expected) in [
        ("REDIS_PORT", "http", "store.url: expected a port from 1 to 65535, got \"http\""),
        ("REDIS_DB", "-1", "store.url: expected the number of a database, got \"-1\""),
        (
            "REDIS_ENABLED",
            "maybe",
            "store.url: expected true or false (also 1, 0, yes, no, on, off), got \"maybe\"",
        ),
    ] {
        assert_eq!(problems("", &[host, (name, value)]), [expected]);
        let error = try_load("", &[host, (name, value)]).unwrap_err().to_string();
        assert!(error.ends_with(&format!("({name})")), "{error}");
    }
}

#[test]
fn legacy_key_prefix_is_read() {
    let old = ("REDIS_CACHE_KEY_PREFIX", "cache");
    assert_eq!(loaded("store.prefix = 'file'", &[old]).store.prefix, "cache");
    assert_eq!(loaded("", &[old, ("LARDER_STORE__PREFIX", "new")]).store.prefix, "new");
}

#[test]
fn every_store_scheme_is_accepted() {
    for url in [
        "redis://h",
        "rediss://h:1/2",
        "valkey://[::1]:1",
        "valkeys://h/",
        "unix:///run/r.sock",
        "redis+unix:///run/r.sock?db=2",
        "valkey+unix:///run/r.sock",
        "redis-sentinel://s1:26379,s2:26379/main/1",
        "rediss-sentinel://u:p@s1,s2/main?sentinel_username=u&sentinel_password=p",
    ] {
        check("", &[("LARDER_STORE", url)], url);
    }
    check("", &[("LARDER_STORE", "Memory")], "memory");
}

#[test]
fn connection_strings_of_azure_are_accepted() {
    let text = "n.redis.cache.windows.net:6380,password=S3CRET=,ssl=True,abortConnect=False";
    let url = "rediss://:S3CRET%3D@n.redis.cache.windows.net:6380/0";
    check("", &[("REDIS_URL", text)], url);
    let rendered = loaded("", &[("REDIS_URL", text)]).render();
    assert!(rendered.contains("rediss://:***@n.redis") && !rendered.contains("S3CRET"));
    for wrong in ["h:6380,password=S3CRET,defaultDatabase=x", "h:x,password=S3CRET,ssl=True"] {
        let error = try_load("", &[("REDIS_URL", wrong)]).unwrap_err().to_string();
        assert!(!error.contains("S3CRET"), "{error}");
    }
}

#[test]
fn invalid_store_url_is_refused_without_revealing_its_password() {
    for (url, expected) in [
        ("mem0ry", "got \"mem0ry\""),
        ("u:secret@h:6379", "got a text without scheme"),
        ("postgres://u:secret@h", "got a postgres:// URL of another scheme"),
        ("redis://u:secret@h:port", "got a redis:// URL with invalid port number"),
        ("redis://u:se/secret@h", "got a redis:// URL with invalid port number"),
        (
            "redis://u:secret@h/name",
            "got a redis:// URL whose path is not the number of a database",
        ),
        ("redis:///0", "got a redis:// URL without a host"),
        (
            "redis-sentinel://u:secret@s:26379",
            "got a redis-sentinel:// URL without a service after the sentinels",
        ),
        (
            "redis-sentinel://s1:26379,s2:x/m?sentinel_password=secret",
            "got a redis-sentinel:// URL with an invalid host or port of a sentinel",
        ),
        ("unix://?pass=secret", "got a unix:// URL without the path of a socket"),
    ] {
        let error = try_load("", &[("LARDER_STORE", url)]).unwrap_err().to_string();
        assert!(error.contains("expected \"memory\" or a URL such as redis://host:6379/0"));
        assert!(error.ends_with(&format!("{expected} (LARDER_STORE)")), "{error}");
        assert!(!error.contains("secret"), "{error}");
    }
}

#[test]
fn password_is_redacted_in_all_output() {
    for (url, shown) in [
        ("redis://user:secret@host:6379/0", "redis://user:***@host:6379/0"),
        ("redis://:s@cret@host", "redis://:***@host"),
        ("unix:///r.sock?pass=secret&db=1", "unix:///r.sock?pass=***&db=1"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        (
            "redis-sentinel://user:secret@s1:1,s2:2/main?sentinel_password=secret",
            "redis-sentinel://user:***@s1:1,s2:2/main?sentinel_password=***",
        ),
        (
            "redis-sentinel://s1,s2/main?sentinel_username=u&sentinel_password=secret",
            "redis-sentinel://s1,s2/main?sentinel_username=u&sentinel_password=***",
        ),
    ] {
        let config = loaded("", &[("LARDER_STORE", url)]);
        assert_eq!(config.store.url.to_string(), shown);
        assert_eq!(format!("{:?}", config.store.url), format!("StoreUrl({shown})"));
        assert!(!format!("{config:?}").contains("cret"));
        assert!(config.render().contains(&format!("url = \"{shown}\"\n")));
    }
}

/// A file with this content, and the line of a configuration that names it.
fn url_file(content: &str) -> (tempfile::NamedTempFile, String) {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content.as_bytes()).unwrap();
    let line = format!("store.url_file = '{}'", file.path().display());
    (file, line)
}

#[test]
fn url_is_read_from_a_file() {
    for content in
        ["redis://u:p@h:6379/0", "redis://u:p@h:6379/0\n", " redis://u:p@h:6379/0 \r\n\n"]
    {
        let (file, line) = url_file(content);
        check(&line, &[], "redis://u:p@h:6379/0");
        let path = file.path().to_str().unwrap();
        check("", &[("LARDER_STORE__URL_FILE", path)], "redis://u:p@h:6379/0");
        let (mut sources, _written) = sources(FILE, &[("REDIS_URL", "redis://variable")]);
        sources.overrides.store_url_file = Some(path.to_owned());
        assert_eq!(url(&load(sources).unwrap()), "redis://u:p@h:6379/0");
    }
    let (_file, line) = url_file("redis://h");
    check(&line, &[("REDIS_PASSWORD", "p")], "redis://:p@h");
}

#[test]
fn url_and_file_are_exclusive_in_one_source() {
    let (file, line) = url_file("redis://in-file");
    let path = file.path().to_str().unwrap();
    let both = ["store.url_file: expected either store.url or store.url_file, got both"];
    assert_eq!(problems(&format!("{line}\nstore.url = 'memory'"), &[]), both);
    let variable = ("LARDER_STORE__URL_FILE", path);
    assert_eq!(problems("", &[variable, ("LARDER_STORE", "memory")]), both);
    assert_eq!(problems("", &[variable, ("REDIS_HOST", "h")]), both);
    // A later source wins.
    check(&line, &[("LARDER_STORE", "redis://variable")], "redis://variable");
    check(FILE, &[variable], "redis://in-file");
    check(FILE, &[variable, ("REDIS_ENABLED", "true")], "redis://in-file");
    check(&line, &[("REDIS_ENABLED", "true")], "redis://in-file");
    check(&line, &[("REDIS_ENABLED", "false")], "memory");
    check("", &[variable, ("REDIS_ENABLED", "false")], "memory");
    let (mut sources, _written) = sources(&line, &[variable]);
    sources.overrides.store = Some("memory".to_owned());
    assert_eq!(url(&load(sources).unwrap()), "memory");
}

#[test]
fn problems_of_the_file_name_it_without_its_content() {
    let contents = [
        ("", "is empty"),
        (" \n", "is empty"),
        ("redis://u:S3CRET@h\nredis://other", "has more than one line"),
        ("S3CRET", "contains a text without scheme"),
        ("redis://u:S3CRET@", "contains a URL"),
        ("redis://u:x@h/S3CRET", "contains a URL whose path is not the number of a database"),
        ("http://u:S3CRET@h", "contains a URL of another scheme"),
    ];
    for (content, expected) in contents {
        let (file, line) = url_file(content);
        let problems = problems(&line, &[]);
        let [problem] = problems.as_slice() else { panic!("{problems:?}") };
        let path = file.path().display().to_string();
        assert!(problem.starts_with(&format!("store.url_file: the file {path} ")), "{problem}");
        assert!(problem.contains(expected) && !problem.contains("S3CRET"), "{problem}");
    }
    let missing = problems("store.url_file = '/nonexistent/url'", &[]);
    assert!(missing[0].contains("the file /nonexistent/url cannot be read: "), "{missing:?}");
}

#[test]
fn file_is_rendered_with_its_url_and_without_the_password() {
    let (file, line) = url_file("redis://u:S3CRET@h:6379/0");
    let config = loaded(&line, &[]);
    let rendered = config.render();
    assert!(rendered.contains("# redis://u:***@h:6379/0") && !rendered.contains("S3CRET"));
    assert_eq!(loaded(&rendered, &[]), config);
    std::fs::write(file.path(), "redis://u:other@h:6379/0").unwrap();
    assert_eq!(config.needs_restart(&loaded(&line, &[])), ["store.url_file"]);
}

#[test]
fn a_cluster_has_several_hosts_and_one_database() {
    let url = "redis-cluster://u@h1:7000,h2:7001,[::1]:7002/0?a=b";
    check(&format!("[store]\nurl = '{url}'"), &[], url);
    let password = ("REDIS_PASSWORD", "p@");
    let expected = "redis-cluster://u:p%40@h1:7000,h2:7001,[::1]:7002/0?a=b";
    check("", &[("REDIS_URL", url), password], expected);
    let with_user = [("REDIS_URL", "rediss-cluster://h"), ("REDIS_USERNAME", "me"), password];
    check("", &with_user, "rediss-cluster://me:p%40@h");
    for (url, problem) in [
        ("redis-cluster://", "without a host"),
        ("redis-cluster://h1,,h2", "without a host"),
        ("redis-cluster://h1:x", "cannot be parsed"),
        ("redis-cluster://h1,h2/1", "with a database"),
    ] {
        let error = try_load(&format!("[store]\nurl = '{url}'"), &[]).unwrap_err().to_string();
        assert!(error.contains(problem), "{url}: {error}");
    }
    let source = "[[event_sources]]\nredis_stream = 's'";
    let error = try_load(&format!("[store]\nurl = 'redis-cluster://h'\n{source}"), &[]);
    assert!(error.unwrap_err().to_string().contains("not that of a Redis Cluster"));
}
