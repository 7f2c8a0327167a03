//! Statements that wait for people: asked by data planes, decided on the operator's socket.
//!
//! An approval belongs to one hold and one digest, is used once, needs as many distinct members of the approver groups as
//! the policy says, and never comes from the statement's own chain. The decision is on disk before a data plane hears it;
//! a data plane that asks again after a lost connection hears the same decision again, for the same digest only.

use std::collections::BTreeSet;
use std::sync::Arc;

use linegate_identity::{PrincipalKind, id::is_hold_id};
use linegate_link::{HoldRequest, ToData};
use serde::{Deserialize, Serialize};

use crate::book::{HOLD_COUNT_MAX, PendingHold};
use crate::error::Refusal;
use crate::settings::qualified;
use crate::{Control, to_the_end};

/// Texts of a hold are 64 KiB at most, and whatever marks that they were cut.
const TEXT_BYTES_MAX: usize = 80 << 10;

/// Lists in a hold: effects, relations, approver groups, parameters.
const LIST_COUNT_MAX: usize = 65_536;

/// The longest reason of a refusal; clients show it.
const REASON_BYTES_MAX: usize = 500;

/// Body of an approval.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApproveRequest {
    /// Who approves: `user:NAME`.
    #[serde(rename = "as")]
    pub approver: String,
}

/// Body of a refusal.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DenyRequest {
    /// Who refuses: `user:NAME`.
    #[serde(rename = "as")]
    pub approver: String,
    /// Why; the client reads it.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What a decision led to.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// `approved`, `denied` or `waiting for N more of GROUPS`.
    pub state: String,
    /// The hold.
    pub id: String,
    /// Everyone who approved so far, or who refused.
    pub by: Vec<String>,
}

/// A hold as approvers see it.
#[derive(Debug, Serialize)]
pub struct ShownHold {
    #[serde(flatten)]
    request: HoldRequest,
    /// Groups whose members may approve.
    approvers: Vec<String>,
    /// What must be met, in words.
    needs: Vec<String>,
    /// Who has approved so far.
    approvals: Vec<String>,
    /// Whether the data plane that asked is connected.
    connected: bool,
}

impl Control {
    /// Every hold that waits, the oldest first.
    pub fn pending_holds(&self) -> Vec<ShownHold> {
        let now = self.now();
        let mut shown: Vec<ShownHold> = self
            .book()
            .holds
            .values()
            .filter(|hold| now < hold.request.expires_at)
            .map(|hold| ShownHold {
                approvers: groups(hold),
                needs: hold.request.assents.iter().map(ToString::to_string).collect(),
                request: hold.request.clone(),
                approvals: hold.approvals.clone(),
                connected: hold.plane.is_some(),
            })
            .collect();
        shown.sort_by(|a, b| (a.request.asked_at, &a.request.id).cmp(&(b.request.asked_at, &b.request.id)));
        shown
    }

    /// A data plane asks, or asks again after its connection was lost.
    pub async fn hold_asked(self: &Arc<Self>, plane: u64, hold: HoldRequest) {
        let (control, id, digest) = (Arc::clone(self), hold.id.clone(), hold.digest.clone());
        let refused = to_the_end(async move { control.take_hold(plane, hold).await }).await;
        if let Err(refusal) = refused {
            tracing::warn!(hold = id, %refusal, "a hold was refused");
            let by = "linegate".to_owned();
            let decided = ToData::HoldDecided {
                hold: id,
                digest,
                approved: false,
                by,
                reason: Some(refusal.error),
            };
            self.book().tell_one(plane, &decided);
        }
    }

    async fn take_hold(&self, plane: u64, hold: HoldRequest) -> Result<(), Refusal> {
        check(&hold)?;
        let _turn = self.turn.lock().await;
        let is_new = !self.book().holds.contains_key(&hold.id);
        if is_new && self.book().holds.len() >= HOLD_COUNT_MAX {
            return Err(Refusal::unavailable(
                "too many statements wait for approval",
                "try again later",
            ));
        }
        if self.book().is_revoked(&hold.lease) {
            return Err(Refusal::conflict("the lease was revoked", ""));
        }
        let asked = hold.clone();
        let known = self
            .store(move |store| {
                store.add_hold(&asked)?;
                store.hold(&asked.id)
            })
            .await?
            .ok_or_else(|| Refusal::unavailable("the hold was not kept", "try again"))?;
        if known.digest != hold.digest {
            return Err(Refusal::conflict(
                "this hold's id already stands for another statement",
                "",
            ));
        }
        let mut book = self.book();
        match known.state.as_str() {
            "pending" => {
                tracing::info!(hold = hold.id, target = hold.target, chain = %hold.chain, "a statement waits");
                book.holds.insert(
                    hold.id.clone(),
                    PendingHold {
                        request: hold,
                        plane: Some(plane),
                        approvals: known.approvals,
                    },
                );
            }
            state @ ("approved" | "denied") => {
                // Decided while the connection was down: the answer got lost, the question did not change.
                let decided = ToData::HoldDecided {
                    hold: hold.id,
                    digest: hold.digest,
                    approved: state == "approved",
                    by: known.decided_by.unwrap_or_default(),
                    reason: known.reason,
                };
                book.tell_one(plane, &decided);
            }
            _ => return Err(Refusal::conflict("the hold is over", "")),
        }
        Ok(())
    }

