//! One frame: the header that every message but the first packet has.
//!
//! Source: PostgreSQL manual, "Protocol Overview", "Message Formats".
//! Shape, big-endian: tag u8 | size i32, counting itself but not the tag | payload.
//! `step` is for messages that must be seen whole; `header` is for those that are passed on by count.

use super::error::PostgresError;

/// Bytes of tag and size together.
pub const HEADER_BYTES: usize = 5;

/// The largest number that the size on the wire, an Int32, can hold.
const SIZE_MAX: u32 = i32::MAX as u32;

/// What a peer may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest size of one frame, counting itself but not the tag.
    pub frame_bytes_max: u32,
}

impl Limits {
    /// No limit but the wire's own: for frames that are passed on in pieces and never held whole.
    pub const STREAMED: Self = Self {
        frame_bytes_max: SIZE_MAX,
    };
}

/// A size that was checked against the limits: memory may be reserved from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameSize(u32);

impl FrameSize {
    /// Checks a size from the wire.
    pub fn checked(declared: u32, limits: &Limits) -> Result<Self, PostgresError> {
        let max = limits.frame_bytes_max.min(SIZE_MAX);
        match declared {
            0..4 => Err(PostgresError::FrameTooShort { declared }), // the size counts its own four bytes
            _ if declared <= max => Ok(Self(declared)),
            _ => Err(PostgresError::FrameTooLong { declared, max }),
        }
    }

    /// Bytes of the whole frame.
    pub fn with_tag(self) -> usize {
        self.0 as usize + 1
    }

    /// Bytes after the header.
    pub fn payload(self) -> u32 {
        self.0 - 4
    }
}

/// A frame at the start of the bytes that `step` or `header` was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// The kind of message; its meaning depends on the side.
    pub tag: u8,
    /// Its checked size.
    pub size: FrameSize,
}

impl Frame {
    /// The payload, from the same bytes that `step` was given.
    ///
    /// # Panics
    /// When `bytes` holds less than the whole frame, which `step` excludes.
    pub fn payload<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[HEADER_BYTES..self.size.with_tag()]
    }

    /// Header and payload, from the same bytes that `step` was given.
    ///
    /// # Panics
    /// When `bytes` holds less than the whole frame, which `step` excludes.
    pub fn whole<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        &bytes[..self.size.with_tag()]
    }
}

/// What the bytes hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Not enough yet.
    Need {
        /// Bytes in all, from the start of the frame, before another try can get further.
        bytes: usize,
    },
    /// A whole frame.
    Frame(Frame),
}

/// Looks for one whole frame at the start of the bytes.
pub fn step(bytes: &[u8], limits: &Limits) -> Result<Step, PostgresError> {
    let Some(frame) = header(bytes, limits)? else {
        return Ok(Step::Need { bytes: HEADER_BYTES });
    };
    let whole = frame.size.with_tag();
    Ok(if bytes.len() < whole {
        Step::Need { bytes: whole }
    } else {
        Step::Frame(frame)
    })
}

/// Reads a header alone; `None` when fewer than [`HEADER_BYTES`] are there.
pub fn header(bytes: &[u8], limits: &Limits) -> Result<Option<Frame>, PostgresError> {
    let Some(&[tag, a, b, c, d]) = bytes.first_chunk() else {
        return Ok(None);
    };
    let size = FrameSize::checked(u32::from_be_bytes([a, b, c, d]), limits)?;
    Ok(Some(Frame { tag, size }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits { frame_bytes_max: 64 };

    #[test]
    fn a_cut_frame_says_what_it_needs() {
        let bytes = b"Q\0\0\0\x0dSELECT 1\0rest";
        let whole = 14;
        for cut in 0..bytes.len() {
            let expected = match cut {
                0..HEADER_BYTES => Step::Need { bytes: HEADER_BYTES },
                _ if cut < whole => Step::Need { bytes: whole },
                _ => Step::Frame(Frame {
                    tag: b'Q',
                    size: FrameSize(13),
                }),
            };
            assert_eq!(step(&bytes[..cut], &LIMITS), Ok(expected), "cut at byte {cut}");
        }
        let Ok(Step::Frame(frame)) = step(bytes, &LIMITS) else {
            panic!("whole")
        };
        assert_eq!(frame.payload(bytes), b"SELECT 1\0");
        assert_eq!(frame.whole(bytes), &bytes[..whole]);
    }

    #[test]
    fn sizes_are_bounded_before_the_payload_arrives() {
        assert_eq!(
            step(b"Q\0\0\0\x03", &LIMITS),
            Err(PostgresError::FrameTooShort { declared: 3 })
        );
        assert_eq!(
            step(b"Q\0\0\0\x41", &LIMITS),
            Err(PostgresError::FrameTooLong {
                declared: 65,
                max: 64
            })
        );
        assert!(matches!(
            step(b"Q\0\0\0\x40", &LIMITS),
            Ok(Step::Need { bytes: 65 })
        ));
        let unlimited = Limits {
            frame_bytes_max: u32::MAX,
        };
        assert!(matches!(
            step(b"Q\x80\0\0\0", &unlimited),
            Err(PostgresError::FrameTooLong { .. })
        ));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            if let Ok(Step::Frame(frame)) = step(&bytes, &LIMITS) {
                prop_assert_eq!(frame.payload(&bytes).len() + HEADER_BYTES, frame.whole(&bytes).len());
            }
        }
    }
}
