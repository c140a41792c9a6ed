//! The files of certificates in a directory.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use super::{
    Error,
    authority::{Authority, PemPair},
};

const AUTHORITY: &str = "ca";

/// A directory with the files of an authority and of what it has signed.
pub(super) struct Directory {
    path: PathBuf,
    may_replace: bool,
}

impl Directory {
    /// Creates the directory if it does not exist.
    pub(super) fn open(path: &Path, may_replace: bool) -> Result<Self, Error> {
        let failed = |source| Error::Write { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(failed)?;
        Ok(Self { path: path.to_owned(), may_replace })
    }

    /// The authority of the directory, if it has one.
    pub(super) fn authority(&self) -> Result<Option<Authority>, Error> {
        let (certificate, key) = self.paths(AUTHORITY);
        match (certificate.exists(), key.exists()) {
            (false, false) => Ok(None),
            (true, false) => Err(Error::HalfAuthority { present: certificate, missing: key }),
            (false, true) => Err(Error::HalfAuthority { present: key, missing: certificate }),
            (true, true) => {
                let pem = PemPair { certificate: read(&certificate)?, key: read(&key)? };
                let authority = Authority::from_pem(pem);
                authority.map(Some).map_err(|source| Error::Authority { path: certificate, source })
            }
        }
    }

    pub(super) fn write_authority(&self, authority: &Authority) -> Result<(), Error> {
        self.write_pair(AUTHORITY, &authority.pem)
    }

    /// Whether there is a file of this pair.
    pub(super) fn has(&self, name: &str) -> bool {
        let (certificate, key) = self.paths(name);
        certificate.exists() || key.exists()
    }

    /// Checks that a pair may be written.
    pub(super) fn check_free(&self, name: &str) -> Result<(), Error> {
        let (certificate, key) = self.paths(name);
        match [certificate, key].into_iter().find(|path| path.exists()) {
            Some(path) if !self.may_replace => Err(Error::Exists { path }),
            Some(_) | None => Ok(()),
        }
    }

    /// Writes a certificate and its key, each in one step.
    pub(super) fn write_pair(&self, name: &str, pem: &PemPair) -> Result<(), Error> {
        let (certificate, key) = self.paths(name);
        write(&key, &pem.key, 0o600)?;
        write(&certificate, &pem.certificate, 0o644)
    }

    fn paths(&self, name: &str) -> (PathBuf, PathBuf) {
        let path = |extension| self.path.join(format!("{name}.{extension}"));
        (path("crt"), path("key"))
    }
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

/// A server that reads the file meanwhile sees the old one or the new one.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let temporary = path.with_extension("new");
    let write = || {
        let _ = fs::remove_file(&temporary);
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    };
    write().map_err(|source: io::Error| Error::Write { path: path.to_owned(), source })
}
