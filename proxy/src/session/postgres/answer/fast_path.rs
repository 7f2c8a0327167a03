//! The result of a FunctionCall: one value, charged and recorded as a row of one column.

use codecs::postgres::HEADER_BYTES;
use codecs::postgres::backend::{FunctionCallResponse, tag};
use codecs::postgres::build::backend as say;
use linegate_config::RecordLevel;
use linegate_policy::{Channel, Reason};
use linegate_recording::Entry;

use super::Flow;
use crate::session::postgres::Ended;
use crate::session::postgres::pipeline::Expect;

impl Flow {
    /// Takes a whole FunctionCallResponse. `Some` is said in its place, and nothing else until ReadyForQuery.
    pub(super) async fn function_result(&mut self, whole: &[u8]) -> Result<Option<Vec<u8>>, Ended> {
        let result =
            FunctionCallResponse::read(&whole[HEADER_BYTES..]).map_err(|error| self.server_fault(&error))?;
        let session = self.session.clone();
        let (asked, result_format) = match session.pipeline.borrow().head() {
            Some(Expect::FunctionCall { asked, result_format }) => (asked.clone(), *result_format),
            _ => return Err(self.out_of_turn(tag::FUNCTION_CALL_RESPONSE)),
        };
        if asked.decision.statement.changes_catalog {
            session.catalog_changed(&asked.decision.statement);
        }
        if session.is_masked() {
            // It was sent before there was a mask. Nobody knows where the value is from.
            let reason = Reason::AroundMask(Channel::FunctionCall);
            let (hint, mut bytes) = (reason.hint(), Vec::new());
            say::error_response(
                &mut bytes,
                "ERROR",
                &reason.sqlstate(),
                &reason.public(),
                None,
                hint.as_deref(),
            );
            session.core.counters.results_refused.one();
            self.muted = true;
            return Ok(Some(bytes));
        }
        if let Some(cut) = self.result.tally.charge(&session, whole) {
            self.muted = true;
            return Ok(Some(cut.words));
        }
        self.result.rows = 1;
        session.count_out(1, 0);
        if session.target.config.record < RecordLevel::Shape {
            return Ok(None);
        }
        let columns = Entry::Columns {
            statement: asked.number,
            names: vec!["result".to_owned()],
            types: vec![0], // the message does not say
            masked: Vec::new(),
            formats: vec![u8::from(result_format == 1)],
        };
        session.core.record(session.id, columns).await;
        let mut row = Vec::new();
        say::data_row(&mut row, &[result.value]);
        self.record_rows(&row).await;
        let shape = Entry::Shape {
            statement: asked.number,
            rows: 1,
            bytes: row.len() as u64,
            tag: "FunctionCall".to_owned(),
            digest: None,
        };
        session.core.record(session.id, shape).await;
        Ok(None)
    }
}
