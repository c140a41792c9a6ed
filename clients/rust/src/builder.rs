//! Options of a client, from the program and from the environment.

use std::{future::Future, path::PathBuf, str::FromStr, sync::Arc, time::Duration};

use http::HeaderValue;

use crate::{
    Client, Error,
    core::{Core, Limits},
    options::positive,
    transport::{
        authorization::{Authorization, Source, Token, TokenError},
        connect::Connector,
        pool::Pool,
        target::Target,
        wire::{Local, Route, Shared},
    },
    ttl::FOREVER,
};

const WAIT: Duration = Duration::from_secs(5);
const KEEPALIVE: Duration = Duration::from_secs(30);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
const MAX_IDLE: Duration = Duration::from_secs(240);
const BACKGROUND: usize = 16;

/// A set of limits. Each can be set by itself, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Preset {
    /// For services near the server: 500 ms for a call. The default.
    #[default]
    Service,
    /// For the developer's machine: 5 s for a call, no pings.
    Local,
    /// 100 ms for a call.
    LowLatency,
    /// For processes that are frozen: no pings, and a connection that was idle for 4 min is
    /// replaced.
    Lambda,
}

impl FromStr for Preset {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "service" => Ok(Self::Service),
            "local" => Ok(Self::Local),
            "low_latency" => Ok(Self::LowLatency),
            "lambda" => Ok(Self::Lambda),
            _ => Err(Error::argument(
                "preset",
                format!("expected service, local, low_latency or lambda, got {name}"),
            )),
        }
    }
}

/// Whether calls fail at an outage: while the cache is away, slow or full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnError {
    /// Reads and writes go on without the cache. The default.
    #[default]
    Open,
    /// All calls fail.
    Raise,
}

impl FromStr for OnError {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "open" => Ok(Self::Open),
            "raise" => Ok(Self::Raise),
            _ => Err(Error::argument("on_error", format!("expected open or raise, got {name}"))),
        }
    }
}

/// Makes a [`Client`]: see [`Client::builder`].
#[derive(Clone, Default)]
#[must_use]
pub struct ClientBuilder {
    target: Option<String>,
    preset: Preset,
    namespace_prefix: String,
    on_error: OnError,
    token: Option<Source>,
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    tls: bool,
    server_name: Option<String>,
    allow_plaintext_token: bool,
    schema_version: Option<String>,
    call_timeout: Option<Duration>,
    connect_timeout: Option<Duration>,
    wait: Option<Duration>,
    wait_margin: Option<Duration>,
    keepalive: Option<Option<Duration>>,
    keepalive_timeout: Option<Duration>,
    max_idle: Option<Option<Duration>>,
    background: Option<usize>,
    ignore_environment: bool,
    local: Option<Local>,
}

impl std::fmt::Debug for ClientBuilder {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ClientBuilder")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident($kind:ty) = $value:expr;)*) => {
        $($(#[$doc])*
        pub fn $name(mut self, $name: $kind) -> Self {
            self.$name = $value;
            self
        })*
    };
}

impl ClientBuilder {
    pub(crate) fn to(target: Option<String>) -> Self {
        Self { target, ..Self::default() }
    }

    #[cfg(feature = "testing")]
    pub(crate) fn to_local(local: Local) -> Self {
        Self { local: Some(local), ..Self::default() }
    }

    setters! {
        /// A set of limits: `Service`.
        preset(Preset) = preset;
        /// Put before the names of all namespaces.
        namespace_prefix(impl Into<String>) = namespace_prefix.into();
        /// Whether calls fail at an outage: `Open`.
        on_error(OnError) = on_error;
        /// Sent as `authorization: Bearer`; `LARDER_TOKEN`.
        token(impl Into<String>) = Some(Source::Fixed(token.into()));
        /// Authorities of the server's certificate, in PEM; `LARDER_CA_FILE`. Switches TLS on.
        ca_file(impl Into<PathBuf>) = Some(ca_file.into());
        /// Certificate of the client, in PEM; `LARDER_CERT_FILE`. Switches TLS on.
        cert_file(impl Into<PathBuf>) = Some(cert_file.into());
        /// Key of the certificate, in PEM; `LARDER_KEY_FILE`.
        key_file(impl Into<PathBuf>) = Some(key_file.into());
        /// Speak TLS with the authorities of the machine, when no file is named.
        tls(bool) = tls;
        /// Name in the server's certificate, if it is not that of the target.
        server_name(impl Into<String>) = Some(server_name.into());
        /// Send the token over plain text to another machine.
        allow_plaintext_token(bool) = allow_plaintext_token;
        /// Version of what the program caches, 1 to 64 of `A-Za-z0-9._-`.
        schema_version(impl Into<String>) = Some(schema_version.into());
        /// Time limit of a call.
        call_timeout(Duration) = Some(call_timeout);
        /// Time limit of `connect`, and what the first call has in addition.
        connect_timeout(Duration) = Some(connect_timeout);
        /// How long `get_or_fetch` waits for the computation of another process: 5 s.
        wait(Duration) = Some(wait);
        /// The time of `get_or_fetch` in addition to `wait`.
        wait_margin(Duration) = Some(wait_margin);
        /// Time between pings while calls run; `None`: no pings.
        keepalive(Option<Duration>) = Some(keepalive);
        /// Time for the answer to a ping: 10 s.
        keepalive_timeout(Duration) = Some(keepalive_timeout);
        /// A connection that was idle for longer is replaced; `None`: it is not.
        max_idle(Option<Duration>) = Some(max_idle);
        /// Computations in the background at once: 16.
        background(usize) = Some(background);
        /// Leave the variables of the environment out.
        ignore_environment(bool) = ignore_environment;
    }

