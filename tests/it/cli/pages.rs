//! The manual pages.

use std::{fs, path::Path};

use clap::{Command, CommandFactory as _};
use larder::cli::Cli;

use super::{DONE, Printed};
use crate::support::server::run;

/// Exit code for pages that cannot be written.
const NOT_WRITTEN: i32 = 5;

fn man(directory: &Path) -> Printed {
    Printed::new(run(&["man", directory.to_str().unwrap()], &[]))
}

/// Compares the page of a command and those of its subcommands. Returns their number.
fn expect_pages(directory: &Path, name: &str, command: &Command) -> usize {
    let path = directory.join(format!("{name}.1"));
    let page = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let about = command.get_about().unwrap().to_string();
    // Hyphens and apostrophes are escaped in a page.
    assert!(page.replace("\\-", "-").replace("\\*(Aq", "'").contains(&about), "{name}: {about}");
    let mut count = 1;
    for inner in command.get_subcommands() {
        count += expect_pages(directory, &format!("{name}-{}", inner.get_name()), inner);
    }
    count
}

#[test]
fn each_command_has_a_page() {
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path().join("share").join("man1");
    assert_eq!(man(&target).result(), (DONE, ""));
    let expected = expect_pages(&target, "larder", &Cli::command());
    assert!(expected > 25, "{expected}");
    assert_eq!(fs::read_dir(&target).unwrap().count(), expected);
}

#[test]
fn pages_that_cannot_be_written_are_an_error_with_the_path() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    man(&file).expect_failure(NOT_WRITTEN, &["cannot write the pages to", "file"]);
}
