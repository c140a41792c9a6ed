//! Hash slots: which part of a cluster has a key.

use crc::{CRC_16_XMODEM, Crc};
use redis::{Arg, Cmd};

/// Number of slots of every cluster.
pub(super) const SLOTS: u16 = 16_384;

const CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);

/// The slot of a key: of its hash tag, if it has one.
pub(in crate::store::redis) fn slot_of_key(key: &[u8]) -> u16 {
    let tag = key.iter().position(|byte| *byte == b'{').and_then(|begin| {
        let rest = &key[begin + 1..];
        let end = rest.iter().position(|byte| *byte == b'}')?;
        rest.get(..end).filter(|tag| !tag.is_empty())
    });
    CRC.checksum(tag.unwrap_or(key)) % SLOTS
}

/// The slot of a command, by its first key; none if it has no key.
pub(super) fn slot_of(command: &Cmd) -> Option<u16> {
    let mut args = command.args_iter();
    let key_at = match text(args.next()?) {
        b"EVALSHA" if text(command.args_iter().nth(2)?) == b"0" => return None,
        // After the hash and the number of keys.
        b"EVALSHA" => 2,
        // After the subcommand.
        b"MEMORY" => 1,
        b"SCRIPT" | b"SCAN" | b"INFO" | b"DBSIZE" | b"RANDOMKEY" | b"PING" | b"TIME" | b"HELLO"
        | b"CONFIG" | b"CLUSTER" => return None,
        _ => 0,
    };
    args.nth(key_at).map(|key| slot_of_key(text(key)))
}

/// The keys of an MGET; none if it is another command.
pub(super) fn keys_of_mget(command: &Cmd) -> Option<impl Iterator<Item = &[u8]>> {
    let mut args = command.args_iter().map(text);
    (args.next()? == b"MGET").then_some(args)
}

fn text(arg: Arg<&[u8]>) -> &[u8] {
    match arg {
        Arg::Simple(text) => text,
        _ => b"",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the examples of the cluster specification and of `CLUSTER KEYSLOT`.
    #[test]
    fn slots_are_those_of_redis() {
        assert_eq!(CRC.checksum(b"123456789"), 0x31c3);
        for (key, slot) in [
            ("foo", 12_182),
            ("{foo}bar", 12_182),
            ("larder:{foo}:k:a}", 12_182),
            ("foo{}{bar}", 8_363),
            ("foo{{bar}}zap", 4_015),
            ("", 0),
        ] {
            assert_eq!(slot_of_key(key.as_bytes()), slot, "{key}");
        }
    }

    #[test]
    fn commands_are_routed_by_their_first_key() {
        let command = |text: &str| {
            let mut words = text.split(' ');
            let mut command = redis::cmd(words.next().unwrap_or_default());
            words.for_each(|word| {
                command.arg(word);
            });
            command
        };
        let foo = Some(12_182);
        for (text, slot) in [
            ("GET foo", foo),
            ("MGET foo {foo}2", foo),
            ("EVALSHA hash 2 foo {foo}2 bar", foo),
            ("EVALSHA hash 0 foo", None),
            ("MEMORY USAGE foo", foo),
            ("SCRIPT LOAD foo", None),
            ("SCAN 0", None),
        ] {
            assert_eq!(slot_of(&command(text)), slot, "{text}");
        }
        let mget = command("MGET a b");
        assert_eq!(keys_of_mget(&mget).map(Iterator::count), Some(2));
        assert!(keys_of_mget(&command("GET a")).is_none());
    }
}
