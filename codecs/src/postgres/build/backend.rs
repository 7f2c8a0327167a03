//! Messages to the client.
//!
//! Source: PostgreSQL manual, "Message Formats", the messages marked (B); "Error and Notice Message Fields".

use super::{int16, message, nullable, string, until_nul};
pub use crate::postgres::backend::Field as FieldSpec;
use crate::postgres::backend::{ErrorFields, TransactionStatus, tag};
use crate::postgres::error::PostgresError;

/// ErrorResponse.
pub fn error_response(
    out: &mut Vec<u8>,
    severity: &str,
    sqlstate: &[u8; 5],
    text: &str,
    detail: Option<&str>,
    hint: Option<&str>,
) {
    report(out, tag::ERROR_RESPONSE, severity, sqlstate, text, detail, hint);
}

/// NoticeResponse.
pub fn notice_response(
    out: &mut Vec<u8>,
    severity: &str,
    sqlstate: &[u8; 5],
    text: &str,
    detail: Option<&str>,
    hint: Option<&str>,
) {
    report(out, tag::NOTICE_RESPONSE, severity, sqlstate, text, detail, hint);
}

fn report(
    out: &mut Vec<u8>,
    tag: u8,
    severity: &str,
    sqlstate: &[u8; 5],
    text: &str,
    detail: Option<&str>,
    hint: Option<&str>,
) {
    message(out, tag, |out| {
        field(out, b'S', severity.as_bytes());
        field(out, b'V', severity.as_bytes());
        field(out, b'C', sqlstate);
        field(out, b'M', text.as_bytes());
        if let Some(detail) = detail {
            field(out, b'D', detail.as_bytes());
        }
        if let Some(hint) = hint {
            field(out, b'H', hint.as_bytes());
        }
        out.push(0);
    });
}

fn field(out: &mut Vec<u8>, code: u8, value: &[u8]) {
    out.push(code);
    string(out, value);
}

/// The longest localised severity that is handed on.
const SEVERITY_BYTES_MAX: usize = 32;

/// Appends an ErrorResponse or NoticeResponse again, with severity and SQLSTATE as they were, this text, and these
/// fields by code; every other field is left out, for any of them may quote a value. A SQLSTATE that is none becomes
/// `XX000`.
pub fn scrub(
    out: &mut Vec<u8>,
    tag: u8,
    payload: &[u8],
    text: &str,
    kept: &[(u8, &[u8])],
) -> Result<(), PostgresError> {
    let fields = ErrorFields::read(payload)?;
    let sqlstate = fields
        .sqlstate()
        .filter(|code| {
            code.iter()
                .all(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase())
        })
        .unwrap_or(*b"XX000");
    message(out, tag, |out| {
        for code in [b'S', b'V'] {
            if let Some(severity) = fields
                .get(code)
                .filter(|severity| severity.len() <= SEVERITY_BYTES_MAX)
            {
                field(out, code, severity);
            }
        }
        field(out, b'C', &sqlstate);
        field(out, b'M', text.as_bytes());
        for (code, value) in kept.iter().filter(|(code, _)| *code != 0) {
            field(out, *code, value);
        }
        out.push(0);
    });
    Ok(())
}

/// ReadyForQuery.
pub fn ready_for_query(out: &mut Vec<u8>, status: TransactionStatus) {
    message(out, tag::READY_FOR_QUERY, |out| out.push(status.byte()));
}

fn authentication(out: &mut Vec<u8>, method: u32, data: &[u8]) {
    message(out, tag::AUTHENTICATION, |out| {
        out.extend_from_slice(&method.to_be_bytes());
        out.extend_from_slice(data);
    });
}

/// AuthenticationOk.
pub fn authentication_ok(out: &mut Vec<u8>) {
    authentication(out, 0, &[]);
}

/// AuthenticationCleartextPassword.
pub fn authentication_cleartext(out: &mut Vec<u8>) {
    authentication(out, 3, &[]);
}

/// AuthenticationMD5Password.
pub fn authentication_md5(out: &mut Vec<u8>, salt: [u8; 4]) {
    authentication(out, 5, &salt);
}

/// AuthenticationSASL; an empty name would end the list and is left out.
pub fn authentication_sasl(out: &mut Vec<u8>, mechanisms: &[&str]) {
    message(out, tag::AUTHENTICATION, |out| {
        out.extend_from_slice(&10_u32.to_be_bytes());
        names(out, mechanisms);
        out.push(0);
    });
}

