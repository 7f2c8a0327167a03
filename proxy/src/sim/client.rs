//! Simulated clients: conversations by chance, and a model that says message by message what each must hear.

use codecs::postgres::backend::ErrorFields;
use codecs::postgres::build::frontend as tell;
use codecs::postgres::frontend::Kind;
use linegate_identity::ScramClient;

use super::net::Stream;
use super::server::Known;
use super::talk::Talk;
use super::{below, random};

/// What a client must hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hear {
    /// A message of that tag, whatever is in it.
    Tag(u8),
    /// A row with these cells.
    Row(Vec<String>),
    /// An error with that code.
    Error(&'static str),
    /// ReadyForQuery with that status.
    Ready(u8),
}

/// A conversation: parts that may be said one after the other without waiting, and all that must be heard.
#[derive(Default)]
pub struct Conversation {
    /// What is said.
    pub parts: Vec<Vec<u8>>,
    /// What is heard of it, all parts together.
    pub hears: Vec<Hear>,
    /// Of `hears`, how many belong to the parts up to each.
    ends: Vec<usize>,
}

/// The model: what a server behind linegate would answer.
struct Model {
    status: u8,
    hears: Vec<Hear>,
    names: usize,
}

fn masked(row: &[&str]) -> Vec<String> {
    let mut cells: Vec<String> = row.iter().map(ToString::to_string).collect();
    if let [_, _, ssn] = cells.as_mut_slice() {
        *ssn = format!("*******{}", &ssn[7..]);
    }
    cells
}

fn pick() -> Known {
    Known::ALL[below(Known::ALL.len())]
}

impl Model {
    fn fail(&mut self, code: &'static str) {
        self.hears.push(Hear::Error(code));
        if self.status == b'T' {
            self.status = b'E';
        }
    }

    fn ready(&mut self) {
        self.hears.push(Hear::Ready(self.status));
    }

    fn is_failed_for(&self, known: Known) -> bool {
        self.status == b'E' && !known.ends_transaction()
    }

    fn rows(&mut self, rows: &[Vec<&str>]) {
        self.hears.extend(rows.iter().map(|row| Hear::Row(masked(row))));
    }

    fn ran(&mut self, known: Known) {
        match known {
            Known::Begin => self.status = b'T',
            Known::Commit | Known::Rollback => self.status = b'I',
            _ => {}
        }
    }

    fn query(&mut self, out: &mut Vec<u8>) {
        let known = pick();
        tell::query(out, known.text().as_bytes());
        if known == Known::Delete {
            self.hears.push(Hear::Error("42501"));
            return self.ready();
        }
        if self.is_failed_for(known) {
            self.fail("25P02");
            return self.ready();
        }
        self.ran(known);
        if let Some(rows) = known.rows() {
            self.hears.push(Hear::Tag(b'T'));
            self.rows(&rows);
        }
        match known {
            Known::Division => self.fail("22012"),
            _ => self.hears.push(Hear::Tag(b'C')),
        }
        self.ready();
    }

    /// One to three statements and a Sync.
    fn series(&mut self, out: &mut Vec<u8>) {
        let (mut skipping, mut executes) = (false, 0);
        for _ in 0..1 + below(3) {
            let known = pick();
            let name = match below(3) {
                0 => {
                    self.names += 1;
                    format!("s{}", self.names)
                }
                _ => String::new(),
            };
            tell::parse(out, name.as_bytes(), known.text().as_bytes());
            if !skipping {
                if known == Known::Delete {
                    self.hears.push(Hear::Error("42501"));
                    // What ran in the same series is undone, and an open transaction with it.
                    if executes > 0 && self.status == b'T' {
                        self.status = b'E';
                    }
                    skipping = true;
                } else if self.is_failed_for(known) {
                    self.fail("25P02");
                    skipping = true;
                } else {
                    self.hears.push(Hear::Tag(b'1'));
                }
            }
            if below(4) == 0 {
                tell::describe_statement(out, name.as_bytes());
                if !skipping {
                    self.hears.push(Hear::Tag(b't'));
                    self.hears
                        .push(Hear::Tag(if known.rows().is_some() { b'T' } else { b'n' }));
                }
            }
            tell::bind(out, b"", name.as_bytes(), &[]);
            if !skipping {
                self.hears.push(Hear::Tag(b'2'));
            }
            if below(2) == 0 {
                tell::describe_portal(out, b"");
                if !skipping {
                    self.hears
                        .push(Hear::Tag(if known.rows().is_some() { b'T' } else { b'n' }));
                }
            }
            let portions: &[i32] = if known.rows().is_some() && below(3) == 0 {
                &[2, 1, 0]
            } else {
                &[0]
            };
            let mut at = 0;
            for most in portions {
                tell::execute(out, b"", *most);
                if !skipping {
                    executes += 1;
                    skipping = self.execute(known, &mut at, usize::try_from(*most).expect("small"));
                }
            }
            if below(5) == 0 {
                tell::flush(out);
            }
            if !name.is_empty() && below(2) == 0 {
                tell::close(out, Kind::Statement, name.as_bytes());
                if !skipping {
                    self.hears.push(Hear::Tag(b'3'));
                }
            }
        }
        tell::sync(out);
        self.ready();
    }

