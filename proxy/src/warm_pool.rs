//! Warm server connections: logged in, reset, and waiting for the next session that would log in just so.
//!
//! Source: PostgreSQL manual, DISCARD; "Message Flow": Start-up. One pool per core, so that nothing here is locked and no
//! connection leaves its core. What is parked was reset by `session/postgres/parting.rs`; what is taken is handed to
//! `session/postgres/back_door.rs`'s caller in place of a new login. The newest is taken first: its server process has the
//! warmest caches, and the others grow old and are closed.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use linegate_config::WarmShare;
use linegate_identity::{LeaseGrant, LeaseId, UnixMillis};

use crate::rt::net::Place;

/// A connection that has served for so long is not parked any more: servers' processes grow with what they have served, and
/// what ALTER ROLE and ALTER DATABASE set counts from the next login on.
pub const AGE_MS_MAX: u64 = 30 * 60 * 1000;
/// How often those that wait are looked at.
const SWEEP_MS: u64 = 1000;

/// What is kept: a connection, or a test's own.
pub trait Kept {
    /// Whether the server has said nothing since it was parked, not even that it leaves.
    fn is_silent(&self) -> bool;
    /// The server that it leads to.
    fn place(&self) -> &Place;
    /// When it logged in.
    fn since(&self) -> UnixMillis;
    /// Ends it in the protocol's words.
    fn close(self);
}

