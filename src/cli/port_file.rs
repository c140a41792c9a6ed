//! `--port-file`: writes the addresses in use for the program that started the server on port 0.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::server::Addresses;

/// The file, which is removed when the server ends.
pub(super) struct PortFile(PathBuf);

/// The file cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("--port-file: cannot write {}", path.display())]
pub(super) struct Error {
    path: PathBuf,
    source: io::Error,
}

impl PortFile {
    /// Writes the file in one step: a reader sees all of it or nothing.
    pub(super) fn write(path: PathBuf, addresses: Addresses) -> Result<Self, Error> {
        match write_whole(&path, &content(addresses)) {
            Ok(()) => Ok(Self(path)),
            Err(source) => Err(Error { path, source }),
        }
    }
}

/// Lines that a shell can source, and that are variables of Larder.
fn content(Addresses { grpc, admin }: Addresses) -> String {
    format!("LARDER_LISTEN={grpc}\nLARDER_ADMIN_LISTEN={admin}\n")
}

fn write_whole(path: &Path, content: &str) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".{}", std::process::id()));
    fs::write(&temporary, content)?;
    fs::rename(&temporary, path).inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

impl Drop for PortFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
