//! Messages to the server.
//!
//! Source: PostgreSQL manual, "Message Formats", the messages marked (F).

use super::{int16, message, nullable, sized, string, until_nul};
use crate::postgres::frontend::{Kind, tag};
use crate::postgres::startup::{CANCEL_REQUEST, SSL_REQUEST, VERSION_3_0};

/// StartupMessage, protocol 3.0. A parameter without a name would end the list and is left out.
pub fn startup<'a>(out: &mut Vec<u8>, parameters: impl Iterator<Item = (&'a str, &'a str)>) {
    startup_minor(out, 0, parameters);
}

/// StartupMessage of a minor version of protocol 3.
pub fn startup_minor<'a>(
    out: &mut Vec<u8>,
    minor: u16,
    parameters: impl Iterator<Item = (&'a str, &'a str)>,
) {
    sized(out, |out| {
        out.extend_from_slice(&(VERSION_3_0 | u32::from(minor)).to_be_bytes());
        for (name, value) in parameters {
            if !until_nul(name.as_bytes()).is_empty() {
                string(out, name.as_bytes());
                string(out, value.as_bytes());
            }
        }
        out.push(0);
    });
}

/// SSLRequest.
pub fn ssl_request(out: &mut Vec<u8>) {
    sized(out, |out| out.extend_from_slice(&SSL_REQUEST.to_be_bytes()));
}

/// CancelRequest.
pub fn cancel_request(out: &mut Vec<u8>, process_id: u32, secret: &[u8]) {
    sized(out, |out| {
        out.extend_from_slice(&CANCEL_REQUEST.to_be_bytes());
        out.extend_from_slice(&process_id.to_be_bytes());
        out.extend_from_slice(secret);
    });
}

/// PasswordMessage.
pub fn password(out: &mut Vec<u8>, password: &[u8]) {
    message(out, tag::PASSWORD, |out| string(out, password));
}

/// SASLInitialResponse.
pub fn sasl_initial(out: &mut Vec<u8>, mechanism: &str, data: &[u8]) {
    message(out, tag::PASSWORD, |out| {
        string(out, mechanism.as_bytes());
        nullable(out, Some(data));
    });
}

/// SASLResponse.
pub fn sasl_response(out: &mut Vec<u8>, data: &[u8]) {
    message(out, tag::PASSWORD, |out| out.extend_from_slice(data));
}

/// Query.
pub fn query(out: &mut Vec<u8>, text: &[u8]) {
    message(out, tag::QUERY, |out| string(out, text));
}

/// Parse, every parameter type left open.
pub fn parse(out: &mut Vec<u8>, name: &[u8], text: &[u8]) {
    parse_typed(out, name, text, &[]);
}

/// Parse with parameter types.
pub fn parse_typed(out: &mut Vec<u8>, name: &[u8], text: &[u8], parameter_types: &[u32]) {
    message(out, tag::PARSE, |out| {
        string(out, name);
        string(out, text);
        out.extend_from_slice(&int16(parameter_types.len()));
        parameter_types
            .iter()
            .for_each(|oid| out.extend_from_slice(&oid.to_be_bytes()));
    });
}

/// Bind, parameters and result as text.
pub fn bind(out: &mut Vec<u8>, portal: &[u8], statement: &[u8], parameters: &[Option<&[u8]>]) {
    bind_formatted(out, portal, statement, &[], parameters, &[]);
}

/// Bind with formats.
pub fn bind_formatted(
    out: &mut Vec<u8>,
    portal: &[u8],
    statement: &[u8],
    parameter_formats: &[i16],
    parameters: &[Option<&[u8]>],
    result_formats: &[i16],
) {
    message(out, tag::BIND, |out| {
        string(out, portal);
        string(out, statement);
        formats(out, parameter_formats);
        out.extend_from_slice(&int16(parameters.len()));
        parameters.iter().for_each(|parameter| nullable(out, *parameter));
        formats(out, result_formats);
    });
}

/// FunctionCall.
pub fn function_call(
    out: &mut Vec<u8>,
    function: u32,
    argument_formats: &[i16],
    arguments: &[Option<&[u8]>],
    result_format: i16,
) {
    message(out, tag::FUNCTION_CALL, |out| {
        out.extend_from_slice(&function.to_be_bytes());
        formats(out, argument_formats);
        out.extend_from_slice(&int16(arguments.len()));
        arguments.iter().for_each(|argument| nullable(out, *argument));
        out.extend_from_slice(&result_format.to_be_bytes());
    });
}

fn formats(out: &mut Vec<u8>, formats: &[i16]) {
    out.extend_from_slice(&int16(formats.len()));
    formats
        .iter()
        .for_each(|format| out.extend_from_slice(&format.to_be_bytes()));
}

fn named(out: &mut Vec<u8>, tag: u8, kind: Kind, name: &[u8]) {
    message(out, tag, |out| {
        out.push(kind.byte());
        string(out, name);
    });
}

/// Describe of a portal.
pub fn describe_portal(out: &mut Vec<u8>, name: &[u8]) {
    named(out, tag::DESCRIBE, Kind::Portal, name);
}

/// Describe of a prepared statement.
pub fn describe_statement(out: &mut Vec<u8>, name: &[u8]) {
    named(out, tag::DESCRIBE, Kind::Statement, name);
}

/// Execute; no rows at most means all.
pub fn execute(out: &mut Vec<u8>, portal: &[u8], rows_max: i32) {
    message(out, tag::EXECUTE, |out| {
        string(out, portal);
        out.extend_from_slice(&rows_max.to_be_bytes());
    });
}

