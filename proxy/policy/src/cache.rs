//! Verdicts that were already given, in two levels: by exact text (one cache per worker), and by what a text was read as
//! (one per policy thread).
//!
//! A verdict is found by a keyed hash, which only says where to look, and counts only if everything it was given for is
//! equal: the epoch, and every byte of the text (the first level) or every part of the `Statement` (the second). No
//! collision, found or made, can lend one text another's verdict; and as an entry has its hash for itself, texts that
//! share one push each other out and no look-up ever walks a chain. Texts too long to be kept are known by keyed BLAKE3,
//! 32 bytes, instead. All keys are derived from 32 random bytes of this boot.
//!
//! The second level is for texts that differ in what does not matter, such as literals. `decide` is a function of engine,
//! subject, masks and catalog, which the epoch stands for, and of the `Statement`, which is all that it knows of a text: so
//! two texts that are read as equal statements have one verdict, by construction and not by a list of harmless literals.
//! What a literal can change (a name of a setting, the argument of a function that is looked at, a path, a position in
//! ORDER BY, whether a WHERE is bounded) shows in the `Statement`.
//!
//! Eviction is CLOCK: a hit sets a bit, the hand clears bits and takes the first entry without one. Bounded by entries and
//! by bytes, texts included. A verdict that time may change is found by `get_at` only, and only until then. A look-up asks
//! for no lock and no memory.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;

use foldhash::SharedSeed;
use foldhash::quality::FoldHasher;
use linegate_identity::UnixMillis;

use crate::statement::Statement;
use crate::verdict::Decision;

/// Longer texts are known by their digest: above it, comparing and keeping them would cost more than hashing them well.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// Everything a verdict depends on besides the statement's bytes, as one number: policy version, catalog version, chain, lease
/// scope, role, masks and lexing settings. Whoever composes it must never reuse a number for a different state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// Hands a hash through: it is one already.
#[derive(Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// What a verdict was asked for.
#[derive(Clone, Copy)]
enum Asked<'a> {
    Text(&'a [u8]),
    Digest([u8; 32]),
    Read(&'a Statement),
}

/// What a verdict was given for.
enum Given {
    Text(Box<[u8]>),
    Digest([u8; 32]),
    /// For the statement in the decision itself.
    Read,
}

impl Asked<'_> {
    fn given(self) -> Given {
        match self {
            Self::Text(text) => Given::Text(text.into()),
            Self::Digest(digest) => Given::Digest(digest),
            Self::Read(_) => Given::Read,
        }
    }
}

struct Slot {
    hash: u64,
    epoch: Epoch,
    given: Given,
    decision: Arc<Decision>,
    bytes: usize,
    is_referenced: bool,
}

impl Slot {
    fn is_for(&self, epoch: Epoch, asked: Asked<'_>) -> bool {
        self.epoch == epoch
            && match (&self.given, asked) {
                (Given::Text(text), Asked::Text(asked)) => **text == *asked,
                (Given::Digest(digest), Asked::Digest(asked)) => *digest == asked,
                (Given::Read, Asked::Read(asked)) => self.decision.statement == *asked,
                (Given::Text(_) | Given::Digest(_) | Given::Read, _) => false,
            }
    }
}

/// The keys of a cache; see the module.
struct Keys {
    digest: [u8; 32],
    seed: u64,
    shared: SharedSeed,
}

impl Keys {
    fn derive(boot_key: &[u8; 32]) -> Self {
        let key = |what: &[u8]| *blake3::keyed_hash(boot_key, what).as_bytes();
        let number = |what: &[u8]| {
            let mut first = [0; 8];
            first.copy_from_slice(&key(what)[..8]);
            u64::from_le_bytes(first)
        };
        Self {
            digest: key(b"verdicts: texts"),
            seed: number(b"verdicts: seed"),
            shared: SharedSeed::from_u64(number(b"verdicts: shared seed")),
        }
    }

    /// A text as it is asked for.
    fn text<'a>(&self, text: &'a [u8]) -> Asked<'a> {
        if text.len() <= TEXT_BYTES_MAX {
            Asked::Text(text)
        } else {
            Asked::Digest(*blake3::keyed_hash(&self.digest, text).as_bytes())
        }
    }

    fn hash(&self, epoch: Epoch, asked: Asked<'_>) -> u64 {
        let mut hasher = FoldHasher::with_seed(self.seed, &self.shared);
        hasher.write_u64(epoch.0);
        match asked {
            Asked::Text(text) => hasher.write(text),
            Asked::Digest(digest) => hasher.write(&digest),
            Asked::Read(statement) => statement.hash(&mut hasher),
        }
        hasher.finish()
    }
}

