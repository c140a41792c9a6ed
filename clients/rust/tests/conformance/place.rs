//! The server under a case.

use std::{sync::Arc, time::Duration};

use larder_client::{Client, ClientBuilder};
use serde_json::json;

use crate::{
    control::Control,
    data,
    value::Value,
};

/// A server, with what the control program or the fake offers.
pub enum Place {
    Real { control: Arc<Control>, accepted: i128 },
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
        let Self::Real { control, .. } = self;
        let Some(target) = target else { return Client::builder(control.address(via).await) };
        let mut named = target.to_owned();
        for name in ["server", "proxy", "gateway"] {
            let placeholder = format!("{{{name}}}");
            if named.contains(&placeholder) {
                named = named.replace(&placeholder, &control.address(name).await);
            }
        }
        Client::builder(named)
    }

    /// Lets time pass.
    pub async fn advance(&self, time: Duration) {
        let Self::Real { .. } = self;
        tokio::time::sleep(time).await;
    }

    pub async fn server(&self, state: &str) {
        let Self::Real { control, .. } = self;
        control.server(state).await;
    }

    pub async fn run(&self, command: &str, arguments: serde_json::Value) -> Value {
        let Self::Real { control, .. } = self;
        control.run(command, arguments).await
    }

    pub async fn connections(&self) -> Value {
        let Self::Real { control, accepted } = self;
        let found = control.run("connections", json!({})).await;
        let number = |name| found.field(name).and_then(Value::as_int).unwrap_or_default();
        let new = Value::Int(number("accepted") - accepted);
        data::map([("accepted", new), ("open", Value::Int(number("open")))])
    }

    pub async fn restore(&self) {
        let Self::Real { control, .. } = self;
        control.restore().await;
    }
}
