//! `larder man` writes the manual pages.

use std::{fs, path::PathBuf};

use clap::CommandFactory as _;

use super::failure::{Ending, Error};
use crate::cli::Cli;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Directory for larder.1 and a page for each command; it is made if it is missing
    #[arg(value_name = "DIRECTORY")]
    directory: PathBuf,
}

impl Args {
    pub(super) fn run(&self) -> Result<Ending, Error> {
        fs::create_dir_all(&self.directory)
            .and_then(|()| clap_mangen::generate_to(Cli::command(), &self.directory))
            .map_err(|source| Error::Pages { path: self.directory.clone(), source })?;
        Ok(Ending::Done)
    }
}
