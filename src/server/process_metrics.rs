//! Metrics of the process and of the build, under the names that Prometheus' client libraries use.

use std::time::Duration;

use opentelemetry::{KeyValue, metrics::Meter};

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
    meter
        .u64_observable_gauge("larder.build_info")
        .with_description("1, with the version and the commit of the build")
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

    use opentelemetry::metrics::Meter;
    use procfs::process::{Process, Stat};

    use super::ProcessUsage;

    /// Reads a figure of this process; none if /proc cannot be read.
    type Read = fn(&Process) -> Option<f64>;

    pub(super) fn register(meter: &Meter) {
        // Name, unit, description.
        let gauges: [(&str, &str, &str, Read); 6] = [
            ("process.resident_memory", "By", "Resident memory", |process| {
                as_f64(resident_bytes(process)?)
            }),
            ("process.virtual_memory", "By", "Virtual memory", |process| {
                as_f64(process.stat().ok()?.vsize)
            }),
            ("process.open_fds", "", "Open file descriptors", |process| {
                as_f64(process.fd_count().ok()? as u64)
            }),
            ("process.max_fds", "", "Limit on open file descriptors", |process| {
                match process.limits().ok()?.max_open_files.soft_limit {
                    procfs::process::LimitValue::Value(limit) => as_f64(limit),
                    procfs::process::LimitValue::Unlimited => None,
                }
            }),
            ("process.threads", "", "Threads", |process| {
                Some(process.stat().ok()?.num_threads as f64)
            }),
            ("process.start_time", "s", "Start of the process, in Unix time", |process| {
                let since_boot =
                    process.stat().ok()?.starttime as f64 / procfs::ticks_per_second() as f64;
                Some(procfs::boot_time_secs().ok()? as f64 + since_boot)
            }),
        ];
        for (name, unit, description, read) in gauges {
            meter
                .f64_observable_gauge(name)
                .with_unit(unit)
                .with_description(description)
                .with_callback(move |observer| {
                    if let Some(value) = Process::myself().ok().and_then(|process| read(&process)) {
                        observer.observe(value, &[]);
                    }
                })
                .build();
        }
        meter
            .f64_observable_counter("process.cpu")
            .with_unit("s")
            .with_description("Time on processors, in user and system mode")
            .with_callback(|observer| {
                if let Some(stat) = Process::myself().ok().and_then(|process| process.stat().ok()) {
                    observer.observe(cpu_time(&stat).as_secs_f64(), &[]);
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
            cpu_time: stat.as_ref().map(cpu_time).unwrap_or_default(),
        }
    }

    fn resident_bytes(process: &Process) -> Option<u64> {
        process.statm().ok()?.resident.checked_mul(procfs::page_size())
    }

    fn cpu_time(stat: &Stat) -> Duration {
        let ticks = stat.utime.saturating_add(stat.stime);
        Duration::from_secs_f64(ticks as f64 / procfs::ticks_per_second() as f64)
    }

    #[allow(clippy::cast_precision_loss, clippy::unnecessary_wraps)]
    fn as_f64(value: u64) -> Option<f64> {
        Some(value as f64)
    }
}
