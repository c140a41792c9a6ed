//! Resume tokens: the position of a watcher, as its caller keeps it.

use xxhash_rust::xxh3::xxh3_64;

use crate::model::Namespace;

/// Longest token that is read, in bytes.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// Format of the tokens. Tokens of another format continue nothing.
const FORMAT: u8 = 1;
const PROOF_BYTES: usize = 48;

/// State of the store from which the invalidations since the token can be computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Proof(pub [u8; PROOF_BYTES]);

/// A position in the two lanes of one namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    pub(super) cursors: [u64; 2],
    pub(super) proof: Option<Proof>,
}

/// The position of a watcher.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ResumeToken {
    /// The hub of the replica.
    pub(super) hub: u64,
    /// Hash of what is watched.
    pub(super) request: u64,
    /// By namespace, in the order of the watcher.
    pub(super) positions: Vec<Position>,
}

/// Hash of what is watched. Namespaces are sorted.
pub(super) fn request_hash<'a>(
    namespaces: impl Iterator<Item = &'a Namespace>,
    has_keys: bool,
) -> u64 {
    let mut text = String::from(if has_keys { "keys" } else { "" });
    for namespace in namespaces {
        text.push(' ');
        text.push_str(namespace.as_str());
    }
    xxh3_64(text.as_bytes())
}

impl ResumeToken {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        bytes.extend_from_slice(&self.hub.to_be_bytes());
        bytes.extend_from_slice(&self.request.to_be_bytes());
        for Position { cursors, proof } in &self.positions {
            cursors.iter().for_each(|cursor| bytes.extend_from_slice(&cursor.to_be_bytes()));
            bytes.push(u8::from(proof.is_some()));
            bytes.extend_from_slice(proof.as_ref().map_or(&[][..], |proof| &proof.0));
        }
        bytes
    }

    /// `None` if the bytes are no token of this release.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (&[FORMAT], rest) = bytes.split_first_chunk()? else { return None };
        let (hub, rest) = number(rest)?;
        let (request, mut rest) = number(rest)?;
        let mut positions = Vec::new();
        while !rest.is_empty() {
            let (first, after) = number(rest)?;
            let (second, after) = number(after)?;
            let (&[has_proof], after) = after.split_first_chunk()?;
            let (proof, after) = match has_proof {
                0 => (None, after),
                _ => after.split_first_chunk().map(|(proof, rest)| (Some(Proof(*proof)), rest))?,
            };
            positions.push(Position { cursors: [first, second], proof });
            rest = after;
        }
        Some(Self { hub, request, positions })
    }
}

fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    bytes.split_first_chunk().map(|(number, rest)| (u64::from_be_bytes(*number), rest))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn token() -> ResumeToken {
        let proof = Some(Proof([3; PROOF_BYTES]));
        let positions = vec![
            Position { cursors: [1, 2], proof },
            Position { cursors: [u64::MAX, 0], proof: None },
        ];
        ResumeToken { hub: 7, request: 9, positions }
    }

    #[test]
    fn tokens_round_trip_and_parts_of_them_are_none() {
        let encoded = token().encode();
        assert_eq!(ResumeToken::decode(&encoded), Some(token()));
        for len in 0..encoded.len() {
            let part = ResumeToken::decode(&encoded[..len]);
            assert_ne!(part, Some(token()), "{len}");
        }
        assert_eq!(ResumeToken::decode(&[&[9], &encoded[1..]].concat()), None);
        assert!(encoded.len() * 32 < MAX_TOKEN_BYTES, "64 namespaces fit");
    }

    #[test]
    fn a_request_is_identified_by_its_namespaces_and_keys() {
        let names: Vec<Namespace> =
            ["a", "b", "ab"].iter().map(|name| Namespace::new(name).unwrap()).collect();
        let hash = |numbers: &[usize], has_keys| {
            request_hash(numbers.iter().map(|number| &names[*number]), has_keys)
        };
        let all = [hash(&[0], false), hash(&[0], true), hash(&[0, 1], true), hash(&[2], true)];
        for (index, one) in all.iter().enumerate() {
            assert!(all[..index].iter().all(|other| other != one));
        }
    }
}