    /// Whether the rest of the series is skipped.
    fn execute(&mut self, known: Known, at: &mut usize, most: usize) -> bool {
        if known == Known::Division {
            self.fail("22012");
            return true;
        }
        self.ran(known);
        let rows = known.rows().unwrap_or_default();
        let left = &rows[(*at).min(rows.len())..];
        let count = if most > 0 {
            most.min(left.len())
        } else {
            left.len()
        };
        self.rows(&left[..count]);
        *at += count;
        self.hears
            .push(Hear::Tag(if most > 0 && count == most { b's' } else { b'C' }));
        false
    }
}

impl Conversation {
    /// One by chance.
    pub fn new() -> Self {
        let mut model = Model {
            status: b'I',
            hears: Vec::new(),
            names: 0,
        };
        let mut conversation = Self::default();
        for _ in 0..1 + below(7) {
            let mut part = Vec::new();
            match below(3) {
                0 => model.query(&mut part),
                _ => model.series(&mut part),
            }
            conversation.parts.push(part);
            conversation.ends.push(model.hears.len());
        }
        conversation.hears = model.hears;
        conversation
    }
}

/// How far a client came.
#[derive(Default)]
pub struct Told {
    /// What is wrong, if anything is.
    pub wrong: Option<String>,
    /// Everything was said and heard.
    pub is_whole: bool,
}

fn read(tag: u8, payload: &[u8]) -> Result<Hear, String> {
    Ok(match tag {
        b'D' => {
            let mut cells = Vec::new();
            let mut rest = payload.get(2..).ok_or("a row without a count")?;
            while let Some((size, after)) = rest.split_first_chunk::<4>() {
                let size = usize::try_from(u32::from_be_bytes(*size)).expect("64 bits");
                let cell = after.get(..size).ok_or("a row that ends within a cell")?;
                cells.push(String::from_utf8_lossy(cell).into_owned());
                rest = &after[size..];
            }
            Hear::Row(cells)
        }
        b'Z' => Hear::Ready(*payload.first().ok_or("no status")?),
        other => Hear::Tag(other),
    })
}

/// Logs in and holds a conversation.
pub async fn talk(stream: Stream, user: String, secret: String) -> Told {
    let mut talk = Talk::new(stream);
    let mut told = Told::default();
    if !login(&mut talk, &user, &secret).await {
        return told;
    }
    let conversation = Conversation::new();
    let (mut heard, mut said) = (0, 0);
    loop {
        // Some parts are said ahead of the answers to those before.
        while said < conversation.parts.len() {
            let is_answered = said == 0 || heard >= conversation.ends[said - 1];
            if !is_answered && below(3) > 0 {
                break;
            }
            if !talk.say(conversation.parts[said].clone()).await {
                break;
            }
            said += 1;
        }
        if heard == conversation.hears.len() {
            told.is_whole = true;
            let mut goodbye = Vec::new();
            tell::terminate(&mut goodbye);
            talk.say(goodbye).await;
            return told;
        }
        let Some((tag, payload)) = talk.message().await else {
            return told;
        };
        if matches!(tag, b'S' | b'N') {
            continue;
        }
        let expected = &conversation.hears[heard];
        heard += 1;
        if tag == b'E' {
            let fields = ErrorFields::read(&payload).ok();
            let code = fields
                .as_ref()
                .and_then(|fields| fields.get(b'C'))
                .unwrap_or_default();
            if matches!(expected, Hear::Error(wanted) if wanted.as_bytes() == code) {
                continue;
            }
            if !(code.starts_with(b"08") || code.starts_with(b"57")) {
                told.wrong = Some(format!(
                    "error {} in place of {expected:?}, message {heard}",
                    code.escape_ascii()
                ));
            }
            return told; // the server's end, told clearly
        }
        match read(tag, &payload) {
            Ok(hear) if hear == *expected => {}
            other => {
                told.wrong = Some(format!("{other:?} in place of {expected:?}, message {heard}"));
                return told;
            }
        }
    }
}

/// SCRAM-SHA-256; false when the connection ends before it is over.
pub async fn login(talk: &mut Talk, user: &str, secret: &str) -> bool {
    let mut bytes = Vec::new();
    tell::startup(&mut bytes, [("user", user), ("database", "shop")].into_iter());
    let mut scram = Some(ScramClient::new(secret, random().expect("a simulation runs")));
    loop {
        if !talk.say(std::mem::take(&mut bytes)).await {
            return false;
        }
        let Some((tag, payload)) = talk.message().await else {
            return false;
        };
        match (tag, payload.split_first_chunk::<4>()) {
            (b'Z', _) => return true,
            (b'R', Some((&[0, 0, 0, 10], _))) => {
                let first = scram.as_ref().map(ScramClient::first).unwrap_or_default();
                tell::sasl_initial(&mut bytes, "SCRAM-SHA-256", &first);
            }
            (b'R', Some((&[0, 0, 0, 11], data))) => {
                let answer = scram.as_mut().map(|scram| scram.respond(data));
                tell::sasl_response(&mut bytes, &answer.expect("in turn").expect("a challenge"));
            }
            (b'R', Some((&[0, 0, 0, 12], data))) => {
                scram
                    .take()
                    .expect("in turn")
                    .verify(data)
                    .expect("linegate knows the lease");
            }
            (b'E', _) => return false,
            _ => {}
        }
    }
}
