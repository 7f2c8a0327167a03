//! Messages from the server, read from a whole payload without copying.
//!
//! Source: PostgreSQL manual, "Message Formats", the messages marked (B); "Error and Notice Message Fields".
//! Each reader checks the whole payload once, so its iterators cannot fail. Rows are in `rows`.

use super::error::PostgresError;
use super::reader::Reader;
pub use super::reader::{Int16s, Oids};

/// The tags of backend messages, named after the manual.
pub mod tag {
    #![allow(missing_docs, reason = "the manual's own names")]
    pub const AUTHENTICATION: u8 = b'R';
    pub const BACKEND_KEY_DATA: u8 = b'K';
    pub const BIND_COMPLETE: u8 = b'2';
    pub const CLOSE_COMPLETE: u8 = b'3';
    pub const COMMAND_COMPLETE: u8 = b'C';
    pub const COPY_BOTH_RESPONSE: u8 = b'W';
    pub const COPY_DATA: u8 = b'd';
    pub const COPY_DONE: u8 = b'c';
    pub const COPY_IN_RESPONSE: u8 = b'G';
    pub const COPY_OUT_RESPONSE: u8 = b'H';
    pub const DATA_ROW: u8 = b'D';
    pub const EMPTY_QUERY_RESPONSE: u8 = b'I';
    pub const ERROR_RESPONSE: u8 = b'E';
    pub const FUNCTION_CALL_RESPONSE: u8 = b'V';
    pub const NEGOTIATE_PROTOCOL_VERSION: u8 = b'v';
    pub const NO_DATA: u8 = b'n';
    pub const NOTICE_RESPONSE: u8 = b'N';
    pub const NOTIFICATION_RESPONSE: u8 = b'A';
    pub const PARAMETER_DESCRIPTION: u8 = b't';
    pub const PARAMETER_STATUS: u8 = b'S';
    pub const PARSE_COMPLETE: u8 = b'1';
    pub const PORTAL_SUSPENDED: u8 = b's';
    pub const READY_FOR_QUERY: u8 = b'Z';
    pub const ROW_DESCRIPTION: u8 = b'T';
}

/// One column of a result, as RowDescription tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The column's name.
    pub name: &'a [u8],
    /// The table that the column comes from, or 0.
    pub table_oid: u32,
    /// The column's attribute number in that table, or 0.
    pub attribute: i16,
    /// The data type.
    pub type_oid: u32,
    /// The type's size in bytes; negative for a varying one.
    pub type_size: i16,
    /// The type modifier.
    pub modifier: i32,
    /// 0 text, 1 binary.
    pub format: i16,
}

/// The columns of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowDescription<'a> {
    count: u16,
    fields: &'a [u8],
}

impl<'a> RowDescription<'a> {
    /// Reads a payload.
    pub fn read(payload: &'a [u8]) -> Result<Self, PostgresError> {
        let mut reader = Reader::new("RowDescription", payload);
        let count = reader.u16("the number of fields")?;
        let fields = reader.rest();
        for _ in 0..count {
            field(&mut reader)?;
        }
        reader.end()?;
        Ok(Self { count, fields })
    }

    /// How many columns.
    pub fn count(&self) -> u16 {
        self.count
    }

    /// The columns in order.
    pub fn fields(&self) -> Fields<'a> {
        Fields {
            left: self.count,
            rest: self.fields,
        }
    }
}

fn field<'a>(reader: &mut Reader<'a>) -> Result<Field<'a>, PostgresError> {
    Ok(Field {
        name: reader.string("a field's name")?,
        table_oid: reader.u32("a field's table")?,
        attribute: reader.i16("a field's attribute number")?,
        type_oid: reader.u32("a field's type")?,
        type_size: reader.i16("a field's type size")?,
        modifier: reader.i32("a field's type modifier")?,
        format: reader.i16("a field's format")?,
    })
}

/// The columns of a RowDescription.
#[derive(Clone, Debug)]
pub struct Fields<'a> {
    left: u16,
    rest: &'a [u8],
}

impl<'a> Iterator for Fields<'a> {
    type Item = Field<'a>;

    fn next(&mut self) -> Option<Field<'a>> {
        self.left = self.left.checked_sub(1)?;
        let mut reader = Reader::new("RowDescription", self.rest);
        let field = field(&mut reader).ok()?; // was checked by `read`
        self.rest = reader.rest();
        Some(field)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (usize::from(self.left), Some(usize::from(self.left)))
    }
}

