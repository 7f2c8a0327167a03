//! A shop's database behind linegate, a lease of it, and what clients say to it.

use rustix::process::Signal;

use crate::shop::{self, CARDS, SSNS};
use crate::wire::{self, error_of};
use crate::{Lease, Linegate, Message, Options, Postgres, RawClient, eventually};

/// A real server, linegate in front of it under some policies, and a lease.
pub struct Under {
    /// The server.
    pub postgres: Postgres,
    /// In front of it.
    pub linegate: Linegate,
    /// Of `workload:ci-runner`, for everything.
    pub lease: Lease,
}

impl Under {
    /// A client of the lease.
    pub fn client(&self) -> RawClient {
        self.linegate.client(&self.lease)
    }

    /// One with more startup parameters.
    pub fn client_with(&self, more: &[(&str, &str)]) -> RawClient {
        self.linegate.client_with(&self.lease, more)
    }

    /// Other policies from now on; `in_force` tells when they are.
    pub fn reload(&self, policies: &str, mut in_force: impl FnMut() -> bool) {
        let file = self
            .linegate
            .config()
            .with_file_name("policies")
            .join("shop.cedar");
        std::fs::write(file, policies).expect("our own directory");
        self.linegate.tell(Signal::HUP);
        eventually("the policies are in force", || in_force().then_some(()));
    }
}

/// Behind these policies.
pub fn under(policies: &str) -> Under {
    let options = Options {
        policies: policies.to_owned(),
        ..Options::default()
    };
    behind(options, "")
}

/// Behind linegate as these options say, with more in the database before it starts.
pub fn behind(options: Options, more: &str) -> Under {
    let postgres = Postgres::start();
    if !more.is_empty() {
        postgres.sql(more);
    }
    let linegate = Linegate::start_with(&postgres, options);
    let lease = linegate.lease("workload:ci-runner", &[], "all");
    Under {
        postgres,
        linegate,
        lease,
    }
}

/// The shop's policies and more.
pub fn with(more: &str) -> String {
    format!("{}\n{more}", shop::POLICIES)
}

/// None of the shop's card and social security numbers is in these.
pub fn assert_nothing_raw(what: &str, messages: &[Message]) {
    for message in messages {
        let text = String::from_utf8_lossy(&message.body);
        for raw in CARDS.iter().chain(&SSNS) {
            assert!(
                !text.contains(raw),
                "{what}: {:?} shows {raw}",
                char::from(message.tag)
            );
        }
    }
}

/// The SQLSTATE of the first error.
pub fn code(messages: &[Message]) -> String {
    error_of(messages).map_or_else(|| "no error".to_owned(), |(code, _)| code)
}

/// Sends these and reads up to ReadyForQuery.
pub fn say(client: &mut RawClient, messages: &[Vec<u8>]) -> Vec<Message> {
    client.send_bytes(&messages.concat());
    client.read_to_ready()
}

/// A Query.
pub fn query(sql: &str) -> Vec<u8> {
    wire::framed(b'Q', &wire::c_string(sql))
}
