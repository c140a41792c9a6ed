//! The process and its build, under the names of Prometheus' client libraries.

use super::metrics;

metrics! {
    BUILD_INFO = Gauge(
        "larder.build_info",
        ["version", "commit"],
        "1, with the version and the commit of the build"
    );
    BUSY_POLLS = Counter(
        "larder.busy_polls",
        ["outcome"],
        "Polls of idle threads before they sleep, by whether there was an event"
    );
    BUSY_POLL_DURATION = Counter(
        "larder.busy_poll.duration",
        [],
        "Time that idle threads have polled for events"
    ) in "s";
    PROCESS_CPU = Counter("process.cpu", [], "Time on processors, in user and system mode") in "s";
    PROCESS_RESIDENT_MEMORY = Gauge("process.resident_memory", [], "Resident memory") in "By";
    PROCESS_VIRTUAL_MEMORY = Gauge("process.virtual_memory", [], "Virtual memory") in "By";
    PROCESS_OPEN_FDS = Gauge("process.open_fds", [], "Open file descriptors");
    PROCESS_MAX_FDS = Gauge("process.max_fds", [], "Limit on open file descriptors");
    PROCESS_THREADS = Gauge("process.threads", [], "Threads");
    PROCESS_START_TIME = Gauge(
        "process.start_time",
        [],
        "Start of the process, in Unix time"
    ) in "s";
}
