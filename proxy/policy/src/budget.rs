//! Budgets: how much a lease, and everything derived from it, may read, run, look up and change.
//!
//! A permit may carry `@budget_rows("100000")`, `@budget_bytes("1GB")`, `@budget_statements("500")`,
//! `@budget_seconds("600")`, `@budget_lookups("100")`, `@budget_changed("1000")` and `@budget_oversized("5/hour")`. A
//! statement is charged to every permit that it matched, for any member of the chain, whatever else permits it too: so the smallest of them wins. What was used
//! is counted under the policy's `@id`, so a reload of policies does not give it back.
//!
//! Over what it is counted stands behind a slash: `/lease` (from the first lease's start to its end, all leases derived
//! from it together), `/hour` (the last 60 whole minutes and the present one), `/transaction` (rows changed, one
//! transaction of one session). Without one, changed rows count by transaction, everything else by lease.
//!
//! Values that masked columns are compared with are limited even where no permit says so: [`LOOKUPS_PER_HOUR`] an hour. So are
//! failures for size of statements that compute with them: [`OVERSIZED_PER_HOUR`].
//!
//! A charge adds first and compares then, so several cores that charge at once never pass a limit together; what was
//! refused stays counted. Amounts saturate. Counters are memory of the data plane: a restart starts them anew.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, RwLock};

use linegate_identity::UnixMillis;

use crate::lineage::ColumnId;
use crate::verdict::shown;
use crate::window::Moment;

/// The largest amount of anything: what one minute's counter of a rolling hour holds.
const AMOUNT_MAX: u64 = (1 << 44) - 1;
/// Distinct values are remembered, 24 bytes each and account.
const LOOKUPS_MAX: u64 = 100_000;
/// Distinct values in an hour that masked columns may be compared with where no permit says otherwise: more than a person or
/// a job looks up, and far fewer than it takes to try all of a number's digits.
pub const LOOKUPS_PER_HOUR: u64 = 10_000;
/// Failures for size in an hour, of statements that compute with masked columns, where no permit says otherwise: each one tells
/// how long some value is, and programs have next to none.
pub const OVERSIZED_PER_HOUR: u64 = 5;
/// Minutes in a rolling hour; the present one is not over yet.
const MINUTES: usize = 61;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BudgetKind {
    /// Rows sent to the client (DataRow, CopyData).
    Rows,
    /// Bytes of such messages, headers included.
    Bytes,
    /// Statements that were let through.
    Statements,
    /// Time in which the server worked on statements.
    Seconds,
    /// Distinct values that labelled columns were compared with.
    Lookups,
    /// Rows that INSERT, UPDATE, DELETE, MERGE and COPY reported as changed.
    Changed,
    /// Statements that compute with labelled columns and failed because something was too large or memory ran out.
    Oversized,
}

impl BudgetKind {
    /// Every kind with its annotation.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Rows, "budget_rows"),
        (Self::Bytes, "budget_bytes"),
        (Self::Statements, "budget_statements"),
        (Self::Seconds, "budget_seconds"),
        (Self::Lookups, "budget_lookups"),
        (Self::Changed, "budget_changed"),
        (Self::Oversized, "budget_oversized"),
    ];

    fn noun(self) -> &'static str {
        match self {
            Self::Rows => "rows",
            Self::Bytes => "bytes",
            Self::Statements => "statements",
            Self::Seconds => "seconds",
            Self::Lookups => "looked-up values",
            Self::Changed => "changed rows",
            Self::Oversized => "failures for size",
        }
    }
}

/// Over what it is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BudgetScope {
    /// One transaction of one session.
    Transaction,
    /// The first lease and all that were derived from it, for their whole life.
    Lease,
    /// The same leases, the last hour.
    Hour,
}

impl BudgetScope {
    const NAMES: [(Self, &'static str); 3] = [
        (Self::Transaction, "transaction"),
        (Self::Lease, "lease"),
        (Self::Hour, "hour"),
    ];

    fn name(self) -> &'static str {
        let found = Self::NAMES.iter().find(|(scope, _)| *scope == self);
        found.map_or("lease", |(_, name)| name)
    }
}

/// So much of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Limit {
    /// What is counted.
    pub kind: BudgetKind,
    /// Over what.
    pub scope: BudgetScope,
    /// How much may be used: rows, bytes, statements, whole seconds, values.
    pub amount: u64,
}

