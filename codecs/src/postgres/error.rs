//! What can be wrong with bytes that claim to be the PostgreSQL protocol.
//!
//! No variant carries payload bytes: only tags, sizes, counts and the manual's own names. Which side sent the bytes is
//! known to whoever read them, so the fault is theirs to assign.

use std::fmt;

/// Bytes that break the protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PostgresError {
    /// The size of a frame is smaller than what its kind needs at least.
    FrameTooShort {
        /// The size on the wire, counting itself.
        declared: u32,
    },
    /// The size of a frame is larger than the limit.
    FrameTooLong {
        /// The size on the wire, counting itself.
        declared: u32,
        /// The limit.
        max: u32,
    },
    /// A slice that should be exactly one frame is not.
    FrameNotWhole {
        /// Bytes that the header declares, the tag included.
        declared: usize,
        /// Bytes that were given.
        given: usize,
    },
    /// No message has this tag on this side.
    UnknownTag {
        /// The tag.
        tag: u8,
    },
    /// The payload ends inside a field.
    Truncated {
        /// The message, as the manual names it.
        message: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A string has no terminating NUL.
    Unterminated {
        /// The message, as the manual names it.
        message: &'static str,
        /// The field.
        field: &'static str,
    },
    /// Bytes follow the last field; a NUL inside a string shows like this too.
    Trailing {
        /// The message, as the manual names it.
        message: &'static str,
        /// Bytes too many.
        bytes: usize,
    },
    /// A field has a value that the protocol does not define.
    Invalid {
        /// The message, as the manual names it.
        message: &'static str,
        /// The field.
        field: &'static str,
    },
    /// Text that must be UTF-8 is not.
    NotUtf8 {
        /// The message, as the manual names it.
        message: &'static str,
        /// The field.
        field: &'static str,
    },
    /// A major protocol version that is not 3.
    Version {
        /// Major version.
        major: u16,
        /// Minor version.
        minor: u16,
    },
    /// A DataRow has another number of columns than its RowDescription.
    ColumnsCount {
        /// Columns of the row.
        declared: u16,
        /// Columns of the RowDescription.
        expected: u16,
    },
    /// The size of a column is below -1.
    CellLength {
        /// Index of the column.
        column: u16,
    },
    /// The columns of a DataRow reach beyond its end, or end before it.
    ChainMismatch {
        /// Index of the column at which it shows.
        column: u16,
    },
}

impl PostgresError {
    /// What the peer may read: SQLSTATE and text.
    pub fn public(&self) -> ([u8; 5], &'static str) {
        match self {
            Self::FrameTooLong { .. } => (*b"54000", "message too large"),
            Self::Version { .. } => (*b"0A000", "unsupported frontend protocol version"),
            Self::FrameTooShort { .. }
            | Self::FrameNotWhole { .. }
            | Self::UnknownTag { .. }
            | Self::Truncated { .. }
            | Self::Unterminated { .. }
            | Self::Trailing { .. }
            | Self::Invalid { .. }
            | Self::NotUtf8 { .. }
            | Self::ColumnsCount { .. }
            | Self::CellLength { .. }
            | Self::ChainMismatch { .. } => (*b"08P01", "protocol violation"),
        }
    }
}

impl fmt::Display for PostgresError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FrameTooShort { declared } => write!(f, "a frame of {declared} bytes is too short"),
            Self::FrameTooLong { declared, max } => {
                write!(f, "a frame of {declared} bytes is longer than the limit of {max}")
            }
            Self::FrameNotWhole { declared, given } => {
                write!(f, "a frame declares {declared} bytes and has {given}")
            }
            Self::UnknownTag { tag } => write!(f, "no message has the tag 0x{tag:02x}"),
            Self::Truncated { message, field } => write!(f, "{message} ends inside {field}"),
            Self::Unterminated { message, field } => write!(f, "{message}: {field} has no terminator"),
            Self::Trailing { message, bytes } => {
                write!(f, "{message} has {bytes} bytes after its last field")
            }
            Self::Invalid { message, field } => write!(f, "{message}: {field} has an undefined value"),
            Self::NotUtf8 { message, field } => write!(f, "{message}: {field} is not UTF-8"),
            Self::Version { major, minor } => write!(f, "protocol version {major}.{minor} is not supported"),
            Self::ColumnsCount { declared, expected } => {
                write!(
                    f,
                    "DataRow has {declared} columns and its RowDescription {expected}"
                )
            }
            Self::CellLength { column } => write!(f, "DataRow: column {column} has a size below -1"),
            Self::ChainMismatch { column } => {
                write!(
                    f,
                    "DataRow: the columns disagree with the size of the frame at column {column}"
                )
            }
        }
    }
}

impl std::error::Error for PostgresError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peer_learns_the_class_and_nothing_else() {
        assert_eq!(
            PostgresError::FrameTooLong { declared: 9, max: 8 }.public().0,
            *b"54000"
        );
        assert_eq!(
            PostgresError::UnknownTag { tag: 0 }.public(),
            (*b"08P01", "protocol violation")
        );
        assert_eq!(
            PostgresError::Version { major: 2, minor: 0 }.public().0,
            *b"0A000"
        );
    }
}
