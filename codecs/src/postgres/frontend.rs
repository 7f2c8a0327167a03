//! Messages from the client, read from a whole payload without copying.
//!
//! Source: PostgreSQL manual, "Message Formats", the messages marked (F).
//! Strings end at their NUL, so a NUL inside one leaves bytes behind and the message is refused, as the server would.
//! Each reader checks the whole payload once, so its iterators cannot fail. The first packet is in `startup`.

use super::error::PostgresError;
use super::reader::Reader;
pub use super::reader::{Int16s, Oids};

/// The tags of frontend messages, named after the manual.
pub mod tag {
    #![allow(missing_docs, reason = "the manual's own names")]
    pub const BIND: u8 = b'B';
    pub const CLOSE: u8 = b'C';
    pub const COPY_DATA: u8 = b'd';
    pub const COPY_DONE: u8 = b'c';
    pub const COPY_FAIL: u8 = b'f';
    pub const DESCRIBE: u8 = b'D';
    pub const EXECUTE: u8 = b'E';
    pub const FLUSH: u8 = b'H';
    pub const FUNCTION_CALL: u8 = b'F';
    pub const PARSE: u8 = b'P';
    /// PasswordMessage, SASLInitialResponse, SASLResponse and GSSResponse: the exchange tells which.
    pub const PASSWORD: u8 = b'p';
    pub const QUERY: u8 = b'Q';
    pub const SYNC: u8 = b'S';
    pub const TERMINATE: u8 = b'X';
}

/// What Describe and Close name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A prepared statement.
    Statement,
    /// A portal.
    Portal,
}

impl Kind {
    /// The byte on the wire.
    pub fn byte(self) -> u8 {
        match self {
            Self::Statement => b'S',
            Self::Portal => b'P',
        }
    }
}

