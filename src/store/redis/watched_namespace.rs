//! The invalidations of a watched namespace, from its markers and its log of bans.
//!
//! A ban takes effect when the markers of all shards are at it. A watcher that learns of it before
//! could read a banned entry again, and keep it. So a ban is published again with each marker that
//! moves, until all of them are at it.

use xxhash_rust::xxh3::xxh3_128;

use super::marker::{GENERATION_BYTES, POSITION_BYTES, Position};
use crate::changes::Proof;

/// The markers of a namespace, and the bans that were published.
#[derive(Debug)]
pub(super) struct WatchedNamespace {
    /// By shard; `None` if the shard has none.
    markers: Vec<Option<KnownMarker>>,
    head: Position,
    /// The newest ban that was published after it took effect.
    published: Position,
}

/// A part of what is in Redis.
pub(super) struct Reading {
    /// Shards and their markers.
    pub(super) markers: Vec<(usize, Option<Vec<u8>>)>,
    /// The head of the log of bans.
    pub(super) head: Option<Vec<u8>>,
}

/// Changes to publish.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    Nothing,
    /// All entries are invalid, or may be.
    Invalidated,
    /// Entries are banned by the bans after this one.
    BannedSince(Position),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct KnownMarker {
    generation: [u8; GENERATION_BYTES],
    position: Position,
}

impl WatchedNamespace {
    /// The state in Redis before any change. `reading` has all markers.
    pub(super) fn new(reading: Reading) -> Self {
        let markers = reading.markers.iter().map(|(_, marker)| KnownMarker::of(marker)).collect();
        let head = position_of_head(reading.head.as_deref());
        let mut watched = Self { markers, head, published: Position::default() };
        watched.published = watched.in_effect();
        watched
    }

    /// Updates the state from Redis after a change.
    pub(super) fn update(&mut self, reading: Reading) -> News {
        let (mut is_invalidated, mut has_moved) = (false, false);
        for (shard, marker) in reading.markers {
            let new = KnownMarker::of(&marker);
            let Some(known) = self.markers.get_mut(shard) else { continue };
            let old = std::mem::replace(known, new);
            let generation = |marker: Option<KnownMarker>| marker.map(|marker| marker.generation);
            is_invalidated |= old.is_some() && generation(old) != generation(new);
            has_moved |= old != new;
        }
        let head = position_of_head(reading.head.as_deref());
        let before = std::mem::replace(&mut self.head, head);
        if head.sequence < before.sequence
            || (head.sequence == before.sequence && head.id != before.id)
        {
            // The log was lost, and begins anew.
            is_invalidated = true;
            self.published = Position::default();
        }
        let since = self.published;
        let in_effect = self.in_effect();
        if in_effect.sequence > self.published.sequence {
            self.published = in_effect;
        }
        if is_invalidated {
            News::Invalidated
        } else if (has_moved || head != before) && since.sequence < head.sequence {
            News::BannedSince(since)
        } else {
            News::Nothing
        }
    }

    /// The newest ban.
    pub(super) fn head(&self) -> Position {
        self.head
    }

    /// Proof that later markers and a later log show all invalidations since; `None` if they would
    /// not.
    pub(super) fn proof(&self, server: u64) -> Option<Proof> {
        let hash = self.generations()?;
        let mut proof = [0; 24 + POSITION_BYTES];
        proof[..8].copy_from_slice(&server.to_be_bytes());
        proof[8..24].copy_from_slice(&hash.to_be_bytes());
        proof[24..].copy_from_slice(&self.published.encode());
        (server != 0).then_some(Proof(proof))
    }

    /// The newest published ban when `proof` was made; none if the namespace was invalidated
    /// since.
    pub(super) fn published_at(&self, proof: &Proof, server: u64) -> Option<Position> {
        let own = self.proof(server)?;
        (own.0[..24] == proof.0[..24]).then(|| Position::from(&proof.0[24..]))
    }

    /// Hash of all generations. Without any marker, an invalidation would change none.
    fn generations(&self) -> Option<u128> {
        if self.markers.iter().all(Option::is_none) {
            return None;
        }
        let mut bytes = Vec::with_capacity(self.markers.len() * (GENERATION_BYTES + 1));
        for marker in &self.markers {
            bytes.push(u8::from(marker.is_some()));
            bytes
                .extend_from_slice(&marker.map_or([0; GENERATION_BYTES], |known| known.generation));
        }
        Some(xxh3_128(&bytes))
    }

    /// The newest ban that all shards are at.
    fn in_effect(&self) -> Position {
        let positions = self.markers.iter().flatten().map(|marker| marker.position);
        positions.chain([self.head]).min_by_key(|position| position.sequence).unwrap_or_default()
    }
}

impl KnownMarker {
    fn of(marker: &Option<Vec<u8>>) -> Option<Self> {
        let marker = marker.as_ref()?;
        let generation = *marker.first_chunk().unwrap_or(&[0; GENERATION_BYTES]);
        Some(Self { generation, position: Position::of_marker(marker) })
    }
}

