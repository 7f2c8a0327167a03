//! What a client may send: frames are cut off at the right place, and every message is read or refused without a panic.

use codecs::postgres::frontend::{Message, SaslInitial, password};
use codecs::postgres::{Limits, Step, frame};

/// Reads `data` as a client's byte stream.
pub fn check(data: &[u8]) {
    let limits = Limits {
        frame_bytes_max: 1 << 20,
    };
    let mut at = 0;
    while at < data.len() {
        match frame::step(&data[at..], &limits) {
            Ok(Step::Frame(found)) => {
                let whole = found.whole(&data[at..]);
                assert_eq!(whole.len(), found.size.with_tag());
                let payload = found.payload(&data[at..]);
                assert_eq!(payload.len() + 5, whole.len());
                if let Ok(message) = Message::read(found.tag, payload) {
                    assert!(!message.kind().is_empty());
                    drain(&message);
                }
                let _ = password(payload);
                if let Ok(initial) = SaslInitial::read(payload) {
                    assert!(initial.data.is_none_or(|data| data.len() <= payload.len()));
                }
                at += whole.len();
            }
            Ok(Step::Need { bytes }) => {
                assert!(bytes > data.len() - at, "it needs what is there");
                assert!(bytes <= 1 + limits.frame_bytes_max as usize);
                break;
            }
            Err(error) => {
                assert!(!error.to_string().is_empty() && !error.public().1.is_empty());
                break;
            }
        }
    }
}

/// Every list in a message yields as many items as it says.
fn drain(message: &Message<'_>) {
    match message {
        Message::Parse { parameter_types, .. } => {
            assert_eq!(parameter_types.clone().count(), parameter_types.count_left());
        }
        Message::FunctionCall {
            arguments,
            argument_formats,
            ..
        } => {
            assert!(arguments.clone().flatten().map(<[u8]>::len).sum::<usize>() <= 1 << 20);
            assert_eq!(argument_formats.clone().count(), argument_formats.count_left());
        }
        Message::Bind {
            parameters,
            parameter_formats,
            result_formats,
            ..
        } => {
            let bytes: usize = parameters.clone().flatten().map(<[u8]>::len).sum();
            assert!(bytes <= 1 << 20);
            assert_eq!(parameter_formats.clone().count(), parameter_formats.count_left());
            assert_eq!(result_formats.clone().count(), result_formats.count_left());
        }
        _ => {}
    }
}
