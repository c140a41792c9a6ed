//! `larder certs`: certificates for development.

mod authority;
mod files;

use std::{fmt::Write as _, io, path::PathBuf, process::ExitCode};

use clap::{Args, builder::TypedValueParser};

use self::{
    authority::{Authority, Leaf},
    files::Directory,
};
use super::{EXIT_OUTPUT, print, print_error};

/// Names of a server on this host.
const LOCAL_HOSTS: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

#[derive(Debug, Args)]
pub(super) struct CertsArgs {
    /// Directory for the files; an authority that is there already signs further certificates
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Host name or IP address of the server; can be given several times [default: localhost,
    /// 127.0.0.1 and ::1]
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
    /// Name of a client that gets a certificate, or its name and SPIFFE ID, as in
    /// checkout=spiffe://dev/checkout; can be given several times
    #[arg(long = "client", value_name = "NAME[=URI]", value_parser = client)]
    clients: Vec<Client>,
    /// Days for which the certificates of servers and clients are valid
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = days())]
    days: u32,
    /// Replace the files of servers and clients that exist; never those of the authority
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Client {
    name: String,
    uri: Option<String>,
}

/// Why no certificates are made.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} exists: remove it, or pass --force to replace it")]
    Exists { path: PathBuf },
    #[error("{present} exists without {missing}: remove it, or restore the other file")]
    HalfAuthority { present: PathBuf, missing: PathBuf },
    #[error("{path} is not an authority of `larder certs`")]
    Authority { path: PathBuf, source: rcgen::Error },
    #[error("{name} cannot be in a certificate")]
    Name { name: String, source: rcgen::Error },
    #[error("a certificate cannot be made")]
    Sign(#[from] rcgen::Error),
}

