//! Reflection, so that grpcurl and its like need no proto files. Older tools only know v1alpha.

use tonic::service::Routes;
use tonic_reflection::server::{Builder, Error};

use crate::pb;

/// Adds both versions of the service.
pub(super) fn add_to(routes: Routes) -> Result<Routes, Error> {
    let builder = || {
        Builder::configure()
            .register_encoded_file_descriptor_set(pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            // So that the details of errors can be read too.
            .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
    };
    Ok(routes.add_service(builder().build_v1()?).add_service(builder().build_v1alpha()?))
}
