//! `larder top`: the figures of a running fleet on a full screen, or once as text or JSON.
//!
//! [`polling`] calls the server, [`model`] makes figures of its answers, and views draw them.

mod answers;
mod figures;
mod keys;
mod model;
mod plain;
mod polling;
mod screen;
mod state;
mod terminal;
mod units;
mod views;

use std::{io, time::Duration};

use self::{
    figures::TopFigures,
    model::Model,
    polling::{HOT_NAMESPACES, Poller, Wanted},
    screen::Screen,
};
use super::{
    client::{self, Error},
    security::SecurityArgs,
};

/// The server, and how often it is called.
pub(super) struct TopOptions {
    pub(super) address: String,
    /// Time limit for connecting, and for each answer.
    pub(super) limit: Duration,
    pub(super) security: SecurityArgs,
}

/// Why the full screen ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum TopError {
    #[error(transparent)]
    Client(#[from] Error),
    #[error("cannot use the terminal")]
    Terminal(#[from] io::Error),
}

/// The figures of one time, as text or JSON.
pub(super) struct OneView(TopFigures);

impl OneView {
    /// Connects, and calls the server once.
    ///
    /// # Errors
    /// The server cannot be reached, refuses the call for statistics, or does not answer in time.
    pub(super) fn collect(options: &TopOptions) -> Result<Self, Error> {
        client::block_on(async {
            let mut poller = connect(options).await?;
            let mut model = Model::new(options.address.clone());
            let round = poller.round(&Wanted::default()).await;
            if let Some(failure) = round.failure {
                return Err(failure);
            }
            let mut answers = Vec::new();
            for answer in round.answers {
                model.apply(0.0, answer);
            }
            poller.hot_keys(&model.busiest(HOT_NAMESPACES), &mut answers).await?;
            for answer in answers {
                model.apply(0.0, answer);
            }
            Ok(Self(model.figures()))
        })
    }

    /// The figures as plain text.
    pub(super) fn text(&self) -> String {
        plain::text(&self.0)
    }

    /// The figures as a value for JSON.
    pub(super) fn figures(&self) -> &impl serde::Serialize {
        &self.0
    }
}

/// Connects, and shows the figures on the whole terminal until a key or a signal ends it.
///
/// # Errors
/// As [`OneView::collect`], for the first calls only; or the terminal cannot be used.
pub(super) fn show(options: &TopOptions, interval: Duration) -> Result<(), TopError> {
    client::block_on(async {
        let mut poller = connect(options).await?;
        let mut screen = Screen::new(options.address.clone());
        let first = poller.round(&Wanted::default()).await;
        if let Some(failure) = first.failure {
            return Err(failure.into());
        }
        screen.apply(first);
        Ok(screen.run(poller, interval).await?)
    })
}

async fn connect(options: &TopOptions) -> Result<Poller, Error> {
    let connecting = client::connect(options.address.clone(), &options.security);
    let server = client::within(options.limit, &options.address, connecting).await?;
    Ok(Poller::new(server, options.limit))
}
