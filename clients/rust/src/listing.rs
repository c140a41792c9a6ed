//! Listings of keys, and statistics.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use crate::{
    Error, ListOptions,
    core::{Scope, Spec},
    pb,
};

/// Time limit of calls that go through the whole store.
const LIST_TIMEOUT: Duration = Duration::from_secs(5);

/// The key of an entry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub struct ListedKey {
    /// The key.
    pub key: String,
    /// Digest of the params and the schema versions; empty if there are none.
    pub params_digest: String,
}

/// The keys of a namespace, in no order. A page is asked for when it is needed.
pub struct Keys {
    scope: Scope,
    options: ListOptions,
    page: VecDeque<pb::ListedKey>,
    /// `None` after the last page.
    token: Option<String>,
    /// Keeps the client open.
    _owner: Arc<crate::client::Owner>,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Keys").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Keys {
    pub(crate) fn new(
        scope: Scope,
        options: ListOptions,
        owner: Arc<crate::client::Owner>,
    ) -> Self {
        let token = Some(String::new());
        Self { scope, options, page: VecDeque::new(), token, _owner: owner }
    }

    /// The next key; `None` at the end.
    ///
    /// # Errors
    ///
    /// The call of a page fails.
    pub async fn next(&mut self) -> Result<Option<ListedKey>, Error> {
        loop {
            if let Some(listed) = self.page.pop_front() {
                let pb::ListedKey { key, params_digest } = listed;
                return Ok(Some(ListedKey { key, params_digest }));
            }
            let Some(page_token) = self.token.clone() else { return Ok(None) };
            let request = pb::ListKeysRequest {
                namespace: self.scope.namespace.to_string(),
                glob: self.options.glob.clone().unwrap_or_default(),
                page_size: self.options.page_size.unwrap_or_default(),
                page_token,
            };
            let answer = self.scope.call(request, self.scope.list_spec(&self.options)?).await?;
            self.page = answer.keys.into();
            self.token = Some(answer.next_page_token).filter(|token| !token.is_empty());
        }
    }

    /// All keys that are left.
    ///
    /// # Errors
    ///
    /// The call of a page fails.
    pub async fn all(mut self) -> Result<Vec<ListedKey>, Error> {
        let mut keys = Vec::new();
        while let Some(key) = self.next().await? {
            keys.push(key);
        }
        Ok(keys)
    }
}

impl Scope {
    fn list_spec(&self, options: &ListOptions) -> Result<Spec, Error> {
        let longest = LIST_TIMEOUT.max(self.core.limits.call);
        self.spec(Some(options.timeout.unwrap_or(longest)), true)
    }

    /// The number of keys of a namespace.
    pub(crate) async fn count_keys(&self, options: &ListOptions) -> Result<u64, Error> {
        let mut count = 0;
        let mut page_token = String::new();
        loop {
            let request = pb::CountKeysRequest {
                namespace: self.namespace.to_string(),
                glob: options.glob.clone().unwrap_or_default(),
                page_token,
            };
            let answer = self.call(request, self.list_spec(options)?).await?;
            count += answer.count;
            page_token = answer.next_page_token;
            if page_token.is_empty() {
                return Ok(count);
            }
        }
    }

    /// Statistics of namespaces; of all if the list is empty.
    pub(crate) async fn stats(&self, namespaces: Vec<String>) -> Result<pb::StatsResponse, Error> {
        let mut all: Option<pb::StatsResponse> = None;
        let mut page_token = String::new();
        loop {
            let request =
                pb::StatsRequest { namespaces: namespaces.clone(), page_size: 0, page_token };
            let spec = self.list_spec(&ListOptions::default())?;
            let mut answer = self.call(request, spec).await?;
            page_token = std::mem::take(&mut answer.next_page_token);
            match &mut all {
                None => all = Some(answer),
                Some(all) => all.namespaces.append(&mut answer.namespaces),
            }
            if page_token.is_empty() {
                return Ok(all.unwrap_or_default());
            }
        }
    }
}
