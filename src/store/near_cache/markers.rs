//! The generation markers of a namespace, as they were read, and the copies that they make invalid.
//!
//! An announced marker may mean that the namespace was invalidated, or that entries were banned.
//! Until the marker was read again, no copy under it is served. Then the copies of another
//! generation are invalid, and each of the others is compared with the bans that are newer.
//!
//! The marker is read after the announcement and before the next one, so that it includes all
//! changes before. A read that is in flight meanwhile belongs to the epoch in which it began: its
//! copy is compared with every ban that was not known when it was reserved.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use arc_swap::ArcSwapOption;

/// A position in the order of a namespace's bans, as the store encodes it. Zeros stand for the time
/// before the first ban.
pub type BanPosition = [u8; 24];

/// The bans of a namespace that the store has read.
pub trait KnownBans: Send + Sync {
    /// Whether no ban that is newer than `since` hides an entry. False if not all bans up to
    /// `until` are known.
    fn permit(&self, since: &BanPosition, until: &BanPosition, key: &str, tags: &[String]) -> bool;
}

/// A generation marker, as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkerState {
    /// Id of the generation.
    pub generation: [u8; 16],
    /// The newest ban that was applied to the shard.
    pub position: BanPosition,
}

/// The marker of one shard.
#[derive(Default)]
pub(super) struct Marker {
    /// Changes with every announcement.
    epoch: AtomicU64,
    confirmed: ArcSwapOption<Confirmed>,
}

/// A marker that was read in an epoch.
struct Confirmed {
    epoch: u64,
    /// Number of the generation, which no other one has had; zero if there is no marker.
    lineage: u64,
    generation: [u8; 16],
    position: BanPosition,
    bans: Arc<dyn KnownBans>,
}

/// Epoch and newest ban at the time a copy was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ReadAt {
    epoch: u64,
    lineage: u64,
    /// The bans up to this one were taken into account.
    position: BanPosition,
}

// === impl Marker ===

impl Marker {
    /// The time of a read that begins now.
    pub(super) fn read_at(&self) -> ReadAt {
        // Loaded before the marker: an announcement in between begins a later epoch.
        let epoch = self.epoch();
        match &*self.confirmed.load() {
            Some(known) => ReadAt { epoch, lineage: known.lineage, position: known.position },
            None => ReadAt { epoch, lineage: 0, position: [0; 24] },
        }
    }

    /// Whether a copy is as recent as the last announcement.
    #[inline]
    pub(super) fn is_current(&self, copy: &ReadAt) -> bool {
        copy.epoch == self.epoch()
    }

    /// A new read time for an outdated copy that no ban hides.
    #[cold]
    pub(super) fn renewed(&self, copy: &ReadAt, key: &str, tags: &[String]) -> Option<ReadAt> {
        let known = self.confirmed.load();
        let known = known.as_ref()?;
        let Confirmed { epoch, lineage, position, bans, .. } = &**known;
        let is_valid = *epoch == self.epoch()
            && *lineage != 0
            && *lineage == copy.lineage
            && bans.permit(&copy.position, position, key, tags);
        is_valid.then_some(ReadAt { epoch: *epoch, lineage: *lineage, position: *position })
    }