    /// The statement no longer waits.
    pub async fn hold_gone(self: &Arc<Self>, id: &str, why: &str) {
        let why = match why {
            "cancelled" | "disconnected" | "expired" | "lease-ended" => why.to_owned(),
            _ => "gone".to_owned(),
        };
        let (control, id) = (Arc::clone(self), id.to_owned());
        let gone = to_the_end(async move {
            let _turn = control.turn.lock().await;
            if control.book().holds.remove(&id).is_some() {
                tracing::info!(hold = id, why, "a hold is over");
                let now = control.now();
                control
                    .store(move |store| store.end_hold(&id, &why, None, None, now))
                    .await?;
            }
            Ok(())
        });
        if let Err(error) = gone.await {
            tracing::warn!(%error, "the end of a hold was not recorded");
        }
    }

    /// One person approves.
    pub async fn approve(self: &Arc<Self>, id: String, request: ApproveRequest) -> Result<Decision, Refusal> {
        let control = Arc::clone(self);
        to_the_end(async move {
            let _turn = control.turn.lock().await;
            let hold = control.decidable(&id).await?;
            let approver = control.approver(&hold, &request.approver, true)?;
            if hold.approvals.contains(&approver) {
                return Err(Refusal::conflict(
                    format!("{approver} has already approved this"),
                    "a quorum counts distinct people; another approver is needed",
                ));
            }
            let mut approvals = hold.approvals.clone();
            approvals.push(approver.clone());
            let missing = control.missing(&hold, &approvals)?;
            let decided_by = missing.is_empty().then(|| approvals.join(", "));
            let (now, by) = (control.now(), decided_by.clone());
            let row = (id.clone(), approver.clone());
            let kept = control
                .store(move |store| store.approve(&row.0, &row.1, by.as_deref(), now))
                .await?;
            if !kept {
                return Err(no_longer(&id, "over"));
            }
            let missing = missing.join(" and ");
            tracing::info!(hold = id, approver, missing, "approved");
            let state = match decided_by {
                Some(by) => {
                    control.decided(&hold, true, by, None);
                    "approved".to_owned()
                }
                None => {
                    if let Some(hold) = control.book().holds.get_mut(&id) {
                        hold.approvals.clone_from(&approvals);
                    }
                    format!("waiting for {missing}")
                }
            };
            Ok(Decision {
                state,
                id,
                by: approvals,
            })
        })
        .await
    }

    /// One person refuses; one is enough.
    pub async fn deny(self: &Arc<Self>, id: String, request: DenyRequest) -> Result<Decision, Refusal> {
        let reason = request.reason.filter(|reason| !reason.trim().is_empty());
        if reason
            .as_ref()
            .is_some_and(|text| text.len() > REASON_BYTES_MAX || text.chars().any(char::is_control))
        {
            return Err(Refusal::bad(
                "the reason cannot be shown to the client",
                format!("one line of at most {REASON_BYTES_MAX} bytes"),
            ));
        }
        let control = Arc::clone(self);
        to_the_end(async move {
            let _turn = control.turn.lock().await;
            let hold = control.decidable(&id).await?;
            let by = control.approver(&hold, &request.approver, false)?;
            let (row, now) = ((id.clone(), by.clone(), reason.clone()), control.now());
            let kept = control
                .store(move |store| store.end_hold(&row.0, "denied", Some(&row.1), row.2.as_deref(), now))
                .await?;
            if !kept {
                return Err(no_longer(&id, "over"));
            }
            tracing::info!(hold = id, by, "denied");
            control.decided(&hold, false, by.clone(), reason);
            Ok(Decision {
                state: "denied".to_owned(),
                id,
                by: vec![by],
            })
        })
        .await
    }

    /// The hold, if it still waits; otherwise what became of it.
    async fn decidable(&self, id: &str) -> Result<PendingHold, Refusal> {
        let found = self.book().holds.get(id).cloned();
        if let Some(hold) = found {
            if hold.request.expires_at <= self.now() {
                return Err(no_longer(id, "expired"));
            }
            if self.book().is_revoked(&hold.request.lease) {
                return Err(no_longer(id, "lease-ended"));
            }
            return Ok(hold);
        }
        let row = id.to_owned();
        match self.store(move |store| store.hold(&row)).await? {
            Some(hold) if hold.state == "pending" => Err(Refusal::conflict(
                format!("hold {id} waits for its data plane to reconnect"),
                "try again when `linegate holds` shows it",
            )),
            Some(hold) => Err(no_longer(id, &hold.state)),
            None => Err(Refusal::missing(
                format!("no hold {id}"),
                "`linegate holds` shows what waits",
            )),
        }
    }

