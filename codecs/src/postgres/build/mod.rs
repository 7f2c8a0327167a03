//! Appends whole messages to a buffer.
//!
//! What is given is never trusted to be well-formed: a string is cut at its first NUL, so that no text can end a
//! field early and smuggle in another.

pub mod backend;
pub mod frontend;

/// Appends tag, size and what `body` writes.
fn message(out: &mut Vec<u8>, tag: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    sized(out, body);
}

/// Appends a size and what `body` writes; the size counts itself.
fn sized(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    body(out);
    let size = int32(out.len() - at);
    out[at..at + 4].copy_from_slice(&size);
}

/// A size or count as Int32. What is built here is linegate's own and far below 2 GiB.
fn int32(size: usize) -> [u8; 4] {
    let size = i32::try_from(size).ok();
    assert!(size.is_some(), "a built message is smaller than 2 GiB");
    size.unwrap_or_default().to_be_bytes()
}

/// A count as Int16, which the protocol reads without a sign.
fn int16(count: usize) -> [u8; 2] {
    let count = u16::try_from(count).ok();
    assert!(count.is_some(), "a built message has at most 65535 items");
    count.unwrap_or_default().to_be_bytes()
}

/// Text up to its first NUL, and a terminator.
fn string(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(until_nul(text));
    out.push(0);
}

/// A value that may be NULL, with its size before it.
fn nullable(out: &mut Vec<u8>, value: Option<&[u8]>) {
    match value {
        None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
        Some(value) => {
            out.extend_from_slice(&int32(value.len()));
            out.extend_from_slice(value);
        }
    }
}

fn until_nul(text: &[u8]) -> &[u8] {
    text.split(|byte| *byte == 0).next().unwrap_or_default()
}
