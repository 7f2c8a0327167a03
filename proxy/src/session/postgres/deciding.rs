//! Deciding one text with what is in force, and whether that still stands when it is sent.
//!
//! policies and catalog of one moment → `policy_service` → again, while another session changes what the text names.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use linegate_identity::Effects;
use linegate_policy::{Budget, Decision, Reason, Statement, Verdict, parameter_bit};

use super::asked::Asked;
use super::fresh::{Code, OF_ROWS, OF_SHAPES};
use super::{CATALOG_POLL, CATALOG_WAIT, Decided, Session, lexing};
use crate::clock;
use crate::policy_service::Standing;
use crate::rt::sync::Soon;
use crate::shared::CatalogView;

/// The types that parameters were declared as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Types {
    /// Somebody's code checks or makes values of one.
    pub call: bool,
    /// What a value of one is as text, or as another type, goes by settings.
    pub vary: bool,
    /// Values of one are names that the catalog holds, or somebody's.
    pub name: bool,
    /// Those whose text may hold commas that what is sent does not show, a bit each; the last stands for all behind it.
    pub hides: u64,
}

impl Types {
    /// What either means.
    pub fn with(self, other: Self) -> Self {
        Self {
            call: self.call || other.call,
            vary: self.vary || other.vary,
            name: self.name || other.name,
            hides: self.hides | other.hides,
        }
    }
}

/// Apart from the same text's without such types.
const OF_TYPES: u64 = 0x9e37_79b9_7f4a_7c15;
/// What initdb makes has a smaller OID (`FirstNormalObjectId`).
const OURS_FROM: u32 = 16384;

impl Session {
    /// What the declared types of parameters mean for a statement.
    pub async fn types(&self, types: impl Iterator<Item = u32>) -> Types {
        let types: Vec<u32> = types.collect();
        let hiding = types
            .iter()
            .zip(1..)
            .filter(|(oid, _)| linegate_sql::hides_commas(**oid));
        let hides = hiding.fold(0, |all, (_, number)| all | parameter_bit(number));
        let types: Vec<u32> = types.into_iter().filter(|oid| *oid != 0).collect();
        if types.is_empty() || !self.relies_on_catalog() {
            return Types::default();
        }
        let is_somebodys = types.iter().any(|oid| *oid >= OURS_FROM);
        let view = match is_somebodys {
            true => self.next_catalog_view(self.catalog.change()).await,
            false => None,
        };
        let calls = |oid: u32| view.as_ref().is_none_or(|view| view.labels.is_calling_type(oid));
        let mut somebodys = types.iter().copied().filter(|oid| *oid >= OURS_FROM);
        Types {
            call: is_somebodys && self.fresh.code().is_some() || somebodys.any(calls),
            vary: types.iter().any(|oid| linegate_sql::goes_by_settings(*oid)),
            name: types.iter().any(|oid| linegate_sql::goes_by_names(*oid)),
            hides,
        }
    }

