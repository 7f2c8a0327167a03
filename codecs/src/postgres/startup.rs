//! The first packet of a connection: the only one without a tag.
//!
//! Source: PostgreSQL manual, "Message Flow": Start-up, Canceling Requests in Progress, SSL and GSSAPI Session
//! Encryption; "Message Formats": StartupMessage, CancelRequest, SSLRequest, GSSENCRequest, NegotiateProtocolVersion;
//! RFC 8446, "Record Protocol" (the type of a record that carries a handshake).
//! Shape, big-endian: size u32, counting itself | version u32, major in the upper half | rest by version.
//! A version 3 rest is { name NUL, value NUL }* NUL, and nothing after it. No packet is so long that its first byte is
//! that of a TLS record, so a client may begin with TLS at once.

use super::backend::SECRET_BYTES_MAX;
use super::error::PostgresError;
use super::reader::Reader;

/// The largest startup packet, as servers have it.
pub const STARTUP_BYTES_MAX: u32 = 10_000;
/// Protocol 3.0.
pub const VERSION_3_0: u32 = 3 << 16;
/// The newest minor version of 3 that is spoken here. It differs from 3.0 in one thing: keys of CancelRequest may be long.
pub const MINOR_MAX: u16 = 2;
/// The first byte of a TLS record that carries a handshake.
pub const TLS_HANDSHAKE: u8 = 0x16;
/// The code of CancelRequest, in the place of a version.
pub const CANCEL_REQUEST: u32 = (1234 << 16) | 5678;
/// The code of SSLRequest.
pub const SSL_REQUEST: u32 = (1234 << 16) | 5679;
/// The code of GSSENCRequest.
pub const GSS_ENC_REQUEST: u32 = (1234 << 16) | 5680;

const SIZE_BYTES: usize = 4;
/// Size and version.
const SHORTEST: u32 = 8;
const NAME: &str = "StartupMessage";

/// What the bytes hold.
#[derive(Clone, PartialEq, Eq)]
pub enum StartupStep<'a> {
    /// Not enough yet.
    Need {
        /// Bytes in all before another try can get further.
        bytes: usize,
    },
    /// The client begins with TLS at once. Nothing of it has been read.
    DirectTls,
    /// The client asks for TLS.
    SslRequest {
        /// Bytes of the packet.
        bytes: usize,
    },
    /// The client asks for GSSAPI encryption.
    GssEncRequest {
        /// Bytes of the packet.
        bytes: usize,
    },
    /// The client wants another session's statement cancelled.
    Cancel {
        /// Bytes of the packet.
        bytes: usize,
        /// The server process of that session.
        process_id: u32,
        /// The key of that session.
        secret: &'a [u8],
    },
    /// The client wants a session.
    Startup {
        /// Bytes of the packet.
        bytes: usize,
        /// What it asks for.
        startup: Startup<'a>,
    },
}

impl std::fmt::Debug for StartupStep<'_> {
    /// Without secrets and values.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Need { bytes } => write!(f, "Need {bytes}"),
            Self::DirectTls => f.write_str("TLS"),
            Self::SslRequest { .. } => f.write_str("SSLRequest"),
            Self::GssEncRequest { .. } => f.write_str("GSSENCRequest"),
            Self::Cancel { process_id, .. } => write!(f, "CancelRequest {process_id}"),
            Self::Startup { startup, .. } => write!(f, "StartupMessage {}.{}", startup.major, startup.minor),
        }
    }
}

/// A StartupMessage of protocol 3.
#[derive(Clone, PartialEq, Eq)]
pub struct Startup<'a> {
    /// Major version; always 3.
    pub major: u16,
    /// Minor version; newer ones than [`MINOR_MAX`] are answered with NegotiateProtocolVersion.
    pub minor: u16,
    parameters: &'a [u8],
}