/// A worker's verdicts, or a policy thread's.
pub struct Cache {
    keys: Keys,
    slots: Vec<Slot>,
    places: HashMap<u64, usize, BuildHasherDefault<AsItIs>>,
    hand: usize,
    bytes: usize,
    entries_max: usize,
    bytes_max: usize,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Cache({} entries, {} bytes)", self.slots.len(), self.bytes)
    }
}

impl Cache {
    /// An empty cache. Room for `entries_max` hashes is reserved at once, so that a full cache never grows.
    pub fn new(boot_key: [u8; 32], entries_max: usize, bytes_max: usize) -> Self {
        let mut places = HashMap::default();
        places.reserve(entries_max);
        let slots = Vec::with_capacity(entries_max);
        Self {
            keys: Keys::derive(&boot_key),
            slots,
            places,
            hand: 0,
            bytes: 0,
            entries_max,
            bytes_max,
        }
    }

    /// The verdict on these bytes under this epoch, if it was given before and does not depend on time.
    pub fn get(&mut self, epoch: Epoch, statement: &[u8]) -> Option<Arc<Decision>> {
        self.get_at(epoch, statement, UnixMillis(u64::MAX))
    }

    /// The verdict on these bytes under this epoch, if it was given before and still holds at `now`.
    pub fn get_at(&mut self, epoch: Epoch, statement: &[u8], now: UnixMillis) -> Option<Arc<Decision>> {
        self.find(epoch, self.keys.text(statement), now)
    }

    /// The verdict on a text that was read as an equal statement under this epoch, if it still holds at `now`.
    pub fn get_read(
        &mut self,
        epoch: Epoch,
        statement: &Statement,
        now: UnixMillis,
    ) -> Option<Arc<Decision>> {
        self.find(epoch, Asked::Read(statement), now)
    }

    fn find(&mut self, epoch: Epoch, asked: Asked<'_>, now: UnixMillis) -> Option<Arc<Decision>> {
        let place = *self.places.get(&self.keys.hash(epoch, asked))?;
        let slot = self.slots.get_mut(place)?;
        if !slot.is_for(epoch, asked) || slot.decision.valid_until.is_some_and(|until| now >= until) {
            return None; // `keep` puts the new one in its place
        }
        slot.is_referenced = true;
        Some(Arc::clone(&slot.decision))
    }

    /// Keeps a verdict, and drops others until the bounds hold. One that is larger than the whole cache is not kept.
    pub fn insert(&mut self, epoch: Epoch, statement: &[u8], decision: Arc<Decision>) {
        self.keep(epoch, self.keys.text(statement), decision);
    }

    /// Keeps a verdict for all texts that are read as this statement. Not kept is a verdict that says more of its statement
    /// than what was read.
    pub fn insert_read(&mut self, epoch: Epoch, statement: &Statement, decision: Arc<Decision>) {
        if decision.statement == *statement {
            self.keep(epoch, Asked::Read(statement), decision);
        }
    }

    fn keep(&mut self, epoch: Epoch, asked: Asked<'_>, decision: Arc<Decision>) {
        let hash = self.keys.hash(epoch, asked);
        let text_bytes = match asked {
            Asked::Text(text) => text.len(),
            Asked::Digest(_) | Asked::Read(_) => 0,
        };
        let fixed = size_of::<Slot>() + size_of::<(u64, usize)>() + size_of::<Decision>();
        let bytes = fixed + text_bytes + decision.heap_bytes();
        if let Some(place) = self.places.get(&hash).copied() {
            self.remove(place);
        }
        if bytes > self.bytes_max || self.entries_max == 0 {
            return;
        }
        while self.slots.len() >= self.entries_max || self.bytes + bytes > self.bytes_max {
            self.evict();
        }
        self.bytes += bytes;
        self.places.insert(hash, self.slots.len());
        self.slots.push(Slot {
            hash,
            epoch,
            given: asked.given(),
            decision,
            bytes,
            is_referenced: false,
        });
    }

    /// Moves the hand to the next entry that was not hit since it last passed, and removes it.
    fn evict(&mut self) {
        loop {
            if self.hand >= self.slots.len() {
                self.hand = 0;
            }
            let Some(slot) = self.slots.get_mut(self.hand) else {
                return;
            };
            let is_spared = std::mem::take(&mut slot.is_referenced);
            if !is_spared {
                self.remove(self.hand);
            }
            self.hand += 1; // also past what was moved into the gap: it is among the youngest
            if !is_spared {
                return;
            }
        }
    }

