//! Busy polling: worker threads poll for events before they sleep.

use std::time::{Duration, Instant};

use crate::support::{
    env::Env,
    fleet::metric,
    wait::{SOON, eventually},
};

/// The longest time allowed, because other processes may delay the caller.
const BUSY_POLL: [(&str, &str); 1] = [("LARDER_BUSY_POLL", "1ms")];

on_both_stores!(polling_finds_events_before_a_thread_sleeps, env: BUSY_POLL, |env| {
    env.cache.put("k", "v").await;
    // The number depends on how soon this process sends the next request, and so on the load of the
    // machine.
    eventually("polls find events", 6 * SOON, async || {
        let before = events_found(&env).await;
        read(&env, 100).await;
        (events_found(&env).await - before >= 50.0).then_some(())
    })
    .await;
    assert!(polling_seconds(&env).await > 0.0);
});

on_both_stores!(idle_threads_sleep, env: BUSY_POLL, |env| {
    env.cache.put("k", "v").await;
    // No request follows the last one.
    eventually("a poll finds no event", SOON, async || {
        let none = "larder_busy_polls_total{outcome=\"none\"}";
        let before = metric(&env.larder, none).await;
        (metric(&env.larder, none).await > before).then_some(())
    })
    .await;
    let (found_earlier, spent_earlier, began) =
        (events_found(&env).await, polling_seconds(&env).await, Instant::now());
    eventually("a while passes", SOON, async || {
        (began.elapsed() > Duration::from_secs(1)).then_some(())
    })
    .await;
    let share = (polling_seconds(&env).await - spent_earlier) / began.elapsed().as_secs_f64();
    assert!(share < 0.3, "{share} of the time was spent polling");
    let found = events_found(&env).await - found_earlier;
    assert!(found < 50.0, "polls found {found} events");
});

on_both_stores!(busy_polling_is_off_by_default, |env| {
    env.cache.put("k", "v").await;
    read(&env, 100).await;
    assert_eq!(metric(&env.larder, "larder_busy_polls_total").await, 0.0);
    assert_eq!(polling_seconds(&env).await, 0.0);
});

async fn read(env: &Env, times: usize) {
    for _ in 0..times {
        assert_eq!(env.cache.read("k").await.as_deref(), Some("v"));
    }
}

async fn events_found(env: &Env) -> f64 {
    metric(&env.larder, "larder_busy_polls_total{outcome=\"event\"}").await
}

async fn polling_seconds(env: &Env) -> f64 {
    metric(&env.larder, "larder_busy_poll_duration_seconds_total").await
}
