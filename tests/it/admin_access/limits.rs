//! Wrong tokens are slowed down.

use super::{Browser, Http, TOKEN, WRONG, send_login, server};
use crate::support::wait::{SOON, eventually};

/// Sends wrong tokens until they are not looked at.
async fn exhaust(http: &Http) {
    for _ in 0..1000 {
        match http.bearer("/metrics", WRONG).await.status {
            401 => {}
            429 => return,
            other => panic!("{other}"),
        }
    }
    panic!("1000 wrong tokens are looked at");
}

#[tokio::test]
async fn an_address_with_wrong_tokens_is_slowed_down_and_recovers() {
    let larder = server("").await;
    let http = Http::to(&larder);
    let browser = Browser::log_in(&http).await;
    // The limit lasts for seconds: on a busy machine, it may be over between two requests.
    let [wrong, right] = eventually("a right token is not looked at", 3 * SOON, async || {
        exhaust(&http).await;
        let right = http.bearer("/metrics", TOKEN).await;
        let wrong = http.bearer("/metrics", WRONG).await;
        (right.status == 429 && wrong.status == 429).then_some([wrong, right])
    })
    .await;
    assert_eq!(wrong.body, right.body, "the answer is the same");
    let wait = [&wrong, &right].map(|answer| answer.header("retry-after").parse::<u64>().unwrap());
    assert!(wait.iter().all(|seconds| (1..=6).contains(seconds)), "{wait:?}");
    eventually("a login is not looked at either", 3 * SOON, async || {
        exhaust(&http).await;
        let login = send_login(&http, TOKEN).await;
        let is_limited = login.status == 429 && login.cookie("larder_session").is_none();
        (is_limited && !login.header("retry-after").is_empty()).then_some(())
    })
    .await;
    exhaust(&http).await;
    assert_eq!(browser.get("/metrics").await.status, 200, "sessions go on");
    assert_eq!(http.get("/livez").await.status, 200);
    let other = http.from([127, 0, 0, 2]);
    assert_eq!(other.bearer("/metrics", TOKEN).await.status, 200, "another address");
    let metrics = browser.get("/metrics").await.body;
    let counted = "larder_admin_refusals_total{reason=\"limited\"} ";
    let count = metrics.lines().find_map(|line| line.strip_prefix(counted)).unwrap();
    assert!(count.parse::<u64>().unwrap() >= 3, "{count}");
    eventually("the address recovers", 3 * SOON, async || {
        (http.bearer("/metrics", TOKEN).await.status == 200).then_some(())
    })
    .await;
    let lines = larder.logs().matches(r#""reason":"limited""#).count();
    assert!((1..=2).contains(&lines), "once a minute: {}", larder.logs());
}

#[tokio::test]
async fn wrong_tokens_of_many_addresses_are_slowed_down_together() {
    let larder = server("").await;
    let scraper = Http::to(&larder);
    assert_eq!(scraper.bearer("/metrics", TOKEN).await.status, 200);
    let mut addresses = (1..=250u8).flat_map(|third| (1..=250).map(move |last| (third, last)));
    // The first wrong token of an address is not looked at.
    let limited = async {
        for (third, last) in &mut addresses {
            let one_of_many = scraper.from([127, 1, third, last]);
            if one_of_many.bearer("/metrics", WRONG).await.status == 429 {
                return;
            }
        }
        panic!("there is no limit");
    };
    limited.await;
    assert_eq!(scraper.bearer("/metrics", TOKEN).await.status, 200, "the scraper goes on");
    assert_eq!(scraper.get("/readyz").await.status, 200);
    let newcomer = scraper.from([127, 2, 0, 1]);
    eventually("others can come again", 3 * SOON, async || {
        (newcomer.bearer("/metrics", TOKEN).await.status == 200).then_some(())
    })
    .await;
}