    /// The catalog for a decision. Under a mask an outdated catalog must not decide, nor where policies look at relations:
    /// such a session waits until the changes that are known now are shown; what comes later belongs to later statements.
    /// For others any will do, until it is known that they change rows: what that does to other relations is in the catalog
    /// ([`Self::is_shown_too_late`]).
    pub fn catalog_view(&self) -> Soon<'_, Option<Arc<CatalogView>>> {
        // Sessions that do not rely on it leave their changes unread.
        if self.catalog.is_unread() && self.relies_on_catalog() {
            self.wish_catalog();
        }
        let view = if self.needs_catalog() {
            self.catalog.current()
        } else {
            self.catalog.latest()
        };
        match view {
            Some(view) => Soon::now(Some(view)),
            None => Soon::later(self.next_catalog_view(self.catalog.change())),
        }
    }

    async fn next_catalog_view(&self, change: u64) -> Option<Arc<CatalogView>> {
        let mut waited = Duration::ZERO;
        loop {
            let showing = self.catalog.showing(change);
            if showing.is_some() {
                return showing;
            }
            let needed = self.needs_catalog();
            let is_over = waited >= CATALOG_WAIT || self.undecided.is_cancelled();
            if is_over || (!needed && self.catalog.is_out_of_reach()) {
                return if needed { None } else { self.catalog.latest() };
            }
            crate::rt::sleep(CATALOG_POLL).await;
            waited += CATALOG_POLL;
        }
    }

    fn is_standing(&self) -> bool {
        let version = self.core.shared.policy.load().version;
        self.standing.borrow().is_in_force(version, clock::now())
    }

    /// Decides a statement with what is in force now, all of it from one version of the policies. Where the session would not
    /// be opened any more, it is refused. Text that `may_read` says no to is decided as unreadable; where parameters' types call
    /// somebody's code, as running that.
    pub async fn decide(&self, text: &[u8], may_read: bool, types: Types) -> Decided {
        let mut may_precede = may_read;
        let mut waits_since: Option<Instant> = None;
        let change = self.catalog.change();
        let (mut has_waited, mut has_looked) = (false, false);
        loop {
            let mark = self.catalog.changing.sent();
            if !self.is_standing() {
                match Box::pin(self.core.open(&self.lease, &self.database)).await {
                    Ok(standing) => *self.standing.borrow_mut() = standing,
                    Err(reason) => {
                        return Decided {
                            decision: Arc::new(refused(reason)),
                            epoch: 0,
                            is_read: false,
                            standing: self.standing.borrow().clone(),
                            mark,
                            weaker: None,
                        };
                    }
                }
            }
            let beside = if may_precede {
                self.catalog_beside_changes()
            } else {
                None
            };
            let (catalog, shown) = match beside {
                Some((catalog, shown)) => (Some(catalog), Some(shown)),
                None => (self.catalog_view().await, None),
            };
            if !self.is_standing() {
                continue; // policies were loaded while it waited
            }
            let standing = self.standing.borrow().clone();
            let mut epoch = self.epoch(&standing, catalog.as_deref());
            let is_read = may_read && self.lexing.is_known() && self.lexing.reads_names_of(text);
            let text = if is_read { text } else { lexing::UNREADABLE };
            let mut code = self.fresh.code().filter(|_| self.relies_on_catalog());
            if types.call {
                (code, epoch) = (Some(Arc::new(Code::any())), epoch ^ OF_TYPES);
            }
            if let Some(decision) = self.core.decide(epoch, &standing, catalog, code, text).await {
                let statement = &decision.statement;
                let is_hidden = is_read && self.relies_on_catalog() && self.is_led_elsewhere(statement);
                if shown.is_some_and(|shown| !self.catalog.spares(shown, &decision.statement)) {
                    may_precede = false; // a change may be about it: wait until that is shown
                    continue;
                }
                if shown.is_some() && statement.leads.remakes {
                    may_precede = false; // what it names may be anything
                    continue;
                }
                let is_moving = self.is_being_changed(&decision)
                    || self.catalog.changing.was_changed(mark, &decision.statement)
                        && self.relies_on_catalog();
                if is_moving {
                    let since = *waits_since.get_or_insert_with(Instant::now);
                    if since.elapsed() < CATALOG_WAIT && !self.undecided.is_cancelled() {
                        crate::rt::sleep(CATALOG_POLL).await;
                        continue;
                    }
                }
                let is_late = shown.is_none() && self.is_shown_too_late(change, &decision.statement);
                if is_late && !is_hidden && !has_waited {
                    has_waited = true;
                    self.next_catalog_view(change).await;
                    continue;
                }
                let weaker = self.weaker(statement);
                let takes_along = statement.leads.reshapes && weaker.is_none() && self.relies_on_catalog();
                if (takes_along || statement.leads.remakes && self.judges_definition(statement))
                    && !has_looked
                {
                    has_looked = true;
                    self.look_again().await; // what depends on what by now
                    continue;
                }
                let decision = if is_moving {
                    Arc::new(refused(Reason::NamesMoving)) // nobody knows what its names will mean
                } else if is_hidden {
                    Arc::new(refused(Reason::BehindTransaction))
                } else if is_read && self.may_rest_on_temporary(&decision.statement) {
                    Arc::new(refused(Reason::OnTemporary))
                } else if is_read && self.is_unplaced(&decision.statement) {
                    Arc::new(refused(Reason::SchemaUnknown))
                } else if is_late {
                    Arc::new(refused(Reason::CatalogNeeded))
                } else {
                    decision
                };
                return Decided {
                    decision,
                    epoch,
                    is_read,
                    standing,
                    mark,
                    weaker,
                };
            }
        }
    }

    /// A statement with CASCADE as it is asked of the server where policies forbid by relation or schema and nothing that is
    /// known goes along. Whatever comes to depend on it, or is not known to, then stays.
    fn weaker(&self, statement: &Statement) -> Option<Rc<[u8]>> {
        let weaker = statement.leads.weaker.as_ref()?;
        let judged = self.standing.borrow().subject.judged_by_relation();
        let is_limited = self.relies_on_catalog() && judged.intersects(OF_SHAPES.with(OF_ROWS));
        is_limited.then(|| Rc::from(weaker.as_bytes()))
    }

    /// Whether the open transaction has had a statement change or show other rows than the catalog says.
    pub(super) fn is_led_elsewhere(&self, statement: &Statement) -> bool {
        let latest = || self.catalog.latest();
        let judged = self.standing.borrow().subject.judged_by_relation();
        let lineage = statement.lineage.as_ref();
        self.fresh.hides(statement, latest)
            || self.fresh.hides_rows(statement, judged, latest)
            || lineage.is_some_and(|lineage| lineage.typed_by_columns && !lineage.lookups.is_empty())
                && self
                    .fresh
                    .may_have_made(statement.reads.iter().chain(&statement.writes))
    }

    /// Whether something permanent that is there may come to depend on what is temporary, or anything on what rests on that, here or
    /// in another session, where policies look at what takes which shape: the server drops that with whatever depends on it.
    pub(super) fn may_rest_on_temporary(&self, statement: &Statement) -> bool {
        let Some(said) = statement.leads.said.as_ref() else {
            return false;
        };
        let is_others = || {
            let view = self.catalog.latest();
            view.is_none_or(|view| view.labels.rests_on_temporary(said))
        };
        let is_own = self.has_temporary.get() || statement.leads.makes_temporary;
        let is_unnamed = || {
            let view = self.catalog.latest();
            view.is_none_or(|view| view.labels.unnamed_on_temporary())
        };
        let may_rest = || {
            let by_number = said.has_number || self.pipeline.borrow().rests_unseen();
            said.may_be_temporary || said.may_be_cut || by_number || is_unnamed()
        };
        let is_remade = || statement.leads.remakes && (is_own || may_rest());
        self.judges_definition(statement) && (is_remade() || is_others())
    }

    /// Whether something is made or changed where policies look at what takes which shape.
    fn judges_definition(&self, statement: &Statement) -> bool {
        let defines = Effects::CREATE.with(Effects::ALTER);
        let judged = || self.standing.borrow().subject.judged_by_relation();
        (statement.leads.remakes || statement.effects.intersects(defines))
            && self.relies_on_catalog()
            && judged().intersects(OF_SHAPES)
    }

    /// Whether a statement changes rows, and what that changes beside them is not known: the catalog does not show what was
    /// known to have changed when it was asked for.
    fn is_shown_too_late(&self, change: u64, statement: &Statement) -> bool {
        statement.effects.intersects(OF_ROWS)
            && self.relies_on_catalog()
            && self.catalog.showing(change).is_none()
    }

    /// Whether another session is changing what a statement with labelled columns names. The server would have it wait for that
    /// session, and read its names anew afterwards.
    fn is_being_changed(&self, decision: &Decision) -> bool {
        self.catalog.changing.is_open(self.id, &decision.statement) && self.relies_on_catalog()
    }

    /// Every relation that a statement's names may mean, by OID.
    pub fn meant_by(&self, statement: &Statement) -> BTreeSet<u32> {
        let view = self.catalog.latest();
        let named = statement.reads.iter().chain(&statement.writes);
        let known = |name| {
            let view = view.as_ref()?;
            Some(view.labels.known(name).map(|known| known.oid).collect::<Vec<_>>())
        };
        named.filter_map(known).flatten().collect()
    }

    /// Whether something is made without a schema that policies may look at, where the session has moved `search_path`, or acts as
    /// another role (`$user`).
    fn is_unplaced(&self, statement: &Statement) -> bool {
        let has_moved = self.path_moved.get() || moves_making(statement);
        let is_judged = || {
            let judged = self.standing.borrow().subject.judged_by_relation();
            judged.contains(Effects::CREATE)
        };
        has_moved && statement.leads.unplaced && is_judged()
    }

    /// Whether another session has changed what it names since it was decided, or is changing it: the last look before it is
    /// sent. Whoever changes names from then on finds it in the pipeline.
    pub fn has_moved(&self, asked: &Asked) -> bool {
        if !self.relies_on_catalog() {
            return false;
        }
        if asked.statements().any(|statement| self.is_unplaced(statement)) {
            return true;
        }
        let changing = &self.catalog.changing;
        let now = changing.sent();
        let mark = asked.mark.get();
        let is_moved = |statement: &Statement| changing.is_moved_by_others(self.id, mark, statement);
        let has_moved = match (&asked.named, &asked.by_name) {
            _ if asked.statements().any(is_moved) => true,
            (Some(run), _) => is_moved(&run.decision.statement),
            // One of several texts, whose names are not looked through one by one.
            (None, Some(ran)) if !ran.texts.is_empty() => changing.is_anything_moved_by_others(self.id, mark),
            _ => false,
        };
        if !has_moved && now != mark {
            asked.mark.set(now); // what came in between is not looked through again
        }
        has_moved
    }

    /// Whether a decision of that epoch would be the same now: neither policy nor catalog have changed, nor has the time
    /// where a policy looks at it.
    pub fn is_current(&self, epoch: u64) -> bool {
        let version = self.core.shared.policy.load().version;
        let view = if self.relies_on_catalog() {
            self.catalog.current()
        } else {
            self.catalog.latest()
        };
        let standing = self.standing.borrow();
        standing.is_in_force(version, clock::now()) && epoch == self.epoch(&standing, view.as_deref())
    }

    fn epoch(&self, standing: &Standing, catalog: Option<&CatalogView>) -> u64 {
        let of = (
            standing.version,
            catalog.map_or(u64::MAX, |view| view.epoch),
            standing.valid_until.map_or(u64::MAX, |until| until.0),
            self.fresh.code().map_or(0, |code| code.mark),
        );
        match self.epoch.get() {
            (known, epoch) if known == of => epoch,
            _ => {
                let epoch = self.new_epoch(of);
                self.epoch.set((of, epoch));
                epoch
            }
        }
    }

    fn new_epoch(&self, of: (u64, u64, u64, u64)) -> u64 {
        let mut hash = blake3::Hasher::new_keyed(&self.core.shared.boot_key);
        let (chain, scope) = (self.lease.chain.to_string(), self.lease.scope.to_string());
        for part in [
            self.lease.id.as_str(),
            &chain,
            &scope,
            &self.target.config.name,
            &self.database,
        ] {
            hash.update(part.as_bytes());
            hash.update(&[0]);
        }
        let (policy_version, catalog_epoch, valid_until, code) = of;
        for part in [policy_version, catalog_epoch, valid_until, code] {
            hash.update(&part.to_le_bytes());
        }
        let mut first = [0; 8];
        first.copy_from_slice(&hash.finalize().as_bytes()[..8]);
        u64::from_le_bytes(first)
    }
}

/// Whether it changes, or may change, where names without a schema are looked up and made.
pub(super) fn moves_path(statement: &Statement) -> bool {
    let mut settings = statement.settings.iter();
    let moves = |setting: &String| setting.starts_with("search_path") || setting == "*";
    !statement.leads.only_resets && settings.any(moves)
}

/// Whether it changes, or may change, where names without a schema are made.
pub(super) fn moves_making(statement: &Statement) -> bool {
    let acts_as =
        |setting: &String| matches!(setting.split('=').next(), Some("role" | "session_authorization"));
    let leads = &statement.leads;
    moves_path(statement)
        || leads.moves_schemas
        || !leads.only_resets && statement.settings.iter().any(acts_as)
}

/// What a session that policy would not open any more is told of every statement.
pub(super) fn refused(reason: Reason) -> Decision {
    let statement = Statement::unreadable();
    Decision {
        verdict: Verdict::Deny(reason),
        touches_label: true,
        labels: Vec::new(),
        effects: statement.effects,
        policies: Vec::new(),
        budget: Budget::default(),
        valid_until: None,
        statement,
    }
}
