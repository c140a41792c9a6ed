//! Metrics of the process and of the build, under the names that Prometheus' client libraries use.

use std::time::Duration;

use opentelemetry::{KeyValue, metrics::Meter};

use crate::metric_list;

/// Memory and processor time of this process; zero where there is no /proc.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ProcessUsage {
    pub(super) resident_bytes: u64,
    /// Time on processors since the start, in user and system mode.
    pub(super) cpu_time: Duration,
}

/// Commit of the build, if the builder names it.
const COMMIT: &str = match option_env!("LARDER_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// Registers the metrics. Those of the process exist on Linux only.
pub(super) fn register(meter: &Meter) {
    metric_list::BUILD_INFO
        .observed_gauge(meter)
        .with_callback(|observer| {
            let version = KeyValue::new("version", env!("CARGO_PKG_VERSION"));
            observer.observe(1, &[version, KeyValue::new("commit", COMMIT)]);
        })
        .build();
    #[cfg(target_os = "linux")]
    linux::register(meter);
}

#[cfg(target_os = "linux")]
pub(super) use linux::usage;

/// Reads what this process uses.
#[cfg(not(target_os = "linux"))]
pub(super) fn usage() -> ProcessUsage {
    ProcessUsage::default()
}

/// Name of this host; empty if it cannot be read.
pub(super) fn host_name() -> String {
    let name = nix::unistd::gethostname().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

#[cfg(target_os = "linux")]
mod linux {
    use std::time::Duration;

    use nix::unistd::{SysconfVar, sysconf};
    use opentelemetry::metrics::Meter;
    use procfs::process::{Process, Stat};

    use super::ProcessUsage;
    use crate::metric_list::{self, Metric};

    /// Reads a figure of this process; none if /proc cannot be read.
    type Read = fn(&Process) -> Option<f64>;

    pub(super) fn register(meter: &Meter) {
        let gauges: [(Metric, Read); 6] = [
            (metric_list::PROCESS_RESIDENT_MEMORY, |process| as_f64(resident_bytes(process)?)),
            (metric_list::PROCESS_VIRTUAL_MEMORY, |process| as_f64(process.stat().ok()?.vsize)),
            (metric_list::PROCESS_OPEN_FDS, |process| as_f64(process.fd_count().ok()? as u64)),
            (metric_list::PROCESS_MAX_FDS, |process| {
                match process.limits().ok()?.max_open_files.soft_limit {
                    procfs::process::LimitValue::Value(limit) => as_f64(limit),
                    procfs::process::LimitValue::Unlimited => None,
                }
            }),
            (metric_list::PROCESS_THREADS, |process| Some(process.stat().ok()?.num_threads as f64)),
            (metric_list::PROCESS_START_TIME, |process| {
                let since_boot = seconds(process.stat().ok()?.starttime)?;
                Some(procfs::boot_time_secs().ok()? as f64 + since_boot)
            }),
        ];
        for (metric, read) in gauges {
            metric
                .observed_level(meter)
                .with_callback(move |observer| {
                    if let Some(value) = Process::myself().ok().and_then(|process| read(&process)) {
                        observer.observe(value, &[]);
                    }
                })
                .build();
        }
        metric_list::PROCESS_CPU
            .observed_sum(meter)
            .with_callback(|observer| {
                let stat = Process::myself().ok().and_then(|process| process.stat().ok());
                if let Some(seconds) = stat.as_ref().and_then(cpu_seconds) {
                    observer.observe(seconds, &[]);
                }
            })
            .build();
    }

    /// Reads what this process uses.
    pub(in crate::server) fn usage() -> ProcessUsage {
        let Ok(process) = Process::myself() else { return ProcessUsage::default() };
        let stat = process.stat().ok();
        ProcessUsage {
            resident_bytes: resident_bytes(&process).unwrap_or_default(),
            cpu_time: Duration::from_secs_f64(
                stat.as_ref().and_then(cpu_seconds).unwrap_or_default(),
            ),
        }
    }

    fn resident_bytes(process: &Process) -> Option<u64> {
        process.statm().ok()?.resident.checked_mul(constant(SysconfVar::PAGE_SIZE)?)
    }

    fn cpu_seconds(stat: &Stat) -> Option<f64> {
        seconds(stat.utime.saturating_add(stat.stime))
    }

    fn seconds(ticks: u64) -> Option<f64> {
        Some(ticks as f64 / constant(SysconfVar::CLK_TCK)? as f64)
    }

    /// A constant of the system. That of `procfs` is read from the auxiliary vector, which is
    /// another one under valgrind.
    fn constant(variable: SysconfVar) -> Option<u64> {
        u64::try_from(sysconf(variable).ok()??).ok().filter(|value| *value > 0)
    }

    #[allow(clippy::cast_precision_loss, clippy::unnecessary_wraps)]
    fn as_f64(value: u64) -> Option<f64> {
        Some(value as f64)
    }
}
