//! A configuration's text: it is accepted, or every mistake is said with its place; never a panic, never a secret.

use linegate_config::Config;

/// Reads `data` as a configuration file.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Config::parse(text, "linegate.toml") {
        Ok(config) => {
            // What is accepted is accepted again.
            assert!(Config::parse(text, "elsewhere.toml").is_ok());
            for target in &config.targets {
                assert!(config.target(&target.name).is_some());
            }
        }
        Err(mistakes) => assert!(!mistakes.to_string().is_empty()),
    }
}