impl Limit {
    /// Reads `100000`, `1GB/hour`. The error is a sentence for whoever wrote it.
    pub(crate) fn parse(kind: BudgetKind, text: &str) -> Result<Self, String> {
        let (amount, scope) = match text.split_once('/') {
            Some((amount, scope)) => (amount.trim(), Some(scope.trim())),
            None => (text.trim(), None),
        };
        let scope = match scope {
            None if kind == BudgetKind::Changed => BudgetScope::Transaction,
            None => BudgetScope::Lease,
            Some(name) => BudgetScope::NAMES
                .iter()
                .find(|(_, known)| *known == name)
                .map(|(scope, _)| *scope)
                .filter(|scope| *scope != BudgetScope::Transaction || kind == BudgetKind::Changed)
                .ok_or_else(|| match kind {
                    BudgetKind::Changed => {
                        "must be counted by `/transaction`, `/lease` or `/hour`".to_owned()
                    }
                    _ => "must be counted by `/lease` or `/hour`".to_owned(),
                })?,
        };
        let max = match kind {
            BudgetKind::Lookups => LOOKUPS_MAX,
            BudgetKind::Seconds => AMOUNT_MAX / 1000, // counted in milliseconds
            _ => AMOUNT_MAX,
        };
        let wrong = || match kind {
            BudgetKind::Bytes => {
                format!("must be a number of bytes from 1 to {max}, as in \"500MB\" or \"2GiB/hour\"")
            }
            _ => format!("must be a whole number from 1 to {max}, as in \"1000\" or \"1000/hour\""),
        };
        let amount = if kind == BudgetKind::Bytes {
            bytes(amount)
        } else {
            digits(amount)
        };
        let amount = amount
            .filter(|amount| (1..=max).contains(amount))
            .ok_or_else(wrong)?;
        Ok(Self { kind, scope, amount })
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} per {}",
            self.amount,
            self.kind.noun(),
            self.scope.name()
        )
    }
}

fn digits(text: &str) -> Option<u64> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_plain.then(|| text.parse().ok()).flatten()
}

fn bytes(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit: u64 = match unit.trim() {
        "" | "B" => 1,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return None,
    };
    digits(number)?.checked_mul(unit)
}

/// The limits of one policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleBudget {
    /// The policy's `@id`, under which it is counted.
    pub rule: Arc<str>,
    /// At most one of each kind.
    pub limits: Vec<Limit>,
}

/// The limits of one statement: those of every permit it matched. Empty for most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    rules: BTreeMap<Arc<str>, Arc<RuleBudget>>,
}

impl Budget {
    /// One more permit that matched; the same one again changes nothing.
    pub(crate) fn add(&mut self, rule: &Arc<RuleBudget>) {
        self.rules.insert(rule.rule.clone(), rule.clone());
    }

    /// Everything that the other limits as well: what runs a prepared statement by its name is charged as that was.
    pub fn join(&mut self, other: &Self) {
        other.rules.values().for_each(|rule| self.add(rule));
    }

    /// The limit on look-ups of masked columns, where no permit has one.
    pub(crate) fn add_default_lookups(&mut self) {
        static DEFAULT: LazyLock<Arc<RuleBudget>> =
            LazyLock::new(|| hourly("linegate-lookups", BudgetKind::Lookups, LOOKUPS_PER_HOUR));
        self.add_default(&DEFAULT);
    }

    /// The limit on failures for size, where no permit has one.
    pub(crate) fn add_default_oversized(&mut self) {
        static DEFAULT: LazyLock<Arc<RuleBudget>> =
            LazyLock::new(|| hourly("linegate-oversized", BudgetKind::Oversized, OVERSIZED_PER_HOUR));
        self.add_default(&DEFAULT);
    }

    fn add_default(&mut self, rule: &Arc<RuleBudget>) {
        if !rule.limits.iter().any(|limit| self.limits(limit.kind)) {
            self.add(rule);
        }
    }

    /// Nothing is limited.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Policies and their limits, by policy.
    pub fn rules(&self) -> impl Iterator<Item = &RuleBudget> {
        self.rules.values().map(AsRef::as_ref)
    }