impl<'a> Startup<'a> {
    /// Names and values in order.
    pub fn parameters(&self) -> StartupParameters<'a> {
        StartupParameters {
            rest: self.parameters,
        }
    }

    /// The value of a parameter; the last one where it is given twice, as servers take it.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.parameters()
            .filter(|(found, _)| *found == name)
            .map(|(_, value)| value)
            .last()
    }
}

/// Names and values of a StartupMessage.
#[derive(Clone)]
pub struct StartupParameters<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for StartupParameters<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let mut reader = Reader::new(NAME, self.rest);
        let pair = parameter(&mut reader).ok()??; // was checked by `step`
        self.rest = reader.rest();
        Some(pair)
    }
}

/// One name and value, or `None` at the end of the list.
fn parameter<'a>(reader: &mut Reader<'a>) -> Result<Option<(&'a str, &'a str)>, PostgresError> {
    let text = |bytes, field| {
        std::str::from_utf8(bytes).map_err(|_| PostgresError::NotUtf8 { message: NAME, field })
    };
    let name = text(reader.string("a parameter's name")?, "a parameter's name")?;
    if name.is_empty() {
        return Ok(None);
    }
    if reader.rest().is_empty() {
        return Err(reader.truncated("a parameter's value"));
    }
    let value = text(reader.string("a parameter's value")?, "a parameter's value")?;
    Ok(Some((name, value)))
}

/// Looks for the whole first packet at the start of the bytes. The connection's next packet, after SSLRequest or
/// GSSENCRequest was answered, is read the same way.
pub fn step(bytes: &[u8]) -> Result<StartupStep<'_>, PostgresError> {
    if bytes.first() == Some(&TLS_HANDSHAKE) {
        return Ok(StartupStep::DirectTls);
    }
    let Some(size) = bytes.first_chunk() else {
        return Ok(StartupStep::Need { bytes: SIZE_BYTES });
    };
    let declared = u32::from_be_bytes(*size);
    let whole = match declared {
        0..SHORTEST => return Err(PostgresError::FrameTooShort { declared }),
        SHORTEST..=STARTUP_BYTES_MAX => declared as usize,
        _ => {
            return Err(PostgresError::FrameTooLong {
                declared,
                max: STARTUP_BYTES_MAX,
            });
        }
    };
    let Some(packet) = bytes.get(SIZE_BYTES..whole) else {
        return Ok(StartupStep::Need { bytes: whole });
    };
    let mut reader = Reader::new(NAME, packet);
    match reader.u32("the version")? {
        SSL_REQUEST => reader.end().map(|()| StartupStep::SslRequest { bytes: whole }),
        GSS_ENC_REQUEST => reader.end().map(|()| StartupStep::GssEncRequest { bytes: whole }),
        CANCEL_REQUEST => {
            let mut reader = Reader::new("CancelRequest", reader.rest());
            let process_id = reader.u32("the process")?;
            match reader.rest() {
                short if short.len() < 4 => Err(reader.truncated("the key")),
                long if long.len() > SECRET_BYTES_MAX => Err(reader.invalid("the key")),
                secret => Ok(StartupStep::Cancel {
                    bytes: whole,
                    process_id,
                    secret,
                }),
            }
        }
        version => {
            let (major, minor) = ((version >> 16) as u16, version as u16); // the two halves
            if major != 3 {
                return Err(PostgresError::Version { major, minor });
            }
            let parameters = reader.rest();
            while parameter(&mut reader)?.is_some() {}
            reader.end()?;
            Ok(StartupStep::Startup {
                bytes: whole,
                startup: Startup {
                    major,
                    minor,
                    parameters,
                },
            })
        }
    }
}

/// What a server answers to a newer minor version, or to options of the protocol that it does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NegotiateProtocolVersion {
    /// The newest minor version of 3 that it speaks.
    pub minor: u16,
    /// How many `_pq_.` options it does not know.
    pub unknown_count: u32,
}

