//! Server reflection, with which tools such as grpcurl need no proto files.

use tonic::service::Routes;
use tonic_reflection::server::{Builder, Error};

use crate::pb;

/// Adds reflection v1, and v1alpha for older tools.
pub(super) fn add_to(routes: Routes) -> Result<Routes, Error> {
    let builder = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // With these, tools can decode the details of errors.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(routes.add_service(builder().build_v1()?).add_service(builder().build_v1alpha()?))
}
