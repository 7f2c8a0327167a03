//! A statement that waits for a person. Its session waits; nobody else on the core notices.
//!
//! The approval is bound to a digest of exact bytes, parameters with their types and formats, settings that the session changed,
//! chain, target and epoch, and is used once.

use std::collections::BTreeSet;
use std::time::Duration;

use codecs::postgres::backend::TransactionStatus;
use codecs::postgres::build::backend as say;
use linegate_config::HoldInTransaction;
use linegate_identity::{Effects, UnixMillis};
use linegate_link::{HoldRequest, ToControl};
use linegate_policy::{HoldTerms, Reason, Verdict};
use linegate_recording::Entry;
use linegate_sql::fast_path;

use super::ask::Asking;
use super::asked::Asked;
use super::bound::Bound;
use super::{Ended, Session};
use crate::clock;
use crate::rt::sync::Slot;
use crate::shared::lock;

/// Text of a statement and its parameters that an approver sees.
const SHOWN_BYTES_MAX: usize = 64 << 10;
const POLL: Duration = Duration::from_millis(200);

/// A hold that waits.
pub struct Waiting {
    /// Its id.
    pub hold: String,
    /// Where the outcome goes.
    pub slot: Slot<HoldOutcome>,
}

/// What became of a hold, as an event.
pub enum HoldOutcome {
    /// A person decided.
    Decided {
        approved: bool,
        digest: String,
        by: String,
        reason: Option<String>,
    },
    /// It ended without a person: `cancelled`, `disconnected`, `expired`, `lease-ended`.
    Gone(&'static str),
}

/// What the session does next.
pub enum HoldEnd {
    /// Forward the statement.
    Approved,
    /// Tell the client.
    Refused(Refusal),
}

/// Words for the client.
pub struct Refusal {
    /// SQLSTATE.
    pub sqlstate: [u8; 5],
    /// Message.
    pub message: String,
    /// Hint.
    pub hint: Option<String>,
}

impl Refusal {
    /// What policy's reason for a denial is to the client.
    pub fn of(reason: &Reason) -> Self {
        Self {
            sqlstate: reason.sqlstate(),
            message: reason.public(),
            hint: reason.hint(),
        }
    }