    /// Whether anything of that kind is limited, so that a result without need is not counted.
    pub fn limits(&self, kind: BudgetKind) -> bool {
        self.rules()
            .flat_map(|rule| &rule.limits)
            .any(|limit| limit.kind == kind)
    }

    /// Bytes it holds on the heap, roughly.
    pub(crate) fn heap_bytes(&self) -> usize {
        self.rules.len() * 2 * size_of::<(Arc<str>, Arc<RuleBudget>)>()
    }
}

/// One limit by the hour.
fn hourly(rule: &str, kind: BudgetKind, amount: u64) -> Arc<RuleBudget> {
    Arc::new(RuleBudget {
        rule: rule.into(),
        limits: vec![Limit {
            kind,
            scope: BudgetScope::Hour,
            amount,
        }],
    })
}

/// A budget that is used up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exhausted {
    /// The limit that was passed.
    pub limit: Limit,
    /// Whose it is.
    pub rule: Arc<str>,
    /// How much of what was charged still fits: the rows of a slab that may go to the client before it is cut off.
    pub fits: u64,
}

impl Exhausted {
    /// What the client is told.
    pub fn public(&self) -> String {
        format!(
            "the budget of {} is used up, by policy \"{}\"",
            self.limit,
            shown(&self.rule)
        )
    }

    /// What the client can do about it.
    pub fn hint(&self) -> &'static str {
        match (self.limit.scope, self.limit.kind) {
            (BudgetScope::Transaction, _) => "Change fewer rows in one transaction.",
            (BudgetScope::Hour, _) => "Try again later, or ask for less.",
            (BudgetScope::Lease, BudgetKind::Rows | BudgetKind::Bytes) => {
                "Ask for fewer rows, under a new lease."
            }
            (BudgetScope::Lease, _) => "The work needs a new lease.",
        }
    }

    /// program_limit_exceeded. Not 53400 (configuration_limit_exceeded): drivers take class 53 for a passing shortage and
    /// run the statement again.
    pub fn sqlstate(&self) -> [u8; 5] {
        *b"54000"
    }
}

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.public())
    }
}

/// What one family of leases has used: one meter per first lease, shared by every session of it on every core.
#[derive(Debug, Default)]
pub struct BudgetMeter {
    accounts: RwLock<HashMap<Arc<str>, Arc<Account>>>,
}

impl BudgetMeter {
    /// A meter that has counted nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// The counters that a statement with this budget is charged to. A lock is taken for a budget that is not empty, once
    /// a statement; the charges themselves are atomic.
    pub fn charges(&self, budget: &Budget) -> Charges {
        let mut lines = Vec::new();
        for rule in budget.rules.values() {
            let account = self.account(&rule.rule);
            lines.extend(rule.limits.iter().map(|limit| Line {
                limit: *limit,
                rule: rule.rule.clone(),
                account: account.clone(),
            }));
        }
        Charges { lines }
    }

    fn account(&self, rule: &Arc<str>) -> Arc<Account> {
        let known = self.accounts.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = known.get(rule) {
            return account.clone();
        }
        drop(known);
        let mut known = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        known.entry(rule.clone()).or_default().clone()
    }
}

/// Rows that one session's open transaction has changed. The session makes it new when the transaction ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes(u64);

impl Changes {
    /// The transaction ended.
    pub fn end(&mut self) {
        self.0 = 0;
    }
}

#[derive(Clone, Debug)]
struct Line {
    limit: Limit,
    rule: Arc<str>,
    account: Arc<Account>,
}

/// Where one statement's use is charged. Every method charges all limits of its kind, then names the tightest that was
/// passed.
#[derive(Clone, Debug, Default)]
pub struct Charges {
    lines: Vec<Line>,
}

impl Charges {
    /// Nothing is limited: no charge can fail.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether anything of that kind is limited.
    pub fn limits(&self, kind: BudgetKind) -> bool {
        self.lines.iter().any(|line| line.limit.kind == kind)
    }

    /// One statement, before it is sent to the server.
    pub fn charge_statement(&self, now: UnixMillis) -> Result<(), Exhausted> {
        self.charge(BudgetKind::Statements, 1, now)
    }