impl NegotiateProtocolVersion {
    /// Reads a payload.
    pub fn read(payload: &[u8]) -> Result<Self, PostgresError> {
        let mut reader = Reader::new("NegotiateProtocolVersion", payload);
        let version = reader.u32("the version")?;
        let (major, minor) = ((version >> 16) as u16, version as u16); // the two halves
        // The manual speaks of the minor version alone, servers send the whole one.
        if major != 3 && major != 0 {
            return Err(PostgresError::Version { major, minor });
        }
        let unknown_count = reader.u32("the count of options")?;
        for _ in 0..unknown_count {
            reader.string("an option")?; // each takes a byte at least, so the payload bounds the count
        }
        reader.end()?;
        Ok(Self { minor, unknown_count })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::postgres::build::frontend as build;

    fn packet(version: u32, rest: &[u8]) -> Vec<u8> {
        let size = u32::try_from(8 + rest.len()).unwrap();
        [&size.to_be_bytes()[..], &version.to_be_bytes(), rest].concat()
    }

    #[test]
    fn a_cut_packet_says_what_it_needs() {
        let mut bytes = Vec::new();
        build::startup(&mut bytes, [("user", "app"), ("database", "shop")].into_iter());
        let whole = bytes.len();
        for cut in 0..whole {
            let needed = if cut < SIZE_BYTES { SIZE_BYTES } else { whole };
            assert_eq!(
                step(&bytes[..cut]),
                Ok(StartupStep::Need { bytes: needed }),
                "cut at byte {cut}"
            );
        }
        bytes.push(b'p');
        let Ok(StartupStep::Startup {
            bytes: taken,
            startup,
        }) = step(&bytes)
        else {
            panic!("whole")
        };
        assert_eq!((taken, startup.major, startup.minor), (whole, 3, 0));
        assert!(startup.parameters().eq([("user", "app"), ("database", "shop")]));
        assert_eq!((startup.get("user"), startup.get("options")), (Some("app"), None));
    }

    #[test]
    fn requests_without_a_session_are_told_apart() {
        let mut bytes = Vec::new();
        build::ssl_request(&mut bytes);
        assert_eq!(step(&bytes), Ok(StartupStep::SslRequest { bytes: 8 }));
        assert_eq!(
            step(&packet(GSS_ENC_REQUEST, b"")),
            Ok(StartupStep::GssEncRequest { bytes: 8 })
        );
        assert!(matches!(
            step(&packet(SSL_REQUEST, b"x")),
            Err(PostgresError::Trailing { .. })
        ));
        let mut bytes = Vec::new();
        build::cancel_request(&mut bytes, 77, b"abcd");
        assert_eq!(
            step(&bytes),
            Ok(StartupStep::Cancel {
                bytes: 16,
                process_id: 77,
                secret: b"abcd"
            })
        );
        assert!(step(&packet(CANCEL_REQUEST, b"\0\0\0\x01abc")).is_err());
    }

    #[test]
    fn a_tls_record_is_no_packet() {
        for bytes in [&[TLS_HANDSHAKE][..], &[TLS_HANDSHAKE, 3, 1, 2, 0, 1]] {
            assert_eq!(step(bytes), Ok(StartupStep::DirectTls));
        }
        let longest = STARTUP_BYTES_MAX.to_be_bytes();
        assert_ne!(longest[0], TLS_HANDSHAKE, "no packet begins like that");
    }

    #[test]
    fn a_minor_version_and_a_long_key_read_back() {
        let mut bytes = Vec::new();
        build::startup_minor(&mut bytes, 2, [("user", "app")].into_iter());
        let Ok(StartupStep::Startup { startup, .. }) = step(&bytes) else {
            panic!("whole")
        };
        assert_eq!((startup.major, startup.minor), (3, 2));
        for length in [4, 32, SECRET_BYTES_MAX, SECRET_BYTES_MAX + 1] {
            let mut bytes = Vec::new();
            build::cancel_request(&mut bytes, 9, &vec![7; length]);
            let read = match step(&bytes) {
                Ok(StartupStep::Cancel { secret, .. }) => Some(secret.len()),
                _ => None,
            };
            assert_eq!(read, (length <= SECRET_BYTES_MAX).then_some(length), "{length}");
        }
    }

    #[test]
    fn a_negotiated_version_reads_back() {
        let mut bytes = Vec::new();
        crate::postgres::build::backend::negotiate_protocol_version(&mut bytes, 2, &["_pq_.one", "_pq_.two"]);
        let read = NegotiateProtocolVersion::read(&bytes[5..]);
        assert_eq!(
            read,
            Ok(NegotiateProtocolVersion {
                minor: 2,
                unknown_count: 2
            })
        );
        for cut in 0..bytes.len() - 5 {
            assert!(
                NegotiateProtocolVersion::read(&bytes[5..5 + cut]).is_err(),
                "{cut}"
            );
        }
        assert!(NegotiateProtocolVersion::read(&[0, 4, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(NegotiateProtocolVersion::read(&[0, 3, 0, 0, 0xff, 0xff, 0xff, 0xff]).is_err());
    }

    #[test]
    fn malformed_packets_are_refused() {
        assert_eq!(
            step(&[0, 0, 0, 7]),
            Err(PostgresError::FrameTooShort { declared: 7 })
        );
        assert!(matches!(
            step(&10_001_u32.to_be_bytes()),
            Err(PostgresError::FrameTooLong { .. })
        ));
        assert!(matches!(
            step(&packet(2 << 16, b"\0")),
            Err(PostgresError::Version { major: 2, minor: 0 })
        ));
        let refused = |rest: &[u8]| step(&packet(VERSION_3_0, rest)).unwrap_err();
        assert!(matches!(refused(b""), PostgresError::Unterminated { .. }));
        assert!(matches!(
            refused(b"user\0app\0"),
            PostgresError::Unterminated { .. }
        ));
        assert!(matches!(
            refused(b"user\0app"),
            PostgresError::Unterminated { .. }
        ));
        assert!(matches!(refused(b"user\0"), PostgresError::Truncated { .. }));
        assert!(matches!(
            refused(b"user\0app\0database\0\0"),
            PostgresError::Unterminated { .. }
        ));
        assert!(matches!(
            refused(b"user\0app\0\0x"),
            PostgresError::Trailing { bytes: 1, .. }
        ));
        assert!(matches!(
            refused(b"user\0\xff\0\0"),
            PostgresError::NotUtf8 { .. }
        ));
    }

    #[test]
    fn the_last_of_two_values_counts() {
        let bytes = packet(VERSION_3_0 | 2, b"user\0a\0user\0b\0\0");
        let Ok(StartupStep::Startup { startup, .. }) = step(&bytes) else {
            panic!("whole")
        };
        assert_eq!((startup.get("user"), startup.minor), (Some("b"), 2));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>, rest: Vec<u8>) {
            let _ = step(&bytes);
            let _ = NegotiateProtocolVersion::read(&bytes);
            for version in [VERSION_3_0, CANCEL_REQUEST, SSL_REQUEST] {
                if let Ok(StartupStep::Startup { startup, .. }) = step(&packet(version, &rest)) {
                    startup.parameters().for_each(drop);
                }
            }
        }

        #[test]
        fn parameters_read_back(given in proptest::collection::vec(("[a-zé\0]{0,6}", "[a-z\0]{0,6}"), 0..6)) {
            let cut = |text: &str| text.split('\0').next().unwrap().to_owned();
            let mut bytes = Vec::new();
            build::startup(&mut bytes, given.iter().map(|(name, value)| (&**name, &**value)));
            let Ok(StartupStep::Startup { startup, .. }) = step(&bytes) else { panic!("whole") };
            let read: Vec<_> = startup.parameters().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let expected: Vec<_> =
                given.iter().map(|(name, value)| (cut(name), cut(value))).filter(|(name, _)| !name.is_empty()).collect();
            prop_assert_eq!(read, expected);
        }
    }
}
