//! A Redis Cluster for one test: primaries with their replicas, made by commands.

use std::{net::TcpListener, time::Duration};

use redis::{FromRedisValue, Value, aio::MultiplexedConnection};

use tempfile::TempDir;

use super::{
    proxy::Proxy,
    redis::{DISTURBED, RedisServer, announced_way},
    tls::write_certificates,
    wait::eventually,
};

/// Time in which a cluster is made, fails over, or agrees on a change.
pub(crate) const AGREED: Duration = Duration::from_secs(60);
const SLOTS: u16 = 16_384;
/// Time without an answer after which a node counts as failed.
const NODE_TIMEOUT: &str = "1500";

/// The nodes of a cluster.
pub(crate) struct RedisCluster {
    nodes: Vec<Node>,
    primaries: usize,
    password: Option<String>,
    certificates: Option<(TempDir, &'static str)>,
    /// User and password of Larder, if it is not the default user.
    user: Option<(String, String)>,
    has_ways: bool,
}

struct Node {
    server: RedisServer,
    /// The proxy whose address the node announces; none: its own.
    way: Option<Proxy>,
    bus_port: u16,
    /// Its port with TLS; zero without.
    tls_port: u16,
    id: String,
}

// === impl Node ===

impl Node {
    /// The port at which it is known to others.
    fn announced_port(&self) -> u16 {
        self.way.as_ref().map_or_else(|| self.server.port(), |way| way.address().port())
    }
}

// === impl RedisCluster ===

impl RedisCluster {
    /// Three primaries without replicas, which serve what they can while another one is away.
    pub(crate) async fn start() -> Self {
        Self::start_with(3, 0, None).await
    }

    /// Three primaries with one replica each.
    pub(crate) async fn start_replicated() -> Self {
        Self::start_with(3, 1, None).await
    }

    /// Three primaries with TLS, also between them, whose certificates are for localhost.
    pub(crate) async fn start_tls() -> Self {
        let certificates = tempfile::tempdir().unwrap();
        write_certificates(certificates.path());
        Self::start_all(3, 0, None, Some((certificates, "no")), false).await
    }

    /// As above; clients must present a certificate.
    pub(crate) async fn start_mutual_tls() -> Self {
        let certificates = tempfile::tempdir().unwrap();
        write_certificates(certificates.path());
        Self::start_all(3, 0, None, Some((certificates, "yes")), false).await
    }

    /// Nodes of a cluster with proxies.
    #[allow(dead_code, reason = "the checker uses it")]
    pub(crate) const NODES_WITH_WAYS: usize = 6;

    /// As [`Self::start_replicated`], with proxies between the nodes and their clients. Faults of
    /// the proxies concern only the client with the URL [`Self::disturbed_url`].
    #[allow(dead_code, reason = "the checker uses it")]
    pub(crate) async fn start_with_ways() -> Self {
        Self::start_all(3, 1, None, None, true).await
    }

    /// As many primaries, with as many replicas each, all with a password.
    pub(crate) async fn start_with(
        primaries: usize,
        replicas: usize,
        password: Option<&str>,
    ) -> Self {
        Self::start_all(primaries, replicas, password, None, false).await
    }