    fn remove(&mut self, place: usize) {
        let slot = self.slots.swap_remove(place);
        self.places.remove(&slot.hash);
        self.bytes -= slot.bytes;
        if let Some(moved) = self.slots.get(place) {
            self.places.insert(moved.hash, place);
        }
    }

    /// Forgets everything, keeping the room.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.places.clear();
        self.bytes = 0;
        self.hand = 0;
    }

    /// Entries it holds.
    pub fn entries_count(&self) -> usize {
        self.slots.len()
    }

    /// Bytes it holds, as counted against its bound.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::statement::{Name, Statement};
    use crate::verdict::Verdict;
    use linegate_identity::Effects;
    use proptest::prelude::*;

    fn decision(name_bytes: usize) -> Arc<Decision> {
        let reads = vec![Name {
            schema: None,
            name: "x".repeat(name_bytes),
        }];
        Arc::new(Decision {
            verdict: Verdict::Allow,
            touches_label: false,
            labels: Vec::new(),
            effects: Effects::SELECT,
            policies: Vec::new(),
            budget: crate::Budget::default(),
            valid_until: None,
            statement: Statement {
                effects: Effects::SELECT,
                reads,
                ..Statement::empty()
            },
        })
    }

    #[test]
    fn a_verdict_is_found_by_its_exact_bytes_and_epoch_only() {
        let mut cache = Cache::new([7; 32], 8, 1 << 20);
        cache.insert(Epoch(1), b"SELECT 1", decision(1));
        assert!(cache.get(Epoch(1), b"SELECT 1").is_some());
        assert!(cache.get(Epoch(1), b"SELECT 1 ").is_none());
        assert!(cache.get(Epoch(2), b"SELECT 1").is_none());
        cache.clear();
        assert!(cache.get(Epoch(1), b"SELECT 1").is_none());
    }

    #[test]
    fn one_bit_anywhere_in_a_text_of_any_length_is_another_text() {
        for length in [
            1,
            8,
            63,
            901,
            TEXT_BYTES_MAX,
            TEXT_BYTES_MAX + 1,
            3 * TEXT_BYTES_MAX,
        ] {
            let mut cache = Cache::new([7; 32], 8, 1 << 20);
            let mut text = vec![b'x'; length];
            cache.insert(Epoch(1), &text, decision(1));
            assert!(cache.get(Epoch(1), &text).is_some(), "{length}");
            assert!(cache.get(Epoch(1), &text[..length - 1]).is_none(), "{length}");
            for at in [0, length / 2, length - 1] {
                text[at] ^= 1;
                assert!(cache.get(Epoch(1), &text).is_none(), "{at} of {length}");
                text[at] ^= 1;
            }
        }
    }

    #[test]
    fn a_hash_that_is_shared_lends_nothing() {
        let mut cache = Cache::new([7; 32], 8, 1 << 20);
        cache.insert(Epoch(1), b"SELECT 1", decision(1));
        // As if the other text and the other epoch had the hash of this one.
        for (epoch, text) in [(Epoch(1), &b"SELECT 2"[..]), (Epoch(2), b"SELECT 1")] {
            let hash = cache.keys.hash(epoch, Asked::Text(text));
            cache.places.insert(hash, 0);
            assert!(cache.get(epoch, text).is_none());
            cache.places.remove(&hash);
        }
        assert!(cache.get(Epoch(1), b"SELECT 1").is_some());
    }

    #[test]
    fn the_second_level_answers_for_equal_statements_only() {
        let mut cache = Cache::new([7; 32], 8, 1 << 20);
        let (one, now) = (decision(3), UnixMillis(1));
        cache.insert_read(Epoch(1), &one.statement, one.clone());
        assert!(
            cache
                .get_read(Epoch(1), &one.statement, now)
                .is_some_and(|found| Arc::ptr_eq(&found, &one))
        );
        assert!(cache.get_read(Epoch(2), &one.statement, now).is_none());
        let unbounded = Statement {
            bounded: false,
            ..one.statement.clone()
        };
        let followed = Statement {
            lineage: Some(crate::Lineage::default()),
            ..one.statement.clone()
        };
        for other in [&unbounded, &followed, &decision(4).statement] {
            assert!(cache.get_read(Epoch(1), other, now).is_none());
        }
        assert!(cache.get(Epoch(1), b"").is_none(), "the levels do not mix");
        cache.insert_read(Epoch(1), &unbounded, one.clone());
        assert!(
            cache.get_read(Epoch(1), &unbounded, now).is_none(),
            "it is a verdict on another statement"
        );
        let mut timed = (*one).clone();
        timed.valid_until = Some(UnixMillis(9));
        cache.insert_read(Epoch(1), &timed.statement.clone(), Arc::new(timed));
        assert!(cache.get_read(Epoch(1), &one.statement, UnixMillis(8)).is_some());
        assert!(cache.get_read(Epoch(1), &one.statement, UnixMillis(9)).is_none());
    }

    #[test]
    fn texts_count_against_the_bound() {
        let mut cache = Cache::new([7; 32], 1000, 64 << 10);
        for number in 0..100u8 {
            let mut text = vec![b'x'; TEXT_BYTES_MAX - 1];
            text.push(number);
            cache.insert(Epoch(1), &text, decision(1));
            assert!(cache.bytes() <= 64 << 10);
        }
        assert_eq!(
            cache.entries_count(),
            3,
            "three texts of 16 KiB and what belongs to them"
        );
    }

    #[test]
    fn a_verdict_that_time_may_change_holds_until_then() {
        let mut cache = Cache::new([7; 32], 8, 1 << 20);
        let until = UnixMillis(60_000);
        let mut timed = (*decision(1)).clone();
        timed.valid_until = Some(until);
        cache.insert(Epoch(1), b"SELECT 1", Arc::new(timed.clone()));
        assert!(cache.get_at(Epoch(1), b"SELECT 1", UnixMillis(59_999)).is_some());
        assert!(cache.get_at(Epoch(1), b"SELECT 1", until).is_none());
        assert!(
            cache.get(Epoch(1), b"SELECT 1").is_none(),
            "without a time it is not found"
        );
        timed.valid_until = Some(UnixMillis(120_000));
        cache.insert(Epoch(1), b"SELECT 1", Arc::new(timed));
        assert!(cache.get_at(Epoch(1), b"SELECT 1", until).is_some());
        assert_eq!(cache.entries_count(), 1);
    }

    #[test]
    fn what_is_used_stays_when_the_cache_is_full() {
        let mut cache = Cache::new([7; 32], 4, 1 << 20);
        cache.insert(Epoch(1), b"hot", decision(1));
        for number in 0..100u32 {
            assert!(cache.get(Epoch(1), b"hot").is_some(), "gone after {number}");
            cache.insert(Epoch(1), &number.to_le_bytes(), decision(1));
            assert!(cache.entries_count() <= 4);
        }
        assert!(cache.get(Epoch(1), &0u32.to_le_bytes()).is_none());
    }

    #[test]
    fn a_verdict_larger_than_the_cache_is_not_kept() {
        let mut cache = Cache::new([7; 32], 4, 4096);
        cache.insert(Epoch(1), b"small", decision(1));
        cache.insert(Epoch(1), b"large", decision(1 << 20));
        assert!(cache.get(Epoch(1), b"large").is_none() && cache.get(Epoch(1), b"small").is_some());
        let mut none = Cache::new([7; 32], 0, 4096);
        none.insert(Epoch(1), b"small", decision(1));
        assert_eq!(none.entries_count(), 0);
    }

    proptest! {
        #[test]
        fn bounds_hold_and_nothing_foreign_is_returned(steps in prop::collection::vec((0u8..40, 0usize..900, any::<bool>()), 1..200)) {
            let mut cache = Cache::new([9; 32], 8, 8000);
            for (text, size, is_insert) in steps {
                if is_insert {
                    cache.insert(Epoch(3), &[text], decision(size + usize::from(text) * 1000 % 7));
                } else if let Some(found) = cache.get(Epoch(3), &[text]) {
                    prop_assert_eq!(found.effects, Effects::SELECT);
                }
                prop_assert!(cache.entries_count() <= 8 && cache.bytes() <= 8000);
                prop_assert_eq!(cache.places.len(), cache.slots.len());
                for (place, slot) in cache.slots.iter().enumerate() {
                    prop_assert_eq!(cache.places.get(&slot.hash), Some(&place));
                }
                prop_assert_eq!(cache.slots.iter().map(|slot| slot.bytes).sum::<usize>(), cache.bytes());
            }
        }
    }
}
