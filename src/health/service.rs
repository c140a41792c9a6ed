//! The gRPC health service, by the comments of `grpc/health/v1/health.proto`.

use std::{collections::HashMap, pin::Pin, sync::Arc};

use futures_util::{Stream, stream};
use tokio::sync::watch;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::pb::health::v1::{
    HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse,
    health_check_response::ServingStatus, health_server,
};

/// Longest name of a service in a Watch, in bytes. An open stream keeps it.
const MAX_NAME: usize = 256;

/// Maximum number of services in a List, by the proto.
const MAX_LISTED: usize = 100;
/// Domain of the reasons of errors.
const DOMAIN: &str = "larder";

/// The status of each service. Clones share it.
#[derive(Clone)]
pub struct ServiceStatuses(Arc<watch::Sender<Table>>);

#[derive(Default)]
struct Table {
    services: HashMap<String, ServingStatus>,
    /// Whether watches end.
    is_closed: bool,
}

/// Progress of one Watch stream.
struct WatchState {
    table: watch::Receiver<Table>,
    service: String,
    /// `None` before the first message.
    sent: Option<ServingStatus>,
    has_ended: bool,
}

// === impl ServiceStatuses ===

impl ServiceStatuses {
    /// No service.
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Table::default())))
    }

    /// Sets the status of a service, and notifies its watches if it has changed.
    pub(super) fn set(&self, service: &str, is_healthy: bool) {
        let status = if is_healthy { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.0.send_if_modified(|table| match table.services.get_mut(service) {
            Some(current) => std::mem::replace(current, status) != status,
            None => table.services.insert(service.to_owned(), status).is_none(),
        });
    }

    /// Removes a service. Its watches learn that it is unknown.
    pub(super) fn remove(&self, service: &str) {
        self.0.send_if_modified(|table| table.services.remove(service).is_some());
    }

    /// Ends all watches, now and from now on.
    pub(super) fn end_watches(&self) {
        self.0.send_modify(|table| table.is_closed = true);
    }

    fn get(&self, service: &str) -> Option<ServingStatus> {
        self.0.borrow().services.get(service).copied()
    }
}

