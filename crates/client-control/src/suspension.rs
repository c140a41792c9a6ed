//! Suspending and continuing a child process.

use std::{fs, path::PathBuf, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::process::Child;

use crate::wait::until;

const STOP_LIMIT: Duration = Duration::from_secs(5);

/// Sends a signal to a process.
pub(crate) fn send_signal(process: Option<&Child>, signal: Signal) -> Result<Pid, String> {
    let id = process.and_then(Child::id).ok_or("the process does not run")?;
    let id = Pid::from_raw(i32::try_from(id).map_err(|error| error.to_string())?);
    kill(id, signal).map_err(|error| error.to_string())?;
    Ok(id)
}

/// Suspends a process, and waits until all its threads are suspended: the signal alone lets it
/// answer calls for a while.
pub(crate) async fn suspend(process: Option<&Child>) -> Result<(), String> {
    let id = send_signal(process, Signal::SIGSTOP)?;
    let threads = PathBuf::from(format!("/proc/{id}/task"));
    until(STOP_LIMIT, async || are_stopped(&threads).then_some(()))
        .await
        .ok_or_else(|| "the process is not suspended".to_owned())
}

/// Whether all threads in a folder of `/proc` are suspended; true on systems without it.
fn are_stopped(threads: &PathBuf) -> bool {
    let Ok(entries) = fs::read_dir(threads) else { return true };
    entries.flatten().all(|entry| {
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The state follows the name, which is in parentheses and can have any letters.
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
    })
}
