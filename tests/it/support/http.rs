//! A client of HTTP/1.1 that keeps nothing between requests, and follows no redirect.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpSocket,
};
use tokio_rustls::TlsConnector;
use url::form_urlencoded;

use super::server::Larder;

/// Requests to the admin port of a server.
#[derive(Clone)]
pub(crate) struct Http {
    address: SocketAddr,
    local: IpAddr,
    tls: Option<Arc<ClientConfig>>,
    /// Text of the header `Host`; none: the address.
    host: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Http {
    pub(crate) fn to(larder: &Larder) -> Self {
        Self {
            address: larder.admin_address(),
            local: [127, 0, 0, 1].into(),
            tls: None,
            host: None,
        }
    }

    /// As this one, from another address of this machine.
    pub(crate) fn from(&self, local: impl Into<IpAddr>) -> Self {
        Self { local: local.into(), ..self.clone() }
    }

    pub(crate) fn with_tls(&self, config: Arc<ClientConfig>) -> Self {
        Self { tls: Some(config), ..self.clone() }
    }

    /// As this one, with another name of the server.
    pub(crate) fn with_host(&self, host: &str) -> Self {
        Self { host: Some(host.to_owned()), ..self.clone() }
    }

    /// The origin of the pages.
    pub(crate) fn origin(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The name that a cookie has on this port.
    pub(crate) fn cookie_name(&self, name: &str) -> String {
        if self.tls.is_some() { format!("__Host-{name}") } else { name.to_owned() }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    /// A request with a token.
    pub(crate) async fn bearer(&self, path: &str, token: &str) -> Answer {
        self.send("GET", path, &[("authorization", format!("Bearer {token}"))], "").await
    }

    /// A form.
    pub(crate) async fn form(
        &self,
        path: &str,
        headers: &[(&str, String)],
        fields: &[(&str, &str)],
    ) -> Answer {
        let mut headers = headers.to_vec();
        headers.push(("content-type", "application/x-www-form-urlencoded".to_owned()));
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.send("POST", path, &headers, &body).await
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, String)],
        body: &str,
    ) -> Answer {
        let headers = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n"));
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-length: {}\r\n{}\r\n{body}",
            self.host.clone().unwrap_or_else(|| self.address.to_string()),
            body.len(),
            headers.collect::<String>()
        );
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(self.local, 0)).unwrap();
        let stream = socket.connect(self.address).await.unwrap();
        let Some(tls) = &self.tls else { return exchange(stream, &request).await };
        let name = ServerName::try_from("localhost").unwrap();
        let stream = TlsConnector::from(tls.clone()).connect(name, stream).await.unwrap();
        exchange(stream, &request).await
    }
}

async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, request: &str) -> Answer {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A server with TLS may end the connection without a notice.
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines.map(|line| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_owned(), value.to_owned())
    });
    Answer { status, headers: headers.collect(), body: body.to_owned() }
}

impl Answer {
    /// The value of a header; an empty text without it.
    pub(crate) fn header(&self, name: &str) -> &str {
        let header = self.headers.iter().find(|(other, _)| other == name);
        header.map_or("", |(_, value)| value)
    }

    /// Name and value of a cookie that is set, and its attributes.
    pub(crate) fn cookie(&self, name: &str) -> Option<(String, Vec<String>)> {
        let set = self.headers.iter().filter(|(header, _)| header == "set-cookie");
        let mut set = set.map(|(_, value)| value.split("; ").map(str::to_owned));
        set.find_map(|mut parts| {
            let pair = parts.next()?;
            let found = pair.trim_start_matches("__Host-").starts_with(&format!("{name}="));
            found.then(|| (pair, parts.collect()))
        })
    }

    /// The value of a hidden field of a form on the page.
    pub(crate) fn field(&self, name: &str) -> String {
        let begin = format!("name=\"{name}\" value=\"");
        let value = self.body.split(&begin).nth(1).unwrap_or_else(|| panic!("{self:?}"));
        value.split('"').next().unwrap().to_owned()
    }
}
