//! `larder audit` prints the audit log of a server.

use tonic::Status;

use super::{
    arguments::CallArgs,
    failure::{Ending, Error},
    output::{Output, remark},
    session::{self, Session},
};
use crate::pb::v1::{TailAuditRequest, TailAuditResponse};

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Records to print from before the command
    #[arg(short = 'n', long, default_value_t = 10, value_name = "NUMBER")]
    records: u32,
    /// Go on with the records that follow, until it is interrupted
    #[arg(short, long)]
    follow: bool,
    #[command(flatten)]
    call: CallArgs,
}

impl Args {
    pub(super) fn run(&self) -> Result<Ending, Error> {
        session::run(&self.call, async |session| {
            // Records are JSON for programs and for people.
            let mut output = Output::stdout(true);
            let request = TailAuditRequest { records: Some(self.records), follow: self.follow };
            // Without a deadline: it may have no end.
            let request = session.request_without_deadline(request);
            let mut stream = session.answer(session.admin().tail_audit(request)).await?;
            while let Some(part) = self.next(&session, stream.message()).await? {
                if part.missed > 0 {
                    remark(&format!("larder: {} records are missing", part.missed));
                }
                for record in &part.records {
                    output.json_text(record)?;
                }
            }
            Ok(Ending::Done)
        })
    }

    /// Waits for a part: without a limit if it follows, as nothing may happen for long.
    async fn next(
        &self,
        session: &Session,
        message: impl Future<Output = Result<Option<TailAuditResponse>, Status>>,
    ) -> Result<Option<TailAuditResponse>, Error> {
        if self.follow {
            return message.await.map_err(|status| session.refused(status));
        }
        session.part(message).await
    }
}