pub(super) fn run(args: &CertsArgs) -> ExitCode {
    match make(args) {
        Ok(report) => {
            if let Err(error) = print(&report) {
                print_error(&super::client::Error::Output(error));
                return ExitCode::from(EXIT_OUTPUT);
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            print_error(&error);
            ExitCode::FAILURE
        }
    }
}

/// Makes the files. Returns what was made, and how to use it.
fn make(args: &CertsArgs) -> Result<String, Error> {
    let directory = Directory::open(&args.out, args.force)?;
    let mut made = Vec::new();
    let authority = match directory.authority()? {
        Some(authority) => authority,
        None => {
            let authority = Authority::new()?;
            directory.write_authority(&authority)?;
            made.push("ca".to_owned());
            authority
        }
    };
    let mut leaves = Vec::new();
    // A client can be added to a server that has its certificate.
    let wants_server = !args.hosts.is_empty() || args.clients.is_empty() || args.force;
    if wants_server || !directory.has("server") {
        let hosts = if args.hosts.is_empty() {
            LOCAL_HOSTS.map(str::to_owned).to_vec()
        } else {
            args.hosts.clone()
        };
        leaves.push(("server".to_owned(), Leaf::Server { hosts }));
    }
    for Client { name, uri } in &args.clients {
        let leaf = Leaf::Client { name: name.clone(), uri: uri.clone() };
        leaves.push((format!("client-{name}"), leaf));
    }
    for (file, _) in &leaves {
        directory.check_free(file)?;
    }
    for (file, leaf) in leaves {
        directory.write_pair(&file, &authority.sign(&leaf, args.days)?)?;
        made.push(file);
    }
    Ok(report(args, &made))
}

fn report(args: &CertsArgs, made: &[String]) -> String {
    let directory = args.out.display();
    let mut text = String::new();
    for name in made {
        let _ = writeln!(text, "made {directory}/{name}.crt and {directory}/{name}.key");
    }
    let host = args.hosts.first().map_or(LOCAL_HOSTS[0], String::as_str);
    let (mut server, mut client) = (String::new(), String::new());
    if let Some(Client { name, .. }) = args.clients.first() {
        server = format!(
            " \\\n    LARDER_TLS__CLIENT_CA={directory}/ca.crt LARDER_TLS__CLIENT_CERT=required"
        );
        let file = format!("{directory}/client-{name}");
        client = format!(" -cert {file}.crt -key {file}.key");
    }
    let _ = write!(
        text,
        "\nThese certificates are for development: ca.key can sign more of them.\n\
         \nStart the server with TLS:\n\n\
         LARDER_TLS__CERT={directory}/server.crt LARDER_TLS__KEY={directory}/server.key{server} \
         larder\n\
         \nCall it:\n\n\
         grpcurl -cacert {directory}/ca.crt{client} {host}:50051 list\n"
    );
    text
}

fn days() -> impl TypedValueParser<Value = u32> {
    clap::value_parser!(u32).range(1..=3650)
}

/// Reads `NAME` or `NAME=URI`. The name becomes a part of the name of a file.
fn client(text: &str) -> Result<Client, String> {
    let (name, uri) = match text.split_once('=') {
        Some((name, uri)) => (name, Some(uri.to_owned())),
        None => (text, None),
    };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if !(1..=64).contains(&name.len()) || !name.bytes().all(allowed) {
        return Err("expected a name of 1 to 64 characters of A-Z a-z 0-9 . _ -".to_owned());
    }
    if uri.as_ref().is_some_and(|uri| url::Url::parse(uri).is_err()) {
        return Err("expected a URI such as spiffe://dev/checkout after the =".to_owned());
    }
    Ok(Client { name: name.to_owned(), uri })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

    use super::*;
    use crate::tls::{
        ClientCertificates, ClientTlsOptions, MinVersion, PemSource, ServerTlsOptions,
    };

    fn args(out: &Path, clients: &[&str], force: bool) -> CertsArgs {
        CertsArgs {
            out: out.to_owned(),
            hosts: Vec::new(),
            clients: clients.iter().map(|text| client(text).unwrap()).collect(),
            days: 30,
            force,
        }
    }

    #[test]
    fn the_files_can_be_used_and_are_not_overwritten() {
        let parent = tempfile::tempdir().unwrap();
        let out = parent.path().join("certs");
        let report = make(&args(&out, &["checkout=spiffe://dev/checkout"], false)).unwrap();
        assert!(report.contains("grpcurl -cacert") && report.contains("LARDER_TLS__CERT="));
        let pem = |name: &str| PemSource::File(out.join(name));
        let server = ServerTlsOptions {
            section: "tls",
            cert: pem("server.crt"),
            key: pem("server.key"),
            client_ca: Some(pem("ca.crt")),
            client_certificates: ClientCertificates::Required,
            crl: None,
            min_version: MinVersion::Tls12,
            protocols: &[],
            handshake_timeout: Duration::from_secs(1),
        };
        server.load().unwrap();
        let options = ClientTlsOptions {
            names: ["ca", "cert", "key"],
            ca: Some(pem("ca.crt")),
            cert: Some(pem("client-checkout.crt")),
            key: Some(pem("client-checkout.key")),
        };
        options.build(&options.read().unwrap()).unwrap();
        for file in fs::read_dir(&out).unwrap() {
            let path = file.unwrap().path();
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            let is_key = path.extension().unwrap() == "key";
            assert_eq!(mode & 0o077 == 0, is_key, "{path:?} {mode:o}");
        }
        let error = make(&args(&out, &[], false)).unwrap_err().to_string();
        assert!(error.contains("server.crt exists: remove it, or pass --force"), "{error}");
    }

    #[test]
    fn an_authority_is_used_again() {
        let parent = tempfile::tempdir().unwrap();
        let out = parent.path();
        make(&args(out, &[], false)).unwrap();
        let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();
        let (ca, server) = (read("ca.crt"), read("server.crt"));
        make(&args(out, &["a"], false)).unwrap();
        assert_eq!((read("ca.crt"), read("server.crt")), (ca.clone(), server.clone()));
        assert!(make(&args(out, &["a"], false)).is_err());
        make(&args(out, &["a"], true)).unwrap();
        assert_eq!(read("ca.crt"), ca);
        assert_ne!(read("server.crt"), server);
        fs::remove_file(out.join("ca.key")).unwrap();
        let error = make(&args(out, &["b"], false)).unwrap_err().to_string();
        assert!(error.contains("ca.crt exists without"), "{error}");
    }

    #[test]
    fn names_of_clients_are_names_of_files() {
        assert_eq!(client("a.b"), Ok(Client { name: "a.b".to_owned(), uri: None }));
        let with_uri = Client { name: "a".to_owned(), uri: Some("spiffe://x/a=b".to_owned()) };
        assert_eq!(client("a=spiffe://x/a=b"), Ok(with_uri));
        for text in ["", "../x", "a/b", "a=nothing", "=spiffe://x"] {
            assert!(client(text).is_err(), "{text}");
        }
    }
}
