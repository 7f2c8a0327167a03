//! A cursor over one payload: every field is taken by name, so that an error can say where it stands.

use std::ffi::CStr;

use super::error::PostgresError;

/// What is left of a payload.
pub(super) struct Reader<'a> {
    message: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn new(message: &'static str, payload: &'a [u8]) -> Self {
        Self {
            message,
            rest: payload,
        }
    }

    pub(super) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    fn chunk<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], PostgresError> {
        let Some((chunk, rest)) = self.rest.split_first_chunk() else {
            return Err(self.truncated(field));
        };
        self.rest = rest;
        Ok(*chunk)
    }

    pub(super) fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], PostgresError> {
        self.chunk(field)
    }

    pub(super) fn u8(&mut self, field: &'static str) -> Result<u8, PostgresError> {
        Ok(u8::from_be_bytes(self.chunk(field)?))
    }

    pub(super) fn u16(&mut self, field: &'static str) -> Result<u16, PostgresError> {
        Ok(u16::from_be_bytes(self.chunk(field)?))
    }

    pub(super) fn i16(&mut self, field: &'static str) -> Result<i16, PostgresError> {
        Ok(i16::from_be_bytes(self.chunk(field)?))
    }

    pub(super) fn u32(&mut self, field: &'static str) -> Result<u32, PostgresError> {
        Ok(u32::from_be_bytes(self.chunk(field)?))
    }

    pub(super) fn i32(&mut self, field: &'static str) -> Result<i32, PostgresError> {
        Ok(i32::from_be_bytes(self.chunk(field)?))
    }

    pub(super) fn bytes(&mut self, field: &'static str, count: usize) -> Result<&'a [u8], PostgresError> {
        let Some((taken, rest)) = self.rest.split_at_checked(count) else {
            return Err(self.truncated(field));
        };
        self.rest = rest;
        Ok(taken)
    }

    /// A NUL-terminated string, without its terminator.
    pub(super) fn string(&mut self, field: &'static str) -> Result<&'a [u8], PostgresError> {
        let Ok(string) = CStr::from_bytes_until_nul(self.rest) else {
            return Err(PostgresError::Unterminated {
                message: self.message,
                field,
            });
        };
        let string = string.to_bytes();
        self.rest = &self.rest[string.len() + 1..];
        Ok(string)
    }

    /// A size that may be -1, for NULL, and then its bytes.
    pub(super) fn nullable(&mut self, field: &'static str) -> Result<Option<&'a [u8]>, PostgresError> {
        match self.i32(field)? {
            -1 => Ok(None),
            size => {
                let size = usize::try_from(size).map_err(|_| self.invalid(field))?;
                self.bytes(field, size).map(Some)
            }
        }
    }

    /// A count of 16 bits and that many items of `width` bytes each.
    pub(super) fn counted(&mut self, field: &'static str, width: usize) -> Result<&'a [u8], PostgresError> {
        let count = usize::from(self.u16(field)?);
        self.bytes(field, count * width)
    }

    pub(super) fn end(&self) -> Result<(), PostgresError> {
        match self.rest.len() {
            0 => Ok(()),
            bytes => Err(PostgresError::Trailing {
                message: self.message,
                bytes,
            }),
        }
    }

    pub(super) fn truncated(&self, field: &'static str) -> PostgresError {
        PostgresError::Truncated {
            message: self.message,
            field,
        }
    }

    pub(super) fn invalid(&self, field: &'static str) -> PostgresError {
        PostgresError::Invalid {
            message: self.message,
            field,
        }
    }
}

/// Numbers of 16 bits, one after the other: format codes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Int16s<'a>(pub(super) &'a [u8]);

impl Int16s<'_> {
    /// How many are left.
    pub fn count_left(&self) -> usize {
        self.0.len() / 2
    }
}

impl Iterator for Int16s<'_> {
    type Item = i16;

    fn next(&mut self) -> Option<i16> {
        let (item, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(i16::from_be_bytes(*item))
    }
}

/// Numbers of 32 bits, one after the other: type OIDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oids<'a>(pub(super) &'a [u8]);

impl Oids<'_> {
    /// How many are left.
    pub fn count_left(&self) -> usize {
        self.0.len() / 4
    }
}

impl Iterator for Oids<'_> {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        let (item, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_be_bytes(*item))
    }
}
