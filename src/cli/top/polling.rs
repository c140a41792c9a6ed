//! The calls to the server: one at a time, each with a deadline, the costly ones at times.

use std::{collections::BTreeMap, future::Future, time::Duration};

use tokio::time::Instant;
use tonic::{Code, Request, Response, Status};

use super::{answers::Answer, figures::AnswerPart};
use crate::{
    cli::{
        client::{self, Error, RemoteServer},
        connection::{Connection, Lost},
    },
    pb::v1::{
        AnalyzeRequest, GetConfigRequest, GetHistoryRequest, HistorySpan, HotKeysRequest,
        ListNamespacesRequest, ListReplicasRequest, NamespaceSummary, StatsRequest, StatsResponse,
        admin_service_client::AdminServiceClient, cache_service_client::CacheServiceClient,
    },
};

/// Namespaces whose hot keys are requested at a time.
pub(super) const HOT_NAMESPACES: usize = 3;
const HOT_KEYS_PER_NAMESPACE: u32 = 20;
/// Extra time for the server's own answer to a call whose deadline has passed.
const GRACE: Duration = Duration::from_secs(1);

/// Calls a connected server.
pub(super) struct Poller {
    server: RemoteServer,
    limit: Duration,
    /// When each part is requested again.
    due: BTreeMap<AnswerPart, Instant>,
    /// When the hot keys of each namespace are requested again.
    hot_due: BTreeMap<String, Instant>,
    /// The namespace whose history was requested last.
    opened: Option<String>,
}

/// Namespaces about which a round of calls has more.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Wanted {
    /// The namespaces whose hot keys are shown.
    pub(super) hot: Vec<String>,
    /// The namespace whose history is shown.
    pub(super) opened: Option<String>,
}

/// Answers of one round of calls.
pub(super) struct Round {
    pub(super) answers: Vec<Answer>,
    /// Why the round ended early: the server did not answer.
    pub(super) failure: Option<Error>,
}

impl AnswerPart {
    /// Time between two requests of a part.
    fn interval(self) -> Duration {
        Duration::from_secs(match self {
            Self::Replicas => 5,
            Self::HotKeys => 10,
            Self::History => 20,
            Self::Policies => 30,
            Self::Configuration | Self::Findings => 60,
        })
    }
}

impl Poller {
    /// `limit` is the deadline of each call.
    pub(super) fn new(server: RemoteServer, limit: Duration) -> Self {
        Self { server, limit, due: BTreeMap::new(), hot_due: BTreeMap::new(), opened: None }
    }

    /// Makes the calls that are due.
    pub(super) async fn round(&mut self, wanted: &Wanted) -> Round {
        let mut answers = Vec::new();
        let failure = self.call_all(wanted, &mut answers).await.err();
        Round { answers, failure }
    }

    async fn call_all(&mut self, wanted: &Wanted, answers: &mut Vec<Answer>) -> Result<(), Error> {
        answers.push(Answer::Stats(Box::new(self.stats().await?)));
        if self.is_due(AnswerPart::Policies) {
            let policies = self.policies().await?.map(Answer::Policies);
            answers.push(policies.unwrap_or_else(|status| left_out(AnswerPart::Policies, &status)));
        }
        if self.is_due(AnswerPart::Configuration) {
            let mut admin = self.admin();
            let call = admin.get_config(self.request(GetConfigRequest {}));
            let configuration = self.answer(call).await?.map(Answer::Configuration);
            answers.push(
                configuration.unwrap_or_else(|status| left_out(AnswerPart::Configuration, &status)),
            );
        }
        if self.is_due(AnswerPart::Replicas) {
            let mut admin = self.admin();
            let call = admin.list_replicas(self.request(ListReplicasRequest {}));
            let replicas = self.answer(call).await?.map(Answer::Replicas);
            answers.push(replicas.unwrap_or_else(|status| left_out(AnswerPart::Replicas, &status)));
        }
        if self.is_due(AnswerPart::Findings) {
            let mut admin = self.admin();
            let call = admin.analyze(self.request(AnalyzeRequest::default()));
            let analysis = self.answer(call).await?;
            let findings = analysis.map(|analysis| Answer::Findings(analysis.findings));
            answers.push(findings.unwrap_or_else(|status| left_out(AnswerPart::Findings, &status)));
        }
        if self.opened != wanted.opened {
            self.due.remove(&AnswerPart::History);
        }
        if self.is_due(AnswerPart::History) {
            self.opened.clone_from(&wanted.opened);
            answers.push(self.history().await?);
        }
        self.hot_keys(&wanted.hot, answers).await
    }

