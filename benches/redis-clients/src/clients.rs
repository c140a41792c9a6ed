//! The clients, each used in its cheapest way.

use std::{future::Future, io};

use bytes::Bytes;
use fred::interfaces::{ClientLike as _, KeysInterface as _};
use redis::{
    AsyncConnectionConfig, ConnectionAddr, IntoConnectionInfo as _, aio::MultiplexedConnection,
};
use rustis::{commands::StringCommands as _, resp::BulkString};

use crate::{Address, ENTRY_KEY, Failure, MARKER_KEY, own};

/// The same depth as in Larder's pool.
const PIPELINE_DEPTH: usize = 1024;

/// Connection shared by many tasks.
pub trait Client: Clone + Send + Sync + 'static {
    type Data: AsRef<[u8]> + Send;

    fn connect(address: &Address) -> impl Future<Output = Result<Self, Failure>>;

    /// Sends `MGET marker entry`.
    fn read(&self) -> impl Future<Output = Result<[Self::Data; 2], Failure>> + Send;
}

#[derive(Clone)]
pub struct RedisRs(pub MultiplexedConnection);

#[derive(Clone)]
pub struct Fred(fred::clients::Client);

#[derive(Clone)]
pub struct Rustis(rustis::client::Client);

#[derive(Clone)]
pub struct Own(own::Connection);

fn unexpected(reply: impl std::fmt::Debug) -> Failure {
    io::Error::other(format!("unexpected reply: {reply:?}")).into()
}

impl Client for RedisRs {
    type Data = Vec<u8>;

    async fn connect(address: &Address) -> Result<Self, Failure> {
        let address = match address {
            Address::Unix(path) => ConnectionAddr::Unix(path.into()),
            Address::Tcp(address) => ConnectionAddr::Tcp(address.ip().to_string(), address.port()),
        };
        let tcp = redis::io::tcp::TcpSettings::default().set_nodelay(true);
        let info = address.into_connection_info()?.set_tcp_settings(tcp);
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_pipeline_buffer_size(PIPELINE_DEPTH);
        let client = redis::Client::open(info)?;
        Ok(Self(client.get_multiplexed_async_connection_with_config(&config).await?))
    }

    async fn read(&self) -> Result<[Vec<u8>; 2], Failure> {
        let mut command = redis::cmd("MGET");
        command.arg(MARKER_KEY).arg(ENTRY_KEY);
        let reply = self.0.clone().send_packed_command(&command).await?;
        let redis::Value::Array(values) = reply else { return Err(unexpected(reply)) };
        match <[redis::Value; 2]>::try_from(values) {
            Ok([redis::Value::BulkString(marker), redis::Value::BulkString(entry)]) => {
                Ok([marker, entry])
            }
            other => Err(unexpected(other)),
        }
    }
}

impl Client for Fred {
    type Data = Bytes;

    async fn connect(address: &Address) -> Result<Self, Failure> {
        use fred::types::{
            RespVersion,
            config::{Config, ConnectionConfig, ServerConfig, TcpConfig},
        };
        let server = match address {
            Address::Unix(path) => ServerConfig::new_unix_socket(path),
            Address::Tcp(address) => {
                ServerConfig::new_centralized(address.ip().to_string(), address.port())
            }
        };
        let config = Config { server, version: RespVersion::RESP2, ..Config::default() };
        let tcp = TcpConfig { nodelay: Some(true), ..TcpConfig::default() };
        let connection = ConnectionConfig { tcp, ..ConnectionConfig::default() };
        let client = fred::clients::Client::new(config, None, Some(connection), None);
        client.init().await?;
        Ok(Self(client))
    }

    async fn read(&self) -> Result<[Bytes; 2], Failure> {
        use fred::types::{Key, Value};
        let keys = vec![Key::from_static_str(MARKER_KEY), Key::from_static_str(ENTRY_KEY)];
        let reply: Value = self.0.mget(keys).await?;
        let Value::Array(values) = reply else { return Err(unexpected(reply)) };
        match <[Value; 2]>::try_from(values) {
            Ok([Value::Bytes(marker), Value::Bytes(entry)]) => Ok([marker, entry]),
            other => Err(unexpected(other)),
        }
    }
}

impl Client for Rustis {
    type Data = Vec<u8>;

    async fn connect(address: &Address) -> Result<Self, Failure> {
        let url = match address {
            Address::Unix(path) => format!("unix://{path}"),
            Address::Tcp(address) => format!("redis://{address}"),
        };
        Ok(Self(rustis::client::Client::connect(url).await?))
    }

    async fn read(&self) -> Result<[Vec<u8>; 2], Failure> {
        let values: (BulkString, BulkString) = self.0.mget((MARKER_KEY, ENTRY_KEY)).await?;
        Ok([values.0.into(), values.1.into()])
    }
}

impl Client for Own {
    type Data = Bytes;

    async fn connect(address: &Address) -> Result<Self, Failure> {
        Ok(Self(own::Connection::open(address).await?))
    }

    async fn read(&self) -> Result<[Bytes; 2], Failure> {
        let command = own::pack(&[b"MGET", MARKER_KEY.as_bytes(), ENTRY_KEY.as_bytes()]);
        match self.0.send(command).await {
            Some(own::Reply::Array(values)) => match <[own::Reply; 2]>::try_from(values) {
                Ok([own::Reply::Bulk(marker), own::Reply::Bulk(entry)]) => Ok([marker, entry]),
                other => Err(unexpected(other)),
            },
            other => Err(unexpected(other)),
        }
    }
}
