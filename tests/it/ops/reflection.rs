//! Server reflection, both versions.

use futures::stream;
use prost::Message as _;
use prost_types::FileDescriptorProto;
use tonic_reflection::pb::{v1, v1alpha};

const SERVICES: [&str; 3] =
    ["grpc.health.v1.Health", "larder.v1.AdminService", "larder.v1.CacheService"];

on_both_stores!(version_1_lists_the_services, |env| {
    use v1::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let mut client = ServerReflectionClient::new(env.cache.channel());
    let mut ask = async |question: MessageRequest| {
        let request =
            ServerReflectionRequest { host: String::new(), message_request: Some(question) };
        let mut answers =
            client.server_reflection_info(stream::iter([request])).await.unwrap().into_inner();
        answers.message().await.unwrap().unwrap().message_response.unwrap()
    };
    let MessageResponse::ListServicesResponse(list) =
        ask(MessageRequest::ListServices(String::new())).await
    else {
        panic!("no list");
    };
    assert_lists(list.service.into_iter().map(|service| service.name));
    let symbol = MessageRequest::FileContainingSymbol("larder.v1.CacheService".to_owned());
    let MessageResponse::FileDescriptorResponse(files) = ask(symbol).await else {
        panic!("no descriptor")
    };
    assert_describes(&files.file_descriptor_proto[0]);
});

on_both_stores!(version_1_alpha_lists_the_services, |env| {
    use v1alpha::{
        ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
        server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
    };
    let mut client = ServerReflectionClient::new(env.cache.channel());
    let mut ask = async |question: MessageRequest| {
        let request =
            ServerReflectionRequest { host: String::new(), message_request: Some(question) };
        let mut answers =
            client.server_reflection_info(stream::iter([request])).await.unwrap().into_inner();
        answers.message().await.unwrap().unwrap().message_response.unwrap()
    };
    let MessageResponse::ListServicesResponse(list) =
        ask(MessageRequest::ListServices(String::new())).await
    else {
        panic!("no list");
    };
    assert_lists(list.service.into_iter().map(|service| service.name));
    let symbol = MessageRequest::FileContainingSymbol("larder.v1.CacheService".to_owned());
    let MessageResponse::FileDescriptorResponse(files) = ask(symbol).await else {
        panic!("no descriptor")
    };
    assert_describes(&files.file_descriptor_proto[0]);
});

on_both_stores!(reflection_can_be_disabled, env: [("LARDER_REFLECTION", "false")], |env| {
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(env.cache.channel());
    let request = v1::ServerReflectionRequest { host: String::new(), message_request: None };
    let refused = client.server_reflection_info(stream::iter([request])).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unimplemented);
});

fn assert_lists(names: impl Iterator<Item = String>) {
    let names: Vec<String> = names.collect();
    for service in SERVICES {
        assert!(names.iter().any(|name| name == service), "{service} is not in {names:?}");
    }
    // The origin service is not listed: Larder calls it and does not serve it.
    assert!(!names.iter().any(|name| name.contains("Origin")), "{names:?}");
}

fn assert_describes(file: &[u8]) {
    let file = FileDescriptorProto::decode(file).unwrap();
    assert_eq!(file.package(), "larder.v1");
    let methods: Vec<&str> = file.service[0].method.iter().map(|method| method.name()).collect();
    for method in ["Get", "Set", "Delete", "InvalidateNamespace", "Stats", "GetOrFetch"] {
        assert!(methods.contains(&method), "{methods:?}");
    }
}
