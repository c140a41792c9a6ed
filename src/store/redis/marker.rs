//! Generation markers. A marker has the id of the generation of a shard's entries, and the position
//! of the newest ban that was applied to the shard; no position if the namespace had no ban.

/// Size of the id of a generation.
pub(super) const GENERATION_BYTES: usize = 16;
/// Size of an encoded position.
pub(super) const POSITION_BYTES: usize = 24;
const ID_BYTES: usize = 16;

/// A position in the log of bans of a namespace: a ban, or zero for the time before the first one.
///
/// After a failover that lost the newest bans, other bans get their numbers. The random id
/// distinguishes them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Position {
    /// Number of the ban, from 1 on.
    pub(super) sequence: u64,
    /// Random id of the ban.
    pub(super) id: [u8; ID_BYTES],
}

impl Position {
    /// The position of a generation marker.
    pub(super) fn of_marker(marker: &[u8]) -> Self {
        marker.get(GENERATION_BYTES..).unwrap_or_default().into()
    }

    /// Encodes the position, as scripts write it into markers and entries.
    pub(super) fn encode(self) -> [u8; POSITION_BYTES] {
        let mut encoded = [0; POSITION_BYTES];
        encoded[..8].copy_from_slice(&self.sequence.to_be_bytes());
        encoded[8..].copy_from_slice(&self.id);
        encoded
    }
}

impl From<&[u8]> for Position {
    /// Decodes a position; anything that is none is the position before the first ban.
    fn from(encoded: &[u8]) -> Self {
        let (Some(sequence), Some(id)) =
            (encoded.first_chunk(), encoded.get(8..).and_then(|id| id.try_into().ok()))
        else {
            return Self::default();
        };
        Self { sequence: u64::from_be_bytes(*sequence), id }
    }
}

/// A marker that begins a generation at `position`.
pub(super) fn random(position: Position) -> Vec<u8> {
    let generation: [u8; GENERATION_BYTES] = rand::random();
    moved(&generation, position)
}

/// The marker of the same generation at another position.
pub(super) fn moved(marker: &[u8], position: Position) -> Vec<u8> {
    let mut moved = marker.get(..GENERATION_BYTES).unwrap_or_default().to_vec();
    if position.sequence > 0 {
        moved.extend_from_slice(&position.encode());
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_round_trip_and_other_bytes_are_no_position() {
        let position = Position { sequence: 7, id: *b"0123456789abcdef" };
        assert_eq!(Position::from(&position.encode()[..]), position);
        for other in [&[][..], &[1; 7], &[1; 23], &[1; 25]] {
            assert_eq!(Position::from(other), Position::default(), "{other:?}");
        }
    }

    #[test]
    fn a_moved_marker_keeps_its_generation() {
        let position = Position { sequence: 7, id: [7; 16] };
        let marker = random(Position::default());
        assert_eq!((marker.len(), Position::of_marker(&marker)), (16, Position::default()));
        let moved = moved(&marker, position);
        assert_eq!((&moved[..16], Position::of_marker(&moved)), (&marker[..], position));
        assert_ne!(random(position)[..16], moved[..16]);
    }
}
