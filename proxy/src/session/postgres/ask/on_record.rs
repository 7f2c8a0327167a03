//! What goes on record of a statement before anything of it reaches the server, and which ones no record can hold.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use linegate_policy::{Decision, Verdict};
use linegate_recording::{Begun, Protocol, VerdictKind, begun};

use super::Asking;
use crate::session::postgres::asked::Asked;
use crate::session::postgres::hold::Refusal;

impl Asking {
    /// What a text that is longer than statements may be, or than a record can hold, is refused with before it is looked at.
    pub(super) fn too_long(&self, text: &[u8]) -> Option<Refusal> {
        let config = &self.session.target.config;
        let message = if text.len() > config.statement_bytes_max() as usize {
            let most = config.statement_bytes_max_mb;
            format!(
                "linegate: a statement may have {most} MiB here, and this one has {} bytes",
                text.len()
            )
        } else if !begun::fits(text) {
            "linegate: this statement is too long to be recorded".to_owned()
        } else {
            return None;
        };
        Some(Refusal {
            sqlstate: *b"54000",
            message,
            hint: Some("Send long values as parameters, or by COPY.".to_owned()),
        })
    }

    /// Statement and verdict, before anything of it reaches the server. Waits while the recorder is behind or refuses.
    pub(super) async fn record(&self, asked: &Asked, protocol: Protocol, refusal: Option<&Refusal>) {
        let session = &self.session;
        self.recorder_works().await;
        let decision = &asked.decision;
        let is_secret = decision.statement.carries_secret;
        let text = if is_secret {
            Cow::Owned(redacted(decision))
        } else {
            String::from_utf8_lossy(&asked.text)
        };
        let (verdict, reason) = match &decision.verdict {
            Verdict::Allow | Verdict::Hold(_) if refusal.is_some() => (
                VerdictKind::Deny,
                refusal.map(|refusal| Cow::Borrowed(&*refusal.message)),
            ),
            Verdict::Allow => (VerdictKind::Allow, None),
            Verdict::Deny(reason) => (VerdictKind::Deny, Some(Cow::Owned(reason.public()))),
            Verdict::Hold(terms) => (VerdictKind::Hold, Some(Cow::Borrowed(&*terms.reason))),
        };
        let begun = Begun {
            statement: asked.number,
            text: &text,
            redacted: is_secret,
            protocol,
            exact: &asked.text,
            verdict,
            reason: reason.as_deref(),
            policies: &decision.policies,
            effects: asked.effects().names(),
            relations: decision.statement.reads.iter().chain(&decision.statement.writes),
        };
        session.core.record_begun(session.id, &begun).await;
    }

    /// A text that is too long to be looked at, and what its client is told instead.
    pub(super) async fn record_unread(&self, text: &[u8], protocol: Protocol, refusal: &Refusal) {
        let session = &self.session;
        self.recorder_works().await;
        let begun = Begun {
            statement: session.next_statement(),
            text: &format!("({} bytes; text withheld: it is too long)", text.len()),
            redacted: true,
            protocol,
            exact: text,
            verdict: VerdictKind::Deny,
            reason: Some(&refusal.message),
            policies: &[],
            effects: std::iter::empty::<&str>(),
            relations: std::iter::empty::<&str>(),
        };
        session.core.record_begun(session.id, &begun).await;
        session.core.counters.denied.one();
    }

    async fn recorder_works(&self) {
        while self.session.core.recording_fails() {
            crate::rt::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn redacted(decision: &Arc<Decision>) -> String {
    format!("({}; text withheld: it carries a secret)", decision.effects)
}
