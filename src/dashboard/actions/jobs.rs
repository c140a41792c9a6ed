//! Actions that run, and the last ones that have ended.

use std::{collections::VecDeque, net::IpAddr, sync::Arc, time::Duration};

use opentelemetry::metrics::{Counter, Meter};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::{audit::AuditedCaller, dashboard::error::Error, metric_list};

/// Most jobs that are kept. The oldest one that has ended is removed for a new one.
const MAX_JOBS: usize = 64;
/// Most jobs that run at once.
const MAX_RUNNING: usize = 8;
/// Most viewers of a job that are remembered.
const MAX_VIEWERS: usize = 16;

/// Principal and address of a viewer.
type Viewer = (Option<Arc<str>>, Option<IpAddr>);

/// The jobs of this replica.
pub(in crate::dashboard) struct Jobs {
    jobs: Mutex<VecDeque<Arc<Job>>>,
    refused: Counter<u64>,
}

/// One action that runs or has ended.
pub(in crate::dashboard) struct Job {
    id: String,
    /// That of the form, which can be sent twice; none if it had none.
    confirmation: Option<String>,
    title: String,
    began_at: Instant,
    state: Mutex<(JobState, Option<Duration>)>,
    /// Principals and addresses whose views are recorded: the page of a job that runs is loaded
    /// many times.
    viewers: Mutex<Vec<Viewer>>,
}

/// The job of a form.
pub(super) enum Begun {
    /// A job that is to run.
    New(Arc<Job>),
    /// The job that the same form has begun before.
    Known(Arc<Job>),
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
    /// No jobs, and their metrics.
    pub(in crate::dashboard) fn new(meter: &Meter) -> Arc<Self> {
        let refused = metric_list::DASHBOARD_JOBS_REFUSED.counter(meter);
        refused.add(0, &[]);
        let jobs = Arc::new(Self { jobs: Mutex::default(), refused });
        let shown = Arc::downgrade(&jobs);
        metric_list::DASHBOARD_JOBS
            .observed_gauge(meter)
            .with_callback(move |observer| {
                let running = shown.upgrade().map_or(0, |jobs| running(&jobs.jobs.lock()));
                observer.observe(running as u64, &[]);
            })
            .build();
        jobs
    }

    /// Begins a job, unless the confirmation has begun one that is still kept.
    ///
    /// # Errors
    /// [`Error::Busy`].
    pub(super) fn begin(
        &self,
        title: String,
        confirmation: Option<String>,
    ) -> Result<Begun, Error> {
        let mut jobs = self.jobs.lock();
        let is_same = |job: &&Arc<Job>| {
            confirmation.is_some() && job.confirmation == confirmation && job.title == title
        };
        if let Some(known) = jobs.iter().find(is_same) {
            return Ok(Begun::Known(known.clone()));
        }
        if running(&jobs) >= MAX_RUNNING {
            self.refused.add(1, &[]);
            return Err(Error::Busy { what: "actions run", limit: MAX_RUNNING });
        }
        while jobs.len() >= MAX_JOBS
            && let Some(oldest) = jobs.iter().position(|job| !job.is_running())
        {
            jobs.remove(oldest);
        }
        let job = Arc::new(Job {
            id: random_id(),
            confirmation,
            title,
            began_at: Instant::now(),
            state: Mutex::new((JobState::Running { done: 0, total: 0 }, None)),
            viewers: Mutex::default(),
        });
        jobs.push_back(job.clone());
        Ok(Begun::New(job))
    }

    pub(super) fn find(&self, id: &str) -> Option<Arc<Job>> {
        self.jobs.lock().iter().find(|job| job.id == id).cloned()
    }

    /// All of them, the newest first.
    pub(in crate::dashboard) fn all(&self) -> Vec<Arc<Job>> {
        self.jobs.lock().iter().rev().cloned().collect()
    }
}

/// The id of a job or of a confirmation.
pub(super) fn random_id() -> String {
    format!("{:016x}", rand::random::<u64>())
}

fn running(jobs: &VecDeque<Arc<Job>>) -> usize {
    jobs.iter().filter(|job| job.is_running()).count()
}

impl Job {
    pub(in crate::dashboard) fn id(&self) -> &str {
        &self.id
    }

    pub(in crate::dashboard) fn title(&self) -> &str {
        &self.title
    }

    /// Whether a caller has not viewed the job before. Further ones than 16 are always new.
    pub(super) fn is_new_viewer(&self, caller: &AuditedCaller) -> bool {
        let viewer = (caller.principal.clone(), caller.peer.map(|peer| peer.ip()));
        let mut viewers = self.viewers.lock();
        let is_new = !viewers.contains(&viewer);
        if is_new && viewers.len() < MAX_VIEWERS {
            viewers.push(viewer);
        }
        is_new
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

    pub(super) fn is_running(&self) -> bool {
        matches!(self.state.lock().0, JobState::Running { .. })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use opentelemetry::metrics::MeterProvider as _;
    use opentelemetry_sdk::metrics::SdkMeterProvider;

    use super::*;

    /// A job that runs.
    fn begin(jobs: &Jobs, title: &str) -> Result<Arc<Job>, Error> {
        match jobs.begin(title.to_owned(), None)? {
            Begun::New(job) => Ok(job),
            Begun::Known(job) => panic!("{} is known", job.title),
        }
    }

    #[test]
    fn a_form_that_is_sent_twice_begins_one_job() {
        let jobs = Jobs::new(&SdkMeterProvider::default().meter("test"));
        let form = Some(random_id());
        let begin = |form: &Option<String>| jobs.begin("warm".to_owned(), form.clone()).unwrap();
        let Begun::New(first) = begin(&form) else { panic!("it is new") };
        for _ in 0..MAX_RUNNING {
            let Begun::Known(again) = begin(&form) else { panic!("it is the same form") };
            assert_eq!(again.id(), first.id());
        }
        first.end(JobState::Done(Vec::new()));
        assert!(matches!(begin(&form), Begun::Known(_)));
        assert!(matches!(begin(&Some(random_id())), Begun::New(_)));
        assert!(matches!(begin(&None), Begun::New(_)));
        assert!(matches!(begin(&None), Begun::New(_)));
        assert_eq!(jobs.all().len(), 4);
    }

    #[test]
    fn jobs_have_a_bound_and_the_oldest_that_ended_goes() {
        let jobs = Jobs::new(&SdkMeterProvider::default().meter("test"));
        let first = begin(&jobs, "first").unwrap();
        for _ in 1..MAX_JOBS {
            begin(&jobs, "").unwrap().end(JobState::Done(Vec::new()));
        }
        let second = jobs.all()[MAX_JOBS - 2].id().to_owned();
        begin(&jobs, "").unwrap();
        assert_eq!(jobs.all().len(), MAX_JOBS);
        assert!(jobs.find(first.id()).is_some(), "it runs");
        assert!(jobs.find(&second).is_none());
        for _ in 2..MAX_RUNNING {
            begin(&jobs, "").unwrap();
        }
        assert!(matches!(begin(&jobs, ""), Err(Error::Busy { .. })));
        first.end(JobState::Failed("x".to_owned()));
        assert!(begin(&jobs, "").is_ok());
    }
}