#[tonic::async_trait]
impl health_server::Health for ServiceStatuses {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = &request.get_ref().service;
        let unknown = || {
            // The name is that of a peer, and may have any length.
            let shown: String = service.chars().take(100).collect();
            Status::not_found(format!(
                "there is no service {shown}: use an empty name, liveness, store or \
                 origin/<namespace>"
            ))
        };
        let status = self.get(service).ok_or_else(unknown)?;
        Ok(Response::new(HealthCheckResponse { status: status.into() }))
    }

    async fn list(
        &self,
        _: Request<HealthListRequest>,
    ) -> Result<Response<HealthListResponse>, Status> {
        let table = self.0.borrow();
        let count = table.services.len();
        if count > MAX_LISTED {
            let message = format!("there are {count} services, the limit is {MAX_LISTED}");
            let details =
                ErrorDetails::with_error_info("TOO_MANY_SERVICES", DOMAIN, HashMap::new());
            return Err(Status::with_error_details(Code::ResourceExhausted, message, details));
        }
        let response = |status: ServingStatus| HealthCheckResponse { status: status.into() };
        let services = table.services.iter();
        let statuses = services.map(|(service, status)| (service.clone(), response(*status)));
        Ok(Response::new(HealthListResponse { statuses: statuses.collect() }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let service = request.into_inner().service;
        if service.len() > MAX_NAME {
            let size = service.len();
            let message = format!("service is {size} bytes long, the limit is {MAX_NAME}");
            return Err(Status::invalid_argument(message));
        }
        let table = self.0.subscribe();
        let state = WatchState { table, service, sent: None, has_ended: false };
        let messages = stream::unfold(state, async |mut state| {
            let message = state.next().await?;
            Some((message, state))
        });
        Ok(Response::new(Box::pin(messages)))
    }
}

// === impl WatchState ===

impl WatchState {
    /// The next message: the first at once, and then one for each change.
    async fn next(&mut self) -> Option<Result<HealthCheckResponse, Status>> {
        if self.has_ended {
            return None;
        }
        loop {
            let (status, is_closed) = {
                let table = self.table.borrow_and_update();
                let status = table.services.get(&self.service).copied();
                (status.unwrap_or(ServingStatus::ServiceUnknown), table.is_closed)
            };
            if self.sent.replace(status) != Some(status) {
                return Some(Ok(HealthCheckResponse { status: status.into() }));
            }
            if is_closed || self.table.changed().await.is_err() {
                self.has_ended = true;
                return Some(Err(Status::unavailable("the server is shutting down")));
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use futures_util::{FutureExt as _, StreamExt as _};
    use tonic::Code;

    use super::*;
    use crate::pb::health::v1::health_server::Health as _;

    type Messages = <ServiceStatuses as health_server::Health>::WatchStream;

    fn request(service: &str) -> Request<HealthCheckRequest> {
        Request::new(HealthCheckRequest { service: service.to_owned() })
    }

    async fn watch(statuses: &ServiceStatuses, service: &str) -> Messages {
        statuses.watch(request(service)).await.unwrap().into_inner()
    }

    /// The next message; `None` if there is none yet.
    fn received(messages: &mut Messages) -> Option<Result<ServingStatus, Code>> {
        let message = messages.next().now_or_never()?.unwrap();
        Some(message.map(|message| message.status()).map_err(|status| status.code()))
    }

    #[tokio::test]
    async fn unknown_service_is_watched_until_it_is_known() {
        let statuses = ServiceStatuses::new();
        let mut messages = watch(&statuses, "a").await;
        assert_eq!(received(&mut messages), Some(Ok(ServingStatus::ServiceUnknown)));
        statuses.set("b", true);
        assert_eq!(received(&mut messages), None);
        statuses.set("a", true);
        assert_eq!(received(&mut messages), Some(Ok(ServingStatus::Serving)));
        statuses.set("a", true);
        assert_eq!(received(&mut messages), None);
        statuses.remove("a");
        assert_eq!(received(&mut messages), Some(Ok(ServingStatus::ServiceUnknown)));
    }

    #[tokio::test]
    async fn check_of_an_unknown_service_is_not_found() {
        let refused = ServiceStatuses::new().check(request("a")).await;
        assert_eq!(refused.unwrap_err().code(), Code::NotFound);
    }

    #[tokio::test]
    async fn all_services_are_listed_up_to_a_limit() {
        let statuses = ServiceStatuses::new();
        for number in 0..MAX_LISTED {
            statuses.set(&number.to_string(), number == 7);
        }
        let list = || statuses.list(Request::new(HealthListRequest {}));
        let listed = list().await.unwrap().into_inner().statuses;
        assert_eq!(listed.len(), MAX_LISTED);
        let serving = |(_, one): &(_, &HealthCheckResponse)| one.status() == ServingStatus::Serving;
        assert_eq!(listed.iter().filter(serving).map(|(name, _)| name).collect::<Vec<_>>(), ["7"]);
        statuses.set("one more", true);
        assert_eq!(list().await.unwrap_err().code(), Code::ResourceExhausted);
    }

    #[tokio::test]
    async fn watches_end_at_shutdown_after_the_last_status() {
        let statuses = ServiceStatuses::new();
        statuses.set("", true);
        let mut messages = watch(&statuses, "").await;
        assert_eq!(received(&mut messages), Some(Ok(ServingStatus::Serving)));
        statuses.set("", false);
        statuses.end_watches();
        assert_eq!(received(&mut messages), Some(Ok(ServingStatus::NotServing)));
        assert_eq!(received(&mut messages), Some(Err(Code::Unavailable)));
        assert!(messages.next().now_or_never().unwrap().is_none());
        let mut late = watch(&statuses, "").await;
        assert_eq!(received(&mut late), Some(Ok(ServingStatus::NotServing)));
        assert_eq!(received(&mut late), Some(Err(Code::Unavailable)));
    }

    #[tokio::test]
    async fn long_name_is_refused() {
        let refused = ServiceStatuses::new().watch(request(&"x".repeat(257))).await;
        assert!(refused.is_err_and(|status| status.code() == Code::InvalidArgument));
    }
}
