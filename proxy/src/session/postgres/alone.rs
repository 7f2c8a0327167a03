//! A change of names and shapes waits until no statement of another session is on its way that was decided by them.
//!
//! The server reads a statement's names when it comes to it: behind others of one write, or behind a lock, that may be long
//! after the decision. Changes are rare, so they do the waiting: like the exclusive lock that the server takes for them, but for
//! statements that it has not read yet. Whoever is decided meanwhile waits for the change (`changing`).

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use linegate_identity::Effects;
use linegate_policy::{LabelIndex, Name, Statement, is_temporary};
use linegate_recording::SessionId;

use super::ask::Asking;
use super::asked::Asked;
use super::hold::Refusal;
use super::{Ended, Session, cancel};
use crate::changing::{self, Changing, Names};
use crate::core::Core;
use crate::rt::sync::Slot;
use crate::shared::CoreMessage;

/// How long a change waits, and how often it looks.
const WAIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(5);
const POLL_MAX: Duration = Duration::from_millis(200);
/// How long a server has to hear that it must stop, and when it is looked what became of it.
const STOP_WAIT: Duration = Duration::from_secs(3);
const ABANDONED_WAITS: [Duration; 3] = [
    Duration::from_millis(200),
    Duration::from_millis(800),
    Duration::from_secs(2),
];

/// Asked of every core: whether another session has sent what names one of these.
pub struct Question {
    changing: Arc<Changing>,
    by: SessionId,
    /// Where that session is.
    core: usize,
    names: Names,
    /// Cores that have not answered.
    left: AtomicUsize,
    is_used: AtomicBool,
}

/// Answers for the sessions of this core.
pub fn answer(core: &Core, question: &Question) {
    let uses = |session: &Session| {
        session.id != question.by
            && Arc::ptr_eq(&session.catalog.changing, &question.changing)
            && session.relies_on_catalog()
            && session.has_sent(&question.names)
    };
    if core.sessions.borrow().values().any(|session| uses(session)) {
        question.is_used.store(true, Ordering::Release);
    }
    let is_last = question.left.fetch_sub(1, Ordering::AcqRel) == 1;
    if is_last && question.core != core.index {
        core.shared.cores[question.core].put(CoreMessage::UsesKnown(question.by));
    }
}

/// All cores have answered this session.
pub fn all_answered(core: &Core, id: SessionId) {
    let sessions = core.sessions.borrow();
    if let Some(slot) = sessions.get(&id).and_then(|session| session.uses_known.take()) {
        slot.put(());
    }
}

/// Whether a statement gives names another meaning for those who know them. What is new is nobody else's yet.
pub fn moves_names(statement: &Statement) -> bool {
    let makes = Effects::CREATE.with(Effects::SELECT);
    let only_makes = statement.effects.without(makes).is_empty() && statement.leads.keeps_relations();
    statement.changes_catalog && !only_makes || statement.effects.contains(Effects::UNREADABLE)
}

/// Whether what a statement makes may depend on something temporary, its session's or another's: others' definitions may come to
/// depend on it as soon as it is committed.
fn builds_on_temporary(statement: &Statement, has_temporary: bool, labels: Option<&LabelIndex>) -> bool {
    let is_own = |name: &Name| name.schema.as_deref().is_some_and(is_temporary);
    let is_others = || {
        let (said, labels) = (statement.leads.said.as_ref(), labels);
        said.zip(labels)
            .is_some_and(|(said, labels)| labels.rests_on_temporary(said) || labels.unnamed_on_temporary())
    };
    statement.changes_catalog
        && !statement.writes.iter().all(is_own)
        && (has_temporary || statement.leads.makes_temporary || statement.leads.rests_unseen || is_others())
}

impl Session {
    /// Whether something that names one of these is on its way to the server, or waits there to be read.
    fn has_sent(&self, names: &Names) -> bool {
        let pipeline = self.pipeline.borrow();
        pipeline.sent().any(|(is_first, asked)| {
            // Functions' names are read when they are first called.
            let is_all_read = !asked.is_through_definitions();
            let is_read = is_first
                && is_all_read
                && self.described.get() == asked.number
                && asked.decision.statement.count == 1;
            !is_read && uses(asked, names)
        })
    }

    /// Waits until nobody else uses these names. False when somebody still does after all that time.
    async fn alone(&self, names: Names) -> bool {
        let began = Instant::now();
        let mut pause = POLL;
        loop {
            match self.is_used_elsewhere(&names).await {
                Some(false) => return true,
                Some(true) if began.elapsed() < WAIT => {}
                _ => return false,
            }
            if self.undecided.is_cancelled() || self.ended.borrow().is_some() {
                return false;
            }
            crate::rt::sleep(pause).await;
            pause = (pause * 2).min(POLL_MAX);
        }
    }

