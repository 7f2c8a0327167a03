//! Which budget meter a session counts on: one for each first lease and all that were derived from it, on every core.
//!
//! A meter outlives its sessions, so that a reconnect gives nothing back. It is dropped when no session holds it and no
//! lease that was seen with it can open another. An id-token has no lease of its own: its principal's meter is kept an hour
//! longer, so that a fresh token does not start the hour's budget anew.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use linegate_identity::{LeaseGrant, LeaseId, Leases, UnixMillis};
use linegate_policy::BudgetMeter;

use crate::shared::lock;

/// Parents looked at before a chain of them is taken for a loop; longer than any chain that opens.
const ANCESTORS_MAX: usize = 64;
/// From so many meters on, those that are over are swept out before one is added.
const SWEEP: usize = 256;
/// What an hour's budget remembers.
const HOUR_MS: u64 = 61 * 60 * 1000;

struct Kept {
    meter: Arc<BudgetMeter>,
    until: UnixMillis,
}

/// Meters by target and first lease. Its lock is taken at login only.
#[derive(Default)]
pub struct Meters {
    by_root: Mutex<HashMap<(String, LeaseId), Kept>>,
}

impl Meters {
    /// The meter of the lease's family.
    pub fn open(&self, leases: &Leases, lease: &LeaseGrant, now: UnixMillis) -> Arc<BudgetMeter> {
        let (root, ends_at) = root_of(leases, lease);
        let until = match leases.lookup(root.as_str()) {
            Some(_) => ends_at,
            None => ends_at.plus_ms(HOUR_MS),
        };
        let mut by_root = lock(&self.by_root);
        if by_root.len() >= SWEEP {
            by_root.retain(|_, kept| now < kept.until || Arc::strong_count(&kept.meter) > 1);
        }
        let kept = by_root
            .entry((lease.target.clone(), root))
            .or_insert_with(|| Kept {
                meter: Arc::default(),
                until,
            });
        kept.until = kept.until.max(until);
        kept.meter.clone()
    }
}

/// The topmost ancestor that is known, and when the last of the line ends.
fn root_of(leases: &Leases, lease: &LeaseGrant) -> (LeaseId, UnixMillis) {
    let (mut root, mut ends_at) = (lease.id.clone(), lease.expires_at);
    let mut parent = lease.parent.clone();
    if let Some(known) = leases.lookup(lease.id.as_str()) {
        // A token that was narrowed ends before its lease does.
        ends_at = ends_at.max(known.expires_at);
        parent = known.parent.clone();
    }
    for _ in 0..ANCESTORS_MAX {
        let Some(id) = parent else { break };
        parent = leases.lookup(id.as_str()).and_then(|above| {
            ends_at = ends_at.max(above.expires_at);
            above.parent.clone()
        });
        root = id;
    }
    (root, ends_at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use linegate_identity::{ActorChain, Effects, Principal, PrincipalKind, Scope, ScramVerifier};

    fn lease(id: &str, parent: Option<&str>, expires_at: u64) -> LeaseGrant {
        LeaseGrant {
            id: LeaseId(id.to_owned()),
            parent: parent.map(|id| LeaseId(id.to_owned())),
            chain: ActorChain::new(Principal {
                kind: PrincipalKind::Workload,
                name: "ci-runner".to_owned(),
                groups: Vec::new(),
            }),
            target: "shop".to_owned(),
            scope: Scope {
                effects: Effects::all(),
                tables: None,
            },
            expires_at: UnixMillis(expires_at),
            verifier: ScramVerifier {
                salt: String::new(),
                iterations: 1,
                stored_key: String::new(),
                server_key: String::new(),
            },
        }
    }

    #[test]
    fn a_family_shares_one_meter_and_others_do_not() {
        let (root, hop, tool) = (
            lease("lg_a", None, 900),
            lease("lg_b", Some("lg_a"), 500),
            lease("lg_c", Some("lg_b"), 400),
        );
        let other = lease("lg_z", None, 900);
        let all = [&root, &hop, &tool, &other].map(LeaseGrant::clone).to_vec();
        let leases = Leases::from_snapshot(all, Vec::new());
        let meters = Meters::default();
        let now = UnixMillis(100);
        let first = meters.open(&leases, &tool, now);
        for relative in [&root, &hop, &tool] {
            assert!(Arc::ptr_eq(&first, &meters.open(&leases, relative, now)));
        }
        assert!(!Arc::ptr_eq(&first, &meters.open(&leases, &other, now)));
        let kept = lock(&meters.by_root);
        let of_root = &kept[&("shop".to_owned(), root.id.clone())];
        assert_eq!(of_root.until, UnixMillis(900), "as long as the first lease lives");
    }

    #[test]
    fn a_meter_outlives_its_sessions_until_its_lease_ends() {
        let held = lease("lg_held", None, 200);
        let mut all: Vec<_> = (0..SWEEP).map(|n| lease(&format!("lg_{n}"), None, 200)).collect();
        all.push(held.clone());
        let late = lease("lg_late", None, 900);
        all.push(late.clone());
        let leases = Leases::from_snapshot(all.clone(), Vec::new());
        let meters = Meters::default();
        let session = meters.open(&leases, &held, UnixMillis(0));
        for one in &all[..SWEEP] {
            meters.open(&leases, one, UnixMillis(0));
        }
        meters.open(&leases, &late, UnixMillis(199));
        assert_eq!(lock(&meters.by_root).len(), SWEEP + 2);
        meters.open(&leases, &late, UnixMillis(200));
        assert_eq!(lock(&meters.by_root).len(), 2, "what a session holds stays");
        assert!(Arc::ptr_eq(
            &session,
            &meters.open(&leases, &held, UnixMillis(200))
        ));
    }

    #[test]
    fn a_fresh_id_token_does_not_start_anew() {
        let leases = Leases::default();
        let meters = Meters::default();
        let first = meters.open(&leases, &lease("jwt:ci", None, 100), UnixMillis(0));
        let second = meters.open(&leases, &lease("jwt:ci", None, 5_000), UnixMillis(4_000));
        assert!(Arc::ptr_eq(&first, &second));
    }
}
