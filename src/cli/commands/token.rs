//! `larder token` makes tokens for callers.

use clap::Subcommand;

use super::{
    failure::{Ending, Error},
    output::Output,
};
use crate::auth::NewToken;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Print a new random token, for the caller, and its digest, for the configuration.
    New,
}

impl Args {
    pub(super) fn run(&self) -> Result<Ending, Error> {
        match self.command {
            TokenCommand::New => {
                let token = NewToken::random();
                let text = format!("token:  {}\ndigest: {}\n", token.secret(), token.digest());
                Output::stdout(false).bytes(text.as_bytes())?;
                Ok(Ending::Done)
            }
        }
    }
}
