//! A first program: `docs/quick-start/rust.md` shows it.

use std::{convert::Infallible, error::Error, time::Duration};

use larder_client::{Client, FetchOptions, Targets};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct User {
    id: u32,
    name: String,
}

async fn load(id: u32) -> Result<User, Infallible> {
    println!("computing {id}"); // a slow query
    Ok(User { id, name: "Ada".to_owned() })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    // The server at LARDER_ENDPOINT, or else at 127.0.0.1:50051.
    let client = Client::from_env().connect_lazy()?;
    let users = client.namespace::<User>("users-rust").ttl(Duration::from_secs(300));

    for _ in 0..3 {
        let options = FetchOptions::default().tags(["team:7"]);
        let read = users.get_or_fetch_with("42", options, || load(42)).await?;
        if let (Some(user), Some(tier)) = (read.value(), read.tier) {
            println!("{} {tier:?}", user.name);
        }
    }

    users.invalidate(&Targets::new().tags(["team:7"])).await?;
    println!("{:?}", users.get("42").await?.outcome);
    client.close().await;
    Ok(())
}
