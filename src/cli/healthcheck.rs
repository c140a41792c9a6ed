//! `larder healthcheck`, for containers without other tools.

use std::process::ExitCode;

use super::{
    HealthcheckArgs,
    client::{self, Error, RemoteServer},
};
use crate::pb::health::v1::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

pub(super) fn run(args: &HealthcheckArgs) -> ExitCode {
    let address = args.address.clone().unwrap_or_else(client::server_address);
    client::run(Some(&address), &args.connect, async |server: RemoteServer| {
        let request = HealthCheckRequest { service: args.service.clone() };
        match HealthClient::new(server.connection.clone()).check(request).await {
            Ok(response) => match response.into_inner().status() {
                ServingStatus::Serving => {
                    super::print("SERVING\n").map_err(Error::Output)?;
                    Ok(())
                }
                status @ (ServingStatus::NotServing
                | ServingStatus::ServiceUnknown
                | ServingStatus::Unknown) => {
                    Err(Error::Unhealthy { address: server.address, status: status.as_str_name() })
                }
            },
            Err(status) => Err(server.failed(status)),
        }
    })
}
