#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;

/// TTL of the namespace, for responses without a lifetime.
const DEFAULT: Duration = Duration::from_millis(90_500);
/// Sun, 06 Nov 1994 08:49:37 GMT.
const NOW: Duration = Duration::from_secs(784_111_777);

/// Header lines.
type Lines = [(&'static str, &'static str)];

fn evaluate(status: u16, lines: &[(&str, &str)]) -> Freshness {
    evaluate_after(Duration::ZERO, status, lines)
}

/// Evaluates a response that has been requested a time ago.
fn evaluate_after(since_request: Duration, status: u16, lines: &[(&str, &str)]) -> Freshness {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(
            HeaderName::try_from(*name).unwrap(),
            HeaderValue::from_bytes(value.as_bytes()).unwrap(),
        );
    }
    Freshness::from_response(
        StatusCode::from_u16(status).unwrap(),
        &headers,
        DEFAULT,
        Timing { since_request, now: SystemTime::UNIX_EPOCH + NOW },
    )
}

fn secs(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

#[test]
fn lifetime_follows_the_rfcs() {
    let cc = "cache-control";
    let cases: &[(&str, &Lines, Option<Duration>)] = &[
        ("4.2.1: max-age", &[(cc, "max-age=60")], secs(60)),
        ("4.2.1: s-maxage wins over max-age", &[(cc, "max-age=60, s-maxage=30")], secs(30)),
        ("4.2.1: max-age wins over Expires", &[(cc, "max-age=60"), ("expires", "0")], secs(60)),
        (
            "4.2.1: Expires less Date",
            &[
                ("expires", "Sun, 06 Nov 1994 09:00:00 GMT"),
                ("date", "Sun, 06 Nov 1994 08:50:00 GMT"),
            ],
            secs(600),
        ),
        (
            "4.2.1: Expires less now without Date",
            &[("expires", "Sun, 06 Nov 1994 08:50:37 GMT")],
            secs(60),
        ),
        (
            "4.2.1: malformed Date",
            &[("expires", "Sun, 06 Nov 1994 08:50:37 GMT"), ("date", "today")],
            secs(60),
        ),
        (
            "RFC 9110, 5.6.7: old forms of dates",
            &[("expires", "Sunday, 06-Nov-94 08:50:37 GMT")],
            secs(60),
        ),
        (
            "RFC 9110, 5.6.7: older forms of dates",
            &[("expires", "Sun Nov  6 08:50:37 1994")],
            secs(60),
        ),
        ("5.3: Expires in the past", &[("expires", "Sun, 06 Nov 1994 08:49:00 GMT")], secs(0)),
        ("5.3: malformed Expires", &[("expires", "0")], secs(0)),
        (
            "5.3: Expires in the far future",
            &[("expires", "Fri, 31 Dec 9999 23:59:59 GMT")],
            Some(MAX_TIME),
        ),
        ("4.2.3: less Age", &[(cc, "max-age=60"), ("age", "20")], secs(40)),
        ("4.2.3: older than its lifetime", &[(cc, "max-age=60"), ("age", "61")], secs(0)),
        (
            "5.1: the first Age counts",
            &[(cc, "max-age=60"), ("age", "20, 30"), ("age", "40")],
            secs(40),
        ),
        ("5.1: malformed Age", &[(cc, "max-age=60"), ("age", "young")], secs(60)),
        (
            "5.1: Age beyond integers",
            &[(cc, "max-age=60"), ("age", "99999999999999999999999")],
            secs(0),
        ),
        ("no lifetime: that of the namespace", &[], None),
        (
            "no lifetime, with other directives",
            &[(cc, "public, immutable"), ("last-modified", "Sun, 06 Nov 1994 08:49:37 GMT")],
            None,
        ),
        ("no lifetime: less Age", &[("age", "30")], Some(DEFAULT - Duration::from_secs(30))),
        ("no lifetime: older than the default", &[("age", "91")], secs(0)),
        (
            "no lifetime: in the last half second",
            &[("age", "90")],
            Some(Duration::from_millis(500)),
        ),
        ("5.2.2.4: no-cache", &[(cc, "no-cache")], secs(0)),
        ("5.2.2.4: no-cache wins over max-age", &[(cc, "no-cache, max-age=60")], secs(0)),
        ("5.2.2.4: qualified no-cache", &[(cc, "no-cache=\"set-cookie\", max-age=60")], secs(0)),
        ("5.4: Pragma without Cache-Control", &[("pragma", "no-cache")], secs(0)),
        (
            "5.4: Pragma next to Cache-Control",
            &[("pragma", "no-cache"), (cc, "max-age=60")],
            secs(60),
        ),
        ("max-age=0", &[(cc, "max-age=0")], secs(0)),
        ("s-maxage=0", &[(cc, "s-maxage=0, max-age=60")], secs(0)),
        ("5.2.2.2: must-revalidate is no lifetime", &[(cc, "must-revalidate")], None),
        (
            "5.2.2.8: proxy-revalidate is no lifetime",
            &[(cc, "max-age=60, proxy-revalidate")],
            secs(60),
        ),
        ("5.2: names in any case, lines joined", &[(cc, "Public"), (cc, "MAX-AGE=60")], secs(60)),
        ("4.2.1: contradictory", &[(cc, "max-age=60"), (cc, "max-age=30")], secs(0)),
        ("1.2.2: beyond integers", &[(cc, "max-age=99999999999999999999999")], Some(MAX_TIME)),
        ("1.2.2: more than a year", &[(cc, "max-age=99999999")], Some(MAX_TIME)),
        ("4.2.1: malformed", &[(cc, "max-age=soon")], secs(0)),
        ("4.2.1: negative", &[(cc, "max-age=-60")], secs(0)),
        ("5.2: an unknown directive", &[(cc, "max-age=60, community=\"UCI, no-store\"")], secs(60)),
        ("7.3: public cookies", &[(cc, "public, max-age=60"), ("set-cookie", "a=b")], secs(60)),
        (
            "4.1: Vary by headers that are always the same",
            &[(cc, "max-age=60"), ("vary", "accept-encoding, accept")],
            secs(60),
        ),
    ];
    for (rule, headers, ttl) in cases {
        for status in [200, 203, 204, 404, 410] {
            let freshness = evaluate(status, headers);
            assert!(!freshness.no_store, "{rule}, status {status}");
            assert_eq!(freshness.ttl, *ttl, "{rule}, status {status}");
        }
    }
}

#[test]
fn age_is_that_of_rfc_9111() {
    let lifetime = ("cache-control", "max-age=60");
    // Seconds before now, as a date.
    let date = |before: u64| {
        httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + NOW - Duration::from_secs(before))
    };
    let future = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + NOW + Duration::from_secs(500));
    let expires = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + NOW + Duration::from_secs(50));
    let [now, one, ten, thirty, hour] = [0, 1, 10, 30, 3600].map(date);
    // Rule, milliseconds since the request, headers, remaining lifetime.
    type Case<'a> = (&'a str, u64, &'a [(&'a str, &'a str)], Option<Duration>);
    let cases: &[Case<'_>] = &[
        ("no age", 0, &[lifetime, ("date", &now)], secs(60)),
        ("apparent_age", 0, &[lifetime, ("date", &ten)], secs(50)),
        ("apparent_age beyond the lifetime", 0, &[lifetime, ("date", &hour)], secs(0)),
        ("apparent_age within the resolution of Date", 0, &[lifetime, ("date", &one)], secs(60)),
        ("Date in the future", 0, &[lifetime, ("date", &future)], secs(60)),
        ("malformed Date", 0, &[lifetime, ("date", "yesterday")], secs(60)),
        ("response_delay", 3000, &[lifetime], secs(57)),
        ("response_delay, in whole seconds", 900, &[lifetime], secs(60)),
        ("response_delay beyond the lifetime", 61_000, &[lifetime], secs(0)),
        ("corrected_age_value", 3000, &[lifetime, ("age", "20")], secs(37)),
        (
            "corrected_age_value is larger",
            3000,
            &[lifetime, ("age", "20"), ("date", &ten)],
            secs(37),
        ),
        ("apparent_age is larger", 3000, &[lifetime, ("age", "20"), ("date", &thirty)], secs(30)),
        (
            "Date in the future does not reduce Age",
            0,
            &[lifetime, ("age", "20"), ("date", &future)],
            secs(40),
        ),
        ("malformed Age", 3000, &[lifetime, ("age", "-1")], secs(57)),
        ("several Ages", 0, &[lifetime, ("age", "20"), ("age", "1")], secs(40)),
        ("Expires less Date, less age", 0, &[("expires", &expires), ("date", &ten)], secs(50)),
        ("Expires with Age", 0, &[("expires", &expires), ("date", &now), ("age", "20")], secs(30)),
        ("no lifetime: that of the namespace, from now", 3000, &[("date", &hour)], None),
        (
            "no lifetime, but cached before",
            3000,
            &[("age", "20")],
            Some(DEFAULT - Duration::from_secs(23)),
        ),
        ("no-cache", 3000, &[("cache-control", "no-cache"), ("date", &ten)], secs(0)),
    ];
    for (rule, since_request, lines, ttl) in cases {
        let freshness = evaluate_after(Duration::from_millis(*since_request), 200, lines);
        assert_eq!((freshness.no_store, freshness.ttl), (false, *ttl), "{rule}");
    }
}

