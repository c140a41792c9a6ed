//! gRPC origin in Rust: Larder fetches missing values from the map that this server holds.
//!
//! ```sh
//! cargo run
//! ```
//!
//! and in the configuration of Larder:
//!
//! ```toml
//! [namespaces.user.origin]
//! grpc = "http://127.0.0.1:50052"
//! ```

use std::{collections::HashMap, env, net::SocketAddr};

use tonic::{Request, Response, Status, transport::Server};

use pb::{
    BatchFetchRequest, BatchFetchResponse, BatchFetchResult, FetchRequest, FetchResponse, NotFound,
    NotModified, Value,
    batch_fetch_result::Result as BatchResult,
    fetch_response::Outcome,
    origin_service_server::{OriginService, OriginServiceServer},
    value::Kind,
};

mod pb {
    tonic::include_proto!("larder.origin.v1");
}

/// Stands in for a database.
struct Users(HashMap<String, User>);

struct User {
    json: String,
    version: u64,
}

impl Users {
    fn look_up(&self, request: &FetchRequest) -> FetchResponse {
        let Some(user) = self.0.get(&request.key) else {
            // Not an error: Larder caches that the key does not exist.
            let outcome = Some(Outcome::NotFound(NotFound {}));
            return FetchResponse { outcome, ttl: seconds(10), ..Default::default() };
        };
        let etag = user.version.to_string();
        let outcome = if request.previous_etag == etag {
            Outcome::NotModified(NotModified {})
        } else {
            Outcome::Value(Value { kind: Some(Kind::Json(user.json.clone())) })
        };
        FetchResponse { outcome: Some(outcome), ttl: seconds(300), etag, ..Default::default() }
    }
}

#[tonic::async_trait]
impl OriginService for Users {
    async fn fetch(
        &self,
        request: Request<FetchRequest>,
    ) -> Result<Response<FetchResponse>, Status> {
        Ok(Response::new(self.look_up(request.get_ref())))
    }

    // Optional: after Status::unimplemented, Larder fetches one key at a time.
    async fn batch_fetch(
        &self,
        request: Request<BatchFetchRequest>,
    ) -> Result<Response<BatchFetchResponse>, Status> {
        let result = |request| BatchFetchResult {
            result: Some(BatchResult::Response(self.look_up(request))),
        };
        Ok(Response::new(BatchFetchResponse {
            results: request.get_ref().requests.iter().map(result).collect(),
        }))
    }
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address: SocketAddr =
        env::var("ADDRESS").unwrap_or_else(|_| "127.0.0.1:50052".to_owned()).parse()?;
    let ada = User { json: r#"{"name": "Ada Lovelace"}"#.to_owned(), version: 1 };
    let users = Users(HashMap::from([("ada".to_owned(), ada)]));
    println!("origin on {address}");
    Server::builder().add_service(OriginServiceServer::new(users)).serve(address).await?;
    Ok(())
}
