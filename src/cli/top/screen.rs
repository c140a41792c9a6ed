//! The loop of the full screen: keys, answers, and time.

use std::{io, time::Duration};

use crossterm::event::{Event, EventStream};
use futures_util::StreamExt as _;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{Instant, sleep_until},
};

use super::{
    answers::Answer,
    figures::TopFigures,
    keys,
    model::Model,
    polling::{HOT_NAMESPACES, Poller, Round, Wanted},
    state::{Panel, ViewState},
    terminal::FullScreen,
    views::{self, Scene, Theme},
};
use crate::error_chain::ErrorChain;

/// Time after which the ages on the screen are drawn anew.
const TICK: Duration = Duration::from_secs(1);

/// State of the full screen.
pub(super) struct Screen {
    model: Model,
    figures: TopFigures,
    state: ViewState,
    theme: Theme,
    started_at: Instant,
    answered_at: Instant,
    /// Why the last round of calls had no answer.
    failure: Option<String>,
}

/// Signals that end the view.
struct EndingSignals([Signal; 3]);

impl Screen {
    pub(super) fn new(address: String) -> Self {
        let now = Instant::now();
        let model = Model::new(address);
        Self {
            figures: model.figures(),
            model,
            state: ViewState::default(),
            theme: Theme::from_environment(),
            started_at: now,
            answered_at: now,
            failure: None,
        }
    }

    /// Applies the answers of a round of calls.
    pub(super) fn apply(&mut self, round: Round) {
        let at = self.started_at.elapsed().as_secs_f64();
        if round.answers.iter().any(|answer| matches!(answer, Answer::Stats(_))) {
            self.answered_at = Instant::now();
        }
        for answer in round.answers {
            self.model.apply(at, answer);
        }
        self.failure = round.failure.map(|failure| ErrorChain(&failure).to_string());
        if !self.state.is_paused {
            self.figures = self.model.figures();
        }
    }

    /// Shows the figures and calls the server every `interval`, until a key or a signal ends it.
    /// While calls are under way, no others begin.
    ///
    /// # Errors
    /// The terminal cannot be used.
    pub(super) async fn run(mut self, poller: Poller, interval: Duration) -> io::Result<()> {
        let mut signals = EndingSignals::new()?;
        let mut screen = FullScreen::open()?;
        let mut events = EventStream::new();
        let (requests, mut rounds) = calls(poller);
        let (mut is_waiting, mut next) = (false, Instant::now() + interval);
        loop {
            self.draw(&mut screen)?;
            tokio::select! {
                event = events.next() => {
                    let Some(event) = event else { return Ok(()) };
                    if self.handle(&event?) {
                        return Ok(());
                    }
                }
                Some(round) = rounds.recv() => {
                    self.apply(round);
                    (is_waiting, next) = (false, Instant::now() + interval);
                }
                () = sleep_until(next), if !is_waiting && !self.state.is_paused => {
                    is_waiting = requests.try_send(self.wanted()).is_ok();
                }
                () = sleep_until(Instant::now() + TICK) => {}
                () = signals.received() => return Ok(()),
            }
        }
    }

    fn draw(&mut self, screen: &mut FullScreen) -> io::Result<()> {
        let opened = self.opened().map(|name| self.model.detail(name));
        let scene = Scene {
            figures: &self.figures,
            detail: opened.as_ref(),
            state: &self.state,
            theme: self.theme,
            age: self.answered_at.elapsed().as_secs_f64(),
            failure: self.failure.as_deref(),
        };
        let drawn = screen.draw(|frame| views::draw(frame, &scene))?;
        (self.state.offset, self.state.drawn) = (drawn.offset, drawn.rows);
        Ok(())
    }

    /// Applies a key. Returns whether the view ends. A new size is drawn in any case.
    fn handle(&mut self, event: &Event) -> bool {
        let Some(key) = event.as_key_event() else { return false };
        let was_paused = self.state.is_paused;
        let ends = keys::apply(key, &mut self.state, &self.figures);
        if was_paused && !self.state.is_paused {
            self.figures = self.model.figures();
        }
        ends
    }

    fn opened(&self) -> Option<&str> {
        match &self.state.panel {
            Panel::Namespace(name) => Some(name),
            Panel::Overview | Panel::HotKeys | Panel::Origins | Panel::Replicas => None,
        }
    }

    /// The namespaces about which the screen shows more.
    fn wanted(&self) -> Wanted {
        let mut hot = self.model.busiest(HOT_NAMESPACES);
        if let Some(opened) = self.opened()
            && !hot.iter().any(|name| name == opened)
        {
            hot.push(opened.to_owned());
        }
        Wanted { hot, opened: self.opened().map(str::to_owned) }
    }
}

/// A task that makes one round of calls for each request.
fn calls(mut poller: Poller) -> (mpsc::Sender<Wanted>, mpsc::Receiver<Round>) {
    let (requests, mut requested) = mpsc::channel::<Wanted>(1);
    let (answers, rounds) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(wanted) = requested.recv().await {
            if answers.send(poller.round(&wanted).await).await.is_err() {
                break;
            }
        }
    });
    (requests, rounds)
}

impl EndingSignals {
    fn new() -> io::Result<Self> {
        let kinds = [SignalKind::terminate(), SignalKind::hangup(), SignalKind::interrupt()];
        let [terminate, hangup, interrupt] = kinds.map(signal);
        Ok(Self([terminate?, hangup?, interrupt?]))
    }

    async fn received(&mut self) {
        let [terminate, hangup, interrupt] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}
