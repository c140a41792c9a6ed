//! A scripted gRPC origin: it records requests and answers as configured.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use larder::pb::origin::v1::{
    BatchFetchRequest, BatchFetchResponse, BatchFetchResult, FetchError, FetchRequest,
    FetchResponse, Value, batch_fetch_result,
    fetch_response::Outcome,
    origin_service_server::{OriginService, OriginServiceServer},
    value::Kind,
};
use tokio::{net::TcpListener, task::JoinHandle};
use tonic::{Request, Response, Status, metadata::MetadataMap, transport::Server};

type Answer = dyn Fn(&FetchRequest) -> Result<FetchResponse, Status> + Send + Sync;

/// A scripted gRPC origin, stopped when dropped.
pub(crate) struct GrpcOrigin {
    address: SocketAddr,
    service: Service,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Service(Arc<State>);

struct State {
    answer: Mutex<Arc<Answer>>,
    requests: Mutex<Vec<FetchRequest>>,
    batches: Mutex<Vec<usize>>,
    metadata: Mutex<MetadataMap>,
    delay: Mutex<Duration>,
    has_batches: AtomicBool,
}

impl GrpcOrigin {
    /// Starts an origin that answers each key with the text `<key>!`.
    pub(crate) async fn start() -> Self {
        let state = State {
            answer: Mutex::new(Arc::new(|request: &FetchRequest| {
                Ok(value(&format!("{}!", request.key)))
            })),
            requests: Mutex::default(),
            batches: Mutex::default(),
            metadata: Mutex::default(),
            delay: Mutex::default(),
            has_batches: AtomicBool::new(true),
        };
        let service = Service(Arc::new(state));
        let (address, task) = serve("127.0.0.1:0".parse().unwrap(), service.clone()).await;
        Self { address, service, task }
    }

    /// Closes all connections and restarts on the same port.
    pub(crate) async fn restart(&mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
        self.task = serve(self.address, self.service.clone()).await.1;
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sets the answer to each request.
    pub(crate) fn answer(
        &self,
        answer: impl Fn(&FetchRequest) -> Result<FetchResponse, Status> + Send + Sync + 'static,
    ) {
        *self.service.0.answer.lock().unwrap() = Arc::new(answer);
    }

    /// Sets the delay of each call.
    pub(crate) fn set_delay(&self, duration: Duration) {
        *self.service.0.delay.lock().unwrap() = duration;
    }

    /// Makes BatchFetch unimplemented.
    pub(crate) fn without_batches(&self) {
        self.service.0.has_batches.store(false, SeqCst);
    }

    /// All requested keys so far, single and in batches, in order.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.service.0.requests.lock().unwrap().iter().map(|request| request.key.clone()).collect()
    }

    /// The last request.
    pub(crate) fn last(&self) -> FetchRequest {
        self.service.0.requests.lock().unwrap().last().unwrap().clone()
    }

    /// Sizes of the batches so far.
    pub(crate) fn batches(&self) -> Vec<usize> {
        self.service.0.batches.lock().unwrap().clone()
    }

    /// A metadata value of the last call.
    pub(crate) fn metadata(&self, name: &str) -> Option<String> {
        let metadata = self.service.0.metadata.lock().unwrap();
        metadata.get(name).map(|value| value.to_str().unwrap().to_owned())
    }
}

impl Drop for GrpcOrigin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(address: SocketAddr, service: Service) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    let service = OriginServiceServer::new(service);
    let task = tokio::spawn(async move {
        Server::builder().add_service(service).serve_with_incoming(incoming).await.unwrap();
    });
    (address, task)
}

/// A response with a text.
pub(crate) fn value(text: &str) -> FetchResponse {
    outcome(Outcome::Value(Value { kind: Some(Kind::Text(text.to_owned().into())) }))
}

pub(crate) fn outcome(outcome: Outcome) -> FetchResponse {
    FetchResponse { outcome: Some(outcome), ..Default::default() }
}

impl Service {
    async fn begin(&self, metadata: &MetadataMap) {
        *self.0.metadata.lock().unwrap() = metadata.clone();
        let delay = *self.0.delay.lock().unwrap();
        tokio::time::sleep(delay).await;
    }

    fn fetch_one(&self, request: FetchRequest) -> Result<FetchResponse, Status> {
        let answer = self.0.answer.lock().unwrap().clone();
        let answered = answer(&request);
        self.0.requests.lock().unwrap().push(request);
        answered
    }
}

#[tonic::async_trait]
impl OriginService for Service {
    async fn fetch(
        &self,
        request: Request<FetchRequest>,
    ) -> Result<Response<FetchResponse>, Status> {
        self.begin(request.metadata()).await;
        self.fetch_one(request.into_inner()).map(Response::new)
    }

    async fn batch_fetch(
        &self,
        request: Request<BatchFetchRequest>,
    ) -> Result<Response<BatchFetchResponse>, Status> {
        if !self.0.has_batches.load(SeqCst) {
            return Err(Status::unimplemented("no batches"));
        }
        self.begin(request.metadata()).await;
        let requests = request.into_inner().requests;
        self.0.batches.lock().unwrap().push(requests.len());
        let results = requests.into_iter().map(|request| {
            let result = match self.fetch_one(request) {
                Ok(response) => batch_fetch_result::Result::Response(response),
                Err(status) => batch_fetch_result::Result::Error(FetchError {
                    code: status.code().into(),
                    message: status.message().to_owned(),
                    retry_after: None,
                }),
            };
            BatchFetchResult { result: Some(result) }
        });
        Ok(Response::new(BatchFetchResponse { results: results.collect() }))
    }
}
