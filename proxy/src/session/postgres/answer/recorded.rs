//! What goes on record of a result: its rows, and its shape when it has ended.

use std::time::Duration;

use codecs::postgres::backend::{CommandComplete, tag};
use linegate_config::{RecordLevel, RecordingFull};
use linegate_identity::Effects;
use linegate_policy::Statement;
use linegate_recording::Entry;

use super::Flow;
use crate::session::postgres::asked::Asked;

impl Flow {
    pub(super) async fn record_rows(&mut self, rows: &[u8]) {
        let session = &self.session;
        if session.target.config.record < RecordLevel::Rows
            || rows.is_empty()
            || self.result.skipped_recording
        {
            return;
        }
        let number = session
            .pipeline
            .borrow()
            .running()
            .map_or(0, |asked| asked.number);
        while !session
            .core
            .record_rows(session.id, number, self.result.recorded, rows)
        {
            if session.core.shared.config.data.recording_full == RecordingFull::Shape {
                self.result.skipped_recording = true;
                session
                    .core
                    .record(
                        session.id,
                        Entry::Downgraded {
                            reason: "the recorder was too far behind".into(),
                        },
                    )
                    .await;
                return;
            }
            crate::rt::sleep(Duration::from_millis(1)).await;
        }
        self.result.recorded += rows.len() as u64;
    }

    /// A result has ended. Answers with what goes on record of it.
    pub(super) fn result_ended(
        &mut self,
        message: u8,
        payload: &[u8],
        running: Option<&Asked>,
    ) -> [Option<Box<Entry>>; 2] {
        let session = self.session.clone();
        let result = std::mem::take(&mut self.result);
        self.query_plan = None; // the next result has a description of its own
        if running.is_none() {
            return [None, None]; // an answer to linegate itself
        }
        let found = result.report_found(running);
        if let (tag::COMMAND_COMPLETE, Some(asked)) = (message, running) {
            let changed = asked.statements().filter(|ran| may_change_catalog(ran));
            changed.for_each(|statement| session.catalog_changed(statement));
        }
        if session.target.config.record < RecordLevel::Shape {
            return [found, None];
        }
        let tag = CommandComplete::read(payload).map_or(String::new(), |done| {
            String::from_utf8_lossy(done.tag).into_owned()
        });
        let entry = Entry::Shape {
            statement: running.map_or(0, |asked| asked.number),
            rows: result.rows,
            bytes: result.bytes,
            tag,
            digest: None,
        };
        [found, Some(Box::new(entry))]
    }
}

/// What could not be read, and still ran, may have changed anything.
fn may_change_catalog(statement: &Statement) -> bool {
    statement.changes_catalog || statement.effects.contains(Effects::UNREADABLE)
}
