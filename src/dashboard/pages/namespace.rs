//! One namespace: its rules, its entries, its course and its origin.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Path, State},
    http::{StatusCode, Uri},
    response::Response,
};
use maud::{Markup, html};

use super::{
    analysis::{curve, has_curve},
    bans::bans,
    outcomes::{latencies, outcomes},
};
use crate::{
    cache::{self, Analysis, Distribution, Distributions, NamespaceUsage},
    config::{SettingInForce, SettingSource},
    dashboard::{
        Dashboard,
        attention::failing,
        charts::histogram,
        error::Error,
        figures::{NamespaceFigures, OwnFigures, in_time, reads},
        layout::{self, Page, card, degraded_notice, still},
        numbers,
        query::{Query, link},
        span::Span,
        text::visible,
        visitor::Visitor,
    },
    model::Namespace,
    stats::counters::{Counter, LatencyKind},
};

/// Entries that are examined for the distributions.
const SAMPLE: usize = 2000;
/// The setting that has keys.
const WARM_KEYS: &str = "origin.warm.keys";

/// A page or an update of it.
struct View<'a> {
    dashboard: &'a Dashboard,
    name: &'a Namespace,
    span: Span,
    shows_keys: bool,
}

/// The parts that are examined once, when the page is loaded.
struct StillParts {
    found: Result<Distributions, cache::Error>,
    analysis: Analysis,
    settings: Vec<SettingInForce>,
}

/// The page of a namespace.
pub(in crate::dashboard) async fn namespace(
    State(dashboard): State<Arc<Dashboard>>,
    visitor: Visitor,
    Path(name): Path<String>,
    uri: Uri,
) -> Result<Response, Error> {
    let span = Span::of(&Query::of(&uri));
    let name = &Namespace::new(&name)?;
    let view = View { dashboard: &dashboard, name, span, shows_keys: visitor.is_operator };
    let figures = dashboard.figures_of(name.clone(), span).await?;
    if visitor.is_operator {
        dashboard.record_view(&visitor, "GET /namespaces", |record| {
            record.touched().namespace(name);
        });
    }
    let found = {
        let _permit = dashboard.begin_listing(&visitor).await?;
        dashboard.parts.directory.distributions(name.clone(), SAMPLE).await
    };
    if is_unknown(&figures, &found) {
        return Ok(unknown(name, &visitor));
    }
    let names = [name.clone()];
    let analysis = in_time(dashboard.parts.directory.analyze(&names, None)).await??;
    let settings = dashboard.config.load().settings_in_force(name.as_str());
    let parts = StillParts { found, analysis, settings };
    let content = view.content(&figures, Some(&parts)).await?;
    let live = [("page", "namespace"), ("namespace", name.as_str()), (Span::FIELD, span.name())];
    let page = Page {
        title: name.as_str(),
        path: "/namespaces",
        span: Some((span, format!("/namespaces/{name}"))),
        live: Some(link("/live", &live)),
        refresh: None,
        visitor: &visitor,
    };
    Ok(layout::page(&page, &content))
}

/// Whether nothing is known of a namespace. Requests may use it all the same.
fn is_unknown(figures: &OwnFigures, found: &Result<Distributions, cache::Error>) -> bool {
    let OwnFigures { namespace, was_used, is_degraded, .. } = figures;
    let is_empty = found.as_ref().is_ok_and(|found| found.is_complete && found.examined == 0);
    let has_usage = namespace.usage.as_ref().is_some_and(|usage| usage.keys > 0);
    is_empty && !has_usage && !namespace.is_configured && !was_used && !is_degraded
}