    fn new(sqlstate: &[u8; 5], message: impl Into<String>, hint: Option<&str>) -> Self {
        Self {
            sqlstate: *sqlstate,
            message: message.into(),
            hint: hint.map(str::to_owned),
        }
    }
}

/// Waits for a person to decide `asked`.
pub(super) async fn wait(asking: &mut Asking, asked: &Asked, bound: &Bound<'_>) -> Result<HoldEnd, Ended> {
    let Verdict::Hold(terms) = &asked.decision.verdict else {
        return Ok(HoldEnd::Approved);
    };
    asking.settle().await?; // the notice must stand in order, and the transaction status must be the true one
    let session = asking.session.clone();
    session.core.counters.held.one();
    let in_transaction = {
        let pipeline = session.pipeline.borrow();
        pipeline.status() != TransactionStatus::Idle || pipeline.has_open_executes()
    };
    if in_transaction && session.target.config.hold_in_transaction == HoldInTransaction::Refuse {
        let hint = "end the transaction first: a statement that waits for a person would keep its locks";
        return Ok(HoldEnd::Refused(Refusal::new(
            b"25001",
            "linegate: this statement needs an approval and cannot wait inside a transaction",
            Some(hint),
        )));
    }
    let shared = session.core.shared.clone();
    if !shared
        .control_connected
        .load(std::sync::atomic::Ordering::Relaxed)
    {
        let message = "linegate: this statement needs an approval and the control plane cannot be reached";
        return Ok(HoldEnd::Refused(Refusal::new(
            b"57014",
            message,
            Some("try again later"),
        )));
    }
    let hold = request(&session, asked, terms, bound);
    let values = hold.parameters.iter().flatten().map(String::len);
    if hold.statement.len().saturating_add(values.sum()) > SHOWN_BYTES_MAX {
        // Nobody approves what they have not seen whole.
        return Ok(HoldEnd::Refused(Refusal::new(
            b"54000",
            "linegate: this statement needs an approval and is too long to be shown whole",
            Some("Send it in parts, without long comments, or what it inserts by COPY."),
        )));
    }
    announce(&session, &hold).await?;
    let ended = session.ended.borrow().clone();
    if let Some(ended) = ended {
        return Err(*ended); // it ended meanwhile, and nobody would end the hold
    }
    let slot = Slot::default();
    *session.hold.borrow_mut() = Some(Box::new(Waiting {
        hold: hold.id.clone(),
        slot: slot.clone(),
    }));
    lock(&shared.holds).insert(hold.id.clone(), hold.clone());
    session
        .core
        .record(
            session.id,
            Entry::Hold {
                hold: hold.id.clone(),
                statement: asked.number,
                approvers: terms.groups(),
                digest: hold.digest.clone(),
                expires_at: hold.expires_at.0,
            },
        )
        .await;
    shared.to_control.put(ToControl::HoldAsked { hold: hold.clone() });
    watch(&session, hold.id.clone(), hold.expires_at);
    let outcome = slot.wait().await;
    lock(&shared.holds).remove(&hold.id);
    session.hold.borrow_mut().take();
    concluded(&session, &hold, outcome).await
}

fn request(session: &Session, asked: &Asked, terms: &HoldTerms, bound: &Bound<'_>) -> HoldRequest {
    let now = clock::now();
    let wait_ms = u64::from(session.target.config.hold_seconds) * 1000;
    let expires_at = UnixMillis((now.0 + wait_ms).min(session.lease.expires_at.0));
    let pipeline = session.pipeline.borrow();
    let types = bound.statement.and_then(|name| pipeline.parameter_types(name));
    let parameters = bound.shown(types.as_ref());
    let parameter_types = parameters.iter().map(|shown| shown.of.clone()).collect();
    let relations: BTreeSet<String> = asked
        .statements()
        .flat_map(|statement| statement.reads.iter().chain(&statement.writes))
        .map(ToString::to_string)
        .chain(asked.by_name.iter().flat_map(|ran| ran.held.iter().cloned()))
        .collect();
    HoldRequest {
        id: linegate_identity::hold_id(clock::random()),
        session: session.id.to_string(),
        lease: session.lease.id.clone(),
        chain: session.lease.chain.clone(),
        target: session.target.config.name.clone(),
        statement: with_what_runs(session, asked),
        parameters: parameters.into_iter().map(|shown| shown.value).collect(),
        parameter_types,
        settings: session.lexing.changed(),
        effects: asked.effects().names().map(str::to_owned).collect(),
        relations: relations.into_iter().collect(),
        reason: terms.reason.clone(),
        assents: terms.assents.clone(),
        digest: digest(session, asked, bound, types.as_deref()),
        asked_at: now,
        expires_at,
    }
}

/// The statement and, where it only names what it runs, that as well.
fn with_what_runs(session: &Session, asked: &Asked) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut said = text(&asked.text);
    let number = asked.decision.statement.effects.contains(Effects::FUNCTION_CALL);
    let number = fast_path::number(&asked.text).filter(|_| number);
    let view = session.catalog.latest();
    if let Some(function) = number.and_then(|number| view?.labels.function(number)) {
        said.push_str(&format!("\n-- which is {function}"));
    }
    let Some(ran) = &asked.by_name else {
        return said;
    };
    said.push_str(match (ran.texts.as_slice(), ran.is_partly_unknown) {
        (_, true) => "\n-- which runs something that is not all known:",
        ([_], false) => "\n-- which runs:",
        (_, false) => "\n-- which runs one of:",
    });
    for ran in &ran.texts {
        said.push('\n');
        said.push_str(&text(ran));
    }
    said
}

