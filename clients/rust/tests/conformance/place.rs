//! The server under a case.

use std::{sync::Arc, time::Duration};

use larder_client::{Client, ClientBuilder, testing::FakeLarder};
use serde_json::json;

use crate::{control::Control, data, fake_server, value::Value};

/// A server, with what the control program or the fake offers.
pub enum Place {
    Real { control: Arc<Control>, accepted: i128 },
    Fake(FakeLarder),
}

pub const REAL: [&str; 6] = ["server", "proxy", "gateway", "calls", "pass_on", "near_cache"];

impl Place {
    /// The real server, without what a former case has left.
    pub async fn real(control: &Arc<Control>, needs: &[String]) -> Self {
        let mut accepted = 0;
        if ["calls", "gateway", "proxy"].iter().any(|own| needs.iter().any(|need| need == own)) {
            control.clear().await;
            let connections = control.run("connections", json!({})).await;
            accepted = connections.field("accepted").and_then(Value::as_int).unwrap_or_default();
        }
        Self::Real { control: Arc::clone(control), accepted }
    }

    /// A builder of clients that reach the server.
    pub async fn builder(&self, via: &str, target: Option<&str>) -> ClientBuilder {
        let (target, control) = match (self, target) {
            (Self::Fake(fake), None) => return fake.client(),
            (Self::Fake(_), Some(target)) => return Client::builder(target),
            (Self::Real { control, .. }, None) => {
                return Client::builder(control.address(via).await);
            }
            (Self::Real { control, .. }, Some(target)) => (target, control),
        };
        let mut named = target.to_owned();
        for name in ["server", "proxy", "gateway"] {
            let placeholder = format!("{{{name}}}");
            if named.contains(&placeholder) {
                named = named.replace(&placeholder, &control.address(name).await);
            }
        }
        Client::builder(named)
    }

    /// Lets time pass. The clock of the real server cannot be set.
    pub async fn advance(&self, time: Duration) {
        let time = match self {
            Self::Real { .. } => time,
            Self::Fake(fake) => {
                fake.advance(time);
                // Callers run.
                Duration::from_millis(20)
            }
        };
        tokio::time::sleep(time).await;
    }

    pub async fn server(&self, state: &str) {
        match self {
            Self::Real { control, .. } => control.server(state).await,
            Self::Fake(fake) => fake_server::set_state(fake, state),
        }
    }

    pub async fn run(&self, command: &str, arguments: serde_json::Value) -> Value {
        match self {
            Self::Real { control, .. } => control.run(command, arguments).await,
            Self::Fake(fake) => {
                assert_eq!(command, "calls", "the fake has only calls");
                fake_server::calls(fake, arguments["method"].as_str())
            }
        }
    }

    pub async fn connections(&self) -> Value {
        let Self::Real { control, accepted } = self else { return Value::Null };
        let found = control.run("connections", json!({})).await;
        let number = |name| found.field(name).and_then(Value::as_int).unwrap_or_default();
        let new = Value::Int(number("accepted") - accepted);
        data::map([("accepted", new), ("open", Value::Int(number("open")))])
    }

    pub async fn restore(&self) {
        match self {
            Self::Real { control, .. } => control.restore().await,
            Self::Fake(fake) => fake.recover(),
        }
    }
}