    /// Asks for tokens: each is used until shortly before it expires.
    pub fn token_provider<F, Fut, T>(mut self, provider: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, TokenError>> + Send + 'static,
        T: Into<Token>,
    {
        self.token = Some(Source::Provider(Arc::new(move || {
            let asked = provider();
            Box::pin(async move { asked.await.map(Into::into) })
        })));
        self
    }

    /// Makes the client. It connects at the first call.
    ///
    /// # Errors
    ///
    /// An option is wrong, a file cannot be read, or a token would be sent over plain text.
    pub fn connect_lazy(self) -> Result<Client, Error> {
        let limits = self.limits()?;
        let schema_version = self.schema_header()?;
        let shared = match self.local.clone() {
            Some(local) => {
                Shared { route: Route::Local(local), authorization: None, schema_version }
            }
            None => self.remote(schema_version, limits.connect)?,
        };
        let core = Core::new(shared, limits, self.on_error, self.namespace_prefix);
        Ok(Client::new(Arc::new(core)))
    }

    /// Makes the client, and connects.
    ///
    /// # Errors
    ///
    /// As [`connect_lazy`](Self::connect_lazy) and [`Client::connect`].
    pub async fn connect(self) -> Result<Client, Error> {
        let client = self.connect_lazy()?;
        client.connect().await?;
        Ok(client)
    }

    fn limits(&self) -> Result<Limits, Error> {
        let [call, connect, margin] = match self.preset {
            Preset::Service | Preset::Lambda => [500, 1000, 1000],
            Preset::Local => [5000, 5000, 5000],
            Preset::LowLatency => [100, 500, 250],
        }
        .map(Duration::from_millis);
        let call = if self.preset == Preset::Lambda { Duration::from_secs(1) } else { call };
        let set = |name, value: Option<Duration>, preset| {
            Ok::<_, Error>(positive(name, value)?.unwrap_or(preset))
        };
        Ok(Limits {
            call: set("call_timeout", self.call_timeout, call)?,
            connect: set("connect_timeout", self.connect_timeout, connect)?,
            wait: self.wait.unwrap_or(WAIT).min(FOREVER),
            wait_margin: set("wait_margin", self.wait_margin, margin)?,
            background: self.background.unwrap_or(BACKGROUND),
        })
    }

    fn schema_header(&self) -> Result<Option<HeaderValue>, Error> {
        let Some(version) = &self.schema_version else { return Ok(None) };
        let is_valid = (1..=64).contains(&version.len())
            && version.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        let header = is_valid.then(|| HeaderValue::from_str(version).ok()).flatten();
        header
            .map(Some)
            .ok_or_else(|| Error::argument("schema_version", "expected 1 to 64 of A-Za-z0-9._-"))
    }

    fn remote(
        &self,
        schema_version: Option<HeaderValue>,
        timeout: Duration,
    ) -> Result<Shared, Error> {
        let variable = |name| if self.ignore_environment { None } else { variable(name) };
        let address = self.target.clone().or_else(|| variable("LARDER_ENDPOINT"));
        let address = address.as_deref().unwrap_or("127.0.0.1:50051");
        let target = Target::parse(address)?;
        let file = |given: &Option<PathBuf>, name| {
            given.clone().or_else(|| variable(name).map(PathBuf::from))
        };
        let ca = file(&self.ca_file, "LARDER_CA_FILE");
        let cert = file(&self.cert_file, "LARDER_CERT_FILE");
        let key = file(&self.key_file, "LARDER_KEY_FILE");
        let secure = self.tls || ca.is_some() || cert.is_some() || key.is_some();
        let token = self.token.clone().or_else(|| variable("LARDER_TOKEN").map(Source::Fixed));
        if token.is_some() && !secure && !target.is_loopback() && !self.allow_plaintext_token {
            let message = format!(
                "not sent over plain text to {address}: use TLS, or set allow_plaintext_token"
            );
            return Err(Error::argument("token", message));
        }
        #[cfg(not(feature = "tls"))]
        if secure {
            return Err(Error::argument("tls", "this build has no feature `tls`"));
        }
        let pings = !matches!(self.preset, Preset::Local | Preset::Lambda);
        let connector = Connector {
            target,
            timeout,
            keepalive: match self.keepalive {
                Some(keepalive) => positive("keepalive", keepalive)?,
                None => pings.then_some(KEEPALIVE),
            },
            keepalive_timeout: positive("keepalive_timeout", self.keepalive_timeout)?
                .unwrap_or(KEEPALIVE_TIMEOUT),
            #[cfg(feature = "tls")]
            tls: secure
                .then(|| {
                    let files = crate::transport::tls::Files { ca, cert, key };
                    crate::transport::tls::Tls::new(files, self.server_name.as_deref())
                })
                .transpose()?,
        };
        let is_lambda = self.preset == Preset::Lambda;
        let max_idle = self.max_idle.unwrap_or_else(|| is_lambda.then_some(MAX_IDLE));
        Ok(Shared {
            route: Route::Pool(Arc::new(Pool::new(connector, positive("max_idle", max_idle)?))),
            authorization: token.map(Authorization::new).transpose()?,
            schema_version,
        })
    }
}

/// A variable of the environment that is set and not empty.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