/// One message.
#[derive(Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// A simple query.
    Query {
        /// The statements.
        text: &'a [u8],
    },
    /// Prepares a statement.
    Parse {
        /// Its name; empty for the unnamed one.
        name: &'a [u8],
        /// Its text.
        text: &'a [u8],
        /// Types that the client prescribes; 0 leaves one open.
        parameter_types: Oids<'a>,
    },
    /// Makes a portal of a prepared statement.
    Bind {
        /// The portal's name.
        portal: &'a [u8],
        /// The statement's name.
        statement: &'a [u8],
        /// None, one for all, or one for each parameter.
        parameter_formats: Int16s<'a>,
        /// The values.
        parameters: Parameters<'a>,
        /// None, one for all, or one for each column.
        result_formats: Int16s<'a>,
    },
    /// Asks for the shape of a statement or a portal.
    Describe {
        /// Which of the two.
        kind: Kind,
        /// Its name.
        name: &'a [u8],
    },
    /// Runs a portal.
    Execute {
        /// Its name.
        portal: &'a [u8],
        /// Rows at most; none or a negative number mean all.
        rows_max: i32,
    },
    /// Drops a statement or a portal.
    Close {
        /// Which of the two.
        kind: Kind,
        /// Its name.
        name: &'a [u8],
    },
    /// Ends a series of extended messages.
    Sync,
    /// Asks for what the server holds back.
    Flush,
    /// Ends the session.
    Terminate,
    /// A piece of COPY data.
    CopyData(&'a [u8]),
    /// The end of COPY data.
    CopyDone,
    /// The failure of COPY data.
    CopyFail {
        /// The client's reason.
        message: &'a [u8],
    },
    /// Calls a function by its number: the fast path.
    FunctionCall {
        /// The function's OID.
        function: u32,
        /// Formats of the arguments: none, one for all, or one each.
        argument_formats: Int16s<'a>,
        /// The arguments.
        arguments: Parameters<'a>,
        /// The format of the result.
        result_format: i16,
    },
    /// A password or a part of a SASL exchange; see [`password`] and [`SaslInitial`].
    Password(&'a [u8]),
}

impl<'a> Message<'a> {
    /// Reads a payload by its tag.
    pub fn read(tag: u8, payload: &'a [u8]) -> Result<Self, PostgresError> {
        match tag {
            tag::QUERY => {
                let mut reader = Reader::new("Query", payload);
                let text = reader.string("the text")?;
                reader.end()?;
                Ok(Self::Query { text })
            }
            tag::PARSE => parse(payload),
            tag::BIND => bind(payload),
            tag::DESCRIBE => named("Describe", payload).map(|(kind, name)| Self::Describe { kind, name }),
            tag::EXECUTE => {
                let mut reader = Reader::new("Execute", payload);
                let portal = reader.string("the portal")?;
                let rows_max = reader.i32("the number of rows")?;
                reader.end()?;
                Ok(Self::Execute { portal, rows_max })
            }
            tag::CLOSE => named("Close", payload).map(|(kind, name)| Self::Close { kind, name }),
            tag::SYNC => empty("Sync", payload, Self::Sync),
            tag::FLUSH => empty("Flush", payload, Self::Flush),
            tag::TERMINATE => empty("Terminate", payload, Self::Terminate),
            tag::COPY_DATA => Ok(Self::CopyData(payload)),
            tag::COPY_DONE => empty("CopyDone", payload, Self::CopyDone),
            tag::COPY_FAIL => {
                let mut reader = Reader::new("CopyFail", payload);
                let message = reader.string("the reason")?;
                reader.end()?;
                Ok(Self::CopyFail { message })
            }
            tag::FUNCTION_CALL => function_call(payload),
            tag::PASSWORD => Ok(Self::Password(payload)),
            tag => Err(PostgresError::UnknownTag { tag }),
        }
    }

    /// The message's name in the manual.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Query { .. } => "Query",
            Self::Parse { .. } => "Parse",
            Self::Bind { .. } => "Bind",
            Self::Describe { .. } => "Describe",
            Self::Execute { .. } => "Execute",
            Self::Close { .. } => "Close",
            Self::Sync => "Sync",
            Self::Flush => "Flush",
            Self::Terminate => "Terminate",
            Self::CopyData(_) => "CopyData",
            Self::CopyDone => "CopyDone",
            Self::CopyFail { .. } => "CopyFail",
            Self::FunctionCall { .. } => "FunctionCall",
            Self::Password(_) => "PasswordMessage",
        }
    }
}

impl std::fmt::Debug for Message<'_> {
    /// The kind alone: what a message carries is the client's.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind())
    }
}

fn empty<'a>(name: &'static str, payload: &[u8], message: Message<'a>) -> Result<Message<'a>, PostgresError> {
    Reader::new(name, payload).end().map(|()| message)
}

fn named<'a>(message: &'static str, payload: &'a [u8]) -> Result<(Kind, &'a [u8]), PostgresError> {
    let mut reader = Reader::new(message, payload);
    let kind = match reader.u8("the kind")? {
        b'S' => Kind::Statement,
        b'P' => Kind::Portal,
        _ => return Err(reader.invalid("the kind")),
    };
    let name = reader.string("the name")?;
    reader.end()?;
    Ok((kind, name))
}

fn parse(payload: &[u8]) -> Result<Message<'_>, PostgresError> {
    let mut reader = Reader::new("Parse", payload);
    let name = reader.string("the name")?;
    let text = reader.string("the text")?;
    let parameter_types = Oids(reader.counted("the parameter types", 4)?);
    reader.end()?;
    Ok(Message::Parse {
        name,
        text,
        parameter_types,
    })
}

fn bind(payload: &[u8]) -> Result<Message<'_>, PostgresError> {
    let mut reader = Reader::new("Bind", payload);
    let portal = reader.string("the portal")?;
    let statement = reader.string("the statement")?;
    let parameter_formats = Int16s(reader.counted("the parameter formats", 2)?);
    let parameters = parameters(&mut reader)?;
    let result_formats = Int16s(reader.counted("the result formats", 2)?);
    reader.end()?;
    Ok(Message::Bind {
        portal,
        statement,
        parameter_formats,
        parameters,
        result_formats,
    })
}

