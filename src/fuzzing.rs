//! Fuzz targets: unit tests in `fuzz.rs` next to the code that they test.
//!
//! A target is a property of arbitrary bytes. `cargo test` checks it for the inputs that are kept
//! in `fuzz/corpus`, for changed copies of them and for random bytes. `make fuzz` searches for
//! inputs that reach new code (see CONTRIBUTING.md).

#![allow(clippy::unwrap_used)]

/// Bytes that a target takes apart.
pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte; zero at the end.
    pub(crate) fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or_default()
    }

    /// The next bytes, as far as there are so many.
    pub(crate) fn bytes(&mut self, count: usize) -> &'a [u8] {
        let (bytes, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        bytes
    }

    /// Bytes whose number is the next byte.
    pub(crate) fn short(&mut self) -> &'a [u8] {
        let count = self.byte();
        self.bytes(count.into())
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        self.bytes(usize::MAX)
    }

    /// The bytes up to a line break, which is skipped; the rest if there is none.
    pub(crate) fn line(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == b'\n').unwrap_or(self.0.len());
        let line = self.bytes(end);
        self.bytes(1);
        line
    }

    /// A line as text; bytes that are none are replaced.
    pub(crate) fn text(&mut self) -> String {
        String::from_utf8_lossy(self.line()).into_owned()
    }
}

/// Searches for an input for which `property` panics, and ends the process. The arguments of
/// libFuzzer are in the environment: see `scripts/fuzz.sh`.
#[cfg(fuzzing)]
pub(crate) fn check(_target: &str, property: impl Fn(&[u8]) + 'static) {
    fuzz_engine::run(property)
}

#[cfg(not(fuzzing))]
pub(crate) use self::short_run::check;

#[cfg(not(fuzzing))]
mod short_run {
    use std::{fs, path::Path, time::Duration};

    use proptest::{
        collection::vec,
        prelude::*,
        sample::Index,
        test_runner::{Config, TestError, TestRunner},
    };
    use tokio::time::Instant;

    /// New inputs that are tried, unless `PROPTEST_CASES` has another number.
    const CASES: u32 = 1000;
    /// Longest time for which they are tried.
    const TIME_LIMIT: Duration = Duration::from_secs(1);
    /// Longest random input, in bytes.
    const MAX_RANDOM: usize = 256;
    /// Most changes of a kept input.
    const MAX_CHANGES: usize = 6;

    /// A change of an input.
    #[derive(Debug, Clone)]
    enum Change {
        Flip(Index, u8),
        Overwrite(Index, u8),
        Insert(Index, Vec<u8>),
        Remove(Index, usize),
        Cut(Index),
        /// Inserts a part of another kept input.
        Splice(Index, Index, Index, usize),
    }

    impl Change {
        fn any() -> impl Strategy<Value = Self> {
            let index = any::<Index>;
            let bytes = prop_oneof![
                vec(any::<u8>(), 1..9),
                prop::sample::select(vec![0, 1, u64::from(u32::MAX), u64::MAX, 1 << 63])
                    .prop_map(|number| number.to_be_bytes().to_vec()),
            ];
            prop_oneof![
                (index(), 0..8_u8).prop_map(|(at, bit)| Self::Flip(at, bit)),
                (index(), any::<u8>()).prop_map(|(at, byte)| Self::Overwrite(at, byte)),
                (index(), bytes).prop_map(|(at, bytes)| Self::Insert(at, bytes)),
                (index(), 1..9_usize).prop_map(|(at, count)| Self::Remove(at, count)),
                index().prop_map(Self::Cut),
                (index(), index(), index(), 1..32_usize)
                    .prop_map(|(at, from, part, count)| Self::Splice(at, from, part, count)),
            ]
        }

        fn apply(&self, input: &mut Vec<u8>, kept: &[Vec<u8>]) {
            let at = |index: &Index, length: usize| index.index(length + 1);
            let length = input.len();
            match self {
                Self::Flip(index, bit) if length > 0 => input[index.index(length)] ^= 1 << bit,
                Self::Overwrite(index, byte) if length > 0 => input[index.index(length)] = *byte,
                Self::Flip(..) | Self::Overwrite(..) => {}
                Self::Insert(index, bytes) => {
                    let at = at(index, length);
                    input.splice(at..at, bytes.iter().copied());
                }
                Self::Remove(index, count) => {
                    let start = at(index, length);
                    input.drain(start..(start + count).min(length));
                }
                Self::Cut(index) => input.truncate(at(index, length)),
                Self::Splice(index, from, part, count) => {
                    let from = &kept[from.index(kept.len())];
                    let start = at(part, from.len());
                    let part = &from[start..(start + count).min(from.len())];
                    let at = at(index, length);
                    input.splice(at..at, part.iter().copied());
                }
            }
        }
    }

    /// Checks that `property` does not panic: for the inputs that are kept for the target, and for
    /// some new ones.
    pub(crate) fn check(target: &str, property: impl Fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
        let mut files: Vec<_> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|file| file.unwrap().path())
            .collect();
        files.sort();
        assert!(!files.is_empty(), "{} is empty", folder.display());
        let kept: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
        for (file, input) in files.iter().zip(&kept) {
            // Printed if it fails.
            println!("{}", file.display());
            property(input);
        }
        try_new(target, &kept, property);
    }

    fn try_new(target: &str, kept: &[Vec<u8>], property: impl Fn(&[u8])) {
        let changed =
            (any::<Index>(), vec(Change::any(), 1..MAX_CHANGES)).prop_map(|(index, changes)| {
                let mut input = kept[index.index(kept.len())].clone();
                changes.iter().for_each(|change| change.apply(&mut input, kept));
                input
            });
        let inputs = prop_oneof![
            4 => changed,
            1 => vec(any::<u8>(), 0..MAX_RANDOM),
        ];
        let end = Instant::now() + TIME_LIMIT;
        let mut config = Config { failure_persistence: None, ..Config::default() };
        if std::env::var_os("PROPTEST_CASES").is_none() {
            config.cases = CASES;
        }
        let outcome = TestRunner::new(config).run(&inputs, |input| {
            if Instant::now() < end {
                property(&input);
            }
            Ok(())
        });
        match outcome {
            Ok(()) => {}
            Err(TestError::Fail(reason, input)) => panic!(
                "{target}: {reason}\ninput: {}\nas hexadecimal digits: {}",
                input.escape_ascii(),
                data_encoding::HEXLOWER.encode(&input)
            ),
            Err(TestError::Abort(reason)) => panic!("{target}: {reason}"),
        }
    }

    #[test]
    #[should_panic(expected = "as hexadecimal digits: ")]
    fn a_fault_near_a_kept_input_is_found() {
        try_new("test", &[b"xxaxxbxx".to_vec(), b"xabx".to_vec()], |input| {
            assert!(!input.windows(2).any(|pair| pair == b"ab"));
        });
    }
}

#[test]
fn input_is_taken_apart() {
    let mut input = Input::new(b"\x02abcd\nrest\xff");
    assert_eq!((input.short(), input.byte(), input.line()), (&b"ab"[..], b'c', &b"d"[..]));
    assert_eq!((input.bytes(2), input.text().as_str()), (&b"re"[..], "st\u{fffd}"));
    assert!(input.is_empty() && input.byte() == 0 && input.rest().is_empty());
}
