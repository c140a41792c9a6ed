//! The reflection service, by the comments of its proto.

use futures::stream;
use prost::Message as _;
use prost_types::FileDescriptorProto;
use tonic::Code;
use tonic_reflection::pb::v1::{
    ExtensionRequest, ServerReflectionRequest, ServerReflectionResponse,
    server_reflection_client::ServerReflectionClient, server_reflection_request::MessageRequest,
    server_reflection_response::MessageResponse,
};

use crate::support::env::Env;

/// The answers to questions on one stream.
async fn ask(env: &Env, questions: Vec<Option<MessageRequest>>) -> Vec<ServerReflectionResponse> {
    let mut client = ServerReflectionClient::new(env.cache.channel());
    let requests = questions.into_iter().map(|message_request| ServerReflectionRequest {
        host: "a host".to_owned(),
        message_request,
    });
    let requests: Vec<_> = requests.collect();
    let mut answers =
        client.server_reflection_info(stream::iter(requests)).await.unwrap().into_inner();
    let mut all = Vec::new();
    while let Some(answer) = answers.message().await.unwrap() {
        all.push(answer);
    }
    all
}

fn answer(response: &ServerReflectionResponse) -> &MessageResponse {
    response.message_response.as_ref().unwrap()
}

/// Names of the files of an answer.
fn files(response: &ServerReflectionResponse) -> Vec<String> {
    let MessageResponse::FileDescriptorResponse(files) = answer(response) else {
        panic!("no files: {response:?}")
    };
    let name =
        |file: &Vec<u8>| FileDescriptorProto::decode(file.as_slice()).unwrap().name().to_owned();
    files.file_descriptor_proto.iter().map(name).collect()
}

fn error(response: &ServerReflectionResponse) -> Code {
    match answer(response) {
        MessageResponse::ErrorResponse(error) => Code::from_i32(error.error_code),
        other => panic!("{other:?}"),
    }
}

on_both_stores!(every_served_service_is_listed, |env| {
    let answers = ask(&env, vec![Some(MessageRequest::ListServices(String::new()))]).await;
    let MessageResponse::ListServicesResponse(list) = answer(&answers[0]) else {
        panic!("{answers:?}")
    };
    let names: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
    let expected = [
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
        "larder.v1.AdminService",
        "larder.v1.CacheService",
    ];
    assert_eq!(names, expected);
});

on_both_stores!(symbols_of_all_kinds_are_found, |env| {
    let cases = [
        ("larder.v1.CacheService", "larder/v1/cache_service.proto"),
        ("larder.v1.CacheService.Get", "larder/v1/cache_service.proto"),
        ("larder.v1.GetRequest", "larder/v1/cache_service.proto"),
        ("larder.v1.GetRequest.ParamsEntry", "larder/v1/cache_service.proto"),
        ("larder.v1.Outcome", "larder/v1/cache_service.proto"),
        ("larder.v1.OUTCOME_HIT", "larder/v1/cache_service.proto"),
        ("larder.v1.GetRequest.key", "larder/v1/cache_service.proto"),
        ("larder.v1.AdminService.Warm", "larder/v1/admin_service.proto"),
        ("grpc.health.v1.Health.List", "grpc/health/v1/health.proto"),
        ("grpc.health.v1.HealthCheckResponse.ServingStatus", "grpc/health/v1/health.proto"),
        ("google.rpc.ErrorInfo", "error_details.proto"),
        ("google.protobuf.Duration", "google/protobuf/duration.proto"),
    ];
    for (symbol, file) in cases {
        let question = MessageRequest::FileContainingSymbol(symbol.to_owned());
        let found = files(&ask(&env, vec![Some(question)]).await[0]);
        assert!(found[0].ends_with(file), "{symbol}: {found:?}");
    }
});

on_both_stores!(files_come_with_their_imports, |env| {
    let service = MessageRequest::FileByFilename("larder/v1/cache_service.proto".to_owned());
    let answers = ask(&env, vec![Some(service.clone()), Some(service)]).await;
    let found = files(&answers[0]);
    assert_eq!(found[0], "larder/v1/cache_service.proto");
    assert!(found.contains(&"google/protobuf/duration.proto".to_owned()), "{found:?}");
    // The imports are not sent again on the same stream.
    assert_eq!(files(&answers[1]), ["larder/v1/cache_service.proto"]);
    assert_eq!(answers[0].valid_host, "a host");
});

on_both_stores!(errors_are_answers_and_the_stream_goes_on, |env| {
    let extension = |number| ExtensionRequest {
        containing_type: "larder.v1.GetRequest".to_owned(),
        extension_number: number,
    };
    let questions = vec![
        Some(MessageRequest::FileByFilename("nope.proto".to_owned())),
        Some(MessageRequest::FileContainingSymbol("larder.v1.Nope".to_owned())),
        Some(MessageRequest::FileContainingSymbol("larder.v1".to_owned())),
        Some(MessageRequest::FileContainingExtension(extension(7))),
        Some(MessageRequest::AllExtensionNumbersOfType("larder.v1.Nope".to_owned())),
        None,
        Some(MessageRequest::AllExtensionNumbersOfType("larder.v1.GetRequest".to_owned())),
    ];
    let answers = ask(&env, questions.clone()).await;
    assert_eq!(answers.len(), questions.len());
    for answer in &answers[..5] {
        assert_eq!(error(answer), Code::NotFound, "{answer:?}");
    }
    assert_eq!(error(&answers[5]), Code::InvalidArgument);
    let MessageResponse::AllExtensionNumbersResponse(numbers) = answer(&answers[6]) else {
        panic!("{answers:?}")
    };
    assert_eq!(numbers.base_type_name, "larder.v1.GetRequest");
    assert!(numbers.extension_number.is_empty());
    for (answer, question) in answers.iter().zip(questions) {
        assert_eq!(answer.original_request.as_ref().unwrap().message_request, question);
    }
});
