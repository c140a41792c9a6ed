//! Runs streams where they arrive: most answers are ready at once, and need no task of their own.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    task::{Context, Poll, Waker},
};

/// Polls a future once in place, and spawns it only if it has to wait for something.
#[derive(Clone, Copy)]
pub(super) struct InlineFirst;

impl<F: Future<Output = ()> + Send + 'static> hyper::rt::Executor<F> for InlineFirst {
    fn execute(&self, future: F) {
        let mut future = Box::pin(future);
        // Nobody is woken by this poll: what is not ready is polled again by its task, which leaves its own word.
        let first = || future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        // A panic must not take the other streams of the connection with it. The panic hook has logged it.
        match catch_unwind(AssertUnwindSafe(first)) {
            Ok(Poll::Ready(())) | Err(_) => {}
            Ok(Poll::Pending) => drop(tokio::spawn(future)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    };

    use hyper::rt::Executor as _;

    use super::*;

    #[tokio::test]
    async fn what_is_ready_is_done_at_once_and_the_rest_goes_on() {
        let (at_once, later) = (Arc::new(AtomicBool::new(false)), Arc::new(tokio::sync::Notify::new()));
        let done = at_once.clone();
        InlineFirst.execute(async move { done.store(true, SeqCst) });
        assert!(at_once.load(SeqCst));
        let (begun, end) = (Arc::new(tokio::sync::Notify::new()), later.clone());
        let go_on = begun.clone();
        InlineFirst.execute(async move {
            go_on.notified().await;
            end.notify_one();
        });
        begun.notify_one();
        later.notified().await;
    }

    #[tokio::test]
    async fn a_panic_stays_where_it_is() {
        InlineFirst.execute(async { panic!("in a stream") });
    }
}
