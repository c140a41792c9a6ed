//! The configuration of the running server, as operators may see it.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::{config::Config, pb::v1 as pb};

/// The configuration that was applied last. Clones share it.
#[derive(Clone)]
pub struct RunningConfig {
    started_with: Arc<Config>,
    shown: Arc<ArcSwap<pb::GetConfigResponse>>,
}

impl RunningConfig {
    /// The configuration with which the server starts.
    pub fn new(config: &Config) -> Self {
        Self {
            started_with: Arc::new(config.clone()),
            shown: Arc::new(ArcSwap::from_pointee(response(config, Vec::new()))),
        }
    }

    /// Another configuration was read.
    pub fn set(&self, config: &Config) {
        let needs_restart = self.started_with.needs_restart(config);
        self.shown.store(Arc::new(response(config, needs_restart)));
    }

    pub(super) fn response(&self) -> pb::GetConfigResponse {
        pb::GetConfigResponse::clone(&self.shown.load())
    }
}

fn response(config: &Config, needs_restart: Vec<String>) -> pb::GetConfigResponse {
    pb::GetConfigResponse {
        toml: config.render(),
        needs_restart,
        server_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_that_need_a_restart_are_named() {
        let mut config = Config::default();
        let running = RunningConfig::new(&config);
        assert!(running.response().needs_restart.is_empty());
        assert_eq!(running.response().toml, config.render());
        config.strict_namespaces = true;
        config.limits.max_batch_keys = 7;
        running.set(&config);
        let shown = running.response();
        assert!(shown.toml.contains("max_batch_keys = 7"));
        assert_eq!(shown.needs_restart, ["limits.max_batch_keys"]);
    }
}
