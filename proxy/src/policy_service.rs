//! Policy threads: the real grammar and Cedar, away from the cores. A core asks through a ring and parks one session.

use std::sync::Arc;
use std::time::Duration;

use linegate_identity::{LeaseGrant, UnixMillis};
use linegate_policy::{Decision, MaskScope, Reason, Subject, decide};

use crate::clock;
use crate::rt::sync::{Bell, Sender, ring};
use crate::shared::{CatalogView, Shared};

/// Entries between a core and its policy thread.
const RING_ENTRIES: usize = 1024;
/// Parsing recurses with the statement's nesting; the reader bounds its own depth below this.
const STACK_BYTES: usize = 16 << 20;

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
        standing: Arc<Standing>,
        catalog: Option<Arc<CatalogView>>,
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
                Service {
                    shared,
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

    fn answer(&self, question: Question) -> Reply {
        let policy = self.shared.policy.load();
        match question {
            Question::Open {
                ticket,
                lease,
                database,
            } => {
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
                standing,
                catalog,
                text,
            } => {
                let labels = catalog.as_ref().map(|view| &view.labels);
                let statement = linegate_sql::read_with(&text, labels);
                let decision = decide(
                    &policy.engine,
                    &standing.subject,
                    labels,
                    &standing.masks,
                    &statement,
                );
                Reply::Decided {
                    ticket,
                    decision: Arc::new(decision),
                }
            }
        }
    }
}