/// The page for a namespace of which nothing is known.
fn unknown(name: &Namespace, visitor: &Visitor) -> Response {
    let content = html! {
        section.card.w12.message role="alert" {
            h1 { (name) }
            p { "The namespace has no entries, no counts and no configuration." }
            p { a href="/namespaces" { "Namespaces" } }
        }
    };
    let page = Page {
        title: name.as_str(),
        path: "/namespaces",
        span: None,
        live: None,
        refresh: None,
        visitor,
    };
    let mut response = layout::page(&page, &content);
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

/// The content of an update.
pub(in crate::dashboard) async fn update(
    dashboard: &Dashboard,
    name: &Namespace,
    span: Span,
    shows_keys: bool,
) -> Result<Markup, Error> {
    let view = View { dashboard, name, span, shows_keys };
    let figures = dashboard.figures_of(name.clone(), span).await?;
    view.content(&figures, None).await
}

impl View<'_> {
    async fn content(
        &self,
        figures: &OwnFigures,
        parts: Option<&StillParts>,
    ) -> Result<Markup, Error> {
        let &Self { dashboard, name, span, shows_keys } = self;
        let OwnFigures { namespace: figures, course, is_degraded, .. } = figures;
        let found = in_time(dashboard.parts.directory.bans(name)).await?;
        let distributions = parts.map(|parts| match &parts.found {
            Ok(found) => shown_distributions(found),
            Err(error) => {
                card("w12", "Entries", &html! { p.worse { (visible(&error.to_string())) } })
            }
        });
        let curves = parts.map(|StillParts { analysis, .. }| {
            html! { @for one in analysis.namespaces.iter().filter(|one| has_curve(one)) {
                (curve(one))
            } }
        });
        let rules = parts.map(|StillParts { settings, .. }| {
            card("w6", "Rules in force", &rules(settings, figures, shows_keys))
        });
        Ok(html! {
            (summary(figures, parts, shows_keys))
            (card("w8", "Reads by outcome", &outcomes(course, &course.events(&[], Vec::new()))))
            (card("w4", "Latency of hits", &latencies(course, LatencyKind::Hit, "hits")))
            (still("entries", distributions.as_ref()))
            div.stack {
                (still("curve", curves.as_ref()))
                (still("rules", rules.as_ref()))
            }
            div.stack {
                @if let Some(origin) = figures.config.as_ref().and_then(|it| it.origin.as_ref()) {
                    (card("w6", "Origin", &shown_origin(&origin.target.shown(), figures, span)))
                }
                (card("w6", &format!("Counted, {}", span.label()), &counted(figures)))
                (card("w6", "Invalidations that are remembered", &bans(&found, shows_keys)))
            }
            (degraded_notice(*is_degraded))
        })
    }
}

fn summary(figures: &NamespaceFigures, parts: Option<&StillParts>, is_operator: bool) -> Markup {
    let name = figures.name.as_str();
    let rate = figures.counters.hit_rate().map_or("-".to_owned(), numbers::percent);
    let confirm = |action: &str| link("/confirm", &[("action", action), ("namespace", name)]);
    let size = parts.map(|parts| size(figures.usage.as_ref(), parts.found.as_ref().ok()));
    html! {
        section.card.w12 {
            h1 { (name) }
            div.figures {
                span { b { (rate) } " hit rate" }
                span { b { (numbers::per_second(figures.rate())) } " reads" }
                (still("size", size.as_ref()))
            }
            @if is_operator {
                p.actions {
                    a.button href=(link("/keys", &[("namespace", name)])) { "Keys" } " "
                    a.button href=(link("/hot-keys", &[("namespace", name)])) { "Hot keys" } " "
                    @if figures.config.as_ref().is_some_and(|config| config.origin.is_some()) {
                        a.button data-dialog href=(confirm("warm")) { "Warm" } " "
                    }
                    @if figures.config.as_ref().is_some_and(|config| config.near_cache.is_some()) {
                        a.button data-dialog href=(confirm("flush")) { "Flush the near cache" } " "
                    }
                    a.button href=(link("/invalidations", &[("namespace", name)])) {
                        "Invalidate a part"
                    } " "
                    a.button.danger data-dialog href=(confirm("namespace")) { "Invalidate all" }
                }
            }
        }
    }
}

/// Number and size of the entries. The usage of the store is none for a namespace that its sample
/// does not have, and without a store.
fn size(usage: Option<&NamespaceUsage>, found: Option<&Distributions>) -> Markup {
    html! {
        span { @match (usage, found) {
            (Some(usage), Some(found)) if found.is_complete => {
                b { (numbers::count(found.examined)) } " entries in "
                @if usage.sampled { "about " }
                b { (numbers::bytes(usage.bytes)) }
            }
            (Some(usage), _) => {
                @if usage.sampled { "about " }
                b { (numbers::count(usage.keys)) } " entries in "
                b { (numbers::bytes(usage.bytes)) }
            }
            (None, Some(found)) if found.is_complete => {
                b { (numbers::count(found.examined)) } " entries"
            }
            (None, _) => "number of entries not known",
        } }
    }
}

fn shown_distributions(found: &Distributions) -> Markup {
    let bytes = |distribution: &Distribution| rows(distribution, numbers::bytes, "0 B");
    let times = |distribution: &Distribution| {
        rows(distribution, |millis| numbers::span(Duration::from_millis(millis)), "stale")
    };
    let examined = if found.is_complete {
        format!("all {} entries", numbers::count(found.examined))
    } else {
        format!("a sample of {} entries", numbers::count(found.examined))
    };
    html! {
        (card("w4", "Size of values", &histogram(&examined, &bytes(&found.value_bytes))))
        (card("w4", "TTL that is left", &histogram(&examined, &times(&found.ttl_remaining))))
        (card("w4", "Age", &histogram(&examined, &rows(
            &found.age,
            |millis| numbers::span(Duration::from_millis(millis)),
            "0 s",
        ))))
    }
}

