//! PEM from a file, or in the configuration itself.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read as _},
    path::PathBuf,
};

use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
    pem::{self, PemObject},
};
use secrecy::{ExposeSecret as _, SecretString};

use super::TlsError;

/// Size limit of a file, for revocation lists.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// The begin of PEM, by which it is distinguished from a path.
const BEGIN: &str = "-----BEGIN";

/// Where PEM comes from. `Debug` hides a text, which may be a key.
#[derive(Clone, Debug)]
pub enum PemSource {
    /// A file, which is read again when it changes.
    File(PathBuf),
    /// The text itself.
    Text(SecretString),
}

impl PemSource {
    /// A text that begins as PEM, or the path of a file. In a variable, the lines of a text may be
    /// separated by `\n`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let text = text.trim();
        if !text.starts_with(BEGIN) {
            return Self::File(PathBuf::from(text));
        }
        let is_escaped = !text.contains('\n');
        Self::Text(if is_escaped { text.replace("\\n", "\n") } else { text.to_owned() }.into())
    }

    /// Reads the PEM of the configuration key `key`.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn read(&self, key: &str) -> Result<Vec<u8>, TlsError> {
        match self {
            Self::Text(text) => Ok(text.expose_secret().as_bytes().to_vec()),
            Self::File(path) => read_file(path).map_err(|source| TlsError::Read {
                key: key.to_owned(),
                place: self.to_string(),
                source,
            }),
        }
    }
}

impl PartialEq for PemSource {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(one), Self::File(other)) => one == other,
            (Self::Text(one), Self::Text(other)) => one.expose_secret() == other.expose_secret(),
            (Self::File(_), Self::Text(_)) | (Self::Text(_), Self::File(_)) => false,
        }
    }
}

/// Names the place in messages.
impl fmt::Display for PemSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Text(_) => f.write_str("the text"),
        }
    }
}

/// Reads a regular file. Other files, such as pipes, could block.
fn read_file(path: &PathBuf) -> io::Result<Vec<u8>> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_BYTES {
        let message = format!("it is larger than {MAX_BYTES} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

/// PEM of a key of the configuration, for messages about it.
#[derive(Clone, Copy)]
pub(super) struct NamedPem<'a> {
    pub(super) key: &'a str,
    pub(super) source: &'a PemSource,
    pub(super) bytes: &'a [u8],
}

impl NamedPem<'_> {
    /// The certificates, at least one.
    pub(super) fn certificates(self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        self.items(CERTIFICATE, CertificateDer::pem_slice_iter(self.bytes))
    }

    /// The revocation lists, at least one.
    pub(super) fn revocation_lists(
        self,
    ) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
        self.items("revocation list", CertificateRevocationListDer::pem_slice_iter(self.bytes))
    }

    /// The first private key.
    pub(super) fn private_key(self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(self.bytes).map_err(|error| {
            let is_missing = matches!(error, pem::Error::NoItemsFound);
            if is_missing { self.missing(PRIVATE_KEY) } else { self.unusable(PRIVATE_KEY, &error) }
        })
    }

    pub(super) fn unusable(self, what: &'static str, problem: &dyn fmt::Display) -> TlsError {
        let problem = problem.to_string();
        TlsError::Unusable { key: self.key.to_owned(), place: self.place(), what, problem }
    }

    pub(super) fn place(self) -> String {
        self.source.to_string()
    }

    fn missing(self, what: &'static str) -> TlsError {
        TlsError::Missing { key: self.key.to_owned(), place: self.place(), what }
    }

    fn items<T>(
        self,
        what: &'static str,
        items: impl Iterator<Item = Result<T, pem::Error>>,
    ) -> Result<Vec<T>, TlsError> {
        let items: Result<Vec<T>, _> = items.collect();
        let items = items.map_err(|error| self.unusable(what, &error))?;
        if items.is_empty() { Err(self.missing(what)) } else { Ok(items) }
    }
}

pub(super) const CERTIFICATE: &str = "certificate";
pub(super) const PRIVATE_KEY: &str = "private key";

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_begins_as_pem_is_no_path() {
        let text = PemSource::new(" -----BEGIN X-----\\nAAAA\\n-----END X-----");
        let PemSource::Text(pem) = &text else { panic!("{text:?}") };
        assert_eq!(pem.expose_secret().lines().count(), 3);
        assert!(!format!("{text:?}{text}").contains("AAAA"));
        assert_eq!(PemSource::new("/etc/tls.key"), PemSource::File("/etc/tls.key".into()));
        assert_ne!(PemSource::new("/etc/tls.key"), text);
        assert_eq!(text, PemSource::new("-----BEGIN X-----\nAAAA\n-----END X-----\n"));
    }

    #[test]
    fn messages_name_the_key_and_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("tls.crt");
        let source = PemSource::File(path.clone());
        let error = source.read("tls.cert").unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("tls.cert: the file {} cannot be read", path.display())
        );
        assert!(PemSource::File(directory.path().into()).read("tls.cert").is_err());
        std::fs::write(&path, "nothing").unwrap();
        let bytes = source.read("tls.cert").unwrap();
        let pem = NamedPem { key: "tls.cert", source: &source, bytes: &bytes };
        let no = |what| format!("tls.cert: the file {} has no {what} in PEM", path.display());
        assert_eq!(pem.certificates().unwrap_err().to_string(), no("certificate"));
        assert_eq!(pem.revocation_lists().unwrap_err().to_string(), no("revocation list"));
        assert_eq!(pem.private_key().unwrap_err().to_string(), no("private key"));
    }
}
