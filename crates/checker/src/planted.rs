//! Runs a server with each planted fault until it is found: the proof that the checker can fail.

use std::{process::ExitCode, time::Duration};

use larder::planted::{ALL, Bug};

use crate::{
    fleet::Topology,
    nemesis::Kind,
    options,
    run::{Plan, run},
};

/// Time in which each fault is found.
const BUDGET: Duration = Duration::from_secs(240);

/// Where and by what a bug shows.
struct Proof {
    topologies: &'static [Topology],
    /// The faults that it needs to show; none: it shows without any.
    faults: &'static [Kind],
    has_journals: bool,
}

/// Runs the fault of this name, or all of them.
pub(crate) async fn find(name: &str, seed: u64, clients: u16) -> ExitCode {
    let bugs: Vec<&(&str, Bug)> =
        ALL.iter().filter(|(other, _)| name == "all" || name == *other).collect();
    if bugs.is_empty() {
        let names: Vec<&str> = ALL.iter().map(|(name, _)| *name).collect();
        eprintln!("no planted fault has this name; all: {}", names.join(" "));
        return ExitCode::FAILURE;
    }
    let mut missed = 0;
    let mut table = String::new();
    for (name, bug) in bugs {
        let proof = Proof::of(*bug);
        let only = options().topology;
        for topology in proof.topologies.iter().filter(|one| only.is_none_or(|it| it == **one)) {
            let plan = Plan {
                topology: *topology,
                seed,
                time: BUDGET,
                operations: u64::MAX,
                clients,
                has_journals: proof.has_journals,
                bug: Some((*name).to_owned()),
                faults: Some(proof.faults.to_vec()),
            };
            let outcome = run(&plan).await;
            let found = match &outcome.violation {
                Some(violation) => {
                    println!("--- {name}, {}\n{violation}", topology.name());
                    violation.lines().next().unwrap_or_default().to_owned()
                }
                None => {
                    println!("--- {name}, {}, was not found\n{}", topology.name(), outcome.summary);
                    missed += 1;
                    "NOT FOUND".to_owned()
                }
            };
            table.push_str(&format!(
                "{name:<24} {:<10} {:>9} {:>8.1}  {found}\n",
                topology.name(),
                outcome.operations,
                outcome.seconds
            ));
        }
    }
    println!("{:<24} {:<10} {:>9} {:>8}", "planted fault", "topology", "calls", "seconds");
    println!("{table}");
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

// === impl Proof ===

impl Proof {
    fn of(bug: Bug) -> Self {
        use Topology::{Cluster, Sentinel, Standalone};
        let with = |faults| Self {
            topologies: &[Standalone, Sentinel, Cluster],
            faults,
            has_journals: false,
        };
        match bug {
            Bug::NearKeptOnReconnect => with(&[Kind::Partition, Kind::Refuse]),
            Bug::NearWithoutHeartbeat => with(&[Kind::Partition, Kind::LostReplies]),
            Bug::IncrementRetried => with(&[Kind::Reset]),
            Bug::FalselyStored => with(&[Kind::Partition, Kind::StopRedis]),
            Bug::JournalEntryDropped => {
                Self { has_journals: true, ..with(&[Kind::Partition, Kind::Refuse]) }
            }
            Bug::QueuedBeforeWritten => Self { has_journals: true, ..with(&[Kind::KillCutOff]) },
            Bug::FormerPrimaryKept => Self {
                topologies: &[Sentinel],
                ..with(&[Kind::SentinelFailover, Kind::KillPrimary])
            },
            Bug::WindowNotReapplied => {
                with(&[Kind::Rewind, Kind::KillPrimary, Kind::KillClusterPrimary])
            }
            Bug::BansUnchecked
            | Bug::DeleteKeepsLease
            | Bug::SetKeepsLease
            | Bug::LeaseGrantedTwice
            | Bug::ExpiredFill
            | Bug::UnfencedFill
            | Bug::VersionUnchecked
            | Bug::ConditionNotAtomic
            | Bug::NearUnannounced
            | Bug::LateExpiry
            | Bug::NamespacesCollide
            | Bug::ShardMissed
            | Bug::WatchSilent => with(&[]),
        }
    }
}
