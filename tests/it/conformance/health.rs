//! The health service, by the comments of its proto.

use larder::pb::health::v1::{
    HealthCheckRequest, HealthListRequest, health_check_response::ServingStatus,
    health_client::HealthClient,
};
use tonic::{Code, codec::CompressionEncoding};

use crate::support::{
    env::Env,
    status::{expect_error, expect_over_limit},
};

fn client(env: &Env) -> HealthClient<tonic::transport::Channel> {
    HealthClient::new(env.cache.channel())
}

on_both_stores!(a_list_has_all_services, config: "[namespaces.a]\nttl = \"1m\"\n", |env| {
    let listed = client(&env).list(HealthListRequest {}).await.unwrap().into_inner().statuses;
    let names: Vec<&str> = listed.keys().map(String::as_str).collect();
    assert_eq!(names, ["", "larder.v1.CacheService", "liveness", "store"]);
    for (service, listed) in &listed {
        let request = HealthCheckRequest { service: service.clone() };
        let checked = client(&env).check(request).await.unwrap().into_inner();
        assert_eq!((checked.status(), listed.status()), (ServingStatus::Serving, checked.status()));
    }
});

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_of_more_than_a_hundred_services_is_refused() {
    let origin =
        |number| format!("[namespaces.n{number}.origin]\nurl = \"http://127.0.0.1:1/{{key}}\"\n");
    let origins = |count| (0..count).map(origin).collect::<String>();
    for (count, is_listed) in [(96, true), (97, false)] {
        let env = Env::memory(&[], &origins(count)).await;
        match client(&env).list(HealthListRequest {}).await {
            Ok(listed) => {
                assert!(is_listed);
                assert_eq!(listed.into_inner().statuses.len(), 100);
            }
            Err(status) => {
                assert!(!is_listed);
                expect_error::<()>(
                    Err(status.clone()),
                    Code::ResourceExhausted,
                    "TOO_MANY_SERVICES",
                );
                assert!(status.message().contains("the limit is 100"), "{status}");
            }
        }
    }
}

on_both_stores!(compressed_checks_are_answered_compressed, |env| {
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let mut client = client(&env).send_compressed(encoding).accept_compressed(encoding);
        let request = HealthCheckRequest { service: String::new() };
        let answer = client.check(request.clone()).await.unwrap();
        let sent = answer.metadata().get("grpc-encoding").unwrap().to_str().unwrap();
        assert_eq!(sent, encoding.to_string());
        assert_eq!(answer.into_inner().status(), ServingStatus::Serving);
        let mut watch = client.watch(request).await.unwrap().into_inner();
        assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    }
});

on_both_stores!(a_check_names_unknown_services, |env| {
    let check = async |service: &str| {
        client(&env).check(HealthCheckRequest { service: service.to_owned() }).await
    };
    for service in ["unknown", "larder.v1.Nope", "origin/none"] {
        assert_eq!(check(service).await.unwrap_err().code(), Code::NotFound, "{service}");
    }
    // A name of any length is an answer, but not a message of any length.
    assert_eq!(check(&"x".repeat(1000)).await.unwrap_err().code(), Code::NotFound);
    let large = check(&"x".repeat(5000)).await;
    expect_over_limit(large, Code::ResourceExhausted, "MESSAGE_TOO_LARGE", "request", 4096);
});
