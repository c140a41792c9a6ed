//! `larder completions` prints the completions of a shell.

use clap::{CommandFactory as _, ValueEnum};
use clap_complete::{Shell, generate};

use super::{
    failure::{Ending, Error},
    output::Output,
};
use crate::cli::Cli;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    #[arg(value_enum)]
    shell: SupportedShell,
}

/// Shells whose completions are tested.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum SupportedShell {
    Bash,
    Zsh,
    Fish,
}

impl Args {
    pub(super) fn run(&self) -> Result<Ending, Error> {
        let shell = match self.shell {
            SupportedShell::Bash => Shell::Bash,
            SupportedShell::Zsh => Shell::Zsh,
            SupportedShell::Fish => Shell::Fish,
        };
        // The generator panics if it cannot write.
        let mut script = Vec::new();
        generate(shell, &mut Cli::command(), "larder", &mut script);
        Output::stdout(false).bytes(&script)?;
        Ok(Ending::Done)
    }
}
