//! Server reflection, with which tools such as grpcurl need no proto files: by the comments of
//! `grpc/reflection/v1/reflection.proto`.
//!
//! A question that cannot be answered gets an error as its answer, and the stream stays open. Files
//! are sent with all files that they import, once per stream.

mod descriptors;

use std::{collections::HashSet, pin::Pin, sync::Arc};

use futures_util::{Stream, TryStreamExt as _};
use tonic::{Request, Response, Status, Streaming, codec::CompressionEncoding, service::Routes};
use tonic_reflection::{
    pb::{v1, v1alpha},
    server::Error,
};

use self::descriptors::{Answer, Descriptors, Question};
use crate::pb;

/// Longest question, in bytes.
const MAX_QUESTION_BYTES: usize = 16 * 1024;

/// Answers questions about the served protos.
struct Reflection(Arc<Descriptors>);

type AnswerStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Adds reflection v1, and v1alpha for older tools.
pub(super) fn add_to(routes: Routes) -> Result<Routes, Error> {
    use v1::server_reflection_server::ServerReflectionServer as V1;
    use v1alpha::server_reflection_server::ServerReflectionServer as V1Alpha;
    let descriptors = Descriptors::new(&[
        pb::FILE_DESCRIPTOR_SET,
        v1::FILE_DESCRIPTOR_SET,
        v1alpha::FILE_DESCRIPTOR_SET,
        // With these, tools can decode the details of errors.
        tonic_types::pb::FILE_DESCRIPTOR_SET,
    ])?;
    let descriptors = Arc::new(descriptors);
    let (one, other) = (Reflection(descriptors.clone()), Reflection(descriptors));
    let v1 = V1::new(one)
        .max_decoding_message_size(MAX_QUESTION_BYTES)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd)
        .send_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Zstd);
    let v1alpha = V1Alpha::new(other)
        .max_decoding_message_size(MAX_QUESTION_BYTES)
        .accept_compressed(CompressionEncoding::Gzip)
        .accept_compressed(CompressionEncoding::Zstd)
        .send_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Zstd);
    Ok(routes.add_service(v1).add_service(v1alpha))
}

/// Implements a version of the service. The versions differ only in the packages of their types.
macro_rules! implement {
    ($version:ident) => {
        #[tonic::async_trait]
        impl $version::server_reflection_server::ServerReflection for Reflection {
            type ServerReflectionInfoStream = AnswerStream<$version::ServerReflectionResponse>;

            async fn server_reflection_info(
                &self,
                request: Request<Streaming<$version::ServerReflectionRequest>>,
            ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
                use $version::{
                    ErrorResponse, ExtensionNumberResponse, FileDescriptorResponse,
                    ListServiceResponse, ServiceResponse,
                    server_reflection_request::MessageRequest as Asked,
                    server_reflection_response::MessageResponse as Answered,
                };

                let (descriptors, mut sent) = (self.0.clone(), HashSet::new());
                let answers = request.into_inner().map_ok(move |request| {
                    let question = match &request.message_request {
                        None => Question::Missing,
                        Some(Asked::FileByFilename(name)) => Question::File(name),
                        Some(Asked::FileContainingSymbol(symbol)) => Question::Symbol(symbol),
                        Some(Asked::FileContainingExtension(extension)) => Question::Extension(
                            &extension.containing_type,
                            extension.extension_number,
                        ),
                        Some(Asked::AllExtensionNumbersOfType(name)) => {
                            Question::ExtensionNumbers(name)
                        }
                        Some(Asked::ListServices(_)) => Question::Services,
                    };
                    let answer = match descriptors.answer(question, &mut sent) {
                        Answer::Files(file_descriptor_proto) => {
                            Answered::FileDescriptorResponse(FileDescriptorResponse {
                                file_descriptor_proto,
                            })
                        }
                        Answer::ExtensionNumbers(base_type_name, extension_number) => {
                            Answered::AllExtensionNumbersResponse(ExtensionNumberResponse {
                                base_type_name,
                                extension_number,
                            })
                        }
                        Answer::Services(names) => {
                            let service = names.into_iter().map(|name| ServiceResponse { name });
                            let service = service.collect();
                            Answered::ListServicesResponse(ListServiceResponse { service })
                        }
                        Answer::Error(code, error_message) => {
                            Answered::ErrorResponse(ErrorResponse {
                                error_code: code.into(),
                                error_message,
                            })
                        }
                    };
                    $version::ServerReflectionResponse {
                        valid_host: request.host.clone(),
                        original_request: Some(request),
                        message_response: Some(answer),
                    }
                });
                Ok(Response::new(Box::pin(answers)))
            }
        }
    };
}

implement!(v1);
implement!(v1alpha);