    /// Requests the hot keys of the namespaces for which they are due.
    pub(super) async fn hot_keys(
        &mut self,
        namespaces: &[String],
        answers: &mut Vec<Answer>,
    ) -> Result<(), Error> {
        let now = Instant::now();
        self.hot_due.retain(|namespace, due| *due > now && namespaces.contains(namespace));
        let mut admin = self.admin();
        for namespace in namespaces {
            if self.hot_due.contains_key(namespace) {
                continue;
            }
            self.hot_due.insert(namespace.clone(), now + AnswerPart::HotKeys.interval());
            let request = HotKeysRequest {
                namespace: namespace.clone(),
                limit: HOT_KEYS_PER_NAMESPACE,
                ..HotKeysRequest::default()
            };
            let call = admin.hot_keys(self.request(request));
            match self.answer(call).await? {
                Ok(keys) => answers.push(Answer::HotKeys { namespace: namespace.clone(), keys }),
                Err(status) => answers.push(left_out(AnswerPart::HotKeys, &status)),
            }
        }
        Ok(())
    }

    async fn history(&self) -> Result<Answer, Error> {
        let request = GetHistoryRequest {
            namespaces: self.opened.iter().cloned().collect(),
            span: HistorySpan::Hour.into(),
        };
        let mut admin = self.admin();
        let call = admin.get_history(self.request(request));
        let history = self.answer(call).await?.map(|history| Answer::History(Box::new(history)));
        Ok(history.unwrap_or_else(|status| left_out(AnswerPart::History, &status)))
    }

    fn is_due(&mut self, part: AnswerPart) -> bool {
        let now = Instant::now();
        let is_due = self.due.get(&part).is_none_or(|due| *due <= now);
        if is_due {
            self.due.insert(part, now + part.interval());
        }
        is_due
    }

    /// Reads all pages. All but the namespaces is from the last page.
    async fn stats(&self) -> Result<StatsResponse, Error> {
        let mut client = CacheServiceClient::new(self.server.connection.clone())
            .max_decoding_message_size(usize::MAX);
        let mut request = StatsRequest::default();
        let mut namespaces = Vec::new();
        loop {
            let call = client.stats(self.request(request.clone()));
            let answer = self.answer(call).await?;
            let mut page = answer.map_err(|status| self.server.failed(status))?;
            namespaces.append(&mut page.namespaces);
            if page.next_page_token.is_empty() {
                page.namespaces = namespaces;
                return Ok(page);
            }
            request.page_token = page.next_page_token;
        }
    }

    async fn policies(&self) -> Result<Result<Vec<NamespaceSummary>, Status>, Error> {
        let mut admin = self.admin();
        let mut request = ListNamespacesRequest::default();
        let mut namespaces = Vec::new();
        loop {
            let call = admin.list_namespaces(self.request(request.clone()));
            let page = match self.answer(call).await? {
                Ok(page) => page,
                Err(status) => return Ok(Err(status)),
            };
            namespaces.extend(page.namespaces);
            if page.next_page_token.is_empty() {
                return Ok(Ok(namespaces));
            }
            request.page_token = page.next_page_token;
        }
    }

    fn admin(&self) -> AdminServiceClient<Connection> {
        AdminServiceClient::new(self.server.connection.clone())
            .max_decoding_message_size(usize::MAX)
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.limit);
        request
    }

    /// Waits for an answer, or for the status of the server.
    ///
    /// # Errors
    /// The server cannot be reached, or does not answer within the limit.
    async fn answer<T>(
        &self,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<Result<T, Status>, Error> {
        let limit = self.limit.saturating_add(GRACE);
        let answered = async { Ok(call.await.map(Response::into_inner)) };
        let answer: Result<T, Status> =
            client::within::<_, Error>(limit, &self.server.address, answered).await?;
        match answer {
            Err(status) if Lost::of(&status).is_some() => Err(self.server.failed(status)),
            answer => Ok(answer),
        }
    }
}

fn left_out(part: AnswerPart, status: &Status) -> Answer {
    let reason = if status.code() == Code::Unimplemented {
        "the server does not have this call".to_owned()
    } else if status.code() == Code::PermissionDenied {
        "the caller has no permission for it".to_owned()
    } else {
        status.message().to_owned()
    };
    Answer::LeftOut { part, reason }
}
