//! The leases a data plane knows: by id, with the tree of who was derived from whom, and what was revoked.
//!
//! A lease opens only while it and every ancestor is known, unexpired and unrevoked. An ancestor that is not known
//! ends its descendants too: control sends parents first, so a gap means that the tree was cut above.

use std::collections::HashMap;
use std::sync::Arc;

use crate::{LeaseError, LeaseGrant, LeaseId, UnixMillis};

/// Ancestors looked at before a chain of parents is taken for a loop. Deeper than any chain of actors may be, since a
/// hop may narrow its own lease without adding an actor.
const ANCESTORS_MAX: usize = 64;

/// Leases by id. Cloning shares the grants.
#[derive(Clone, Debug, Default)]
pub struct Leases {
    by_id: HashMap<LeaseId, Arc<LeaseGrant>>,
    children: HashMap<LeaseId, Vec<LeaseId>>,
    /// Revoked ids and when they may be forgotten; `None` until the next snapshot (ids of tokens have no grant here).
    revoked: HashMap<LeaseId, Option<UnixMillis>>,
}

impl Leases {
    /// The state of a snapshot.
    pub fn from_snapshot(leases: Vec<LeaseGrant>, revoked: Vec<LeaseId>) -> Self {
        let mut all = Self::default();
        leases.into_iter().for_each(|lease| all.insert(lease));
        all.revoke(&revoked);
        all
    }

    /// Adds a lease, or replaces the one of the same id. A revoked id stays revoked.
    pub fn insert(&mut self, lease: LeaseGrant) {
        let id = lease.id.clone();
        self.forget(&id);
        if let Some(parent) = &lease.parent {
            self.children.entry(parent.clone()).or_default().push(id.clone());
        }
        if let Some(forget_at) = self.revoked.get_mut(&id) {
            *forget_at = Some(lease.expires_at);
        }
        self.by_id.insert(id, Arc::new(lease));
    }

    /// The lease of that user name, whether or not it is over.
    pub fn lookup(&self, id: &str) -> Option<&Arc<LeaseGrant>> {
        self.by_id.get(id)
    }

    /// The lease of that user name if it opens now.
    pub fn open(&self, id: &str, now: UnixMillis) -> Result<&Arc<LeaseGrant>, LeaseError> {
        let lease = self.by_id.get(id).ok_or(LeaseError::Unknown)?;
        self.state(id, now).map(|()| lease)
    }

    /// Revokes leases and everything below them. Answers with every id that this call ended, so that their sessions
    /// can be told; an id that was revoked before is not in it.
    pub fn revoke(&mut self, ids: &[LeaseId]) -> Vec<LeaseId> {
        let mut ended = Vec::new();
        let mut pending = ids.to_vec();
        while let Some(id) = pending.pop() {
            if self.revoked.contains_key(&id) {
                continue; // its descendants went with it, or are refused when they are looked up
            }
            pending.extend(self.children.get(&id).into_iter().flatten().cloned());
            self.revoked
                .insert(id.clone(), self.by_id.get(&id).map(|lease| lease.expires_at));
            ended.push(id);
        }
        ended
    }

    /// Whether that id, of a lease or of a block of a token (hex), was itself revoked.
    pub fn is_revoked(&self, id: &str) -> bool {
        self.revoked.contains_key(id)
    }

    /// Whether the lease or any ancestor is revoked, expired or unknown.
    pub fn is_revoked_or_expired(&self, id: &LeaseId, now: UnixMillis) -> bool {
        self.state(id.as_str(), now).is_err()
    }

    /// Why the lease is over, if it is.
    pub fn state(&self, id: &str, now: UnixMillis) -> Result<(), LeaseError> {
        let mut id = id;
        for depth in 0..ANCESTORS_MAX {
            if self.revoked.contains_key(id) {
                return Err(LeaseError::Revoked);
            }
            let Some(lease) = self.by_id.get(id) else {
                return Err(if depth == 0 {
                    LeaseError::Unknown
                } else {
                    LeaseError::Expired
                });
            };
            if !lease.is_live(now) {
                return Err(LeaseError::Expired);
            }
            match &lease.parent {
                Some(parent) => id = parent.as_str(),
                None => return Ok(()),
            }
        }
        Err(LeaseError::Revoked)
    }

    /// The earliest moment at which the lease or an ancestor ends by itself.
    pub fn ends_at(&self, id: &str) -> Option<UnixMillis> {
        let lineage = std::iter::successors(self.by_id.get(id), |lease| {
            self.by_id.get(lease.parent.as_ref()?.as_str())
        });
        lineage.take(ANCESTORS_MAX).map(|lease| lease.expires_at).min()
    }

    /// Drops leases that ended by themselves and revocations that nobody can meet any more; answers with the ids of
    /// those leases.
    pub fn sweep(&mut self, now: UnixMillis) -> Vec<LeaseId> {
        let over: Vec<_> = self
            .by_id
            .values()
            .filter(|lease| !lease.is_live(now))
            .map(|lease| lease.id.clone())
            .collect();
        over.iter().for_each(|id| self.forget(id));
        self.revoked
            .retain(|_, forget_at| forget_at.is_none_or(|at| now < at));
        over
    }