/// Each part is preceded by its length, so no two lists of parts give the same bytes.
fn digest(session: &Session, asked: &Asked, bound: &Bound<'_>, types: Option<&[u32]>) -> String {
    let mut hash = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    part(&asked.text);
    let ran = asked.by_name.as_ref().map_or(&[][..], |ran| &ran.texts[..]);
    part(&(ran.len() as u64).to_le_bytes());
    ran.iter().for_each(|text| part(text));
    part(&(bound.values.len() as u64).to_le_bytes());
    for (place, value) in bound.values.iter().enumerate() {
        let oid = types.and_then(|types| types.get(place)).copied();
        part(&oid.unwrap_or_default().to_le_bytes());
        part(&[u8::from(value.is_some()), u8::from(bound.is_binary(place))]);
        part(value.as_deref().unwrap_or_default());
    }
    let settings = session.lexing.changed();
    part(&(settings.len() as u64).to_le_bytes());
    settings.iter().for_each(|name| part(name.as_bytes()));
    part(session.lease.chain.to_string().as_bytes());
    part(session.lease.id.as_str().as_bytes());
    part(session.target.config.name.as_bytes());
    part(session.database.as_bytes());
    part(&asked.epoch.to_le_bytes());
    hash.finalize().to_hex().to_string()
}

async fn announce(session: &Session, hold: &HoldRequest) -> Result<(), Ended> {
    let mut bytes = Vec::new();
    let message = format!("linegate: this statement waits for an approval: {}", hold.id);
    let assents: Vec<String> = hold.assents.iter().map(ToString::to_string).collect();
    let detail = format!("{}; {} must approve", hold.reason, assents.join(" and "));
    let hint = format!("approve with: linegate approve {}", hold.id);
    say::notice_response(
        &mut bytes,
        "NOTICE",
        b"01000",
        &message,
        Some(&detail),
        Some(&hint),
    );
    let turn = session.front.turn().await;
    turn.write(bytes)
        .await
        .0
        .map_err(|error| Ended::quietly(format!("writing to the client failed: {error}")))
}

/// Ends the hold when its time is over or the client has left.
fn watch(session: &std::rc::Rc<Session>, id: String, expires_at: UnixMillis) {
    let session = session.clone();
    crate::rt::spawn(async move {
        loop {
            crate::rt::sleep(POLL).await;
            let still_waits = session
                .hold
                .borrow()
                .as_ref()
                .is_some_and(|waiting| waiting.hold == id);
            if !still_waits {
                return;
            }
            let why = if clock::now() >= expires_at {
                "expired"
            } else if session.front_switch.peer_has_left() {
                "disconnected"
            } else {
                continue;
            };
            if let Some(waiting) = session.hold.borrow_mut().take() {
                waiting.slot.put(HoldOutcome::Gone(why));
            }
            return;
        }
    });
}

async fn concluded(session: &Session, hold: &HoldRequest, outcome: HoldOutcome) -> Result<HoldEnd, Ended> {
    match outcome {
        HoldOutcome::Decided {
            approved,
            digest,
            by,
            reason,
        } => {
            let approved = approved && digest == hold.digest;
            let entry = Entry::Approval {
                hold: hold.id.clone(),
                approved,
                by: by.clone(),
                reason: reason.clone(),
            };
            session.core.record(session.id, entry).await;
            if approved {
                return Ok(HoldEnd::Approved);
            }
            let reason = reason.map_or(String::new(), |reason| format!(": {reason}"));
            Ok(HoldEnd::Refused(Refusal::new(
                b"42501",
                format!("linegate: {by} refused this statement{reason}"),
                None,
            )))
        }
        HoldOutcome::Gone(why) => {
            let entry = Entry::HoldEnded {
                hold: hold.id.clone(),
                why: why.into(),
            };
            session.core.record(session.id, entry).await;
            let gone = ToControl::HoldGone {
                hold: hold.id.clone(),
                why: why.into(),
            };
            session.core.shared.to_control.put(gone);
            match why {
                "cancelled" => Ok(HoldEnd::Refused(Refusal::new(
                    b"57014",
                    "canceling statement due to user request",
                    None,
                ))),
                "expired" => {
                    let hint = Some("ask the approvers before running it again");
                    Ok(HoldEnd::Refused(Refusal::new(
                        b"57014",
                        "linegate: nobody approved this statement in time",
                        hint,
                    )))
                }
                _ => {
                    let ended = session.ended.borrow().as_deref().cloned();
                    Err(ended.unwrap_or_else(|| Ended::quietly("the client left while its statement waited")))
                }
            }
        }
    }
}
