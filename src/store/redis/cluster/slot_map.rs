//! The map of slots to primaries, in the view of one server of the cluster.

use std::sync::Arc;

use redis::{Pipeline, RedisError, RedisResult, Value, aio::MultiplexedConnection};

use super::{address::Address, node::Node, slots::SLOTS};

/// Number of a node that stands for none.
const NO_NODE: u16 = u16::MAX;
/// Most primaries of a cluster; Redis recommends no more than 1000.
const MAX_NODES: usize = 2048;

/// The primaries of a cluster, and which of them has which slot.
#[derive(Clone)]
pub(super) struct SlotMap {
    /// By slot: number of the node.
    owners: Box<[u16]>,
    /// Sorted by address. Some may have no slot.
    nodes: Vec<Arc<Node>>,
    /// The epoch of the cluster; a map of an earlier one is outdated.
    pub(super) epoch: u64,
}

/// One server's view of the cluster.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) epoch: u64,
    /// First and last slot, and their primary.
    pub(super) ranges: Vec<(u16, u16, Address)>,
}

// === impl SlotMap ===

impl SlotMap {
    /// Nothing is known.
    pub(super) fn empty() -> Self {
        Self { owners: vec![NO_NODE; usize::from(SLOTS)].into(), nodes: Vec::new(), epoch: 0 }
    }

    /// The map of a view, with these nodes.
    pub(super) fn new(view: &View, mut nodes: Vec<Arc<Node>>) -> Self {
        nodes.sort_by(|one, two| one.address.cmp(&two.address));
        nodes.truncate(MAX_NODES);
        let mut map = Self { nodes, epoch: view.epoch, ..Self::empty() };
        for (first, last, address) in &view.ranges {
            let Some(number) = map.number_of(address) else { continue };
            if let Some(owners) = map.owners.get_mut(usize::from(*first)..=usize::from(*last)) {
                owners.fill(number);
            }
        }
        map
    }

    fn number_of(&self, address: &Address) -> Option<u16> {
        let found = self.nodes.binary_search_by(|node| node.address.cmp(address));
        found.ok().and_then(|number| u16::try_from(number).ok())
    }

    /// The primary of a slot.
    #[inline]
    pub(super) fn owner(&self, slot: u16) -> Option<&Arc<Node>> {
        self.nodes.get(usize::from(self.owners[usize::from(slot % SLOTS)]))
    }

    /// All primaries, in the order of their addresses.
    pub(super) fn nodes(&self) -> &[Arc<Node>] {
        &self.nodes
    }

    /// The primary at an address.
    pub(super) fn node(&self, address: &Address) -> Option<&Arc<Node>> {
        self.nodes.get(usize::from(self.number_of(address)?))
    }

    /// Slots without a primary.
    pub(super) fn unserved(&self) -> usize {
        self.owners.iter().filter(|owner| **owner == NO_NODE).count()
    }

    /// A slot of a node; none if it has none.
    pub(super) fn slot_of(&self, node: &Node) -> Option<u16> {
        let number = self.number_of(&node.address)?;
        let slot = self.owners.iter().position(|owner| *owner == number)?;
        u16::try_from(slot).ok()
    }

    /// Whether both have the same slots at the same addresses.
    pub(super) fn has_same_owners(&self, other: &Self) -> bool {
        if self.has_same_nodes(other) {
            return self.owners == other.owners;
        }
        let address = |owner: Option<&Arc<Node>>| owner.map(|node| node.address.clone());
        let differ = |slot| match (self.owner(slot), other.owner(slot)) {
            (Some(one), Some(two)) => !Arc::ptr_eq(one, two) && one.address != two.address,
            (one, two) => address(one) != address(two),
        };
        !(0..SLOTS).any(differ)
    }

    /// Whether both have the same nodes.
    pub(super) fn has_same_nodes(&self, other: &Self) -> bool {
        self.nodes.len() == other.nodes.len()
            && self.nodes.iter().zip(&other.nodes).all(|(one, two)| Arc::ptr_eq(one, two))
    }

    /// The map with another primary for a slot.
    pub(super) fn with_owner(&self, slot: u16, node: &Node) -> Self {
        let mut map = self.clone();
        if let Some(number) = map.number_of(&node.address) {
            map.owners[usize::from(slot % SLOTS)] = number;
        }
        map
    }

    /// The map with another node.
    pub(super) fn with_node(&self, node: Arc<Node>) -> Self {
        let view = View { epoch: self.epoch, ranges: self.ranges() };
        let mut nodes = self.nodes.clone();
        nodes.push(node);
        Self::new(&view, nodes)
    }

    fn ranges(&self) -> Vec<(u16, u16, Address)> {
        let mut ranges: Vec<(u16, u16, Address)> = Vec::new();
        for slot in 0..SLOTS {
            let Some(node) = self.owner(slot) else { continue };
            match ranges.last_mut() {
                Some((_, last, address)) if *last + 1 == slot && *address == node.address => {
                    *last = slot;
                }
                _ => ranges.push((slot, slot, node.address.clone())),
            }
        }
        ranges
    }
}

