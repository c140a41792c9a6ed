//! The layout of the block of a slot, in two bytes.

use crate::model::Kind;

/// Length of the version and the name, the kind of the value, and two flags.
#[derive(Clone, Copy)]
pub(super) struct Head(u16);

impl Head {
    const HAS_PARAMS: u16 = 1 << 15;
    const IS_SEPARATE: u16 = 1 << 14;
    const KIND_SHIFT: u32 = 12;
    const MAX_LEN: u16 = (1 << Self::KIND_SHIFT) - 1;

    pub(super) fn new(len: usize, kind: Kind, has_params: bool, is_separate: bool) -> Self {
        // The longest key with a digest and a version is about a quarter of that.
        let mut head = u16::try_from(len).unwrap_or(0) & Self::MAX_LEN;
        head |= u16::from(kind as u8) << Self::KIND_SHIFT;
        if has_params {
            head |= Self::HAS_PARAMS;
        }
        if is_separate {
            head |= Self::IS_SEPARATE;
        }
        Self(head)
    }

    pub(super) fn len(self) -> usize {
        usize::from(self.0 & Self::MAX_LEN)
    }

    pub(super) fn kind(self) -> Kind {
        match self.0 >> Self::KIND_SHIFT & 0b11 {
            0 => Kind::Bytes,
            1 => Kind::Text,
            2 => Kind::Json,
            _ => Kind::Negative,
        }
    }

    pub(super) fn has_params(self) -> bool {
        self.0 & Self::HAS_PARAMS != 0
    }

    pub(super) fn is_separate(self) -> bool {
        self.0 & Self::IS_SEPARATE != 0
    }
}
