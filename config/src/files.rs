//! Files that a configuration names: itself, the paths beside it, and policy globs.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::mistake::Mistakes;
use crate::model::Config;
use crate::secret::SecretSource;

/// The longest configuration, bytes.
const CONFIG_BYTES_MAX: u64 = 4 << 20;

impl Config {
    /// Reads, checks and [resolves](Self::resolve_paths) the configuration at `path`.
    ///
    /// # Errors
    /// Everything that is wrong with it; a file that cannot be read is one mistake.
    pub fn load(path: &Path) -> Result<Self, Mistakes> {
        let label = path.display().to_string();
        let mut bytes = Vec::new();
        let read =
            fs::File::open(path).and_then(|file| file.take(CONFIG_BYTES_MAX + 1).read_to_end(&mut bytes));
        if let Err(error) = read {
            return Err(Mistakes::unreadable(
                &label,
                format!("cannot be read: {error}"),
                None,
            ));
        }
        if bytes.len() as u64 > CONFIG_BYTES_MAX {
            return Err(Mistakes::unreadable(
                &label,
                "is longer than 4 MiB".to_owned(),
                None,
            ));
        }
        let Ok(text) = String::from_utf8(bytes) else {
            return Err(Mistakes::unreadable(&label, "is not UTF-8 text".to_owned(), None));
        };
        let mut config = Self::parse(&text, &label)?;
        config.resolve_paths(path.parent().unwrap_or(Path::new("")));
        Ok(config)
    }

    /// Lets relative paths of certificates, keys, authorities and secret files start at `config_dir`. Recordings and
    /// state stay as they are: they belong to the state directory.
    pub fn resolve_paths(&mut self, config_dir: &Path) {
        let tls = self
            .data
            .tls
            .iter_mut()
            .flat_map(|tls| [&mut tls.cert, &mut tls.key]);
        let targets = self.targets.iter_mut().flat_map(|target| {
            let secret = match &mut target.credential.password {
                Some(SecretSource::File(path)) => Some(path),
                _ => None,
            };
            let identity = target.credential.certificate.iter_mut();
            let identity = identity.flat_map(|tls| [&mut tls.cert, &mut tls.key]);
            let shown = target.client_identity.iter_mut();
            let identity = identity.chain(shown.flat_map(|tls| [&mut tls.cert, &mut tls.key]));
            let clients = target.client_certificates.iter_mut().map(|asked| &mut asked.ca);
            target
                .tls_ca
                .iter_mut()
                .chain(secret)
                .chain(identity)
                .chain(clients)
        });
        for path in tls.chain(targets) {
            *path = config_dir.join(&*path); // an absolute path stays what it is
        }
    }

    /// The policy files, sorted by path, each once. Relative paths start at `base_dir`, the configuration's directory.
    ///
    /// # Errors
    /// When a named file is not there or a glob matches nothing: rules that forbid would be missing unnoticed.
    pub fn policy_files(&self, base_dir: &Path) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for pattern in &self.policy.files {
            let path = base_dir.join(pattern);
            let before = found.len();
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            if name.contains('*') {
                let directory = path
                    .parent()
                    .filter(|path| *path != Path::new(""))
                    .unwrap_or(Path::new("."));
                let entries = fs::read_dir(directory).map_err(|error| about(pattern, &error))?;
                for entry in entries {
                    let entry = entry.map_err(|error| about(pattern, &error))?;
                    let is_match = entry
                        .file_name()
                        .to_str()
                        .is_some_and(|entry| matches(name, entry));
                    if is_match && entry.path().is_file() {
                        found.push(entry.path());
                    }
                }
            } else if path.is_file() {
                found.push(path);
            }
            if found.len() == before {
                let error = io::Error::new(io::ErrorKind::NotFound, "there is no such file");
                return Err(about(pattern, &error));
            }
        }
        found.sort_unstable();
        found.dedup();
        Ok(found)
    }
}

fn about(pattern: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("policy files `{pattern}`: {error}"))
}

/// Whether a file's name matches a pattern in which `*` stands for any text. Hidden files (editors leave some) are
/// matched by patterns that begin with a dot only.
fn matches(pattern: &str, name: &str) -> bool {
    if name.starts_with('.') && !pattern.starts_with('.') {
        return false;
    }
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = name.strip_prefix(first) else {
        return false;
    };
    let Some(last) = parts.next_back() else {
        return rest.is_empty();
    };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, name, expect) in [
            ("*.cedar", "a.cedar", true),
            ("*.cedar", ".a.cedar", false),
            (".*.cedar", ".a.cedar", true),
            ("*.cedar", "a.cedar~", false),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("*", "anything", true),
            ("same", "same", true),
            ("same", "same2", false),
        ] {
            assert_eq!(matches(pattern, name), expect, "{pattern} {name}");
        }
    }

    fn with_files(files: &str) -> Config {
        Config::parse(&format!("[policy]\nfiles = {files}"), "linegate.toml").unwrap()
    }

    #[test]
    fn policy_files_are_sorted_and_never_missing_unnoticed() {
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path();
        fs::create_dir_all(base.join("policies/sub.cedar")).unwrap();
        for name in [
            "policies/b.cedar",
            "policies/a.cedar",
            "policies/note.txt",
            "extra.cedar",
        ] {
            fs::write(base.join(name), "").unwrap();
        }
        let found = with_files(r#"["policies/*.cedar", "policies/b.cedar", "extra.cedar"]"#)
            .policy_files(base)
            .unwrap();
        let expect = ["extra.cedar", "policies/a.cedar", "policies/b.cedar"].map(|name| base.join(name));
        assert_eq!(found, expect);
        for absent in [
            r#"["none.cedar"]"#,
            r#"["policies/*.rego"]"#,
            r#"["nowhere/*.cedar"]"#,
        ] {
            let error = with_files(absent).policy_files(base).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::NotFound, "{absent}");
            assert!(error.to_string().contains("policy files `"), "{error}");
        }
    }

    #[test]
    fn load_resolves_paths_beside_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("linegate.toml");
        let text = "[data]\ntls_cert = 'tls/cert.pem'\ntls_key = '/abs/key.pem'\n[[target]]\nname = 'prod'\n\
            protocol = 'postgres'\nlisten = '127.0.0.1:6432'\naddress = 'db:5432'\n\
            credential = { user = 'app', password = 'file:secrets/prod' }\n";
        fs::write(&path, text).unwrap();
        let config = Config::load(&path).unwrap();
        let tls = config.data.tls.unwrap();
        assert_eq!(tls.cert, directory.path().join("tls/cert.pem"));
        assert_eq!(tls.key, Path::new("/abs/key.pem"));
        let secret = SecretSource::File(directory.path().join("secrets/prod"));
        assert_eq!(config.targets[0].credential.password, Some(secret));
        assert_eq!(config.data.recordings, Path::new("recordings/"));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_one_mistake() {
        let error = Config::load(Path::new("/nonexistent/linegate.toml")).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("/nonexistent/linegate.toml: cannot be read: "),
            "{error}"
        );
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("linegate.toml");
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(
            Config::load(&path)
                .unwrap_err()
                .to_string()
                .ends_with(": is not UTF-8 text")
        );
    }
}
