//! Actions that run, and the last ones that have ended.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::dashboard::error::Error;

/// Most jobs that are kept. The oldest one that has ended is removed for a new one.
const MAX_JOBS: usize = 64;
/// Most jobs that run at once.
const MAX_RUNNING: usize = 8;

/// The jobs of this replica.
#[derive(Default)]
pub(in crate::dashboard) struct Jobs(Mutex<VecDeque<Arc<Job>>>);

/// One action that runs or has ended.
pub(in crate::dashboard) struct Job {
    id: String,
    title: String,
    began_at: Instant,
    state: Mutex<(JobState, Option<Duration>)>,
}

/// How far a job is.
#[derive(Debug, Clone)]
pub(in crate::dashboard) enum JobState {
    /// `total` is zero if there is nothing to count.
    Running { done: u64, total: u64 },
    /// Names and texts of the result.
    Done(Vec<(&'static str, String)>),
    /// Why it failed.
    Failed(String),
}

impl JobState {
    /// The word for it.
    pub(in crate::dashboard) fn name(&self) -> &'static str {
        match self {
            Self::Running { .. } => "running",
            Self::Done(_) => "done",
            Self::Failed(_) => "failed",
        }
    }
}

impl Jobs {
    /// Begins a job.
    ///
    /// # Errors
    /// [`Error::Busy`].
    pub(super) fn begin(&self, title: String) -> Result<Arc<Job>, Error> {
        let mut jobs = self.0.lock();
        if jobs.iter().filter(|job| job.is_running()).count() >= MAX_RUNNING {
            return Err(Error::Busy { what: "actions run", limit: MAX_RUNNING });
        }
        while jobs.len() >= MAX_JOBS
            && let Some(oldest) = jobs.iter().position(|job| !job.is_running())
        {
            jobs.remove(oldest);
        }
        let job = Arc::new(Job {
            id: format!("{:016x}", rand::random::<u64>()),
            title,
            began_at: Instant::now(),
            state: Mutex::new((JobState::Running { done: 0, total: 0 }, None)),
        });
        jobs.push_back(job.clone());
        Ok(job)
    }

    pub(super) fn find(&self, id: &str) -> Option<Arc<Job>> {
        self.0.lock().iter().find(|job| job.id == id).cloned()
    }

    /// All of them, the newest first.
    pub(in crate::dashboard) fn all(&self) -> Vec<Arc<Job>> {
        self.0.lock().iter().rev().cloned().collect()
    }
}

impl Job {
    pub(in crate::dashboard) fn id(&self) -> &str {
        &self.id
    }

    pub(in crate::dashboard) fn title(&self) -> &str {
        &self.title
    }

    pub(in crate::dashboard) fn state(&self) -> JobState {
        self.state.lock().0.clone()
    }

    /// Its time so far.
    pub(super) fn took(&self) -> Duration {
        self.state.lock().1.unwrap_or_else(|| self.began_at.elapsed())
    }

    pub(super) fn progress(&self, done: u64, total: u64) {
        self.state.lock().0 = JobState::Running { done, total };
    }

    pub(super) fn end(&self, state: JobState) {
        *self.state.lock() = (state, Some(self.began_at.elapsed()));
    }

    fn is_running(&self) -> bool {
        matches!(self.state.lock().0, JobState::Running { .. })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn jobs_have_a_bound_and_the_oldest_that_ended_goes() {
        let jobs = Jobs::default();
        let first = jobs.begin("first".to_owned()).unwrap();
        for _ in 1..MAX_JOBS {
            jobs.begin(String::new()).unwrap().end(JobState::Done(Vec::new()));
        }
        let second = jobs.all()[MAX_JOBS - 2].id().to_owned();
        jobs.begin(String::new()).unwrap();
        assert_eq!(jobs.all().len(), MAX_JOBS);
        assert!(jobs.find(first.id()).is_some(), "it runs");
        assert!(jobs.find(&second).is_none());
        for _ in 2..MAX_RUNNING {
            jobs.begin(String::new()).unwrap();
        }
        assert!(matches!(jobs.begin(String::new()), Err(Error::Busy { .. })));
        first.end(JobState::Failed("x".to_owned()));
        assert!(jobs.begin(String::new()).is_ok());
    }
}
