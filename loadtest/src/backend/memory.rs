//! Answers by context and batch; the real server is asked once for each.
//!
//! A miss opens a session of its own at the real server, brings it into the asking session's state, asks, and closes. That costs
//! milliseconds and happens once per statement; it holds up the other sessions meanwhile, which a warm-up round takes.

use std::collections::HashMap;
use std::io::Write as _;
use std::rc::Rc;

use codecs::postgres::backend::{ParameterStatus, tag};
use codecs::postgres::build::{backend as tell, frontend as ask};
use codecs::postgres::frontend;

use super::answer::{Answer, messages};
use super::context::Context;
use crate::client::Client;
use crate::failure::Failure;
use crate::target::Target;

/// The longest answer, before amplification, and the memory of all together.
const ANSWER_BYTES_MAX: usize = 256 << 20;
const MEMORY_BYTES_MAX: usize = 4 << 30;
/// Different startup packets.
const GREETINGS_MAX: usize = 4096;
/// The one parameter that names the client and changes nothing else.
const APPLICATION_NAME: &str = "application_name";

/// Names and values of a startup packet, without user, database and application name.
pub type Parameters = Vec<(String, String)>;

/// Everything that is known.
pub struct Memory {
    real: Target,
    greetings: HashMap<Parameters, Rc<[u8]>>,
    answers: HashMap<u64, HashMap<Box<[u8]>, Rc<Answer>>>,
    bytes_held: usize,
}

impl Memory {
    /// Nothing is known of this server yet.
    pub fn new(real: Target) -> Self {
        Self {
            real,
            greetings: HashMap::new(),
            answers: HashMap::new(),
            bytes_held: 0,
        }
    }

    /// What the real server says about itself after a login with these parameters: ParameterStatus messages.
    pub fn greeting(
        &mut self,
        parameters: &Parameters,
        application_name: Option<&str>,
    ) -> Result<Vec<u8>, Failure> {
        if !self.greetings.contains_key(parameters) {
            if self.greetings.len() >= GREETINGS_MAX {
                return Err(Failure::new("too many different startup packets"));
            }
            let client = Client::open_with(&self.real, parameters)
                .map_err(|failure| failure.during("the real server"))?;
            let greeting = Rc::from(client.greeting.as_slice());
            client.close()?;
            self.greetings.insert(parameters.clone(), greeting);
        }
        let mut out = Vec::new();
        for message in messages(&self.greetings[parameters]) {
            let (_, whole, payload) = message?;
            let is_name = ParameterStatus::read(payload)?.name == APPLICATION_NAME.as_bytes();
            match application_name.filter(|_| is_name) {
                Some(name) => tell::parameter_status(&mut out, APPLICATION_NAME, name),
                None => out.extend_from_slice(whole),
            }
        }
        Ok(out)
    }

    /// The answer to a batch in this state.
    pub fn answer(
        &mut self,
        parameters: &Parameters,
        context: &Context,
        batch: &[u8],
    ) -> Result<Rc<Answer>, Failure> {
        if let Some(known) = self
            .answers
            .get(&context.digest())
            .and_then(|known| known.get(batch))
        {
            return Ok(known.clone());
        }
        let reply = self
            .ask(parameters, context, batch)
            .map_err(|failure| failure.during("the real server"))?;
        let mut answer = Answer::read(&reply, context.mib_asked(batch))?;
        answer.changes_nothing = Context::is_unchanged_by(batch, &answer);
        let answer = Rc::new(answer);
        self.bytes_held += answer.bytes_held() + batch.len();
        if self.bytes_held > MEMORY_BYTES_MAX {
            return Err(Failure::new("too many different statements to be remembered"));
        }
        self.answers
            .entry(context.digest())
            .or_default()
            .insert(batch.into(), answer.clone());
        Ok(answer)
    }

    fn ask(&self, parameters: &Parameters, context: &Context, batch: &[u8]) -> Result<Vec<u8>, Failure> {
        let mut client = Client::open_with(&self.real, parameters)?;
        for before in context.log() {
            run(&mut client, before)?;
        }
        let reply = run(&mut client, batch)?;
        client.close()?;
        Ok(reply)
    }
}

