//! Linegate's keys at a server that asks by SCRAM: derived once for a salt, away from the cores.
//!
//! The rounds of PBKDF2 that a server asks for cost a core half a millisecond at PostgreSQL's default, and a tenth of a second
//! at the most that linegate accepts. No session of that core would go on meanwhile, and the next login would ask for the same.
//! Source: RFC 5802, section 5.1 (what a client may keep), RFC 7677 (rounds).

use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use linegate_identity::{ScramChallenge, ScramKeys};
use zeroize::Zeroizing;

use crate::rt;
use crate::shared::lock;

/// How often is looked whether somebody else's derivation is done.
const LOOK: Duration = Duration::from_millis(1);

/// The keys of one credential at one target, for the salt that was asked for last.
#[derive(Default)]
pub struct BackKeys(Mutex<Option<Arc<Deriving>>>);

struct Deriving {
    challenge: ScramChallenge,
    done: OnceLock<ScramKeys>,
}

impl Deriving {
    fn derive(&self, password: &str) {
        let _ = self.done.set(self.challenge.derive(password));
    }
}

impl BackKeys {
    /// Has `using` done with the keys for a challenge. The first who asks has them derived on a thread of its own, the others
    /// wait for it, as long as they bound the time.
    pub async fn with<T>(
        &self,
        challenge: &ScramChallenge,
        password: &Arc<Zeroizing<String>>,
        using: impl FnOnce(&ScramKeys) -> T,
    ) -> T {
        let (deriving, is_new) = self.known(challenge);
        if is_new {
            let (own, own_password) = (deriving.clone(), password.clone());
            if !rt::aside(move || own.derive(&own_password)) {
                deriving.derive(password);
            }
        }
        loop {
            if let Some(keys) = deriving.done.get() {
                return using(keys);
            }
            rt::sleep(LOOK).await;
        }
    }

    /// What answers such challenges, derived or about to be; and whether nobody has begun to.
    fn known(&self, challenge: &ScramChallenge) -> (Arc<Deriving>, bool) {
        let mut known = lock(&self.0);
        match &*known {
            Some(deriving) if deriving.challenge.asks_as(challenge) => (deriving.clone(), false),
            _ => {
                let deriving = Arc::new(Deriving {
                    challenge: challenge.clone(),
                    done: OnceLock::new(),
                });
                *known = Some(deriving.clone());
                (deriving, true)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use linegate_identity::{ScramClient, ScramServer, ScramVerifier};

    use super::*;

    #[test]
    fn keys_are_derived_once_for_a_salt() {
        let challenge = |salt: u8| {
            let verifier = ScramVerifier::derive(b"secret", &[salt; 16], 2);
            let mut server = ScramServer::new(Some(&verifier), &[0; 32], "app", [9; 18]);
            let client = ScramClient::new("secret", [1; 18]);
            let first = server.first(&client.first()).expect("well formed");
            client.challenge(&first).expect("well formed")
        };
        let keys = BackKeys::default();
        let (first, is_new) = keys.known(&challenge(1));
        assert!(is_new);
        let (again, is_new) = keys.known(&challenge(1));
        assert!(!is_new && Arc::ptr_eq(&first, &again), "somebody derives them");
        first.derive("secret");
        assert!(again.done.get().is_some_and(|keys| keys.are_for(&challenge(1))));
        assert!(keys.known(&challenge(2)).1, "the server's salt is another one");
        assert!(keys.known(&challenge(1)).1, "one salt is kept");
    }
}
