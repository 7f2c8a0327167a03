//! The FunctionCall message: a function by its number, decided like a statement.
//!
//! Source: PostgreSQL manual, "Message Flow": Function Call. It stands by itself, as a Query does: the server answers with
//! FunctionCallResponse or an error, then ReadyForQuery. What policy and record see of it is `linegate_sql::fast_path`'s.

use linegate_recording::Protocol;
use linegate_sql::fast_path;

use super::Asking;
use crate::session::postgres::Ended;
use crate::session::postgres::bound::Bound;
use crate::session::postgres::cancel::Heeding;
use crate::session::postgres::pipeline::Expect;

impl Asking {
    /// A FunctionCall: passes where policy permits `function-call` and what the function is known to do; never under a mask.
    pub(super) async fn function_call(
        &mut self,
        function: u32,
        bound: Bound<'_>,
        result_format: i16,
        whole: &[u8],
    ) -> Result<(), Ended> {
        let _heeding = Heeding::of(&self.session);
        self.approved = None;
        let asked = self.decide(fast_path::text(function).as_bytes()).await;
        let asked = asked.running(self.session.next_statement());
        match self.clear(asked, Protocol::FastPath, &bound).await? {
            Ok(asked) => {
                self.note(&asked);
                self.forward(whole, Some(Expect::FunctionCall { asked, result_format }));
            }
            Err(refusal) => self.refuse_query(&refusal).await?,
        }
        Ok(())
    }
}