    /// The marker was changed: copies from before are checked.
    pub(super) fn announced(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Copies from before are invalid, whatever the marker.
    pub(super) fn forget(&self) {
        self.confirmed.store(None);
        self.announced();
    }

    /// The epoch, if the marker was not read in it.
    pub(super) fn unconfirmed(&self) -> Option<u64> {
        let epoch = self.epoch();
        let is_confirmed = self.confirmed.load().as_ref().is_some_and(|known| known.epoch == epoch);
        (!is_confirmed).then_some(epoch)
    }

    /// The marker was read after the announcement that began `epoch`. `next_lineage` numbers the
    /// generations. Only one task confirms.
    pub(super) fn confirm(
        &self,
        epoch: u64,
        state: Option<MarkerState>,
        bans: Arc<dyn KnownBans>,
        next_lineage: &AtomicU64,
    ) {
        let before = self.confirmed.load_full();
        let (lineage, MarkerState { generation, position }) = match state {
            None => (0, MarkerState { generation: [0; 16], position: [0; 24] }),
            Some(state) => {
                let same = before.as_ref().filter(|known| known.generation == state.generation);
                let same = same.map(|known| known.lineage).filter(|lineage| *lineage != 0);
                (same.unwrap_or_else(|| next_lineage.fetch_add(1, Ordering::Relaxed) + 1), state)
            }
        };
        let known = Arc::new(Confirmed { epoch, lineage, generation, position, bans });
        // Not if it was forgotten meanwhile: then what was read may be that of another server.
        self.confirmed.compare_and_swap(&before, Some(known));
    }

    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bans up to a position, of which the last one hides the key `banned`.
    struct Bans(u8);

    impl KnownBans for Bans {
        fn permit(
            &self,
            since: &BanPosition,
            until: &BanPosition,
            key: &str,
            _: &[String],
        ) -> bool {
            until[0] <= self.0 && (key != "banned" || since[0] >= self.0)
        }
    }

    fn state(generation: u8, position: u8) -> Option<MarkerState> {
        let mut encoded = [0; 24];
        encoded[0] = position;
        Some(MarkerState { generation: [generation; 16], position: encoded })
    }

    struct Test {
        marker: Marker,
        lineages: AtomicU64,
    }

    impl Test {
        fn new() -> Self {
            Self { marker: Marker::default(), lineages: AtomicU64::new(0) }
        }

        fn confirm(&self, state: Option<MarkerState>, known: u8) {
            let epoch = self.marker.unconfirmed();
            assert!(epoch.is_some(), "there was an announcement");
            let epoch = epoch.unwrap_or_default();
            self.marker.confirm(epoch, state, Arc::new(Bans(known)), &self.lineages);
            assert_eq!(self.marker.unconfirmed(), None);
        }

        fn is_valid(&self, copy: &ReadAt, key: &str) -> bool {
            self.marker.is_current(copy) || self.marker.renewed(copy, key, &[]).is_some()
        }
    }

    #[test]
    fn a_ban_hides_the_copies_that_it_matches_once_the_marker_was_read() {
        let test = Test::new();
        test.confirm(state(1, 0), 0);
        let copy = test.marker.read_at();
        assert!(test.is_valid(&copy, "kept") && test.is_valid(&copy, "banned"));
        test.marker.announced();
        assert!(!test.is_valid(&copy, "kept"), "not before the marker was read");
        test.confirm(state(1, 1), 1);
        assert!(test.is_valid(&copy, "kept") && !test.is_valid(&copy, "banned"));
        let renewed = test.marker.renewed(&copy, "kept", &[]);
        assert!(renewed.is_some_and(|renewed| test.marker.is_current(&renewed)));
        let later = test.marker.read_at();
        test.marker.announced();
        test.confirm(state(1, 1), 1);
        assert!(test.is_valid(&later, "banned"), "read after the ban");
    }

    #[test]
    fn copies_of_another_generation_are_invalid() {
        let test = Test::new();
        let unknown = test.marker.read_at();
        test.confirm(state(1, 0), 0);
        let copy = test.marker.read_at();
        test.marker.announced();
        // Read while the marker is not known: the copy may be of any generation.
        let between = test.marker.read_at();
        test.confirm(None, 0);
        test.marker.announced();
        test.confirm(state(2, 0), 0);
        for copy in [unknown, copy, between] {
            assert!(!test.is_valid(&copy, "kept"), "{copy:?}");
        }
        // The id of a generation that ended does not make its copies valid again.
        test.marker.announced();
        test.confirm(state(1, 0), 0);
        assert!(!test.is_valid(&copy, "kept"));
    }

    #[test]
    fn a_marker_that_is_read_before_its_announcement_makes_no_elder_copy_valid() {
        let test = Test::new();
        test.confirm(state(1, 0), 0);
        let copy = test.marker.read_at();
        test.marker.announced();
        // The marker of the next generation is read, and its announcement comes later.
        test.confirm(state(2, 0), 0);
        assert!(!test.is_valid(&copy, "kept"));
        test.marker.announced();
        test.confirm(state(2, 0), 0);
        assert!(!test.is_valid(&copy, "kept"));
    }

    #[test]
    fn nothing_is_served_by_unknown_bans_or_after_it_was_forgotten() {
        let test = Test::new();
        test.confirm(state(1, 0), 0);
        let copy = test.marker.read_at();
        test.marker.announced();
        test.confirm(state(1, 2), 1);
        assert!(!test.is_valid(&copy, "kept"), "the second ban is not known");
        test.marker.forget();
        assert!(!test.is_valid(&copy, "kept"));
        test.confirm(state(1, 0), 0);
        assert!(!test.is_valid(&copy, "kept"), "the announcements in between are missing");
    }

    #[test]
    fn what_was_read_before_a_loss_confirms_nothing() {
        let test = Test::new();
        test.confirm(state(1, 0), 0);
        let copy = test.marker.read_at();
        test.marker.announced();
        let epoch = test.marker.unconfirmed().unwrap_or_default();
        test.marker.forget();
        test.marker.confirm(epoch, state(1, 0), Arc::new(Bans(0)), &test.lineages);
        assert!(test.marker.unconfirmed().is_some());
        assert!(!test.is_valid(&copy, "kept"));
    }
}
