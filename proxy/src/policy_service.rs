//! Policy threads: the real grammar and Cedar, away from the cores. A core asks through a ring and parks one session.
//!
//! A text that is read as a statement which was decided before needs no policy: the thread keeps the second level of the
//! verdict cache (`linegate_policy::cache`), so that texts which differ in literals only cost their reading.

use std::sync::Arc;
use std::time::Duration;

use linegate_identity::{LeaseGrant, UnixMillis};
use linegate_policy::{Cache, Decision, Epoch, MaskScope, Reason, Subject, decide};

use crate::clock;
use crate::rt::sync::{Bell, Sender, ring};
use crate::session::postgres::fresh::Code;
use crate::shared::{CatalogView, PolicyVersion, Shared};

/// Entries between a core and its policy thread.
const RING_ENTRIES: usize = 1024;
/// Parsing recurses with the statement's nesting; the reader bounds its own depth below this.
const STACK_BYTES: usize = 16 << 20;
/// Verdicts that a policy thread remembers by what was read.
const CACHE_ENTRIES_MAX: usize = 4096;
const CACHE_BYTES_MAX: usize = 8 << 20;

/// Who is asking, as policy sees it; built once per session and policy version.
pub struct Standing {
    /// The policy version it was built from.
    pub version: u64,
    /// The Cedar view of the chain.
    pub subject: Subject,
    /// Labels that the chain may not read raw.
    pub masks: MaskScope,
    /// When it may change by itself, because a policy looks at the time.
    pub valid_until: Option<UnixMillis>,
}

impl Standing {
    /// Whether it still stands: built from the policies of that version, and its time is not over.
    pub fn is_in_force(&self, version: u64, now: UnixMillis) -> bool {
        self.version == version && self.valid_until.is_none_or(|until| now < until)
    }
}

#[cfg(test)]
impl Standing {
    /// Of a session under no policy at all.
    pub fn for_tests() -> Self {
        use linegate_identity::{ActorChain, Effects, LeaseId, Principal, PrincipalKind, Scope};
        let engine = linegate_policy::Engine::compile(&[], &[]).expect("no policies");
        let principal = Principal {
            kind: PrincipalKind::Workload,
            name: "ci-runner".to_owned(),
            groups: Vec::new(),
        };
        let chain = ActorChain {
            principal,
            actors: Vec::new(),
        };
        let scope = Scope {
            effects: Effects::all(),
            tables: None,
        };
        Self {
            version: 1,
            subject: Subject::new(&engine, &chain, &LeaseId("lg_test".to_owned()), &scope, "shop"),
            masks: MaskScope::default(),
            valid_until: None,
        }
    }
}

/// Questions of a core.
pub enum Question {
    /// May this lease open its target, and what does it see masked?
    Open {
        ticket: u64,
        lease: Arc<LeaseGrant>,
        database: String,
    },
    /// What of this statement?
    Decide {
        ticket: u64,
        epoch: Epoch,
        /// The policies that `standing` was built from: other ones know nothing of its subject.
        policy: Arc<PolicyVersion>,
        standing: Arc<Standing>,
        catalog: Option<Arc<CatalogView>>,
        /// Names that mean other code to the session than the catalog says; part of the epoch.
        code: Option<Arc<Code>>,
        text: Vec<u8>,
    },
}

/// Answers to a core.
pub enum Reply {
    /// To `Open`; `Err` says why not.
    Opened {
        ticket: u64,
        standing: Result<Arc<Standing>, Reason>,
    },
    /// To `Decide`.
    Decided { ticket: u64, decision: Arc<Decision> },
}

/// A core's way to its policy thread.
pub struct PolicyClient {
    questions: Sender<Question>,
}

impl PolicyClient {
    /// Asks; gives the question back when too many wait.
    pub fn ask(&mut self, question: Question) -> Result<(), Question> {
        self.questions.send(question)
    }
}