fn function_call(payload: &[u8]) -> Result<Message<'_>, PostgresError> {
    let mut reader = Reader::new("FunctionCall", payload);
    let function = reader.u32("the function")?;
    let argument_formats = Int16s(reader.counted("the argument formats", 2)?);
    let arguments = parameters(&mut reader)?;
    let result_format = reader.i16("the result format")?;
    reader.end()?;
    Ok(Message::FunctionCall {
        function,
        argument_formats,
        arguments,
        result_format,
    })
}

/// A count of 16 bits and that many values.
fn parameters<'a>(reader: &mut Reader<'a>) -> Result<Parameters<'a>, PostgresError> {
    let left = reader.u16("the number of parameters")?;
    let rest = reader.rest();
    for _ in 0..left {
        reader.nullable("a parameter")?;
    }
    Ok(Parameters { left, rest })
}

/// The values of a Bind or a FunctionCall, `None` for NULL.
#[derive(Clone, PartialEq, Eq)]
pub struct Parameters<'a> {
    left: u16,
    rest: &'a [u8],
}

impl std::fmt::Debug for Parameters<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} parameters", self.left)
    }
}

impl<'a> Iterator for Parameters<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let mut reader = Reader::new("Bind", self.rest);
        let value = reader.nullable("a parameter").ok()?; // was checked by `read`
        self.rest = reader.rest();
        Some(value)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

impl ExactSizeIterator for Parameters<'_> {}

/// The password of a PasswordMessage: cleartext or MD5 digest.
pub fn password(payload: &[u8]) -> Result<&[u8], PostgresError> {
    let mut reader = Reader::new("PasswordMessage", payload);
    let password = reader.string("the password")?;
    reader.end()?;
    Ok(password)
}

/// SASLInitialResponse. (SASLResponse is its data and nothing else.)
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SaslInitial<'a> {
    /// The mechanism that the client chose.
    pub mechanism: &'a [u8],
    /// The client's first data, where the mechanism has any.
    pub data: Option<&'a [u8]>,
}