#[test]
fn redirects_only_shorten_the_times() {
    let times = |ttl, stale_while_revalidate, stale_if_error| Freshness {
        no_store: false,
        ttl,
        stale_while_revalidate,
        stale_if_error,
    };
    let defaults = Defaults {
        ttl: Duration::from_secs(100),
        stale_while_revalidate: Duration::from_secs(200),
        stale_if_error: Duration::from_secs(300),
    };
    let silent = Freshness::default();
    let long = times(secs(400), secs(500), secs(600));
    let short = times(secs(10), secs(20), secs(30));
    let no_store = Freshness { no_store: true, ..Freshness::default() };
    for (response, redirect, expected) in [
        (&silent, &silent, silent.clone()),
        (&short, &silent, short.clone()),
        (&short, &long, short.clone()),
        (&long, &short, short.clone()),
        (&silent, &short, short.clone()),
        (&silent, &long, times(secs(100), secs(200), secs(300))),
        (&silent, &times(secs(0), None, secs(0)), times(secs(0), None, secs(0))),
        (&long, &no_store, no_store.clone()),
        (&no_store, &long, no_store.clone()),
    ] {
        let limited = response.clone().limited_by(redirect, &defaults);
        assert_eq!(limited, expected, "{response:?} after {redirect:?}");
    }
}