/// The position in the head of a log of bans.
fn position_of_head(head: Option<&[u8]>) -> Position {
    head.and_then(|head| head.get(..POSITION_BYTES)).map_or_else(Position::default, Position::from)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::store::redis::marker;

    fn position(sequence: u64) -> Position {
        if sequence == 0 {
            return Position::default();
        }
        Position { sequence, id: [u8::try_from(sequence).unwrap(); 16] }
    }

    fn marker(generation: u8, sequence: u64) -> Option<Vec<u8>> {
        Some(marker::moved(&[generation; GENERATION_BYTES], position(sequence)))
    }

    fn head(sequence: u64) -> Option<Vec<u8>> {
        (sequence > 0).then(|| [&position(sequence).encode()[..], &[0; 17]].concat())
    }

    fn reading(markers: &[(usize, Option<Vec<u8>>)], head_at: u64) -> Reading {
        Reading { markers: markers.to_vec(), head: head(head_at) }
    }

    /// Two shards at ban 1, and one without a marker.
    fn watched() -> WatchedNamespace {
        let markers = [(0, marker(1, 1)), (1, marker(2, 1)), (2, None)];
        WatchedNamespace::new(reading(&markers, 1))
    }

    #[test]
    fn a_ban_is_published_until_all_markers_are_at_it() {
        let mut watched = watched();
        assert_eq!(watched.update(reading(&[], 1)), News::Nothing);
        assert_eq!(watched.update(reading(&[], 2)), News::BannedSince(position(1)));
        assert_eq!(watched.update(reading(&[], 2)), News::Nothing);
        let moved = |shard, sequence| [(shard, marker(u8::try_from(shard).unwrap() + 1, sequence))];
        assert_eq!(watched.update(reading(&moved(0, 2), 2)), News::BannedSince(position(1)));
        assert_eq!(watched.update(reading(&moved(1, 2), 2)), News::BannedSince(position(1)));
        assert_eq!(watched.update(reading(&moved(1, 2), 2)), News::Nothing);
        assert_eq!(watched.update(reading(&[], 3)), News::BannedSince(position(2)));
    }

    #[test]
    fn a_ban_that_takes_effect_at_once_is_published_once() {
        let mut watched = watched();
        let markers = [(0, marker(1, 2)), (1, marker(2, 2))];
        assert_eq!(watched.update(reading(&markers, 2)), News::BannedSince(position(1)));
        assert_eq!(watched.update(reading(&markers, 2)), News::Nothing);
        // A replica that has not read the ban begins the generation of a shard.
        assert_eq!(watched.update(reading(&[(2, marker(3, 0))], 2)), News::Nothing);
    }

    #[test]
    fn a_ban_in_a_namespace_without_markers_is_published() {
        let mut watched = WatchedNamespace::new(reading(&[(0, None), (1, None)], 0));
        assert_eq!(watched.update(reading(&[], 1)), News::BannedSince(position(0)));
        assert_eq!(watched.update(reading(&[], 1)), News::Nothing);
    }

    #[test]
    fn another_generation_is_an_invalidation_and_a_first_one_is_none() {
        for marker in [None, marker(9, 1)] {
            assert_eq!(watched().update(reading(&[(0, marker)], 1)), News::Invalidated);
        }
        assert_eq!(watched().update(reading(&[(2, marker(3, 1))], 1)), News::Nothing);
    }

    #[test]
    fn a_log_that_begins_anew_is_an_invalidation() {
        let mut watched = watched();
        assert_eq!(watched.update(reading(&[], 0)), News::Invalidated);
        assert_eq!(watched.update(reading(&[], 1)), News::BannedSince(position(0)));
        let other = Reading { markers: Vec::new(), head: Some(vec![0, 0, 0, 0, 0, 0, 0, 1, 9]) };
        assert_eq!(watched.update(other), News::Invalidated);
    }

    #[test]
    fn a_ban_in_progress_at_the_start_is_published_when_it_takes_effect() {
        let markers = [(0, marker(1, 2)), (1, marker(2, 1))];
        let mut watched = WatchedNamespace::new(reading(&markers, 2));
        assert_eq!(watched.update(reading(&[], 2)), News::Nothing);
        let moved = [(1, marker(2, 2))];
        assert_eq!(watched.update(reading(&moved, 2)), News::BannedSince(position(1)));
    }

    #[test]
    fn a_proof_holds_until_an_invalidation() {
        let mut one = watched();
        let proof = one.proof(7).unwrap();
        let later = reading(&[(0, marker(1, 3)), (1, marker(2, 3)), (2, None)], 3);
        assert_eq!(WatchedNamespace::new(later).published_at(&proof, 7), Some(position(1)));
        assert_eq!(one.published_at(&proof, 8), None, "another server");
        assert_eq!(one.proof(0), None, "an unknown server");
        one.update(reading(&[(0, marker(9, 1))], 1));
        assert_eq!(one.published_at(&proof, 7), None);
        let empty = WatchedNamespace::new(reading(&[(0, None)], 0));
        assert_eq!(empty.proof(7), None);
    }
}