/// AuthenticationSASLContinue.
pub fn authentication_sasl_continue(out: &mut Vec<u8>, data: &[u8]) {
    authentication(out, 11, data);
}

/// AuthenticationSASLFinal.
pub fn authentication_sasl_final(out: &mut Vec<u8>, data: &[u8]) {
    authentication(out, 12, data);
}

fn names(out: &mut Vec<u8>, names: &[&str]) -> usize {
    let names = names
        .iter()
        .map(|name| until_nul(name.as_bytes()))
        .filter(|name| !name.is_empty());
    names.map(|name| string(out, name)).count()
}

/// ParameterStatus.
pub fn parameter_status(out: &mut Vec<u8>, name: &str, value: &str) {
    message(out, tag::PARAMETER_STATUS, |out| {
        string(out, name.as_bytes());
        string(out, value.as_bytes());
    });
}

/// BackendKeyData. Protocol 3.0 asks for a secret of four bytes.
pub fn backend_key_data(out: &mut Vec<u8>, process_id: u32, secret: &[u8]) {
    message(out, tag::BACKEND_KEY_DATA, |out| {
        out.extend_from_slice(&process_id.to_be_bytes());
        out.extend_from_slice(secret);
    });
}

/// NegotiateProtocolVersion: the newest minor version of 3 that is spoken, and the `_pq_.` options that are not known.
/// On the wire the version is whole, as servers send it and libpq reads it: 3 in the upper half.
pub fn negotiate_protocol_version(out: &mut Vec<u8>, minor: u32, unknown: &[&str]) {
    message(out, tag::NEGOTIATE_PROTOCOL_VERSION, |out| {
        out.extend_from_slice(&((3 << 16) | (minor & 0xffff)).to_be_bytes());
        let mut options = Vec::new();
        let count = names(&mut options, unknown);
        out.extend_from_slice(&super::int32(count));
        out.extend_from_slice(&options);
    });
}

/// CommandComplete.
pub fn command_complete(out: &mut Vec<u8>, command: &str) {
    message(out, tag::COMMAND_COMPLETE, |out| string(out, command.as_bytes()));
}

/// EmptyQueryResponse.
pub fn empty_query_response(out: &mut Vec<u8>) {
    message(out, tag::EMPTY_QUERY_RESPONSE, |_| {});
}

/// ParseComplete.
pub fn parse_complete(out: &mut Vec<u8>) {
    message(out, tag::PARSE_COMPLETE, |_| {});
}

/// BindComplete.
pub fn bind_complete(out: &mut Vec<u8>) {
    message(out, tag::BIND_COMPLETE, |_| {});
}

/// CloseComplete.
pub fn close_complete(out: &mut Vec<u8>) {
    message(out, tag::CLOSE_COMPLETE, |_| {});
}

/// NoData.
pub fn no_data(out: &mut Vec<u8>) {
    message(out, tag::NO_DATA, |_| {});
}

/// PortalSuspended.
pub fn portal_suspended(out: &mut Vec<u8>) {
    message(out, tag::PORTAL_SUSPENDED, |_| {});
}

/// ParameterDescription.
pub fn parameter_description(out: &mut Vec<u8>, types: &[u32]) {
    message(out, tag::PARAMETER_DESCRIPTION, |out| {
        out.extend_from_slice(&int16(types.len()));
        types
            .iter()
            .for_each(|oid| out.extend_from_slice(&oid.to_be_bytes()));
    });
}