#[test]
fn private_responses_are_not_stored() {
    let cc = "cache-control";
    let cases: &[(&str, &Lines)] = &[
        ("5.2.2.5: no-store", &[(cc, "no-store")]),
        ("5.2.2.5: no-store wins over max-age", &[(cc, "max-age=60"), (cc, "No-Store")]),
        ("5.2.2.7: private", &[(cc, "private, max-age=60")]),
        ("5.2.2.7: qualified private", &[(cc, "private=\"x-user\", max-age=60")]),
        ("4.1: Vary: *", &[(cc, "max-age=60"), ("vary", "*")]),
        (
            "4.1: Vary: * among others",
            &[(cc, "max-age=60"), ("vary", "accept"), ("vary", "cookie, *")],
        ),
        ("4.1: Vary by a condition", &[(cc, "max-age=60"), ("vary", "accept,If-None-Match")]),
        ("4.1: Vary by the trace", &[("vary", "accept"), ("vary", "traceparent")]),
        ("7.3: cookies", &[(cc, "max-age=60"), ("set-cookie", "a=b")]),
        ("7.3: cookies, without a lifetime", &[("set-cookie", "a=b")]),
    ];
    for (rule, headers) in cases {
        assert_eq!(
            evaluate(200, headers),
            Freshness { no_store: true, ..Freshness::default() },
            "{rule}"
        );
    }
}