    /// So many statements, sent in one text.
    pub fn charge_statements(&self, count: u64, now: UnixMillis) -> Result<(), Exhausted> {
        self.charge(BudgetKind::Statements, count, now)
    }

    /// Rows about to go to the client; `fits` of an error says how many of them may.
    pub fn charge_rows(&self, count: u64, now: UnixMillis) -> Result<(), Exhausted> {
        self.charge(BudgetKind::Rows, count, now)
    }

    /// Bytes of rows about to go to the client.
    pub fn charge_bytes(&self, count: u64, now: UnixMillis) -> Result<(), Exhausted> {
        self.charge(BudgetKind::Bytes, count, now)
    }

    /// Milliseconds that the server has worked since the last charge. What is left of them is in whole seconds.
    pub fn charge_busy_ms(&self, count: u64, now: UnixMillis) -> Result<(), Exhausted> {
        self.charge(BudgetKind::Seconds, count, now)
    }

    /// A statement that computes with labelled columns failed for the size of something.
    pub fn note_oversized(&self, now: UnixMillis) {
        let _ = self.charge(BudgetKind::Oversized, 1, now); // `may_be_oversized` tells the next one
    }

    /// Whether one more may fail like that.
    pub fn may_be_oversized(&self, now: UnixMillis) -> Result<(), Exhausted> {
        self.tightest(BudgetKind::Oversized, |line| {
            (line.account.used(&line.limit, now) >= line.limit.amount).then_some(0)
        })
    }

    /// A value that a labelled column is compared with; one that was compared before costs nothing.
    pub fn charge_lookup(
        &self,
        column: ColumnId,
        value: LookupDigest,
        now: UnixMillis,
    ) -> Result<(), Exhausted> {
        let is_new = |line: &Line| line.account.look_up(&line.limit, column, value, now);
        self.tightest(BudgetKind::Lookups, |line| (!is_new(line)).then_some(0))
    }

    /// Rows that a statement changed, as its CommandComplete says; within the session's open transaction.
    pub fn charge_changed(
        &self,
        count: u64,
        changes: &mut Changes,
        now: UnixMillis,
    ) -> Result<(), Exhausted> {
        let before = changes.0;
        changes.0 = before.saturating_add(count);
        self.tightest(BudgetKind::Changed, |line| match line.limit.scope {
            BudgetScope::Transaction => over(before, count, line.limit.amount),
            BudgetScope::Lease | BudgetScope::Hour => line.account.add(&line.limit, count, now),
        })
    }

    fn charge(&self, kind: BudgetKind, count: u64, now: UnixMillis) -> Result<(), Exhausted> {
        self.tightest(kind, |line| line.account.add(&line.limit, count, now))
    }

    /// Charges every limit of a kind; `over` gives what fits where one was passed.
    fn tightest(
        &self,
        kind: BudgetKind,
        mut over: impl FnMut(&Line) -> Option<u64>,
    ) -> Result<(), Exhausted> {
        let mut found: Option<Exhausted> = None;
        for line in self.lines.iter().filter(|line| line.limit.kind == kind) {
            let Some(fits) = over(line) else { continue };
            if found.as_ref().is_none_or(|known| fits < known.fits) {
                found = Some(Exhausted {
                    limit: line.limit,
                    rule: line.rule.clone(),
                    fits,
                });
            }
        }
        found.map_or(Ok(()), Err)
    }
}

/// How much of `count` fits into `amount` when `before` is used; `None` when all of it does.
fn over(before: u64, count: u64, amount: u64) -> Option<u64> {
    (before.saturating_add(count) > amount).then(|| amount.saturating_sub(before))
}

/// A value that a column is compared with, so that equal ones are told without being kept. See [`lookup_digest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct LookupDigest([u8; 16]);

impl LookupDigest {
    /// As a part of another value.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Keyed BLAKE3 of a compared value. The key is the boot's, so that what is kept in memory cannot be searched with a list
/// of likely values.
pub fn lookup_digest(key: &[u8; 32], value: &[u8]) -> LookupDigest {
    let mut first = [0; 16];
    first.copy_from_slice(&blake3::keyed_hash(key, value).as_bytes()[..16]);
    LookupDigest(first)
}

/// What one family of leases has used under one policy.
#[derive(Debug)]
struct Account {
    lease: [AtomicU64; BudgetKind::ALL.len()],
    hour: [Rolling; BudgetKind::ALL.len()],
    /// The minute in which each value was last looked up.
    lookups: Mutex<HashMap<(ColumnId, LookupDigest), u64>>,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            lease: std::array::from_fn(|_| AtomicU64::new(0)),
            hour: std::array::from_fn(|_| Rolling::default()),
            lookups: Mutex::default(),
        }
    }
}