impl<'a> SaslInitial<'a> {
    /// Reads a payload.
    pub fn read(payload: &'a [u8]) -> Result<Self, PostgresError> {
        let mut reader = Reader::new("SASLInitialResponse", payload);
        let mechanism = reader.string("the mechanism")?;
        let data = reader.nullable("the data")?;
        reader.end()?;
        Ok(Self { mechanism, data })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_nul_inside_a_text_is_an_error() {
        assert_eq!(
            Message::read(tag::QUERY, b"SELECT 1\0; DROP TABLE t\0"),
            Err(PostgresError::Trailing {
                message: "Query",
                bytes: 14 + 1
            })
        );
        assert!(Message::read(tag::QUERY, b"SELECT 1").is_err());
        assert!(Message::read(tag::PARSE, b"a\0b\0c\0\0\0").is_err());
    }

    #[test]
    fn counts_beyond_the_payload_are_errors() {
        assert!(matches!(
            Message::read(tag::PARSE, b"\0\0\xff\xff"),
            Err(PostgresError::Truncated { message: "Parse", .. })
        ));
        assert!(matches!(
            Message::read(tag::BIND, b"\0\0\0\0\xff\xff\0\0"),
            Err(PostgresError::Truncated { .. })
        ));
        let negative = b"\0\0\0\0\0\x01\xff\xff\xff\xfe\0\0";
        assert!(matches!(
            Message::read(tag::BIND, negative),
            Err(PostgresError::Invalid { .. })
        ));
        let beyond = b"\0\0\0\0\0\x01\x7f\xff\xff\xff\0\0";
        assert!(matches!(
            Message::read(tag::BIND, beyond),
            Err(PostgresError::Truncated { .. })
        ));
    }

    #[test]
    fn a_function_call_is_read_whole_or_not_at_all() {
        // loread(0, 4096), both binary, the result binary; the second argument of another is NULL.
        let payload = b"\0\0\x03\xba\0\x01\0\x01\0\x02\0\0\0\x04\0\0\0\0\xff\xff\xff\xff\0\x01";
        let Ok(Message::FunctionCall {
            function,
            argument_formats,
            arguments,
            result_format,
        }) = Message::read(tag::FUNCTION_CALL, payload)
        else {
            panic!("no FunctionCall")
        };
        assert_eq!((function, result_format), (954, 1));
        assert_eq!(argument_formats.collect::<Vec<_>>(), [1]);
        assert_eq!(arguments.collect::<Vec<_>>(), [Some(&[0; 4][..]), None]);
        for cut in 0..payload.len() {
            assert!(
                matches!(
                    Message::read(tag::FUNCTION_CALL, &payload[..cut]),
                    Err(PostgresError::Truncated {
                        message: "FunctionCall",
                        ..
                    })
                ),
                "cut at byte {cut}"
            );
        }
        let longer = [&payload[..], b"x"].concat();
        assert!(matches!(
            Message::read(tag::FUNCTION_CALL, &longer),
            Err(PostgresError::Trailing { bytes: 1, .. })
        ));
        // A count or a size beyond what came.
        for beyond in [
            &b"\0\0\0\x01\xff\xff\0\0\0\0"[..],
            b"\0\0\0\x01\0\0\xff\xff\0\0",
            b"\0\0\0\x01\0\0\0\x01\x7f\xff\xff\xff\0\0",
            b"\0\0\0\x01\0\0\0\x01\xff\xff\xff\xfe\0\0",
        ] {
            assert!(Message::read(tag::FUNCTION_CALL, beyond).is_err());
        }
    }

    #[test]
    fn messages_without_payload_have_none() {
        for tag in [tag::SYNC, tag::FLUSH, tag::TERMINATE, tag::COPY_DONE] {
            assert!(Message::read(tag, b"").is_ok());
            assert!(matches!(
                Message::read(tag, b"x"),
                Err(PostgresError::Trailing { bytes: 1, .. })
            ));
        }
    }

    #[test]
    fn an_unknown_tag_or_kind_is_an_error() {
        assert_eq!(
            Message::read(b'?', b""),
            Err(PostgresError::UnknownTag { tag: b'?' })
        );
        assert!(matches!(
            Message::read(tag::DESCRIBE, b"Xa\0"),
            Err(PostgresError::Invalid { .. })
        ));
        assert_eq!(
            Message::read(tag::CLOSE, b"Pa\0"),
            Ok(Message::Close {
                kind: Kind::Portal,
                name: b"a"
            })
        );
    }

    #[test]
    fn debug_does_not_show_what_a_message_carries() {
        let message = Message::read(tag::PASSWORD, b"secret\0").unwrap();
        assert_eq!(format!("{message:?}"), "PasswordMessage");
    }

    proptest! {
        #[test]
        fn arbitrary_payloads_never_panic(tag: u8, payload: Vec<u8>) {
            let _ = Message::read(tag, &payload);
            let _ = password(&payload);
            let _ = SaslInitial::read(&payload);
        }

        #[test]
        fn arbitrary_binds_never_panic(
            formats in proptest::collection::vec(any::<u8>(), 0..6),
            rest in proptest::collection::vec(0_u8..6, 0..60),
        ) {
            let payload = [b"p\0s\0".as_slice(), &formats, &rest].concat();
            if let Ok(Message::Bind { parameters, .. }) = Message::read(tag::BIND, &payload) {
                let count = parameters.len();
                prop_assert_eq!(parameters.count(), count);
            }
            if let Ok(Message::Parse { parameter_types, .. }) = Message::read(tag::PARSE, &payload) {
                parameter_types.for_each(drop);
            }
        }
    }
}