    async fn start_all(
        primaries: usize,
        replicas: usize,
        password: Option<&str>,
        certificates: Option<(TempDir, &'static str)>,
        has_ways: bool,
    ) -> Self {
        let mut cluster = Self {
            nodes: Vec::new(),
            primaries,
            password: password.map(str::to_owned),
            certificates,
            user: None,
            has_ways,
        };
        for _ in 0..primaries * (1 + replicas) {
            cluster.start_node().await;
        }
        for number in 0..primaries {
            let per_node = SLOTS / u16::try_from(primaries).unwrap();
            let first = u16::try_from(number).unwrap() * per_node;
            let last = if number + 1 == primaries { SLOTS - 1 } else { first + per_node - 1 };
            let (first, last) = (first.to_string(), last.to_string());
            cluster.ask::<Value>(number, &["CLUSTER", "ADDSLOTSRANGE", &first, &last]).await;
            let epoch = (number + 1).to_string();
            cluster.ask::<Value>(number, &["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await;
        }
        for number in 1..cluster.nodes.len() {
            cluster.meet(number).await;
        }
        cluster.await_agreement().await;
        for number in primaries..cluster.nodes.len() {
            let primary = cluster.nodes[number % primaries].id.clone();
            cluster.ask::<Value>(number, &["CLUSTER", "REPLICATE", &primary]).await;
        }
        for number in primaries..cluster.nodes.len() {
            eventually("a replica has the data of its primary", AGREED, async || {
                let info: String = cluster.try_ask(number, &["INFO", "replication"]).await?;
                info.contains("master_link_status:up").then_some(())
            })
            .await;
        }
        cluster
    }

    /// The URL, with the first three nodes.
    pub(crate) fn url(&self) -> String {
        let user = match (&self.user, &self.password) {
            (Some((user, password)), _) => format!("{user}:{password}@"),
            (None, Some(password)) => format!(":{password}@"),
            (None, None) => String::new(),
        };
        if self.certificates.is_some() {
            let hosts = self.nodes.iter().map(|node| format!("localhost:{}", node.tls_port));
            return format!("rediss-cluster://{}", hosts.collect::<Vec<_>>().join(","));
        }
        let hosts = self.nodes.iter().take(3);
        let hosts: Vec<String> =
            hosts.map(|node| format!("127.0.0.1:{}", node.announced_port())).collect();
        format!("redis-cluster://{user}{}", hosts.join(","))
    }

    /// The URL for the client that the faults of the proxies concern.
    #[allow(dead_code, reason = "the checker uses it")]
    pub(crate) fn disturbed_url(&self) -> String {
        self.url().replace("://", &format!("://{DISTURBED}:{DISTURBED}@"))
    }

    /// The proxy of a node.
    #[allow(dead_code, reason = "the checker uses it")]
    pub(crate) fn way(&mut self, number: usize) -> &mut Proxy {
        self.nodes[number].way.as_mut().expect("a cluster with proxies")
    }

    /// The proxies.
    #[allow(dead_code, reason = "the checker uses it")]
    pub(crate) fn ways(&mut self) -> impl Iterator<Item = &mut Proxy> {
        self.nodes.iter_mut().filter_map(|node| node.way.as_mut())
    }

    /// Adds a user, with a command in words, whose URL is that of the cluster from now on.
    pub(crate) async fn set_user(&mut self, command: &[&str], user: &str, password: &str) {
        for number in self.running().collect::<Vec<_>>() {
            self.ask::<String>(number, command).await;
        }
        self.user = Some((user.to_owned(), password.to_owned()));
    }

    /// The URL of one node, as that of a server.
    pub(crate) fn node_url(&self, number: usize) -> String {
        self.nodes[number].server.url()
    }

    /// The server of a node.
    pub(crate) fn server(&mut self, number: usize) -> &mut RedisServer {
        &mut self.nodes[number].server
    }

    /// The nodes that are primaries at first.
    pub(crate) fn primaries(&self) -> std::ops::Range<usize> {
        0..self.primaries
    }

    /// Starts another node, outside the cluster.
    async fn start_node(&mut self) -> usize {
        let mut arguments = vec![
            "--cluster-node-timeout",
            NODE_TIMEOUT,
            "--cluster-require-full-coverage",
            "no",
            "--repl-diskless-sync-delay",
            "0",
        ];
        if let Some(password) = &self.password {
            arguments.extend(["--requirepass", password, "--masterauth", password]);
        }
        let tls = self.tls_arguments();
        arguments.extend(tls.iter().map(String::as_str));
        let announced =
            if self.has_ways { Some(announced_way("--cluster-announce-port").await) } else { None };
        let (way, of_way) = announced.unzip();
        arguments.extend(of_way.iter().flatten().map(String::as_str));
        let (server, bus_port) = RedisServer::start_node(&arguments).await;
        if let Some(way) = &way {
            way.redirect(server.upstream());
        }
        let tls_port = tls.get(1).map_or(0, |port| port.parse().unwrap());
        self.nodes.push(Node { server, way, bus_port, tls_port, id: String::new() });
        let number = self.nodes.len() - 1;
        self.nodes[number].id = self.ask(number, &["CLUSTER", "MYID"]).await;
        number
    }

    /// The arguments of a node with TLS: first the port and its number.
    fn tls_arguments(&self) -> Vec<String> {
        let Some((certificates, auth_clients)) = &self.certificates else { return Vec::new() };
        let file = |name: &str| certificates.path().join(name).display().to_string();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let arguments = [
            ("--tls-port", port.to_string()),
            ("--tls-cert-file", file("server.pem")),
            ("--tls-key-file", file("server.key")),
            ("--tls-ca-cert-file", file("authority.pem")),
            ("--tls-auth-clients", (*auth_clients).to_owned()),
            ("--tls-cluster", "yes".to_owned()),
            ("--cluster-announce-hostname", "localhost".to_owned()),
            ("--cluster-preferred-endpoint-type", "hostname".to_owned()),
        ];
        arguments.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }

    /// Path of the certificate authority of a cluster with TLS.
    pub(crate) fn authority(&self) -> String {
        self.file("authority.pem")
    }

    /// Paths of a certificate for clients and its key, by that authority.
    pub(crate) fn client_certificate(&self) -> (String, String) {
        (self.file("client.pem"), self.file("client.key"))
    }

    fn file(&self, name: &str) -> String {
        let (certificates, _) = self.certificates.as_ref().expect("a cluster with TLS");
        certificates.path().join(name).display().to_string()
    }

    /// Adds a primary without slots.
    pub(crate) async fn add_node(&mut self) -> usize {
        let number = self.start_node().await;
        self.meet(number).await;
        self.await_agreement().await;
        number
    }

    async fn meet(&self, number: usize) {
        let node = &self.nodes[number];
        let (port, bus) = (node.server.port().to_string(), node.bus_port.to_string());
        self.ask::<Value>(0, &["CLUSTER", "MEET", "127.0.0.1", &port, &bus]).await;
    }

    /// Waits until each running node has all others in its map, and reports the cluster as whole.
    async fn await_agreement(&self) {
        let known = format!("cluster_known_nodes:{}\r", self.nodes.len());
        for number in self.running() {
            eventually("the nodes agree", AGREED, async || {
                let info: String = self.try_ask(number, &["CLUSTER", "INFO"]).await?;
                let is_whole = info.contains(&known) && info.contains("cluster_state:ok");
                (is_whole && info.contains("cluster_slots_ok:16384")).then_some(())
            })
            .await;
        }
    }

    fn running(&self) -> impl Iterator<Item = usize> {
        (0..self.nodes.len()).filter(|number| self.nodes[*number].server.is_running())
    }

    /// A connection to a node.
    pub(crate) async fn connection(&self, number: usize) -> Option<MultiplexedConnection> {
        let user = self.password.as_ref().map_or_else(String::new, |it| format!(":{it}@"));
        let port = self.nodes[number].server.port();
        let client = redis::Client::open(format!("redis://{user}127.0.0.1:{port}")).unwrap();
        client.get_multiplexed_async_connection().await.ok()
    }

    /// Sends a command to a node.
    pub(crate) async fn ask<T: FromRedisValue>(&self, number: usize, command: &[&str]) -> T {
        let mut connection = self.connection(number).await.expect("the node answers");
        let answer = redis::cmd(command[0]).arg(&command[1..]).query_async(&mut connection).await;
        answer.unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    async fn try_ask<T: FromRedisValue>(&self, number: usize, command: &[&str]) -> Option<T> {
        let mut connection = self.connection(number).await?;
        redis::cmd(command[0]).arg(&command[1..]).query_async(&mut connection).await.ok()
    }

    /// As [`Self::ask`]; none if the node does not have the key.
    pub(crate) async fn ask_redirected(&self, number: usize, command: &[&str]) -> Option<u64> {
        self.try_ask(number, command).await
    }

    /// The slot of a key.
    pub(crate) async fn slot_of(&self, key: &str) -> u16 {
        let number = self.running().next().unwrap();
        self.ask(number, &["CLUSTER", "KEYSLOT", key]).await
    }

    /// The primary of a slot, in the view of another node than `except`.
    pub(crate) async fn owner_of(&self, slot: u16, except: Option<usize>) -> Option<usize> {
        let number = self.running().find(|number| Some(*number) != except)?;
        let ranges: Vec<Vec<Value>> = self.try_ask(number, &["CLUSTER", "SLOTS"]).await?;
        for range in ranges {
            let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = &range[..]
            else {
                return None;
            };
            if !(*first..=*last).contains(&i64::from(slot)) {
                continue;
            }
            let Value::Int(port) = primary.get(1)? else { return None };
            let is_at = |node: &Node| i64::from(node.announced_port()) == *port;
            return self.nodes.iter().position(is_at);
        }
        None
    }

    /// The primary of a key, by the name of its entry in Redis.
    pub(crate) async fn owner_of_key(&self, name: &str) -> usize {
        let slot = self.slot_of(name).await;
        self.owner_of(slot, None).await.expect("the slot has a primary")
    }

    /// Makes a replica of a primary take its place, as an operator does before maintenance. Loses
    /// nothing.
    pub(crate) async fn fail_over_by_hand(&self, primary: usize) {
        let of_primary = format!("master_port:{}\r", self.nodes[primary].announced_port());
        for number in self.running().filter(|number| *number != primary) {
            let info: String = self.ask(number, &["INFO", "replication"]).await;
            if info.contains(&of_primary) {
                self.ask::<Value>(number, &["CLUSTER", "FAILOVER"]).await;
                return;
            }
        }
        panic!("the primary has no replica");
    }

    /// Waits until a replica of a primary has all of its writes.
    pub(crate) async fn await_replicated(&self, primary: usize) {
        eventually("a replica has all writes", AGREED, async || {
            let info: String = self.ask(primary, &["INFO", "replication"]).await;
            let field = |name: &str| info.lines().find_map(|line| line.strip_prefix(name));
            let offset = field("master_repl_offset:")?.trim_end();
            field("slave0:")?.contains(&format!("offset={offset},")).then_some(())
        })
        .await;
    }

    /// Waits until another node than this one is the primary of the slot.
    pub(crate) async fn await_failover(&self, slot: u16, from: usize) -> usize {
        eventually("a replica takes over", AGREED, async || {
            self.owner_of(slot, Some(from)).await.filter(|owner| *owner != from)
        })
        .await
    }

    /// Begins to move a slot.
    pub(crate) async fn begin_move(&self, slot: u16, from: usize, to: usize) {
        let (slot, ids) = (slot.to_string(), [from, to].map(|number| &self.nodes[number].id));
        self.ask::<Value>(to, &["CLUSTER", "SETSLOT", &slot, "IMPORTING", ids[0]]).await;
        self.ask::<Value>(from, &["CLUSTER", "SETSLOT", &slot, "MIGRATING", ids[1]]).await;
    }

    /// Moves up to `count` keys of a slot. Returns how many.
    pub(crate) async fn move_keys(&self, slot: u16, from: usize, to: usize, count: usize) -> usize {
        let (slot, count) = (slot.to_string(), count.to_string());
        let keys: Vec<Vec<u8>> = self.ask(from, &["CLUSTER", "GETKEYSINSLOT", &slot, &count]).await;
        if keys.is_empty() {
            return 0;
        }
        let mut migrate = redis::cmd("MIGRATE");
        let port = self.nodes[to].server.port();
        migrate.arg("127.0.0.1").arg(port).arg("").arg(0).arg(5000).arg("REPLACE");
        if let Some(password) = &self.password {
            migrate.arg("AUTH").arg(password);
        }
        migrate.arg("KEYS").arg(&keys);
        let mut connection = self.connection(from).await.unwrap();
        migrate.exec_async(&mut connection).await.unwrap();
        keys.len()
    }

    /// Ends the move of a slot whose keys have moved.
    pub(crate) async fn end_move(&self, slot: u16, from: usize, to: usize) {
        let (slot, id) = (slot.to_string(), self.nodes[to].id.clone());
        let mut numbers = vec![to, from];
        let others = (0..self.nodes.len()).filter(|number| *number != to && *number != from);
        numbers.extend(others);
        for number in numbers {
            // Replicas learn of it from their primaries.
            let _: Option<Value> =
                self.try_ask(number, &["CLUSTER", "SETSLOT", &slot, "NODE", &id]).await;
        }
    }

    /// Moves a slot with its keys.
    pub(crate) async fn move_slot(&self, slot: u16, from: usize, to: usize) {
        self.begin_move(slot, from, to).await;
        while self.move_keys(slot, from, to, 10).await > 0 {}
        self.end_move(slot, from, to).await;
    }
}