/// RowDescription.
pub fn row_description(out: &mut Vec<u8>, fields: &[FieldSpec<'_>]) {
    message(out, tag::ROW_DESCRIPTION, |out| {
        out.extend_from_slice(&int16(fields.len()));
        for field in fields {
            string(out, field.name);
            out.extend_from_slice(&field.table_oid.to_be_bytes());
            out.extend_from_slice(&field.attribute.to_be_bytes());
            out.extend_from_slice(&field.type_oid.to_be_bytes());
            out.extend_from_slice(&field.type_size.to_be_bytes());
            out.extend_from_slice(&field.modifier.to_be_bytes());
            out.extend_from_slice(&field.format.to_be_bytes());
        }
    });
}

/// DataRow.
pub fn data_row(out: &mut Vec<u8>, cells: &[Option<&[u8]>]) {
    message(out, tag::DATA_ROW, |out| {
        out.extend_from_slice(&int16(cells.len()));
        cells.iter().for_each(|cell| nullable(out, *cell));
    });
}

/// CopyInResponse, CopyOutResponse or CopyBothResponse, by its tag.
pub fn copy_response(out: &mut Vec<u8>, tag: u8, format: u8, column_formats: &[i16]) {
    message(out, tag, |out| {
        out.push(format);
        out.extend_from_slice(&int16(column_formats.len()));
        column_formats
            .iter()
            .for_each(|format| out.extend_from_slice(&format.to_be_bytes()));
    });
}

/// CopyData.
pub fn copy_data(out: &mut Vec<u8>, data: &[u8]) {
    message(out, tag::COPY_DATA, |out| out.extend_from_slice(data));
}

/// CopyDone.
pub fn copy_done(out: &mut Vec<u8>) {
    message(out, tag::COPY_DONE, |_| {});
}

/// NotificationResponse.
pub fn notification_response(out: &mut Vec<u8>, process_id: u32, channel: &[u8], payload: &[u8]) {
    message(out, tag::NOTIFICATION_RESPONSE, |out| {
        out.extend_from_slice(&process_id.to_be_bytes());
        string(out, channel);
        string(out, payload);
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::postgres::backend::*;
    use crate::postgres::frame::{Limits, Step, step};

    /// The tag and payload of the only frame in `bytes`.
    fn only(bytes: &[u8]) -> (u8, &[u8]) {
        match step(bytes, &Limits::STREAMED) {
            Ok(Step::Frame(frame)) if frame.size.with_tag() == bytes.len() => {
                (frame.tag, frame.payload(bytes))
            }
            other => panic!("not one frame: {other:?}"),
        }
    }

    fn built(build: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        build(&mut out);
        out
    }

    fn cut(text: &str) -> &[u8] {
        until_nul(text.as_bytes())
    }

    #[test]
    fn authentication_reads_back() {
        let read = |bytes: &[u8]| format!("{:?}", Authentication::read(only(bytes).1));
        assert_eq!(read(&built(authentication_ok)), "Ok(Ok)");
        assert_eq!(read(&built(authentication_cleartext)), "Ok(CleartextPassword)");
        assert_eq!(
            read(&built(|out| authentication_md5(out, [1; 4]))),
            "Ok(Md5Password { salt: [1, 1, 1, 1] })"
        );
        assert_eq!(
            read(&built(|out| authentication_sasl_continue(out, &[7]))),
            "Ok(SaslContinue([7]))"
        );
        assert_eq!(
            read(&built(|out| authentication_sasl_final(out, &[8]))),
            "Ok(SaslFinal([8]))"
        );
        let bytes = built(|out| authentication_sasl(out, &["SCRAM-SHA-256-PLUS", "", "SCRAM-SHA-256"]));
        let Ok(Authentication::Sasl { mechanisms }) = Authentication::read(only(&bytes).1) else {
            panic!()
        };
        assert!(mechanisms.eq([&b"SCRAM-SHA-256-PLUS"[..], b"SCRAM-SHA-256"]));
    }

    #[test]
    fn a_scrubbed_error_keeps_its_class_and_loses_its_data() {
        let payload = b"SFEHLER\0VERROR\0C23505\0Mduplicate key\0DKey (ssn)=(123) exists\0tcustomers\0\0";
        let bytes = built(|out| scrub(out, tag::ERROR_RESPONSE, payload, "withheld", &[]).unwrap());
        assert_eq!(
            only(&bytes),
            (
                tag::ERROR_RESPONSE,
                &b"SFEHLER\0VERROR\0C23505\0Mwithheld\0\0"[..]
            )
        );
        let named = |out: &mut Vec<u8>| {
            scrub(
                out,
                tag::ERROR_RESPONSE,
                payload,
                "withheld",
                &[(b't', b"customers"), (0, b"x")],
            )
        };
        let bytes = built(|out| named(out).unwrap());
        assert!(only(&bytes).1.ends_with(b"Mwithheld\0tcustomers\0\0"));
        let bytes = built(|out| scrub(out, tag::NOTICE_RESPONSE, b"C12-45\0M\0\0", "x", &[]).unwrap());
        assert_eq!(only(&bytes), (tag::NOTICE_RESPONSE, &b"CXX000\0Mx\0\0"[..]));
        let mut out = b"before".to_vec();
        assert!(scrub(&mut out, tag::ERROR_RESPONSE, b"Mopen", "x", &[]).is_err());
        assert_eq!(out, b"before");
    }

    #[test]
    fn a_version_is_negotiated_as_libpq_reads_it() {
        let bytes = built(|out| negotiate_protocol_version(out, 0, &["_pq_.a", "_pq_.b"]));
        assert_eq!(only(&bytes).1, b"\0\x03\0\0\0\0\0\x02_pq_.a\0_pq_.b\0");
    }

    #[test]
    fn messages_without_payload_are_headers() {
        for (build, tag) in [
            (
                empty_query_response as fn(&mut Vec<u8>),
                tag::EMPTY_QUERY_RESPONSE,
            ),
            (parse_complete, tag::PARSE_COMPLETE),
            (bind_complete, tag::BIND_COMPLETE),
            (close_complete, tag::CLOSE_COMPLETE),
            (no_data, tag::NO_DATA),
            (portal_suspended, tag::PORTAL_SUSPENDED),
            (copy_done, tag::COPY_DONE),
        ] {
            assert_eq!(only(&built(build)), (tag, &b""[..]));
        }
    }

    #[test]
    fn the_rest_reads_back() {
        let bytes = built(|out| backend_key_data(out, 7, b"abcd"));
        assert_eq!(
            BackendKeyData::read(only(&bytes).1),
            Ok(BackendKeyData {
                process_id: 7,
                secret: b"abcd"
            })
        );
        let bytes = built(|out| ready_for_query(out, TransactionStatus::Failed));
        assert_eq!(ReadyForQuery::read(only(&bytes).1), Ok(TransactionStatus::Failed));
        let bytes = built(|out| parameter_description(out, &[23, 25]));
        assert!(
            ParameterDescription::read(only(&bytes).1)
                .unwrap()
                .types
                .eq([23, 25])
        );
        let bytes = built(|out| copy_response(out, tag::COPY_OUT_RESPONSE, 1, &[1, 1]));
        assert!(
            CopyResponse::read(only(&bytes).1)
                .unwrap()
                .column_formats
                .eq([1, 1])
        );
        let bytes = built(|out| notification_response(out, 3, b"c", b"p"));
        let notification = NotificationResponse {
            process_id: 3,
            channel: b"c",
            payload: b"p",
        };
        assert_eq!(NotificationResponse::read(only(&bytes).1), Ok(notification));
        assert_eq!(
            only(&built(|out| copy_data(out, b"1\t2\n"))),
            (tag::COPY_DATA, &b"1\t2\n"[..])
        );
    }

    proptest! {
        #[test]
        fn reports_read_back_whatever_their_text(text: String, detail: Option<String>, hint: Option<String>) {
            let (some_detail, some_hint) = (detail.as_deref(), hint.as_deref());
            let bytes = built(|out| error_response(out, "ERROR", b"42501", &text, some_detail, some_hint));
            let fields = ErrorFields::read(only(&bytes).1).unwrap();
            prop_assert_eq!(fields.sqlstate(), Some(*b"42501"));
            prop_assert_eq!(fields.message(), cut(&text));
            prop_assert_eq!(fields.get(b'D'), some_detail.map(cut));
            prop_assert_eq!(fields.get(b'H'), some_hint.map(cut));
        }

        #[test]
        fn strings_read_back_up_to_their_nul(name in "[a\0]{0,4}", value in "[b\0]{0,4}") {
            let bytes = built(|out| parameter_status(out, &name, &value));
            let expected = ParameterStatus { name: cut(&name), value: cut(&value) };
            prop_assert_eq!(ParameterStatus::read(only(&bytes).1), Ok(expected));
            let bytes = built(|out| command_complete(out, &value));
            prop_assert_eq!(CommandComplete::read(only(&bytes).1).map(|read| read.tag), Ok(cut(&value)));
        }

        #[test]
        fn descriptions_read_back(names in proptest::collection::vec("[a-z]{0,5}", 0..9), oid: u32, number: i16) {
            let fields: Vec<_> = names
                .iter()
                .map(|name| FieldSpec {
                    name: name.as_bytes(),
                    table_oid: oid,
                    attribute: number,
                    type_oid: !oid,
                    type_size: !number,
                    modifier: -1,
                    format: 1,
                })
                .collect();
            let bytes = built(|out| row_description(out, &fields));
            let description = RowDescription::read(only(&bytes).1).unwrap();
            prop_assert_eq!(usize::from(description.count()), fields.len());
            prop_assert_eq!(description.fields().collect::<Vec<_>>(), fields);
        }
    }
}