    /// Whether another session uses these names now. Nothing if a core does not answer.
    async fn is_used_elsewhere(&self, names: &Names) -> Option<bool> {
        let cores = &self.core.shared.cores;
        let question = Arc::new(Question {
            changing: self.catalog.changing.clone(),
            by: self.id,
            core: self.core.index,
            names: names.clone(),
            left: AtomicUsize::new(cores.len()),
            is_used: AtomicBool::new(false),
        });
        answer(&self.core, &question);
        let known = Slot::default();
        self.uses_known.replace(Some(known.clone()));
        for (_, core) in cores.iter().enumerate().filter(|(at, _)| *at != question.core) {
            core.put(CoreMessage::WhoUses(question.clone()));
        }
        if question.left.load(Ordering::Acquire) > 0 {
            crate::rt::within(WAIT, known.wait()).await;
        }
        let is_known = question.left.load(Ordering::Acquire) == 0;
        is_known.then(|| question.is_used.load(Ordering::Acquire))
    }
}

fn not_alone() -> Refusal {
    Refusal {
        sqlstate: *b"55P03",
        message: "linegate: statements of other sessions that name what this changes have not ended"
            .to_owned(),
        hint: Some("Try again, or end what they run.".to_owned()),
    }
}

/// Its locks would outlive the session, and nobody would know of what. Where nothing is judged by names that harms nobody.
fn not_prepared() -> Refusal {
    Refusal {
        sqlstate: *b"0A000",
        message: "linegate: a transaction that changed definitions cannot be prepared".to_owned(),
        hint: Some("Commit it instead.".to_owned()),
    }
}

fn too_many() -> Refusal {
    Refusal {
        sqlstate: *b"54000",
        message: "linegate: this transaction has changed too many definitions".to_owned(),
        hint: Some("Commit in between.".to_owned()),
    }
}

/// A session has ended before it heard what became of the names that it changed. The server is asked to stop; until it must
/// have heard that, the names are taken as changing, and the catalog is read anew.
pub fn abandon(session: Rc<Session>) {
    crate::rt::spawn(async move {
        session.catalog.mark_stale();
        crate::rt::within(STOP_WAIT, cancel::at_server(&session)).await;
        for wait in ABANDONED_WAITS {
            crate::rt::sleep(wait).await;
            session.catalog.mark_stale();
            session.wish_catalog();
        }
        session.catalog.changing.ends(session.id);
    });
}

/// Whether a statement names one of these, itself or by what it runs.
fn uses(asked: &Asked, names: &Names) -> bool {
    match (&asked.named, &asked.by_name) {
        (Some(run), _) => names.concern(&run.decision.statement),
        // One of several, or what the text prepares itself; what is not known at all was never prepared.
        (None, Some(ran)) => {
            !ran.texts.is_empty() || !ran.more.is_empty() || names.concern(&asked.decision.statement)
        }
        (None, None) => names.concern(&asked.decision.statement),
    }
}

impl Asking {
    /// Before something is sent that changes names: from now on others wait for it, and it waits for what they have sent. A
    /// change of anything does not wait: it would wait for everybody, all the time.
    pub(super) async fn take_names(&mut self, asked: &Asked) -> Result<Option<Refusal>, Ended> {
        let session = self.session.clone();
        let has_temporary = session.has_temporary.get();
        let view = session.catalog.latest();
        let labels = view.as_ref().map(|view| &view.labels);
        let builds = |ran: &Statement| builds_on_temporary(ran, has_temporary, labels);
        let moves = |ran: &&Statement| moves_names(ran) || builds(ran);
        let changed: Vec<&Statement> = asked.statements().filter(moves).collect();
        let prepares = asked.statements().any(|ran| ran.prepares_transaction);
        let judges = || {
            let has_labels = !session.target.labels.is_empty();
            has_labels || !session.core.shared.policy.load().engine.permits_everybody()
        };
        if prepares && judges() && (session.catalog.changing.is_changing(session.id) || !changed.is_empty()) {
            return Ok(Some(not_prepared()));
        }
        if changed.is_empty() {
            return Ok(None);
        }
        // It runs when it is sent, not behind whatever else is on its way.
        self.settle().await?;
        if self.is_skipping() {
            return Ok(None);
        }
        let view = session.catalog.latest();
        let labels = view.as_ref().map(|view| &view.labels);
        let mut refusal = None;
        for statement in changed {
            let names = changing::names(statement, labels, builds(statement));
            refusal = match session.catalog.changing.begins(session.id, &names) {
                false => Some(too_many()),
                true if names.is_empty() || session.alone(names).await => continue,
                true => session.undecided.refusal().or_else(|| Some(not_alone())),
            };
            break;
        }
        if refusal.is_some() {
            self.leave_names();
        }
        Ok(refusal)
    }

    /// What was about to change names is not sent.
    pub(super) fn leave_names(&self) {
        if self.session.is_quiet() {
            self.session.catalog.changing.ends(self.session.id);
        }
    }
}
