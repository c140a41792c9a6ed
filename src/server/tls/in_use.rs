//! A certificate in use, which is replaced when its files change.

use std::sync::Arc;

use parking_lot::Mutex;
use rustls::ClientConfig;

use super::{CertificateError, expiry::Expiries, in_thread::in_thread};
use crate::{
    audit::{AuditLog, Record},
    error_chain::ErrorChain,
    model::AuditEvent,
    tls::{
        ClientPem, ClientTlsOptions, ServerPem, ServerTls, ServerTlsOptions, TlsError, Validity,
    },
};

/// Files, and what is built from them.
pub(super) trait Source: Clone + PartialEq + Send + 'static {
    type Pem: PartialEq + Clone + Send + 'static;
    type Built: Send + 'static;

    fn read(&self) -> Result<Self::Pem, TlsError>;
    fn build(&self, pem: &Self::Pem) -> Result<Self::Built, TlsError>;
    /// None: there is no certificate.
    fn validity(built: &Self::Built) -> Option<Validity>;
}

impl Source for ServerTlsOptions {
    type Pem = ServerPem;
    type Built = ServerTls;

    fn read(&self) -> Result<ServerPem, TlsError> {
        Self::read(self)
    }

    fn build(&self, pem: &ServerPem) -> Result<ServerTls, TlsError> {
        Self::build(self, pem)
    }

    fn validity(built: &ServerTls) -> Option<Validity> {
        Some(built.validity)
    }
}

impl Source for ClientTlsOptions {
    type Pem = ClientPem;
    type Built = (Arc<ClientConfig>, Option<Validity>);

    fn read(&self) -> Result<ClientPem, TlsError> {
        Self::read(self)
    }

    fn build(&self, pem: &ClientPem) -> Result<Self::Built, TlsError> {
        Self::build(self, pem).map(|(config, validity)| (Arc::new(config), validity))
    }

    fn validity(built: &Self::Built) -> Option<Validity> {
        built.1
    }
}

/// Contents of files that can be used.
pub(super) struct Loaded<S: Source> {
    pub(super) options: S,
    pem: S::Pem,
    pub(super) built: S::Built,
}

impl<S: Source> Loaded<S> {
    /// Reads the files of `options`, if there are any.
    pub(super) async fn read(options: Option<S>) -> Result<Option<Self>, CertificateError> {
        let Some(options) = options else { return Ok(None) };
        let loaded = in_thread(move || {
            let pem = options.read()?;
            let built = options.build(&pem)?;
            Ok::<_, TlsError>(Self { options, pem, built })
        });
        Ok(Some(loaded.await??))
    }
}

/// Where changes are reported.
#[derive(Clone)]
pub(super) struct Reports {
    pub(super) expiries: Arc<Expiries>,
    pub(super) audit: AuditLog,
}

type Put<S> = Box<dyn Fn(&S, &<S as Source>::Built) + Send + Sync>;

/// A certificate in use.
pub(super) struct InUse<S: Source> {
    /// In log lines and metrics.
    name: &'static str,
    state: Mutex<State<S>>,
    put: Put<S>,
    reports: Reports,
}

struct State<S: Source> {
    options: S,
    pem: S::Pem,
    /// Why the files cannot be used.
    refused: Option<Refused>,
}

struct Refused {
    error: String,
    is_logged: bool,
}

impl<S: Source> InUse<S> {
    /// `put` puts another one into use.
    pub(super) fn new(
        name: &'static str,
        loaded: Loaded<S>,
        put: impl Fn(&S, &S::Built) + Send + Sync + 'static,
        reports: Reports,
    ) -> Self {
        let Loaded { options, pem, built } = loaded;
        reports.expiries.set(name, S::validity(&built));
        let state = Mutex::new(State { options, pem, refused: None });
        Self { name, state, put: Box::new(put), reports }
    }

    /// Puts another one into use.
    pub(super) fn replace(&self, Loaded { options, pem, built }: Loaded<S>) {
        let mut state = self.state.lock();
        let is_changed = state.pem != pem;
        // Otherwise sessions could not be resumed after each reload.
        if !is_changed && state.options == options {
            return;
        }
        (self.put)(&options, &built);
        let validity = S::validity(&built);
        self.reports.expiries.set(self.name, validity);
        *state = State { options, pem, refused: None };
        drop(state);
        if is_changed {
            let expires = validity
                .map(|validity| humantime::format_rfc3339_seconds(validity.not_after).to_string());
            self.record("OK", None);
            tracing::info!(certificate = self.name, expires, "a certificate was replaced");
        }
    }

    /// Replaces the certificate if its files have changed and can be used.
    pub(super) async fn check(&self) {
        let (options, used) = {
            let state = self.state.lock();
            (state.options.clone(), state.pem.clone())
        };
        let read = in_thread(move || {
            let pem = options.read()?;
            if pem == used {
                return Ok(None);
            }
            let built = options.build(&pem)?;
            Ok::<_, TlsError>(Some(Loaded { options, pem, built }))
        });
        match read.await.map_err(CertificateError::from).and_then(|read| Ok(read?)) {
            Ok(Some(loaded)) => self.replace(loaded),
            Ok(None) => self.state.lock().refused = None,
            Err(error) => self.refuse(&error),
        }
    }

    fn record(&self, code: &'static str, error: Option<&str>) {
        let mut record = Record::new(AuditEvent::Reload, "certificate");
        record.text("certificate", self.name).code(code);
        error.iter().for_each(|error| {
            record.text("error", error);
        });
        self.reports.audit.record(record);
    }

    /// Files that cannot be used change nothing. They are logged once, when they are seen for the
    /// second time: a certificate and its key are two files, and one of them is written first.
    #[cold]
    fn refuse(&self, error: &CertificateError) {
        let error = ErrorChain(error).to_string();
        let mut state = self.state.lock();
        match &mut state.refused {
            Some(refused) if refused.error == error => {
                if !std::mem::replace(&mut refused.is_logged, true) {
                    self.record("FAILED_PRECONDITION", Some(&error));
                    let certificate = self.name;
                    tracing::warn!(
                        certificate,
                        error,
                        "new certificate files are not used: the old ones stay"
                    );
                }
            }
            refused => *refused = Some(Refused { error, is_logged: false }),
        }
    }
}