impl ExactSizeIterator for Fields<'_> {}

/// The types of a prepared statement's parameters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterDescription<'a> {
    /// The type of each.
    pub types: Oids<'a>,
}

impl<'a> ParameterDescription<'a> {
    /// Reads a payload.
    pub fn read(payload: &'a [u8]) -> Result<Self, PostgresError> {
        let mut reader = Reader::new("ParameterDescription", payload);
        let types = Oids(reader.counted("the parameter types", 4)?);
        reader.end()?;
        Ok(Self { types })
    }
}

/// The fields of ErrorResponse or NoticeResponse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorFields<'a> {
    rest: &'a [u8],
}

impl<'a> ErrorFields<'a> {
    /// Reads a payload.
    pub fn read(payload: &'a [u8]) -> Result<Self, PostgresError> {
        let mut reader = Reader::new("ErrorResponse", payload);
        while reader.u8("a field's code")? != 0 {
            reader.string("a field's value")?;
        }
        reader.end()?;
        Ok(Self { rest: payload })
    }

    /// The first field of this code.
    pub fn get(&self, code: u8) -> Option<&'a [u8]> {
        self.clone()
            .find_map(|(found, value)| (found == code).then_some(value))
    }

    /// The SQLSTATE, when it has five bytes.
    pub fn sqlstate(&self) -> Option<[u8; 5]> {
        self.get(b'C')?.try_into().ok()
    }

    /// The primary message; empty when there is none.
    pub fn message(&self) -> &'a [u8] {
        self.get(b'M').unwrap_or_default()
    }
}

impl<'a> Iterator for ErrorFields<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let mut reader = Reader::new("ErrorResponse", self.rest);
        let code = reader.u8("a field's code").ok().filter(|code| *code != 0)?;
        let value = reader.string("a field's value").ok()?; // was checked by `read`
        self.rest = reader.rest();
        Some((code, value))
    }
}

/// Where the server stands with transactions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TransactionStatus {
    /// Not in a transaction block.
    #[default]
    Idle,
    /// In a transaction block.
    InTransaction,
    /// In a failed transaction block: everything but its end is refused.
    Failed,
}

impl TransactionStatus {
    /// The byte on the wire.
    pub fn byte(self) -> u8 {
        match self {
            Self::Idle => b'I',
            Self::InTransaction => b'T',
            Self::Failed => b'E',
        }
    }
}

/// The server waits for the next command.
#[derive(Debug)]
pub struct ReadyForQuery;

impl ReadyForQuery {
    /// Reads a payload.
    pub fn read(payload: &[u8]) -> Result<TransactionStatus, PostgresError> {
        let mut reader = Reader::new("ReadyForQuery", payload);
        let status = match reader.u8("the transaction status")? {
            b'I' => TransactionStatus::Idle,
            b'T' => TransactionStatus::InTransaction,
            b'E' => TransactionStatus::Failed,
            _ => return Err(reader.invalid("the transaction status")),
        };
        reader.end()?;
        Ok(status)
    }
}

/// A run-time parameter and its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParameterStatus<'a> {
    /// The parameter.
    pub name: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
}

impl<'a> ParameterStatus<'a> {
    /// Reads a payload.
    pub fn read(payload: &'a [u8]) -> Result<Self, PostgresError> {
        let mut reader = Reader::new("ParameterStatus", payload);
        let status = Self {
            name: reader.string("the name")?,
            value: reader.string("the value")?,
        };
        reader.end()?;
        Ok(status)
    }
}

/// The longest cancel key that any version 3 server sends.
pub const SECRET_BYTES_MAX: usize = 256;

/// What a CancelRequest has to name.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BackendKeyData<'a> {
    /// The server process.
    pub process_id: u32,
    /// Its key: 4 bytes in protocol 3.0, up to [`SECRET_BYTES_MAX`] later.
    pub secret: &'a [u8],
}

impl std::fmt::Debug for BackendKeyData<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackendKeyData")
            .field("process_id", &self.process_id)
            .finish_non_exhaustive()
    }
}

impl<'a> BackendKeyData<'a> {
    /// Reads a payload.
    pub fn read(payload: &'a [u8]) -> Result<Self, PostgresError> {
        let mut reader = Reader::new("BackendKeyData", payload);
        let process_id = reader.u32("the process")?;
        match reader.rest() {
            short if short.len() < 4 => Err(reader.truncated("the key")),
            long if long.len() > SECRET_BYTES_MAX => Err(reader.invalid("the key")),
            secret => Ok(Self { process_id, secret }),
        }
    }
}

