//! For tests: a fake of the server in the process, and a runner of the real one.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), larder_client::Error> {
//! use larder_client::testing::FakeLarder;
//!
//! let fake = FakeLarder::new();
//! let client = fake.client().connect_lazy()?;
//! let users = client.namespace::<String>("users");
//! users.set("7", &"Ada".to_owned()).await?;
//! fake.advance(std::time::Duration::from_secs(3600));
//! assert!(!users.get("7").await?.found());
//! # Ok(())
//! # }
//! ```

mod checks;
mod entries;
mod fake;
mod fetches;
mod invalidations;
mod leases;
mod patches;
mod server;
mod service;
mod store;
mod watches;

pub use fake::{FakeCall, FakeFailure, FakeLarder};
pub use server::{LarderServer, ServerError, ServerOptions};
pub use store::FakeNamespace;
