//! Looks an answer up, and calls the service if there is none.

use super::*;

/// Where the request of a service waits for its answer.
pub(super) struct Waiting<E> {
    /// For an answer that is not cached.
    pub(super) live: oneshot::Sender<Live<E>>,
    /// For one that is: its request gets it even if the cache ends meanwhile.
    pub(super) made: Arc<Mutex<Option<Stored>>>,
}

/// The result of a lookup.
pub(super) enum Found<E> {
    /// The answer of the service to this request.
    Live(Live<E>),
    /// As `Live`, for an answer that may be cached.
    Made(Stored),
    Read(Read<Entry>),
    /// The cache cannot help.
    Nothing,
}

impl Engine {
    pub(super) async fn read<S, Q, B>(
        self: &Arc<Self>,
        lookup: &Arc<Lookup>,
        names: &[HeaderName],
        refresh: bool,
        turn: &Turn<S, Q>,
    ) -> Found<S::Error>
    where
        S: Service<Request<Q>, Response = Response<B>> + Send + 'static,
        S::Future: Send,
        S::Error: Send + 'static,
        Q: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let (sender, mut live) = oneshot::channel();
        let made = Arc::<Mutex<Option<Stored>>>::default();
        // The service goes on until its request and the computation are gone.
        let (ending, wanted) = watch::channel(());
        let load = {
            let (engine, lookup, turn) = (Arc::clone(self), Arc::clone(lookup), Arc::clone(turn));
            let (names, wanted) = (names.to_vec(), wanted.clone());
            let waiting = Waiting { live: sender, made: Arc::clone(&made) };
            move || async move {
                let _wanted = wanted;
                let making = async move {
                    tokio::select! {
                        loaded = engine.load(&lookup, &names, &turn, waiting) => loaded,
                        () = ending.closed() => Err(ServiceFailed),
                    }
                };
                let loaded = tokio::spawn(crate::telemetry::in_trace(making)).await;
                loaded.unwrap_or_else(|error| match error.try_into_panic() {
                    Ok(panic) => std::panic::resume_unwind(panic),
                    Err(_) => Err(ServiceFailed),
                })
            }
        };
        let options = FetchOptions::default().timeout(JOINED).read(Self::read_options());
        let options = if refresh { options.refresh() } else { options };
        let handle = self.handle.clone();
        let key = lookup.variant(names);
        let mut reading =
            Box::pin(async move { handle.get_or_fetch_with(key, options, load).await });
        let (ended, live) = tokio::select! {
            biased;
            sent = &mut live => match sent {
                Ok(live) => {
                    // The marker that spares later requests the wait is stored all the same.
                    tokio::spawn(reading);
                    return Found::Live(live);
                }
                Err(_) => (reading.await, None),
            },
            ended = &mut reading => match live.try_recv() {
                Ok(live) => return Found::Live(live),
                Err(TryRecvError::Empty) => (ended, Some(live)),
                Err(TryRecvError::Closed) => (ended, None),
            },
        };
        match ended {
            Ok(read) => return Found::Read(read),
            // The service has failed for another request.
            Err(FetchError::Loader(_)) => {}
            Err(FetchError::Cache(error)) => {
                tracing::warn!("an answer does not come from the cache: {error}");
            }
        }
        // The cache can end while the service makes the answer.
        if let Some(live) = live
            && let Ok(live) = live.await
        {
            return Found::Live(live);
        }
        drop(wanted);
        made.lock().take().map_or(Found::Nothing, Found::Made)
    }
}