/// What the server wants from whoever logs in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication<'a> {
    /// Nothing more.
    Ok,
    /// The password itself.
    CleartextPassword,
    /// A digest of the password.
    Md5Password {
        /// The salt of the digest.
        salt: [u8; 4],
    },
    /// A SASL exchange.
    Sasl {
        /// The mechanisms, best first.
        mechanisms: Mechanisms<'a>,
    },
    /// The server's part of a SASL exchange.
    SaslContinue(&'a [u8]),
    /// The end of a SASL exchange.
    SaslFinal(&'a [u8]),
    /// A method that is not read here (Kerberos, GSSAPI, SSPI, …).
    Other(u32),
}

impl<'a> Authentication<'a> {
    /// Reads a payload.
    pub fn read(payload: &'a [u8]) -> Result<Self, PostgresError> {
        let mut reader = Reader::new("Authentication", payload);
        let method = reader.u32("the method")?;
        let authentication = match method {
            0 => Self::Ok,
            3 => Self::CleartextPassword,
            5 => Self::Md5Password {
                salt: reader.array("the salt")?,
            },
            10 => {
                let mechanisms = Mechanisms { rest: reader.rest() };
                while !reader.string("a mechanism")?.is_empty() {}
                reader.end()?;
                return Ok(Self::Sasl { mechanisms });
            }
            11 => return Ok(Self::SaslContinue(reader.rest())),
            12 => return Ok(Self::SaslFinal(reader.rest())),
            other => return Ok(Self::Other(other)),
        };
        reader.end()?;
        Ok(authentication)
    }
}

/// The names of SASL mechanisms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mechanisms<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Mechanisms<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let mut reader = Reader::new("Authentication", self.rest);
        let name = reader
            .string("a mechanism")
            .ok()
            .filter(|name| !name.is_empty())?;
        self.rest = reader.rest();
        Some(name)
    }
}

/// A command ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandComplete<'a> {
    /// The command tag: `SELECT 5`, `INSERT 0 1`, `BEGIN`, …
    pub tag: &'a [u8],
}

impl<'a> CommandComplete<'a> {
    /// Reads a payload.
    pub fn read(payload: &'a [u8]) -> Result<Self, PostgresError> {
        let mut reader = Reader::new("CommandComplete", payload);
        let tag = reader.string("the command tag")?;
        reader.end()?;
        Ok(Self { tag })
    }

    /// The number of rows, for commands that tell it.
    pub fn rows(&self) -> Option<u64> {
        let last = self.tag.rsplit(|byte| *byte == b' ').next()?;
        std::str::from_utf8(last).ok()?.parse().ok()
    }
}

/// COPY begins: CopyInResponse, CopyOutResponse or CopyBothResponse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyResponse<'a> {
    /// 0 text, 1 binary.
    pub format: u8,
    /// The format of each column.
    pub column_formats: Int16s<'a>,
}

impl<'a> CopyResponse<'a> {
    /// Reads a payload.
    pub fn read(payload: &'a [u8]) -> Result<Self, PostgresError> {
        let mut reader = Reader::new("CopyResponse", payload);
        let format = reader.u8("the format")?;
        if format > 1 {
            return Err(reader.invalid("the format"));
        }
        let column_formats = Int16s(reader.counted("the column formats", 2)?);
        reader.end()?;
        Ok(Self {
            format,
            column_formats,
        })
    }
}

/// What a FunctionCall found.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FunctionCallResponse<'a> {
    /// The result; `None` for NULL.
    pub value: Option<&'a [u8]>,
}

impl<'a> FunctionCallResponse<'a> {
    /// Reads a payload.
    pub fn read(payload: &'a [u8]) -> Result<Self, PostgresError> {
        let mut reader = Reader::new("FunctionCallResponse", payload);
        let value = reader.nullable("the result")?;
        reader.end()?;
        Ok(Self { value })
    }
}

/// A NOTIFY of some session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotificationResponse<'a> {
    /// The server process of the session that notified.
    pub process_id: u32,
    /// The channel.
    pub channel: &'a [u8],
    /// What it was given.
    pub payload: &'a [u8],
}