/// The classes between the first and the last one with an entry.
fn rows(found: &Distribution, shown: impl Fn(u64) -> String, zero: &str) -> Vec<(String, u64)> {
    let first = found.counts.iter().position(|count| *count > 0).unwrap_or(0);
    let last = found.counts.iter().rposition(|count| *count > 0).unwrap_or(0);
    let name = |index: usize| match (found.bounds.get(index), found.bounds.last()) {
        (Some(0), _) => zero.to_owned(),
        (Some(bound), _) => format!("≤ {}", shown(*bound)),
        (None, Some(bound)) => format!("> {}", shown(*bound)),
        (None, None) => String::new(),
    };
    (first..=last).map(|index| (name(index), found.counts[index])).collect()
}

/// Rules that are set come before those that are built in, which most readers look for less.
fn rules(settings: &[SettingInForce], figures: &NamespaceFigures, shows_keys: bool) -> Markup {
    let own = format!("[namespaces.{}]", figures.name);
    let is_set = |setting: &&SettingInForce| setting.source != SettingSource::BuiltIn;
    let (set, built_in): (Vec<_>, Vec<_>) = settings.iter().partition(is_set);
    html! {
        @if !set.is_empty() { (rule_table(&set, &own, shows_keys)) }
        @if !figures.is_configured {
            p.soft { "The namespace has no table of its own: " code { (own) } "." }
        }
        details.values {
            summary { "Built in: " (built_in.len()) }
            (rule_table(&built_in, &own, shows_keys))
        }
    }
}

fn rule_table(settings: &[&SettingInForce], own: &str, shows_keys: bool) -> Markup {
    html! {
        table.dense.rules {
            thead { tr {
                th scope="col" { "Setting" }
                th scope="col" { "Value" }
                th.wide scope="col" { "From" }
            } }
            tbody {
                @for SettingInForce { name, value, source } in settings {
                    tr {
                        th scope="row" { code { (name) } }
                        @if name.as_str() == WARM_KEYS && !shows_keys {
                            td.key { span.soft { "shown after a login only" } }
                        } @else {
                            td.key title=(visible(value)) { code { bdi { (visible(value)) } } }
                        }
                        td.wide {
                            @match source {
                                SettingSource::Namespace => b { (own) },
                                SettingSource::Defaults => "[defaults]",
                                SettingSource::BuiltIn => span.soft { "built in" },
                            }
                        }
                    }
                }
            }
        }
    }
}

fn shown_origin(address: &str, figures: &NamespaceFigures, span: Span) -> Markup {
    let counters = &figures.counters;
    let (fetched, failed) = (counters.get(Counter::Fetches), counters.get(Counter::FetchesFailed));
    let time = |quantile| {
        let time = counters.latency(LatencyKind::Fetch, quantile);
        time.map_or("-".to_owned(), numbers::latency)
    };
    html! {
        dl {
            div { dt { "Address" } dd { code { bdi { (visible(address)) } } } }
            div { dt { "Fetches, " (span.label()) } dd { (numbers::count(fetched + failed)) } }
            div {
                dt { "Failed" }
                dd {
                    @if failing(counters).is_some() { b.worse { (numbers::count(failed)) } }
                    @else { (numbers::count(failed)) }
                }
            }
            div { dt { "p50, p99" } dd { (time(0.5)) ", " (time(0.99)) } }
        }
        p.more { a href=(link("/origins", &[(Span::FIELD, span.name())])) { "Origins" } }
    }
}

fn counted(figures: &NamespaceFigures) -> Markup {
    let counters = &figures.counters;
    let all = reads(counters).max(1) as f64;
    let shown = Counter::ALL.into_iter().filter(|counter| counters.get(*counter) > 0);
    let shown: Vec<Counter> = shown.collect();
    html! {
        table.dense {
            thead { tr {
                th scope="col" { "Counter" }
                th.n scope="col" { "Number" }
                th.n scope="col" { "Of reads" }
            } }
            tbody {
                @for counter in &shown {
                    tr {
                        th scope="row" { (counter.name().replace('_', " ")) }
                        td.n { (numbers::count(counters.get(*counter))) }
                        td.n { (numbers::percent(counters.get(*counter) as f64 / all)) }
                    }
                }
                @if shown.is_empty() { tr { td.none colspan="3" { "Nothing was counted." } } }
            }
        }
    }
}