impl Account {
    /// Adds, and says how much of it fits if not all does. Seconds are counted in milliseconds.
    fn add(&self, limit: &Limit, count: u64, now: UnixMillis) -> Option<u64> {
        let place = limit.kind as usize;
        let amount = match limit.kind {
            BudgetKind::Seconds => limit.amount.saturating_mul(1000),
            _ => limit.amount,
        };
        let before = match limit.scope {
            BudgetScope::Hour => self.hour[place].add(count, Moment::of(now)).saturating_sub(count),
            BudgetScope::Lease | BudgetScope::Transaction => {
                // The closure never gives `None`, so the old value comes back either way.
                let added = self.lease[place].fetch_update(Ordering::SeqCst, Ordering::SeqCst, |used| {
                    Some(used.saturating_add(count))
                });
                added.unwrap_or_else(|used| used)
            }
        };
        over(before, count, amount)
    }

    /// How much was added.
    fn used(&self, limit: &Limit, now: UnixMillis) -> u64 {
        let place = limit.kind as usize;
        match limit.scope {
            BudgetScope::Hour => self.hour[place].add(0, Moment::of(now)),
            BudgetScope::Lease | BudgetScope::Transaction => self.lease[place].load(Ordering::SeqCst),
        }
    }

    /// Whether a value may be looked up: it was before, or there is room for one more.
    fn look_up(&self, limit: &Limit, column: ColumnId, value: LookupDigest, now: UnixMillis) -> bool {
        let minute = Moment::of(now).minutes();
        let mut known: MutexGuard<'_, HashMap<_, u64>> =
            self.lookups.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = known.get_mut(&(column, value))
            && (limit.scope != BudgetScope::Hour || is_recent(*seen, minute))
        {
            *seen = minute.max(*seen);
            return true;
        }
        if limit.scope == BudgetScope::Hour && known.len() as u64 >= limit.amount {
            known.retain(|_, seen| is_recent(*seen, minute));
        }
        let fits = (known.len() as u64) < limit.amount;
        if fits {
            known.insert((column, value), minute);
        }
        fits
    }
}

fn is_recent(then: u64, now: u64) -> bool {
    then.saturating_add(MINUTES as u64) > now
}

/// Sums of the last minutes. A slot holds, from the top, 20 bits of the minute it counts for and 44 bits of its sum.
#[derive(Debug)]
struct Rolling([AtomicU64; MINUTES]);

impl Default for Rolling {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Rolling {
    const SUM_BITS: u32 = 44;
    const SUM_MAX: u64 = (1 << Self::SUM_BITS) - 1;
    const TAGS: u64 = 1 << 20; // two years of minutes; an older slot of the same tag can only count too much

    /// Adds to the present minute; the sum of the hour with it. Minutes that a core saw earlier than another count as well.
    fn add(&self, count: u64, now: Moment) -> u64 {
        let tag = now.minutes() % Self::TAGS;
        let place = (now.minutes() % MINUTES as u64) as usize;
        let fresh = |slot: u64| {
            let sum = if slot >> Self::SUM_BITS == tag {
                slot & Self::SUM_MAX
            } else {
                0
            };
            Some(tag << Self::SUM_BITS | sum.saturating_add(count).min(Self::SUM_MAX))
        };
        let _old = self.0[place].fetch_update(Ordering::SeqCst, Ordering::SeqCst, fresh);
        let sums = self.0.iter().map(|slot| {
            let slot = slot.load(Ordering::SeqCst);
            let age = tag.wrapping_sub(slot >> Self::SUM_BITS) % Self::TAGS;
            // A slot from the future is one that a core with a later clock wrote: it counts.
            let counts = age < MINUTES as u64 || age > Self::TAGS - MINUTES as u64;
            if counts { slot & Self::SUM_MAX } else { 0 }
        });
        sums.fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
#[path = "budget_tests.rs"]
mod tests;