impl<'a> NotificationResponse<'a> {
    /// Reads a payload.
    pub fn read(payload: &'a [u8]) -> Result<Self, PostgresError> {
        let mut reader = Reader::new("NotificationResponse", payload);
        let notification = Self {
            process_id: reader.u32("the process")?,
            channel: reader.string("the channel")?,
            payload: reader.string("the payload")?,
        };
        reader.end()?;
        Ok(notification)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_count_beyond_the_payload_is_an_error() {
        assert!(matches!(
            RowDescription::read(&[0xff, 0xff]),
            Err(PostgresError::Unterminated { .. })
        ));
        assert!(matches!(
            CopyResponse::read(&[0, 0, 2, 0, 0]),
            Err(PostgresError::Truncated { .. })
        ));
        assert!(matches!(
            ParameterDescription::read(&[0, 1, 0]),
            Err(PostgresError::Truncated { .. })
        ));
    }

    #[test]
    fn a_functions_result_is_read_whole_or_not_at_all() {
        let payload = b"\0\0\0\x03abc";
        let read = FunctionCallResponse::read(payload).unwrap();
        assert_eq!(read.value, Some(&b"abc"[..]));
        for cut in 0..payload.len() {
            assert!(
                FunctionCallResponse::read(&payload[..cut]).is_err(),
                "cut at byte {cut}"
            );
        }
        assert!(FunctionCallResponse::read(b"\0\0\0\0x").is_err());
        assert!(
            FunctionCallResponse::read(b"\xff\xff\xff\xff")
                .unwrap()
                .value
                .is_none()
        );
    }

    #[test]
    fn error_fields_end_with_a_terminator_and_nothing_after() {
        assert!(ErrorFields::read(b"SERROR\0").is_err());
        assert!(ErrorFields::read(b"SERROR\0\0x").is_err());
        assert!(ErrorFields::read(b"SERROR").is_err());
        assert!(ErrorFields::read(b"").is_err());
        let fields = ErrorFields::read(b"SERROR\0C42501\0Mno\0\0").unwrap();
        assert_eq!(
            (fields.sqlstate(), fields.message()),
            (Some(*b"42501"), &b"no"[..])
        );
        assert_eq!(fields.count(), 3);
    }

    #[test]
    fn a_status_is_one_of_three() {
        for status in [
            TransactionStatus::Idle,
            TransactionStatus::InTransaction,
            TransactionStatus::Failed,
        ] {
            assert_eq!(ReadyForQuery::read(&[status.byte()]), Ok(status));
        }
        assert!(matches!(
            ReadyForQuery::read(b"X"),
            Err(PostgresError::Invalid { .. })
        ));
        assert!(matches!(
            ReadyForQuery::read(b"II"),
            Err(PostgresError::Trailing { .. })
        ));
    }

    #[test]
    fn command_tags_tell_their_rows() {
        let rows = |tag: &'static [u8]| CommandComplete::read(tag).unwrap().rows();
        assert_eq!(rows(b"SELECT 5\0"), Some(5));
        assert_eq!(rows(b"INSERT 0 12\0"), Some(12));
        assert_eq!(rows(b"BEGIN\0"), None);
    }

    #[test]
    fn a_cancel_key_is_bounded() {
        assert!(BackendKeyData::read(&[0; 7]).is_err());
        assert!(BackendKeyData::read(&[0; 8]).is_ok());
        assert!(BackendKeyData::read(&[0; 4 + SECRET_BYTES_MAX + 1]).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_payloads_never_panic(payload: Vec<u8>) {
            if let Ok(description) = RowDescription::read(&payload) {
                prop_assert_eq!(description.fields().count(), usize::from(description.count()));
            }
            if let Ok(fields) = ErrorFields::read(&payload) {
                fields.for_each(drop);
            }
            let _ = ReadyForQuery::read(&payload);
            let _ = ParameterStatus::read(&payload);
            let _ = BackendKeyData::read(&payload);
            let _ = CommandComplete::read(&payload).map(|complete| complete.rows());
            let _ = NotificationResponse::read(&payload);
            let _ = FunctionCallResponse::read(&payload);
            if let Ok(response) = CopyResponse::read(&payload) {
                response.column_formats.for_each(drop);
            }
            if let Ok(description) = ParameterDescription::read(&payload) {
                description.types.for_each(drop);
            }
        }

        #[test]
        fn arbitrary_authentication_never_panics(method in 0_u8..14, rest: Vec<u8>) {
            let payload = [&[0, 0, 0, method], &rest[..]].concat();
            if let Ok(Authentication::Sasl { mechanisms }) = Authentication::read(&payload) {
                mechanisms.for_each(drop);
            }
        }
    }
}