/// Close of a prepared statement or a portal.
pub fn close(out: &mut Vec<u8>, kind: Kind, name: &[u8]) {
    named(out, tag::CLOSE, kind, name);
}

/// Sync.
pub fn sync(out: &mut Vec<u8>) {
    message(out, tag::SYNC, |_| {});
}

/// Flush.
pub fn flush(out: &mut Vec<u8>) {
    message(out, tag::FLUSH, |_| {});
}

/// Terminate.
pub fn terminate(out: &mut Vec<u8>) {
    message(out, tag::TERMINATE, |_| {});
}

/// CopyData.
pub fn copy_data(out: &mut Vec<u8>, data: &[u8]) {
    message(out, tag::COPY_DATA, |out| out.extend_from_slice(data));
}

/// CopyDone.
pub fn copy_done(out: &mut Vec<u8>) {
    message(out, tag::COPY_DONE, |_| {});
}

/// CopyFail.
pub fn copy_fail(out: &mut Vec<u8>, reason: &[u8]) {
    message(out, tag::COPY_FAIL, |out| string(out, reason));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::postgres::frame::{Limits, Step, step};
    use crate::postgres::frontend::{self, Message, SaslInitial};

    /// Builds one message, checks its frame, and hands what it reads as to `check`.
    fn check(build: impl FnOnce(&mut Vec<u8>), check: impl FnOnce(Message<'_>) -> bool) {
        let mut bytes = b"earlier".to_vec();
        build(&mut bytes);
        let bytes = &bytes[7..];
        let Ok(Step::Frame(frame)) = step(bytes, &Limits::STREAMED) else {
            panic!("no frame")
        };
        assert_eq!(frame.whole(bytes), bytes);
        assert!(
            check(Message::read(frame.tag, frame.payload(bytes)).unwrap()),
            "{bytes:?}"
        );
    }

    #[test]
    fn messages_read_back() {
        check(sync, |read| read == Message::Sync);
        check(flush, |read| read == Message::Flush);
        check(terminate, |read| read == Message::Terminate);
        check(copy_done, |read| read == Message::CopyDone);
        check(
            |out| copy_data(out, b"a\0b"),
            |read| read == Message::CopyData(b"a\0b"),
        );
        check(
            |out| copy_fail(out, b"no"),
            |read| read == Message::CopyFail { message: b"no" },
        );
        check(
            |out| execute(out, b"p", -1),
            |read| {
                read == Message::Execute {
                    portal: b"p",
                    rows_max: -1,
                }
            },
        );
        for kind in [Kind::Statement, Kind::Portal] {
            check(
                |out| close(out, kind, b"n"),
                |read| read == Message::Close { kind, name: b"n" },
            );
        }
        check(
            |out| describe_portal(out, b""),
            |read| {
                read == Message::Describe {
                    kind: Kind::Portal,
                    name: b"",
                }
            },
        );
        check(
            |out| describe_statement(out, b"s"),
            |read| {
                read == Message::Describe {
                    kind: Kind::Statement,
                    name: b"s",
                }
            },
        );
    }

    #[test]
    fn passwords_and_sasl_read_back() {
        check(
            |out| password(out, b"secret"),
            |read| matches!(read, Message::Password(payload) if frontend::password(payload) == Ok(b"secret")),
        );
        check(
            |out| sasl_initial(out, "SCRAM-SHA-256", b"n,,"),
            |read| {
                let expected = SaslInitial {
                    mechanism: b"SCRAM-SHA-256",
                    data: Some(b"n,,"),
                };
                matches!(read, Message::Password(payload)
                    if SaslInitial::read(payload).is_ok_and(|initial| initial == expected))
            },
        );
        check(
            |out| sasl_response(out, b"c="),
            |read| read == Message::Password(b"c="),
        );
    }

    proptest! {
        #[test]
        fn texts_are_cut_at_their_nul(name in "[a\0]{0,4}", text in "[b\0]{0,6}", types: Vec<u32>) {
            check(
                |out| query(out, text.as_bytes()),
                |read| read == Message::Query { text: until_nul(text.as_bytes()) },
            );
            check(|out| parse_typed(out, name.as_bytes(), text.as_bytes(), &types), |read| {
                let Message::Parse { name: read_name, text: read_text, parameter_types } = read else { return false };
                read_name == until_nul(name.as_bytes())
                    && read_text == until_nul(text.as_bytes())
                    && parameter_types.eq(types.iter().copied())
            });
        }

        #[test]
        fn function_calls_read_back(
            number: u32,
            values: Vec<Option<Vec<u8>>>,
            inward: Vec<i16>,
            outward: i16,
        ) {
            let values: Vec<Option<&[u8]>> = values.iter().map(Option::as_deref).collect();
            check(|out| function_call(out, number, &inward, &values, outward), |read| {
                let Message::FunctionCall { function, argument_formats, arguments, result_format } = read else {
                    return false;
                };
                function == number
                    && argument_formats.eq(inward.iter().copied())
                    && arguments.eq(values.iter().copied())
                    && result_format == outward
            });
        }

        #[test]
        fn binds_read_back(values: Vec<Option<Vec<u8>>>, inward: Vec<i16>, outward: Vec<i16>) {
            let values: Vec<Option<&[u8]>> = values.iter().map(Option::as_deref).collect();
            check(|out| bind_formatted(out, b"p", b"s", &inward, &values, &outward), |read| {
                let Message::Bind { portal, statement, parameter_formats, parameters, result_formats } = read else {
                    return false;
                };
                portal == b"p"
                    && statement == b"s"
                    && parameter_formats.eq(inward.iter().copied())
                    && parameters.eq(values.iter().copied())
                    && result_formats.eq(outward.iter().copied())
            });
        }
    }
}