    /// Every lease, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<LeaseGrant>> {
        self.by_id.values()
    }

    /// How many leases are held, ended ones included until the next sweep.
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Takes a lease out of both indexes. Its own children stay listed under it: revoking its id still finds them.
    fn forget(&mut self, id: &LeaseId) {
        let Some(lease) = self.by_id.remove(id) else {
            return;
        };
        let Some(parent) = &lease.parent else { return };
        if let Some(siblings) = self.children.get_mut(parent) {
            siblings.retain(|sibling| sibling != id);
            if siblings.is_empty() {
                self.children.remove(parent);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lease::{LeaseRequest, example_lease, example_request};

    const NOW: UnixMillis = UnixMillis(1_000);

    /// Root 1 → 2 → 3, and 4 beside 2.
    fn family() -> (Leases, [LeaseId; 4]) {
        let root = example_lease(1, "all", 5_000);
        let two = root
            .derive(
                LeaseRequest {
                    expires_at: Some(UnixMillis(3_000)),
                    ..example_request(2)
                },
                NOW,
            )
            .unwrap();
        let three = two.derive(example_request(3), NOW).unwrap();
        let four = root.derive(example_request(4), NOW).unwrap();
        let all = [root, two, three, four];
        let ids = all.clone().map(|lease| lease.id);
        (Leases::from_snapshot(all.to_vec(), Vec::new()), ids)
    }

    #[test]
    fn revoking_a_lease_ends_what_was_derived_from_it_and_nothing_else() {
        let (mut leases, [one, two, three, four]) = family();
        let mut ended = leases.revoke(std::slice::from_ref(&two));
        ended.sort();
        let mut expected = vec![two.clone(), three.clone()];
        expected.sort();
        assert_eq!(ended, expected);
        assert_eq!(leases.open(three.as_str(), NOW).unwrap_err(), LeaseError::Revoked);
        assert!(leases.is_revoked_or_expired(&two, NOW));
        assert!(!leases.is_revoked_or_expired(&one, NOW) && !leases.is_revoked_or_expired(&four, NOW));
        assert!(
            leases.revoke(&[two]).is_empty(),
            "a second revocation ends nothing"
        );
    }

    #[test]
    fn a_lease_that_arrives_after_its_ancestor_was_revoked_does_not_open() {
        let (mut leases, [_, two, three, _]) = family();
        let late = leases
            .lookup(three.as_str())
            .unwrap()
            .derive(example_request(9), NOW)
            .unwrap();
        leases.revoke(&[two]);
        leases.insert(late.clone());
        assert_eq!(leases.state(late.id.as_str(), NOW), Err(LeaseError::Revoked));
        leases.insert(example_lease(9, "all", 5_000));
        assert_eq!(
            leases.state(late.id.as_str(), NOW),
            Ok(()),
            "a root of its own is its own"
        );
        leases.revoke(std::slice::from_ref(&late.id));
        leases.insert(example_lease(9, "all", 5_000));
        assert_eq!(
            leases.state(late.id.as_str(), NOW),
            Err(LeaseError::Revoked),
            "a revoked id stays revoked"
        );
    }

    #[test]
    fn an_ancestor_that_ended_or_is_missing_ends_its_descendants() {
        let (mut leases, [_, two, three, four]) = family();
        assert_eq!(leases.ends_at(three.as_str()), Some(UnixMillis(3_000)));
        let mut longer = example_lease(8, "all", 9_000);
        longer.parent = Some(two.clone());
        leases.insert(longer.clone());
        assert_eq!(leases.ends_at(longer.id.as_str()), Some(UnixMillis(3_000)));
        assert!(!leases.is_revoked_or_expired(&longer.id, UnixMillis(2_999)));
        assert_eq!(
            leases.state(longer.id.as_str(), UnixMillis(3_000)),
            Err(LeaseError::Expired)
        );
        let mut swept = leases.sweep(UnixMillis(3_000));
        swept.sort();
        assert_eq!(swept.len(), 2);
        assert!(swept.contains(&two) && swept.contains(&three));
        assert_eq!(
            leases.state(longer.id.as_str(), UnixMillis(1_000)),
            Err(LeaseError::Expired)
        );
        assert_eq!(leases.state(four.as_str(), UnixMillis(3_000)), Ok(()));
        assert_eq!(leases.state("lg_nobody", NOW), Err(LeaseError::Unknown));
    }

    #[test]
    fn a_loop_of_parents_opens_nothing() {
        let mut lease = example_lease(1, "all", 5_000);
        lease.parent = Some(lease.id.clone());
        let id = lease.id.clone();
        let mut leases = Leases::from_snapshot(vec![lease], Vec::new());
        assert!(leases.is_revoked_or_expired(&id, NOW));
        assert_eq!(leases.revoke(std::slice::from_ref(&id)), [id]);
    }

    #[test]
    fn revocations_are_kept_as_long_as_they_matter() {
        let (mut leases, [one, ..]) = family();
        leases.revoke(&[one.clone(), LeaseId("00ff".into())]);
        leases.sweep(UnixMillis(4_999));
        assert!(leases.is_revoked(one.as_str()));
        leases.sweep(UnixMillis(5_000));
        assert!(!leases.is_revoked(one.as_str()) && leases.is_revoked("00ff"));
        assert!(leases.is_empty());
    }
}
