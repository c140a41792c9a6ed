//! `larder keys` lists or counts the keys of a namespace.

use serde::Serialize;

use super::{
    arguments::CallArgs,
    display::escape,
    failure::{Ending, Error},
    output::Output,
    session::{self, Session},
};
use crate::pb::v1::{CountKeysRequest, ListKeysRequest, ListedKey};

/// Keys per page.
const PAGE: u32 = 1000;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Namespace of the keys
    namespace: String,
    /// Only keys that match this glob, such as 'user:*' [default: all]
    #[arg(default_value = "", hide_default_value = true)]
    glob: String,
    /// Print the number of keys only
    #[arg(long, conflicts_with = "limit")]
    count: bool,
    /// Print this many keys at most
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u64>,
    #[command(flatten)]
    call: CallArgs,
}

#[derive(Serialize)]
struct KeyLine<'a> {
    namespace: &'a str,
    key: &'a str,
    params_digest: Option<&'a str>,
}

#[derive(Serialize)]
struct CountLine<'a> {
    namespace: &'a str,
    count: u64,
}

impl Args {
    pub(super) fn run(&self) -> Result<Ending, Error> {
        session::run(&self.call, async |session| {
            let mut output = Output::stdout(self.call.json);
            if self.count {
                self.count(&session, &mut output).await
            } else {
                self.list(&session, &mut output).await
            }
        })
    }

    /// Prints each page when it is there.
    async fn list(&self, session: &Session, output: &mut Output) -> Result<Ending, Error> {
        let mut left = self.limit.unwrap_or(u64::MAX);
        let mut request = ListKeysRequest {
            namespace: self.namespace.clone(),
            glob: self.glob.clone(),
            page_size: u32::try_from(left).unwrap_or(PAGE).clamp(1, PAGE),
            page_token: String::new(),
        };
        let mut found = false;
        while left > 0 {
            let call = session.request(request.clone());
            let page = session.answer(session.cache().list_keys(call)).await?;
            for key in &page.keys {
                if left == 0 {
                    break;
                }
                self.print(key, output)?;
                left -= 1;
                found = true;
            }
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        Ok(if found || self.limit == Some(0) { Ending::Done } else { Ending::Miss })
    }

    fn print(
        &self,
        ListedKey { key, params_digest }: &ListedKey,
        output: &mut Output,
    ) -> Result<(), Error> {
        let line = KeyLine {
            namespace: &self.namespace,
            key,
            params_digest: (!params_digest.is_empty()).then_some(params_digest),
        };
        let is_terminal = output.is_terminal();
        output.line(&line, || {
            // A pipe gets the key as it is.
            let key = if is_terminal { escape(key) } else { key.clone() };
            if params_digest.is_empty() { key } else { format!("{key}\tparams {params_digest}") }
        })
    }

    async fn count(&self, session: &Session, output: &mut Output) -> Result<Ending, Error> {
        let mut request = CountKeysRequest {
            namespace: self.namespace.clone(),
            glob: self.glob.clone(),
            page_token: String::new(),
        };
        let mut count = 0;
        loop {
            let call = session.request(request.clone());
            let part = session.answer(session.cache().count_keys(call)).await?;
            count += part.count;
            if part.next_page_token.is_empty() {
                break;
            }
            request.page_token = part.next_page_token;
        }
        let line = CountLine { namespace: &self.namespace, count };
        output.line(&line, || count.to_string())?;
        Ok(Ending::Done)
    }
}