// === impl View ===

impl View {
    /// The commands that ask for it.
    pub(super) fn commands() -> Pipeline {
        let mut commands = redis::pipe();
        commands.cmd("CLUSTER").arg("SLOTS").cmd("CLUSTER").arg("INFO");
        commands
    }

    /// Asks the server of a connection.
    pub(super) async fn ask(
        connection: &mut MultiplexedConnection,
        sender: &Address,
    ) -> RedisResult<Self> {
        let commands = Self::commands();
        let answers = connection.send_packed_commands(&commands, 0, commands.len()).await?;
        Self::parse(answers, sender)
    }

    /// Parses the answers of `sender`.
    pub(super) fn parse(answers: Vec<Value>, sender: &Address) -> RedisResult<Self> {
        let mut answers = answers.into_iter();
        let mut next = || match answers.next() {
            Some(Value::ServerError(error)) => Err(RedisError::from(error)),
            other => Ok(other.unwrap_or(Value::Nil)),
        };
        let (slots, info) = (next()?, next());
        // Not every provider permits it. Without an epoch, the last answer counts.
        let info: String =
            info.and_then(|info| Ok(redis::from_redis_value(info)?)).unwrap_or_default();
        let epoch = info
            .lines()
            .find_map(|line| line.trim_end().strip_prefix("cluster_current_epoch:")?.parse().ok());
        let Value::Array(slots) = slots else { return Err(unexpected()) };
        let ranges: Option<Vec<_>> = slots.into_iter().map(|range| parse(range, sender)).collect();
        Ok(Self { epoch: epoch.unwrap_or(0), ranges: ranges.ok_or_else(unexpected)? })
    }

    /// The addresses of all primaries, sorted.
    pub(super) fn addresses(&self) -> Vec<Address> {
        let mut all: Vec<Address> = self.ranges.iter().map(|range| range.2.clone()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }
}

fn unexpected() -> RedisError {
    (redis::ErrorKind::UnexpectedReturnType, "unexpected answer to CLUSTER SLOTS").into()
}

fn parse(range: Value, sender: &Address) -> Option<(u16, u16, Address)> {
    let Value::Array(range) = range else { return None };
    let [Value::Int(first), Value::Int(last), Value::Array(primary), ..] = &range[..] else {
        return None;
    };
    let [host, Value::Int(port), ..] = &primary[..] else { return None };
    let host = match host {
        Value::BulkString(host) => String::from_utf8(host.clone()).ok()?,
        Value::SimpleString(host) => host.clone(),
        // A server without an address of its own in the map.
        _ => String::new(),
    };
    let host = if host.is_empty() || host == "?" { sender.host.clone() } else { host };
    let slot = |slot: &i64| u16::try_from(*slot).ok().filter(|slot| *slot < SLOTS);
    let port = u16::try_from(*port).ok()?;
    let (first, last) = (slot(first)?, slot(last)?);
    (first <= last).then_some((first, last, Address { host, port }))
}

#[cfg(test)]
mod fuzz_tests;

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn text(text: &str) -> Value {
        Value::BulkString(text.as_bytes().to_vec())
    }

    fn range(first: i64, last: i64, host: Value) -> Value {
        let primary = vec![host, Value::Int(7000), text("id"), Value::Array(Vec::new())];
        let replica = vec![text("replica"), Value::Int(7001), text("id2")];
        let range = [Value::Int(first), Value::Int(last)];
        let nodes = [Value::Array(primary), Value::Array(replica)];
        Value::Array(range.into_iter().chain(nodes).collect())
    }

    #[test]
    fn a_view_has_primaries_and_the_epoch() {
        let sender = Address { host: "h".to_owned(), port: 1 };
        let slots = vec![range(0, 9, text("a")), range(10, 16_383, Value::Nil)];
        let info = text("cluster_state:ok\r\ncluster_current_epoch:6\r\n");
        let view = View::parse(vec![Value::Array(slots.clone()), info], &sender).unwrap();
        let address = |host: &str| Address { host: host.to_owned(), port: 7000 };
        let ranges = vec![(0, 9, address("a")), (10, 16_383, address("h"))];
        assert_eq!(view, View { epoch: 6, ranges });
        assert_eq!(view.addresses(), [address("a"), address("h")]);
        let without_info = View::parse(vec![Value::Array(slots)], &sender).unwrap();
        assert_eq!(without_info.epoch, 0);
        for bad in [Value::Okay, Value::Array(vec![range(5, 20_000, text("a"))])] {
            assert!(View::parse(vec![bad], &sender).is_err());
        }
    }

    #[test]
    fn an_empty_map_has_no_owner() {
        let map = SlotMap::empty();
        assert!(map.owner(0).is_none() && map.owner(SLOTS - 1).is_none());
        assert_eq!((map.unserved(), map.nodes().len()), (usize::from(SLOTS), 0));
    }
}
