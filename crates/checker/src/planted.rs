//! Runs a server with each planted fault until it is found: the proof that the checker can fail.

use std::{process::ExitCode, time::Duration};

use larder::planted::{ALL, Bug};

use crate::{
    fleet::Topology,
    nemesis::Kind,
    run::{Plan, run},
};

/// Time in which each fault is found.
const BUDGET: Duration = Duration::from_secs(120);

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
        let plan = Plan {
            topology: Topology::Standalone,
            seed,
            time: BUDGET,
            operations: u64::MAX,
            clients,
            bug: Some((*name).to_owned()),
            faults: faults(*bug),
        };
        let outcome = run(&plan).await;
        let found = match &outcome.violation {
            Some(violation) => {
                println!("--- {name}\n{violation}");
                violation.lines().next().unwrap_or_default().to_owned()
            }
            None => {
                println!("--- {name} was not found\n{}", outcome.summary);
                missed += 1;
                "NOT FOUND".to_owned()
            }
        };
        table.push_str(&format!(
            "{name:<24} {:>9} {:>8.1}  {found}\n",
            outcome.operations, outcome.seconds
        ));
    }
    println!("{:<24} {:>9} {:>8}", "planted fault", "calls", "seconds");
    println!("{table}");
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The faults that a bug needs to show; none: it shows without any.
fn faults(bug: Bug) -> Option<Vec<Kind>> {
    match bug {
        Bug::NearKeptOnReconnect => Some(vec![Kind::Partition, Kind::Refuse]),
        Bug::NearWithoutHeartbeat => Some(vec![Kind::Partition, Kind::LostReplies]),
        Bug::IncrementRetried => Some(vec![Kind::Reset]),
        Bug::FalselyStored => Some(vec![Kind::Partition, Kind::StopRedis]),
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
        | Bug::WatchSilent => Some(Vec::new()),
    }
}
