//! Threads that look for work before they sleep.

use std::time::{Duration, Instant};

use crate::support::{
    env::Env,
    fleet::metric,
    wait::{SOON, eventually},
};

/// As long as can be, as other processes may be in the caller's way.
const BUSY_POLL: [(&str, &str); 1] = [("LARDER_BUSY_POLL", "1ms")];

on_both_stores!(work_is_found_before_a_thread_sleeps, env: BUSY_POLL, |env| {
    env.cache.put("k", "v").await;
    // How many it is depends on how soon this process asks again.
    eventually("work is found", SOON, async || {
        let before = found(&env).await;
        read(&env, 100).await;
        (found(&env).await - before >= 50.0).then_some(())
    })
    .await;
    assert!(spent(&env).await > 0.0);
});

on_both_stores!(who_has_nothing_to_do_sleeps, env: BUSY_POLL, |env| {
    env.cache.put("k", "v").await;
    // After each question nothing more comes.
    eventually("there is no work", SOON, async || {
        let none = "larder_busy_polls_total{outcome=\"none\"}";
        let before = metric(&env.larder, none).await;
        (metric(&env.larder, none).await > before).then_some(())
    })
    .await;
    let (found_before, spent_before, began) = (found(&env).await, spent(&env).await, Instant::now());
    eventually("a while passes", SOON, async || (began.elapsed() > Duration::from_secs(1)).then_some(())).await;
    let share = (spent(&env).await - spent_before) / began.elapsed().as_secs_f64();
    assert!(share < 0.3, "{share} of the time was spent looking for work");
    let found = found(&env).await - found_before;
    assert!(found < 50.0, "{found} times there was something to do");
});

on_both_stores!(nobody_looks_for_work_unless_asked_to, |env| {
    env.cache.put("k", "v").await;
    read(&env, 100).await;
    assert_eq!(metric(&env.larder, "larder_busy_polls_total").await, 0.0);
    assert_eq!(spent(&env).await, 0.0);
});

async fn read(env: &Env, times: usize) {
    for _ in 0..times {
        assert_eq!(env.cache.read("k").await.as_deref(), Some("v"));
    }
}

async fn found(env: &Env) -> f64 {
    metric(&env.larder, "larder_busy_polls_total{outcome=\"event\"}").await
}

async fn spent(env: &Env) -> f64 {
    metric(&env.larder, "larder_busy_poll_duration_seconds_total").await
}
