//! The first packet of a connection, before anybody is known.

use codecs::postgres::startup::{
    NegotiateProtocolVersion, STARTUP_BYTES_MAX, StartupStep, TLS_HANDSHAKE, step,
};

/// Reads `data` as the first bytes of a connection.
pub fn check(data: &[u8]) {
    if let Ok(agreed) = NegotiateProtocolVersion::read(data) {
        assert!((agreed.unknown_count as usize) < data.len());
    }
    match step(data) {
        Ok(StartupStep::Need { bytes }) => {
            assert!(bytes > data.len() && bytes <= STARTUP_BYTES_MAX as usize);
        }
        Ok(StartupStep::DirectTls) => assert_eq!(data.first(), Some(&TLS_HANDSHAKE)),
        Ok(StartupStep::SslRequest { bytes } | StartupStep::GssEncRequest { bytes }) => {
            assert!(bytes <= data.len());
        }
        Ok(StartupStep::Cancel { bytes, secret, .. }) => {
            assert!(bytes <= data.len() && secret.len() < bytes);
        }
        Ok(StartupStep::Startup { bytes, startup }) => {
            assert!(bytes <= data.len() && bytes <= STARTUP_BYTES_MAX as usize);
            assert_eq!(startup.major, 3);
            for (name, _) in startup.parameters() {
                assert!(!name.is_empty() && startup.get(name).is_some());
            }
            // Cut short, it asks for what is missing and for no more.
            for end in [4, 8, bytes - 1] {
                assert_eq!(step(&data[..end.min(bytes - 1)]).ok().map(needs), Some(true));
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn needs(step: StartupStep<'_>) -> bool {
    matches!(step, StartupStep::Need { .. })
}