/// For whom a connection was opened, and how: a session takes one up only where all of it is the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    hash: u64,
    owner: Owner,
    database: String,
    user: String,
    /// What went into the startup packet, in its order.
    parameters: Vec<(String, String)>,
    minor: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Owner {
    /// One lease as one token narrowed it.
    Lease {
        id: LeaseId,
        token_ids: Vec<String>,
        chain: String,
        scope: String,
    },
    /// A principal, whatever its leases and agents.
    Principal { kind: &'static str, name: String },
}

impl Key {
    /// Of a session of that lease, which logs in so.
    pub fn new(
        share: WarmShare,
        (lease, token_ids): (&LeaseGrant, &[String]),
        (user, database): (&str, &str),
        parameters: &[(String, String)],
        minor: u16,
    ) -> Self {
        let principal = &lease.chain.principal;
        let owner = match share {
            WarmShare::Lease => Owner::Lease {
                id: lease.id.clone(),
                token_ids: token_ids.to_vec(),
                chain: lease.chain.to_string(),
                scope: lease.scope.to_string(),
            },
            WarmShare::Principal => Owner::Principal {
                kind: principal.kind.as_str(),
                name: principal.name.clone(),
            },
        };
        let mut key = Self {
            hash: 0,
            owner,
            database: database.to_owned(),
            user: user.to_owned(),
            parameters: parameters.to_vec(),
            minor,
        };
        // Compared first, so that a pool of others' connections is passed over fast.
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        key.hash = hasher.finish();
        key
    }
}

/// A connection that waits.
pub struct Parked<C> {
    /// Who may take it up.
    pub key: Key,
    /// The lease of the session before, and when that ends.
    pub lease: (LeaseId, UnixMillis),
    /// The revocation ids of that session's token.
    pub token_ids: Vec<String>,
    /// When it was parked.
    pub at: UnixMillis,
    /// The connection.
    pub connection: C,
}

/// One target's.
struct Waiting<C> {
    /// How long one waits, milliseconds.
    ms: u64,
    /// The oldest first.
    parked: Vec<Parked<C>>,
}

/// A core's warm connections, by target.
pub struct WarmPool<C> {
    targets: HashMap<String, Waiting<C>>,
    next_sweep: UnixMillis,
}

impl<C> Default for WarmPool<C> {
    fn default() -> Self {
        Self {
            targets: HashMap::new(),
            next_sweep: UnixMillis(0),
        }
    }
}

/// What became of a question for a connection.
pub struct Taken<C> {
    /// One that can be used at once.
    pub connection: Option<C>,
    /// How many were found unusable, and closed.
    pub closed: u64,
}

impl<C: Kept> WarmPool<C> {
    /// The connection that was parked last for that key, if its server has kept silent and is still one of `places`.
    pub fn take(&mut self, target: &str, key: &Key, places: &[Place], now: UnixMillis) -> Taken<C> {
        let mut taken = Taken {
            connection: None,
            closed: 0,
        };
        let Some(waiting) = self.targets.get_mut(target) else {
            return taken;
        };
        while let Some(at) = waiting.parked.iter().rposition(|parked| parked.key == *key) {
            let parked = waiting.parked.remove(at);
            if is_usable(&parked, waiting.ms, now) && places.contains(parked.connection.place()) {
                taken.connection = Some(parked.connection);
                break;
            }
            parked.connection.close();
            taken.closed += 1;
        }
        taken
    }

    /// Parks a connection for at most `seconds`. Of more than `most` the oldest makes room; the answer is how many did.
    pub fn park(&mut self, target: &str, (most, seconds): (u32, u32), parked: Parked<C>) -> u64 {
        let waiting = self.targets.entry(target.to_owned()).or_insert(Waiting {
            ms: u64::from(seconds) * 1000,
            parked: Vec::new(),
        });
        waiting.parked.push(parked);
        let over = waiting.parked.len().saturating_sub(most as usize);
        for parked in waiting.parked.drain(..over) {
            parked.connection.close();
        }
        over as u64
    }

    /// Closes those whose time is over and those whose server has said something. Answers with how many; looks once a second.
    pub fn sweep(&mut self, now: UnixMillis) -> u64 {
        if now < self.next_sweep || self.targets.is_empty() {
            return 0;
        }
        self.next_sweep = UnixMillis(now.0 + SWEEP_MS);
        self.close_where(|parked, ms| !is_usable(parked, ms, now))
    }

    /// Closes what sessions under these leases or token blocks have left. Answers with how many.
    pub fn leases_ended(&mut self, ids: &[LeaseId]) -> u64 {
        self.close_where(|parked, _| {
            let is_tokens = |id: &LeaseId| parked.token_ids.iter().any(|token| token == id.as_str());
            ids.iter().any(|id| *id == parked.lease.0 || is_tokens(id))
        })
    }

    /// Closes all of one target. Answers with how many.
    pub fn clear_of(&mut self, target: &str) -> u64 {
        let waiting = self.targets.remove(target);
        let parked = waiting.map_or(Vec::new(), |waiting| waiting.parked);
        let closed = parked.len() as u64;
        parked.into_iter().for_each(|parked| parked.connection.close());
        closed
    }

    /// Closes all. Answers with how many.
    pub fn clear(&mut self) -> u64 {
        self.close_where(|_, _| true)
    }

    fn close_where(&mut self, is_over: impl Fn(&Parked<C>, u64) -> bool) -> u64 {
        let mut closed = 0;
        self.targets.retain(|_, waiting| {
            let ms = waiting.ms;
            for parked in waiting.parked.extract_if(.., |parked| is_over(parked, ms)) {
                parked.connection.close();
                closed += 1;
            }
            !waiting.parked.is_empty()
        });
        closed
    }
}

/// Whether a session may still take it up.
fn is_usable<C: Kept>(parked: &Parked<C>, waits_ms: u64, now: UnixMillis) -> bool {
    let waited = now.0.saturating_sub(parked.at.0);
    let served = now.0.saturating_sub(parked.connection.since().0);
    waited < waits_ms && served < AGE_MS_MAX && now < parked.lease.1 && parked.connection.is_silent()
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::rc::Rc;

    use linegate_identity::{ActorChain, Principal, PrincipalKind, Scope, ScramVerifier};

    use super::*;

    /// What was closed, by number.
    type Closed = Rc<RefCell<Vec<u32>>>;

    #[derive(Clone)]
    struct Fake {
        number: u32,
        is_silent: Rc<Cell<bool>>,
        place: Place,
        since: UnixMillis,
        closed: Closed,
    }

    impl Kept for Fake {
        fn is_silent(&self) -> bool {
            self.is_silent.get()
        }
        fn place(&self) -> &Place {
            &self.place
        }
        fn since(&self) -> UnixMillis {
            self.since
        }
        fn close(self) {
            self.closed.borrow_mut().push(self.number);
        }
    }

    const HERE: &str = "/run/one";

    fn lease(id: &str, principal: &str, actors: &[&str]) -> LeaseGrant {
        let principal = Principal::new(PrincipalKind::Workload, principal, &[]).expect("a name");
        let mut chain = ActorChain::new(principal);
        for actor in actors {
            chain = chain.with_actor(actor).expect("a name");
        }
        LeaseGrant {
            id: LeaseId(id.to_owned()),
            parent: None,
            chain,
            target: "shop".to_owned(),
            scope: Scope::parse("all").expect("a scope"),
            expires_at: UnixMillis(u64::MAX),
            verifier: ScramVerifier {
                salt: String::new(),
                iterations: 0,
                stored_key: String::new(),
                server_key: String::new(),
            },
        }
    }

    fn key_of(share: WarmShare, lease: &LeaseGrant, tokens: &[&str], database: &str, setting: &str) -> Key {
        let tokens: Vec<String> = tokens.iter().map(|token| (*token).to_owned()).collect();
        let parameters = [("TimeZone".to_owned(), setting.to_owned())];
        Key::new(share, (lease, &tokens), ("app", database), &parameters, 0)
    }

    fn key(id: &str) -> Key {
        key_of(WarmShare::Lease, &lease(id, "ci", &[]), &[], "shop", "UTC")
    }

    struct Bench {
        pool: WarmPool<Fake>,
        closed: Closed,
        next: u32,
        lease_ends: UnixMillis,
    }

    impl Bench {
        fn new() -> Self {
            Self {
                pool: WarmPool::default(),
                closed: Closed::default(),
                next: 0,
                lease_ends: UnixMillis(u64::MAX),
            }
        }

        /// Parks the next connection, numbered from 1, for ten seconds among at most two.
        fn park(&mut self, key: &Key, at: u64) -> Fake {
            self.next += 1;
            let connection = Fake {
                number: self.next,
                is_silent: Rc::new(Cell::new(true)),
                place: Place::Unix(HERE.into()),
                since: UnixMillis(0),
                closed: self.closed.clone(),
            };
            let Owner::Lease { id, token_ids, .. } = key.owner.clone() else {
                panic!("a lease's")
            };
            let parked = Parked {
                key: key.clone(),
                lease: (id, self.lease_ends),
                token_ids,
                at: UnixMillis(at),
                connection: connection.clone(),
            };
            self.pool.park("shop", (2, 10), parked);
            connection
        }

        fn take(&mut self, key: &Key, now: u64) -> Option<u32> {
            let places = [Place::Unix(HERE.into())];
            let taken = self.pool.take("shop", key, &places, UnixMillis(now));
            taken.connection.map(|connection| connection.number)
        }

        fn closed(&self) -> Vec<u32> {
            self.closed.borrow().clone()
        }
    }

    #[test]
    fn the_newest_is_taken_first_and_the_oldest_makes_room() {
        let mut bench = Bench::new();
        let one = key("lg_one");
        for at in [1, 2, 3] {
            bench.park(&one, at);
        }
        assert_eq!(bench.closed(), [1]);
        assert_eq!(
            [4, 5, 6].map(|now| bench.take(&one, now)),
            [Some(3), Some(2), None]
        );
        assert_eq!(bench.closed(), [1]);
    }

    #[test]
    fn nobody_gets_what_another_would_have_opened() {
        let one = lease("lg_one", "ci", &[]);
        let ours = key_of(WarmShare::Lease, &one, &["b0"], "shop", "UTC");
        let others = [
            key_of(
                WarmShare::Lease,
                &lease("lg_two", "ci", &[]),
                &["b0"],
                "shop",
                "UTC",
            ),
            key_of(
                WarmShare::Lease,
                &lease("lg_one", "ci", &["x"]),
                &["b0"],
                "shop",
                "UTC",
            ),
            key_of(WarmShare::Lease, &one, &["b0", "b1"], "shop", "UTC"),
            key_of(WarmShare::Lease, &one, &["b0"], "other", "UTC"),
            key_of(WarmShare::Lease, &one, &["b0"], "shop", "CET"),
            key_of(WarmShare::Principal, &one, &["b0"], "shop", "UTC"),
        ];
        let mut bench = Bench::new();
        bench.park(&ours, 1);
        for other in &others {
            assert_eq!(bench.take(other, 2), None, "{other:?}");
        }
        let nobody = bench
            .pool
            .take("other", &ours, &[Place::Unix(HERE.into())], UnixMillis(2));
        assert!(nobody.connection.is_none());
        assert_eq!(bench.take(&ours, 2), Some(1));
    }

    #[test]
    fn a_principals_leases_share_where_that_is_wanted() {
        let of = |lease: &LeaseGrant| key_of(WarmShare::Principal, lease, &[], "shop", "UTC");
        let ci = of(&lease("lg_one", "ci", &[]));
        assert_eq!(ci, of(&lease("lg_two", "ci", &["build"])));
        assert_ne!(ci, of(&lease("lg_one", "dba", &[])));
    }

    #[test]
    fn what_the_server_has_left_or_moved_is_not_handed_out() {
        let mut bench = Bench::new();
        let one = key("lg_one");
        bench.park(&one, 1);
        bench.park(&one, 2).is_silent.set(false);
        assert_eq!(bench.take(&one, 3), Some(1), "the one before it is alive");
        assert_eq!(bench.closed(), [2]);
        bench.park(&one, 4);
        let elsewhere = [Place::Unix("/run/two".into())];
        let taken = bench.pool.take("shop", &one, &elsewhere, UnixMillis(5));
        assert!(taken.connection.is_none() && taken.closed == 1);
    }

    #[test]
    fn time_ends_what_waits() {
        let mut bench = Bench::new();
        let one = key("lg_one");
        bench.park(&one, 0);
        bench.park(&one, 5_000);
        assert_eq!(bench.pool.sweep(UnixMillis(9_999)), 0);
        assert_eq!(bench.pool.sweep(UnixMillis(10_000)), 0, "it looks once a second");
        assert_eq!(bench.pool.sweep(UnixMillis(11_000)), 1);
        assert_eq!(bench.closed(), [1]);
        assert_eq!(bench.take(&one, 15_000), None, "between two looks as well");
        assert_eq!(bench.closed(), [1, 2]);
        bench.park(&one, AGE_MS_MAX - 1);
        assert_eq!(bench.take(&one, AGE_MS_MAX), None, "it has served long enough");
        bench.lease_ends = UnixMillis(20_000);
        bench.park(&one, 19_999);
        assert_eq!(bench.take(&one, 20_000), None, "its lease is over");
    }

    #[test]
    fn the_end_of_a_lease_or_a_token_closes_what_it_left() {
        let mut bench = Bench::new();
        let (one, two) = (key("lg_one"), key("lg_two"));
        let token = key_of(
            WarmShare::Lease,
            &lease("lg_three", "ci", &[]),
            &["00ff"],
            "shop",
            "UTC",
        );
        bench.park(&one, 1);
        bench.park(&two, 1);
        assert_eq!(bench.pool.leases_ended(&[LeaseId("lg_one".into())]), 1);
        bench.park(&token, 1);
        assert_eq!(bench.pool.leases_ended(&[LeaseId("00ff".into())]), 1);
        assert_eq!(bench.closed(), [1, 3]);
        assert_eq!(bench.pool.clear(), 1);
        assert_eq!(bench.closed(), [1, 3, 2]);
        assert_eq!(bench.take(&two, 2), None);
        bench.park(&two, 3);
        assert_eq!(bench.pool.clear_of("other"), 0);
        assert_eq!(bench.pool.clear_of("shop"), 1);
        assert_eq!(bench.take(&two, 4), None);
    }
}