/// Runs one batch and collects its answer.
fn run(client: &mut Client, batch: &[u8]) -> Result<Vec<u8>, Failure> {
    client.transport.write_all(batch)?;
    let mut expected = Expected::of(batch)?;
    let mut reply = Vec::new();
    while !expected.is_complete() {
        let (tag, payload) = client.message()?;
        if reply.len() + payload.len() > ANSWER_BYTES_MAX {
            return Err(Failure::new("an answer is too long to be remembered"));
        }
        match tag {
            tag::COPY_IN_RESPONSE | tag::COPY_BOTH_RESPONSE => {
                let mut refusal = Vec::new();
                ask::copy_fail(&mut refusal, b"data is not taken here");
                client.transport.write_all(&refusal)?;
            }
            tag::NOTIFICATION_RESPONSE => {}
            _ => {
                expected.take(tag);
                reply.push(tag);
                let size =
                    u32::try_from(payload.len() + 4).map_err(|_| Failure::new("a message is too long"))?;
                reply.extend_from_slice(&size.to_be_bytes());
                reply.extend_from_slice(&payload);
            }
        }
    }
    Ok(reply)
}

/// What is still to come before a batch is answered.
enum Expected {
    /// A ReadyForQuery.
    Ready(bool),
    /// As many ends as there are messages before Flush.
    Ends(usize),
}

impl Expected {
    fn of(batch: &[u8]) -> Result<Self, Failure> {
        let mut ends = 0;
        for message in messages(batch) {
            match message?.0 {
                frontend::tag::QUERY | frontend::tag::SYNC | frontend::tag::FUNCTION_CALL => {
                    return Ok(Self::Ready(false));
                }
                frontend::tag::FLUSH => {}
                _ => ends += 1,
            }
        }
        Ok(Self::Ends(ends))
    }

    fn take(&mut self, tag: u8) {
        match (self, tag) {
            (Self::Ready(ready), tag::READY_FOR_QUERY) => *ready = true,
            (Self::Ends(left), tag::ERROR_RESPONSE) => *left = 0, // the rest is skipped up to Sync
            (
                Self::Ends(left),
                tag::PARSE_COMPLETE
                | tag::BIND_COMPLETE
                | tag::CLOSE_COMPLETE
                | tag::ROW_DESCRIPTION
                | tag::NO_DATA
                | tag::COMMAND_COMPLETE
                | tag::EMPTY_QUERY_RESPONSE
                | tag::PORTAL_SUSPENDED,
            ) => *left = left.saturating_sub(1),
            _ => {}
        }
    }

    fn is_complete(&self) -> bool {
        matches!(self, Self::Ready(true) | Self::Ends(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(batch: &[u8], tags: &[u8]) -> bool {
        let mut expected = Expected::of(batch).expect("well formed");
        tags.iter().for_each(|tag| {
            assert!(!expected.is_complete(), "it ended before {}", char::from(*tag));
            expected.take(*tag);
        });
        expected.is_complete()
    }

    #[test]
    fn a_batch_ends_with_ready_for_query() {
        let mut batch = Vec::new();
        ask::query(&mut batch, b"SELECT 1; SELECT 2");
        assert!(after(&batch, b"TDCTDCZ"));
        assert!(!after(&batch, b"TDC"));
        assert!(after(&batch, b"EZ"));
    }

    #[test]
    fn a_part_before_flush_ends_when_each_message_has_its_end() {
        let mut batch = Vec::new();
        ask::parse(&mut batch, b"", b"SELECT 1");
        ask::describe_statement(&mut batch, b"");
        ask::bind(&mut batch, b"", b"", &[]);
        ask::execute(&mut batch, b"", 0);
        ask::flush(&mut batch);
        assert!(after(&batch, b"1tT2DDC"));
        assert!(!after(&batch, b"1tT2DD"));
        assert!(after(&batch, b"1E"), "an error ends it: the rest is skipped");
        let mut alone = Vec::new();
        ask::flush(&mut alone);
        assert!(after(&alone, b""));
    }
}
