//! What a server may send: every message is read or refused without a panic, and its lists end where its bytes do.

use codecs::postgres::backend::{
    Authentication, BackendKeyData, CommandComplete, CopyResponse, ErrorFields, FunctionCallResponse,
    NotificationResponse, ParameterDescription, ParameterStatus, ReadyForQuery, RowDescription, tag,
};
use codecs::postgres::{Limits, Step, frame};

/// Reads `data` as a server's byte stream.
pub fn check(data: &[u8]) {
    let limits = Limits {
        frame_bytes_max: 1 << 20,
    };
    let mut at = 0;
    while let Ok(Step::Frame(found)) = frame::step(&data[at..], &limits) {
        let payload = found.payload(&data[at..]);
        message(found.tag, payload);
        at += found.size.with_tag();
        assert!(at <= data.len());
    }
}

fn message(kind: u8, payload: &[u8]) {
    match kind {
        tag::ROW_DESCRIPTION => {
            if let Ok(row) = RowDescription::read(payload) {
                assert_eq!(row.fields().count(), usize::from(row.count()));
                assert!(row.fields().all(|field| field.name.len() < payload.len()));
            }
        }
        tag::PARAMETER_DESCRIPTION => {
            if let Ok(described) = ParameterDescription::read(payload) {
                assert_eq!(described.types.clone().count(), described.types.count_left());
            }
        }
        tag::ERROR_RESPONSE | tag::NOTICE_RESPONSE => {
            if let Ok(fields) = ErrorFields::read(payload) {
                let _ = (fields.sqlstate(), fields.get(b'D'));
                assert!(fields.message().len() <= payload.len());
            }
        }
        tag::READY_FOR_QUERY => {
            if let Ok(status) = ReadyForQuery::read(payload) {
                assert_eq!([status.byte()], payload);
            }
        }
        tag::PARAMETER_STATUS => {
            if let Ok(status) = ParameterStatus::read(payload) {
                assert_eq!(status.name.len() + status.value.len() + 2, payload.len());
            }
        }
        tag::BACKEND_KEY_DATA => {
            if let Ok(key) = BackendKeyData::read(payload) {
                assert_eq!(key.secret.len() + 4, payload.len());
            }
        }
        tag::AUTHENTICATION => {
            if let Ok(Authentication::Sasl { mechanisms }) = Authentication::read(payload) {
                assert!(mechanisms.map(<[u8]>::len).sum::<usize>() < payload.len());
            }
        }
        tag::COMMAND_COMPLETE => {
            if let Ok(complete) = CommandComplete::read(payload) {
                let digits = complete.tag.iter().any(u8::is_ascii_digit);
                assert!(complete.rows().is_none() || digits);
            }
        }
        tag::COPY_IN_RESPONSE | tag::COPY_OUT_RESPONSE | tag::COPY_BOTH_RESPONSE => {
            if let Ok(copy) = CopyResponse::read(payload) {
                assert_eq!(
                    copy.column_formats.clone().count(),
                    copy.column_formats.count_left()
                );
            }
        }
        tag::FUNCTION_CALL_RESPONSE => {
            if let Ok(response) = FunctionCallResponse::read(payload) {
                assert!(
                    response
                        .value
                        .is_none_or(|value| value.len() + 4 == payload.len())
                );
            }
        }
        tag::NOTIFICATION_RESPONSE => {
            if let Ok(told) = NotificationResponse::read(payload) {
                assert_eq!(told.channel.len() + told.payload.len() + 6, payload.len());
            }
        }
        _ => {}
    }
}