#[test]
fn stale_windows_follow_the_rfcs() {
    for (rule, line, while_revalidate, if_error) in [
        ("no window: that of the namespace", "max-age=60", None, None),
        ("RFC 5861, 3", "max-age=60, stale-while-revalidate=30", secs(30), None),
        ("RFC 5861, 4", "max-age=60, Stale-If-Error=\"40\"", None, secs(40)),
        (
            "both, without a lifetime",
            "stale-while-revalidate=30, stale-if-error=40",
            secs(30),
            secs(40),
        ),
        ("no stale responses", "stale-while-revalidate=0, stale-if-error=0", secs(0), secs(0)),
        ("malformed", "stale-while-revalidate=long, stale-if-error", secs(0), secs(0)),
        ("contradictory", "stale-if-error=1, stale-if-error=2", None, secs(0)),
        ("beyond integers", "stale-if-error=99999999999999999999999", None, Some(MAX_TIME)),
        ("5.2.2.2: must-revalidate", "must-revalidate", secs(0), secs(0)),
        (
            "must-revalidate wins",
            "must-revalidate, stale-while-revalidate=30, stale-if-error=40",
            secs(0),
            secs(0),
        ),
        (
            "5.2.2.8: proxy-revalidate",
            "max-age=60, proxy-revalidate, stale-if-error=40",
            secs(0),
            secs(0),
        ),
        ("5.2.2.4: no-cache", "no-cache, stale-while-revalidate=30", secs(0), secs(0)),
        ("5.2.2.10: s-maxage", "s-maxage=60", secs(0), secs(0)),
        ("s-maxage with one window", "s-maxage=60, stale-while-revalidate=30", secs(30), secs(0)),
        (
            "s-maxage with both",
            "s-maxage=60, stale-while-revalidate=30, stale-if-error=40",
            secs(30),
            secs(40),
        ),
    ] {
        let freshness = evaluate(200, &[("cache-control", line)]);
        assert_eq!(
            (freshness.stale_while_revalidate, freshness.stale_if_error),
            (while_revalidate, if_error),
            "{rule}"
        );
    }
}

/// Printable text, or directives with times.
const LINE: &str =
    concat!("[ -~]{0,40}|", "[a-z-]{1,12}=[0-9\"]{0,25}(, ?[a-z-]{1,12}=[0-9]{0,25}){0,3}",);

proptest! {
    #[test]
    fn arbitrary_headers_give_bounded_lifetimes(
        lines in prop::collection::vec((0..6usize, LINE), 0..6),
    ) {
        let names = ["cache-control", "expires", "date", "age", "vary", "pragma"];
        let lines: Vec<_> =
            lines.iter().map(|(name, value)| (names[*name], value.as_str())).collect();
        let freshness = evaluate(200, &lines);
        prop_assert!(freshness.ttl.is_none_or(|ttl| ttl <= MAX_TIME));
    }
}

/// A parser that refuses a line as a whole would ignore the directives next to it.
#[test]
fn names_that_are_none_hide_no_other_directive() {
    for line in
        ["\u{e9}, no-store", "no-store, a b", "\u{e9}=1, private", "max-age=60, (), no-store"]
    {
        assert!(evaluate(200, &[("cache-control", line)]).no_store, "{line}");
    }
    assert_eq!(evaluate(200, &[("cache-control", "\u{e9}, max-age=60")]).ttl, secs(60));
}
