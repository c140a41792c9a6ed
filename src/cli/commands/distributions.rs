//! `larder distributions` prints the distribution of sizes, ages and TTLs in a namespace.

use bytesize::ByteSize;
use serde::Serialize;

use super::{
    arguments::CallArgs,
    failure::{Ending, Error},
    output::{Output, remark, table},
    session,
};
use crate::{
    cli::figures::percent,
    pb::v1::{Distribution, DistributionsRequest, DistributionsResponse, distribution::Unit},
};

/// Length of the longest bar.
const BAR: usize = 30;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Namespace of the entries
    namespace: String,
    /// Examine about this many entries, 10000 or fewer
    #[arg(long, value_name = "NUMBER", default_value_t = 1000)]
    sample: u32,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Serialize)]
struct Line<'a> {
    namespace: &'a str,
    examined: u64,
    complete: bool,
    value_bytes: Option<HistogramJson>,
    key_bytes: Option<HistogramJson>,
    ttl_remaining: Option<HistogramJson>,
    age: Option<HistogramJson>,
}

#[derive(Serialize)]
struct HistogramJson {
    min: f64,
    max: f64,
    mean: f64,
    buckets: Vec<BucketJson>,
}

/// `up_to` is null in the last bucket.
#[derive(Serialize)]
struct BucketJson {
    up_to: Option<f64>,
    entries: u64,
}

impl Args {
    pub(super) fn run(&self) -> Result<Ending, Error> {
        session::run(&self.call, async |session| {
            let namespace = self.namespace.clone();
            let request = DistributionsRequest { namespace, sample_size: self.sample };
            let mut admin = session.admin();
            let found = session.answer(admin.distributions(session.request(request))).await?;
            let mut output = Output::stdout(self.call.json);
            if output.is_json() {
                output.line(&self.line(&found), String::new)?;
            } else if found.examined > 0 {
                output.line(&(), || text(&found))?;
            }
            let which = if found.complete { "all" } else { "a sample" };
            remark(&format!("{} entries examined: {which} of the namespace", found.examined));
            Ok(if found.examined > 0 { Ending::Done } else { Ending::Miss })
        })
    }

    fn line(&self, found: &DistributionsResponse) -> Line<'_> {
        Line {
            namespace: &self.namespace,
            examined: found.examined,
            complete: found.complete,
            value_bytes: found.value_bytes.as_ref().map(HistogramJson::new),
            key_bytes: found.key_bytes.as_ref().map(HistogramJson::new),
            ttl_remaining: found.ttl_remaining.as_ref().map(HistogramJson::new),
            age: found.age.as_ref().map(HistogramJson::new),
        }
    }
}

impl HistogramJson {
    fn new(distribution: &Distribution) -> Self {
        let buckets = distribution.buckets.iter();
        let buckets = buckets.map(|b| BucketJson { up_to: b.up_to, entries: b.entries });
        let &Distribution { min, max, mean, .. } = distribution;
        Self { min, max, mean, buckets: buckets.collect() }
    }
}

fn text(found: &DistributionsResponse) -> String {
    let parts = [
        ("value size", &found.value_bytes),
        ("key size", &found.key_bytes),
        ("ttl left", &found.ttl_remaining),
        ("age", &found.age),
    ];
    let tables = parts.into_iter().filter_map(|(name, distribution)| {
        Some(histogram(name, distribution.as_ref()?, found.examined))
    });
    tables.collect::<Vec<_>>().join("\n\n")
}

/// The buckets between the smallest and the largest number, with bars.
fn histogram(name: &str, distribution: &Distribution, examined: u64) -> String {
    let unit = distribution.unit();
    let show = |number| shown(number, unit);
    let buckets = &distribution.buckets;
    let first = buckets.iter().position(|bucket| bucket.entries > 0).unwrap_or(0);
    let last = buckets.iter().rposition(|bucket| bucket.entries > 0).unwrap_or(0);
    let rows = buckets.iter().take(last + 1).skip(first).map(|bucket| {
        let share = bucket.entries as f64 / examined.max(1) as f64;
        let bound = bucket.up_to.map_or_else(|| "more".to_owned(), show);
        let bar = "#".repeat((share * BAR as f64).ceil() as usize);
        vec![bound, bucket.entries.to_string(), percent(share), bar]
    });
    let &Distribution { min, max, mean, .. } = distribution;
    let header = ["up to", "entries", "share", ""];
    let summary = format!("{name}: {} to {}, mean {}", show(min), show(max), show(mean));
    format!("{summary}\n{}", table(&header, rows))
}

fn shown(number: f64, unit: Unit) -> String {
    match unit {
        // Below the largest number that is exact.
        Unit::Bytes => ByteSize(number.round() as u64).to_string(),
        Unit::Seconds if number < 10.0 => format!("{number:.1}s"),
        Unit::Seconds => {
            let seconds = std::time::Duration::from_secs(number.round() as u64);
            humantime::format_duration(seconds).to_string()
        }
        Unit::Unspecified => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pb::v1::DistributionBucket;

    #[test]
    fn histogram_has_the_buckets_in_use() {
        let bounds = [Some(8.0), Some(16.0), Some(32.0), None];
        let buckets = bounds
            .into_iter()
            .zip([0, 3, 0, 1])
            .map(|(up_to, entries)| DistributionBucket { up_to, entries });
        let distribution = Distribution {
            unit: Unit::Bytes.into(),
            buckets: buckets.collect(),
            min: 9.0,
            max: 2048.0,
            mean: 520.0,
        };
        let text = histogram("key size", &distribution, 4);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "key size: 9 B to 2.0 KiB, mean 520 B");
        assert!(lines[2].starts_with(" 16 B") && lines[2].ends_with(&"#".repeat(23)), "{text}");
        assert!(lines[4].starts_with(" more"), "{text}");
        assert_eq!(lines.len(), 5);
    }

    #[test]
    fn numbers_have_their_unit() {
        assert_eq!(shown(0.25, Unit::Seconds), "0.2s");
        assert_eq!(shown(3661.4, Unit::Seconds), "1h 1m 1s");
        assert_eq!(shown(1024.0, Unit::Bytes), "1.0 KiB");
    }
}