/// Starts the policy thread of one core. Replies come through the returned ring, which rings the core's bell.
pub fn start(
    index: usize,
    shared: Arc<Shared>,
    core_bell: Arc<Bell>,
) -> std::io::Result<(PolicyClient, rtrb::Consumer<Reply>)> {
    let (ends, handed_over) = std::sync::mpsc::channel();
    let (replies, replies_consumer) = ring(RING_ENTRIES, core_bell);
    std::thread::Builder::new()
        .name(format!("policy-{index}"))
        .stack_size(STACK_BYTES)
        .spawn(move || {
            let bell = Bell::for_this_thread();
            let (sender, questions) = ring(RING_ENTRIES, bell.clone());
            if ends.send(sender).is_ok() {
                let cache = Cache::new(*shared.boot_key, CACHE_ENTRIES_MAX, CACHE_BYTES_MAX);
                Service {
                    shared,
                    cache,
                    questions,
                    replies,
                }
                .run(&bell);
            }
        })?;
    let questions = handed_over.recv().map_err(std::io::Error::other)?;
    Ok((PolicyClient { questions }, replies_consumer))
}

struct Service {
    shared: Arc<Shared>,
    /// Verdicts by what a text was read as.
    cache: Cache,
    questions: rtrb::Consumer<Question>,
    replies: Sender<Reply>,
}

impl Service {
    fn run(mut self, bell: &Bell) {
        loop {
            match self.questions.pop() {
                Ok(question) => {
                    let reply = self.answer(question);
                    self.reply(reply);
                }
                Err(_) if self.questions.is_abandoned() => return,
                Err(_) => bell.park(Duration::from_secs(5), || !self.questions.is_empty()),
            }
        }
    }

    fn reply(&mut self, mut reply: Reply) {
        while let Err(back) = self.replies.send(reply) {
            if self.questions.is_abandoned() {
                return;
            }
            reply = back;
            std::thread::yield_now();
        }
    }

    fn answer(&mut self, question: Question) -> Reply {
        match question {
            Question::Open {
                ticket,
                lease,
                database,
            } => {
                let policy = self.shared.policy.load();
                let subject = Subject::new(
                    &policy.engine,
                    &lease.chain,
                    &lease.id,
                    &lease.scope,
                    &lease.target,
                )
                .with_database(&database)
                .at(clock::now());
                let standing = match linegate_policy::may_connect(&policy.engine, &subject) {
                    Ok(()) => {
                        let specs = self
                            .shared
                            .targets
                            .get(&lease.target)
                            .map_or(&[][..], |target| &target.labels);
                        let masks = MaskScope::of(&policy.engine, &subject, specs);
                        Ok(Arc::new(Standing {
                            version: policy.version,
                            valid_until: subject.valid_until(),
                            subject,
                            masks,
                        }))
                    }
                    Err(reason) => Err(reason),
                };
                Reply::Opened { ticket, standing }
            }
            Question::Decide {
                ticket,
                epoch,
                policy,
                standing,
                catalog,
                code,
                text,
            } => {
                debug_assert_eq!(policy.version, standing.version);
                let labels = catalog.as_ref().map(|view| &view.labels);
                let statement = match &code {
                    Some(code) => linegate_sql::read_beside(&text, labels, &code.names),
                    None => linegate_sql::read_with(&text, labels),
                };
                let known = self.cache.get_read(epoch, &statement, clock::now());
                let decision = known.unwrap_or_else(|| {
                    let (subject, masks) = (&standing.subject, &standing.masks);
                    let decision = Arc::new(decide(&policy.engine, subject, labels, masks, &statement));
                    self.cache.insert_read(epoch, &statement, decision.clone());
                    decision
                });
                Reply::Decided { ticket, decision }
            }
        }
    }
}

/// A policy thread without the thread: questions are answered when [`ByHand::step`] is called.
#[cfg(any(test, fuzzing))]
pub struct ByHand(Service);

#[cfg(any(test, fuzzing))]
pub fn by_hand(shared: Arc<Shared>) -> (PolicyClient, ByHand) {
    let (questions, consumer) = ring(RING_ENTRIES, Bell::for_anyone());
    let (replies, _) = ring(RING_ENTRIES, Bell::for_anyone());
    let cache = Cache::new(*shared.boot_key, CACHE_ENTRIES_MAX, CACHE_BYTES_MAX);
    let service = Service {
        shared,
        cache,
        questions: consumer,
        replies,
    };
    (PolicyClient { questions }, ByHand(service))
}

#[cfg(any(test, fuzzing))]
impl ByHand {
    /// Answers one question, if there is one.
    pub fn step(&mut self) -> Option<Reply> {
        let question = self.0.questions.pop().ok()?;
        Some(self.0.answer(question))
    }
}