    /// The approver's full name, if they may decide.
    fn approver(&self, hold: &PendingHold, text: &str, is_approval: bool) -> Result<String, Refusal> {
        let person = self.settings().principal(text, PrincipalKind::User)?;
        let name = qualified(person.kind, &person.name);
        let chain = &hold.request.chain;
        if is_approval && (chain.contains(&person.name) || chain.contains(&name)) {
            return Err(Refusal::forbidden(
                "nobody approves their own chain",
                format!(
                    "{name} is part of the chain that asked; another member of {} is needed",
                    said_groups(hold)
                ),
            ));
        }
        let may_decide = groups(hold);
        if !person.groups.iter().any(|group| may_decide.contains(group)) {
            return Err(Refusal::forbidden(
                format!("{name} may not decide this"),
                format!("it takes a member of {}", said_groups(hold)),
            ));
        }
        Ok(name)
    }

    /// What is still to be met when these have approved, by the groups that they are in now.
    fn missing(&self, hold: &PendingHold, approvals: &[String]) -> Result<Vec<String>, Refusal> {
        let people = approvals.iter();
        let people: Vec<Vec<String>> = people
            .map(|name| Ok(self.settings().principal(name, PrincipalKind::User)?.groups))
            .collect::<Result<_, Refusal>>()?;
        let agreed = || people.iter().map(Vec::as_slice);
        let open = hold.request.assents.iter().filter_map(|assent| {
            let count = assent.missing(agreed());
            (count > 0).then(|| format!("{count} more of {}", assent.groups.join(", ")))
        });
        let open: Vec<String> = open.collect();
        // A rule that names nobody is never met.
        match hold.request.assents.is_empty() {
            true => Ok(vec!["somebody whom no rule names".to_owned()]),
            false => Ok(open),
        }
    }

    /// Takes a decided hold off the list and tells the data plane that asked; one that is away hears it when it asks again.
    fn decided(&self, hold: &PendingHold, approved: bool, by: String, reason: Option<String>) {
        let mut book = self.book();
        let plane = book.holds.remove(&hold.request.id).and_then(|hold| hold.plane);
        let decided = ToData::HoldDecided {
            hold: hold.request.id.clone(),
            digest: hold.request.digest.clone(),
            approved,
            by,
            reason,
        };
        if let Some(plane) = plane {
            book.tell_one(plane, &decided);
        }
    }
}

/// Groups whose members have a say.
fn groups(hold: &PendingHold) -> Vec<String> {
    let all = hold.request.assents.iter().flat_map(|assent| &assent.groups);
    let all: BTreeSet<&String> = all.collect();
    all.into_iter().cloned().collect()
}

fn said_groups(hold: &PendingHold) -> String {
    match groups(hold).as_slice() {
        [] => "a group that the policy does not name".to_owned(),
        groups => groups.join(" or "),
    }
}

fn no_longer(id: &str, state: &str) -> Refusal {
    let (what, hint) = match state {
        "approved" => (
            "was already approved",
            "an approval is used once; run the statement again to ask again",
        ),
        "denied" => ("was already denied", "run the statement again to ask again"),
        "expired" => ("has expired", "run the statement again to ask again"),
        "cancelled" | "disconnected" => ("is gone: its client no longer waits", "nothing is left to decide"),
        "lease-ended" => ("is gone: its lease ended", "nothing is left to decide"),
        _ => ("is over", "nothing is left to decide"),
    };
    Refusal::conflict(format!("hold {id} {what}"), hint)
}

/// A hold that approvers could not read, or that would not fit, is refused instead of shown.
fn check(hold: &HoldRequest) -> Result<(), Refusal> {
    let parameter_bytes: usize = hold.parameters.iter().flatten().map(String::len).sum();
    let lists = [
        hold.parameters.len(),
        hold.parameter_types.len(),
        hold.settings.len(),
        hold.effects.len(),
        hold.relations.len(),
        hold.assents.len(),
        hold.assents
            .iter()
            .map(|assent| assent.groups.len())
            .max()
            .unwrap_or(0),
    ];
    let is_digest = hold.digest.len() == 64 && hold.digest.bytes().all(|byte| byte.is_ascii_hexdigit());
    let fits = hold.statement.len() <= TEXT_BYTES_MAX
        && parameter_bytes <= TEXT_BYTES_MAX
        && lists.iter().all(|count| *count <= LIST_COUNT_MAX)
        && hold.chain.validate().is_ok();
    if is_hold_id(&hold.id) && is_digest && fits {
        Ok(())
    } else {
        Err(Refusal::bad("the hold is malformed or too large to be shown", ""))
    }
}
