//! Verdicts that were already given: one cache per worker, looked up without a lock and without an allocation.
//!
//! Key: BLAKE3, keyed with 32 random bytes of this boot, over epoch (u64, little-endian) | exact statement bytes. A client
//! that does not know the key cannot look for two texts that share an entry. Eviction is CLOCK: a hit sets a bit, the hand
//! clears bits and takes the first entry without one. Bounded by entries and by bytes. A verdict that time may change is
//! found by `get_at` only, and only until then.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use linegate_identity::UnixMillis;

use crate::verdict::Decision;

/// Everything a verdict depends on besides the statement's bytes, as one number: policy version, catalog version, chain, lease
/// scope, role, masks and lexing settings. Whoever composes it must never reuse a number for a different state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);

/// The first eight bytes of a key are as good a hash as any: the key is one.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _length: usize) {} // the length prefix of an array says nothing
}

type Key = [u8; 32];

struct Slot {
    key: Key,
    decision: Arc<Decision>,
    bytes: usize,
    is_referenced: bool,
}

/// A worker's verdicts.
pub struct Cache {
    boot_key: Key,
    slots: Vec<Slot>,
    places: HashMap<Key, usize, BuildHasherDefault<KeyHasher>>,
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
    /// An empty cache. Room for `entries_max` keys is reserved at once, so that a full cache never grows.
    pub fn new(boot_key: [u8; 32], entries_max: usize, bytes_max: usize) -> Self {
        let mut places = HashMap::default();
        places.reserve(entries_max);
        let slots = Vec::with_capacity(entries_max);
        Self {
            boot_key,
            slots,
            places,
            hand: 0,
            bytes: 0,
            entries_max,
            bytes_max,
        }
    }

    fn key(&self, epoch: Epoch, statement: &[u8]) -> Key {
        let mut hasher = blake3::Hasher::new_keyed(&self.boot_key);
        hasher.update(&epoch.0.to_le_bytes());
        hasher.update(statement);
        *hasher.finalize().as_bytes()
    }

    /// The verdict on these bytes under this epoch, if it was given before and does not depend on time.
    pub fn get(&mut self, epoch: Epoch, statement: &[u8]) -> Option<Arc<Decision>> {
        self.get_at(epoch, statement, UnixMillis(u64::MAX))
    }

    /// The verdict on these bytes under this epoch, if it was given before and still holds at `now`.
    pub fn get_at(&mut self, epoch: Epoch, statement: &[u8], now: UnixMillis) -> Option<Arc<Decision>> {
        let place = *self.places.get(&self.key(epoch, statement))?;
        let slot = self.slots.get_mut(place)?;
        if slot.decision.valid_until.is_some_and(|until| now >= until) {
            return None; // `insert` puts the new one in its place
        }
        slot.is_referenced = true;
        Some(Arc::clone(&slot.decision))
    }

    /// Keeps a verdict, and drops others until the bounds hold. One that is larger than the whole cache is not kept.
    pub fn insert(&mut self, epoch: Epoch, statement: &[u8], decision: Arc<Decision>) {
        let key = self.key(epoch, statement);
        let bytes = size_of::<Slot>() + size_of::<Key>() + size_of::<Decision>() + decision.heap_bytes();
        if let Some(place) = self.places.get(&key).copied() {
            self.remove(place);
        }
        if bytes > self.bytes_max || self.entries_max == 0 {
            return;
        }
        while self.slots.len() >= self.entries_max || self.bytes + bytes > self.bytes_max {
            self.evict();
        }
        self.bytes += bytes;
        self.places.insert(key, self.slots.len());
        self.slots.push(Slot {
            key,
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
        self.places.remove(&slot.key);
        self.bytes -= slot.bytes;
        if let Some(moved) = self.slots.get(place) {
            self.places.insert(moved.key, place);
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
            let mut cache = Cache::new([9; 32], 8, 6000);
            for (text, size, is_insert) in steps {
                if is_insert {
                    cache.insert(Epoch(3), &[text], decision(size + usize::from(text) * 1000 % 7));
                } else if let Some(found) = cache.get(Epoch(3), &[text]) {
                    prop_assert_eq!(found.effects, Effects::SELECT);
                }
                prop_assert!(cache.entries_count() <= 8 && cache.bytes() <= 6000);
                prop_assert_eq!(cache.places.len(), cache.slots.len());
                for (place, slot) in cache.slots.iter().enumerate() {
                    prop_assert_eq!(cache.places.get(&slot.key), Some(&place));
                }
                prop_assert_eq!(cache.slots.iter().map(|slot| slot.bytes).sum::<usize>(), cache.bytes());
            }
        }
    }
}
