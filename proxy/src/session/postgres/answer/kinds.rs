//! What kind a message is of, and whether it has that kind's shape: what masks rows knows nothing of others.
//!
//! Rows of a result and rows of COPY do not mix, since a plan is made for one of them; and nothing that is passed unread has
//! room for a value. Source: PostgreSQL manual, "Message Formats".

use codecs::postgres::backend::tag;
use codecs::postgres::rows::Hop;

use super::Flow;
use crate::session::postgres::Ended;

/// No server's command tag is longer.
const COMMAND_TAG_BYTES_MAX: usize = 64;

impl Flow {
    /// Whether a message that is passed as it is holds what its kind holds, and nothing else.
    pub(super) fn has_shape(&self, message: u8, payload: &[u8]) -> Result<(), Ended> {
        if message == tag::COPY_IN_RESPONSE && self.muted {
            // The server waits for data, and the client, which was told of an error, for the end of its text.
            let why = "a COPY FROM STDIN stands behind a refused result";
            return Err(Ended {
                why: why.into(),
                say: Some((*b"0A000", why.into())),
            });
        }
        let is_good = match message {
            tag::PARSE_COMPLETE
            | tag::BIND_COMPLETE
            | tag::CLOSE_COMPLETE
            | tag::NO_DATA
            | tag::PORTAL_SUSPENDED
            | tag::EMPTY_QUERY_RESPONSE
            | tag::COPY_DONE => payload.is_empty(),
            tag::COMMAND_COMPLETE => is_command_tag(payload) || !self.is_masked(),
            tag::COPY_IN_RESPONSE | tag::COPY_OUT_RESPONSE | tag::COPY_BOTH_RESPONSE => {
                is_copy_shape(payload)
            }
            tag::PARAMETER_DESCRIPTION => is_list_of(4, payload),
            _ => true,
        };
        if is_good {
            return Ok(());
        }
        self.session.core.counters.server_faults.one();
        Err(Ended {
            why: format!(
                "the server broke the protocol in a message {:?}",
                char::from(message)
            ),
            say: Some((*b"08P01", "the server broke the protocol".into())),
        })
    }

    /// Whether a row that begins with `first` is of the kind that the result has.
    pub(super) fn is_of_kind(&self, first: u8) -> Result<(), Ended> {
        match (first, self.result.is_copy) {
            (tag::DATA_ROW, true) | (tag::COPY_DATA, false) => Err(self.out_of_turn(first)),
            _ => Ok(()),
        }
    }

    /// The same of all rows that were passed at once.
    pub(super) fn are_of_kind(&self, hop: &Hop) -> Result<(), Ended> {
        match self.result.is_copy {
            true if hop.rows > 0 => Err(self.out_of_turn(tag::DATA_ROW)),
            false if hop.copy_rows > 0 => Err(self.out_of_turn(tag::COPY_DATA)),
            _ => Ok(()),
        }
    }
}

/// CommandComplete: words and numbers, then a zero.
fn is_command_tag(payload: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b" _.?".contains(byte);
    let Some((0, text)) = payload.split_last() else {
        return false;
    };
    text.len() <= COMMAND_TAG_BYTES_MAX && text.iter().all(is_plain)
}

/// CopyInResponse and its like: format i8, columns i16, a format i16 for each.
fn is_copy_shape(payload: &[u8]) -> bool {
    let Some((0 | 1, columns)) = payload.split_first() else {
        return false;
    };
    is_list_of(2, columns) && columns[2..].chunks(2).all(|format| matches!(format, [0, 0 | 1]))
}

/// A count i16, and so many items of `bytes`.
fn is_list_of(bytes: usize, payload: &[u8]) -> bool {
    let Some((&[high, low], items)) = payload.split_first_chunk() else {
        return false;
    };
    items.len() == usize::from(u16::from_be_bytes([high, low])) * bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_tag_has_no_room_for_a_value() {
        for good in ["SELECT 3", "INSERT 0 1", "CREATE TABLE", "???", ""] {
            assert!(is_command_tag(&[good.as_bytes(), &[0]].concat()), "{good}");
        }
        for bad in [
            &b"SELECT 3"[..],
            b"SELECT 3\0more\0",
            b"SELECT 536-90-4399\0",
            b"\0\x01\0\0\0\x01x\0",
            b"",
        ] {
            assert!(!is_command_tag(bad), "{}", bad.escape_ascii());
        }
        assert!(!is_command_tag(&[&[b'A'; 65][..], &[0]].concat()));
    }

    #[test]
    fn lists_are_as_long_as_they_say() {
        assert!(is_copy_shape(&[0, 0, 2, 0, 0, 0, 1]) && is_copy_shape(&[1, 0, 0]));
        assert!(
            !is_copy_shape(&[0, 0, 2, 0, 0])
                && !is_copy_shape(&[2, 0, 0])
                && !is_copy_shape(&[0, 0, 1, 0, 7])
        );
        assert!(is_list_of(4, &[0, 1, 0, 0, 0, 23]) && !is_list_of(4, &[0, 1, 0]) && !is_list_of(4, &[0]));
    }
}
