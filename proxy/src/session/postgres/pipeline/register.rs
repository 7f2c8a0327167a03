//! What the names of prepared statements and portals stand for, as far as the server has said.
//!
//! Source: PostgreSQL manual, "Message Flow": Extended Query. After an error the server skips everything up to Sync, so a Parse
//! or Bind that is not answered yet counts within its own series only: if it fails, what follows it there is skipped as well.
//! Behind a Sync, a message may run what the name stood for before.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use linegate_policy::Verdict;

use crate::rarely::Rarely;
use crate::session::postgres::asked::Asked;

/// Names whose room is kept when all are gone.
const KEPT_MAX: usize = 16;

/// Names of one session, and bytes of their texts. Each is kept as long as its name.
const NAMES_MAX: usize = 10_000;
const TEXTS_BYTES_MAX: usize = 32 << 20;
/// Texts up to this are counted as names only.
const SHORT_BYTES_MAX: usize = 4 << 10;

/// What a name stands for.
pub enum Meaning {
    /// The server knows it, or whatever follows is skipped.
    Known(Rc<Asked>),
    /// The protocol gave it to nothing.
    Nothing,
    /// The server's answers have to be waited for.
    Unsettled,
}

/// A name that was given, and no answer yet.
struct Pending {
    asked: Rc<Asked>,
    series: u64,
    count: u32,
}

/// A name that the server confirmed.
struct Confirmed {
    asked: Rc<Asked>,
    given: Given,
    is_described: bool,
}

/// What came along with a name.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Of a statement: its parameters' types, 0 for those that are not known.
    pub types: Option<Rc<[u32]>>,
    /// Of a portal: it has values.
    pub has_values: bool,
}

/// The names of statements, or those of portals.
#[derive(Default)]
pub struct Register(Rarely<Meanings>);

/// A session of plain Queries has none of them.
#[derive(Default)]
struct Meanings {
    pending: HashMap<Rc<[u8]>, Pending>,
    confirmed: HashMap<Rc<[u8]>, Confirmed>,
    /// Described in the series that is open, since the name was given there.
    described: HashSet<Rc<[u8]>>,
}

impl Register {
    /// A Parse or Bind goes to the server.
    pub fn given(&mut self, name: &Rc<[u8]>, asked: &Rc<Asked>, series: u64) {
        let meanings = self.0.made();
        meanings.described.remove(name);
        let before = meanings.pending.get(name).map_or(0, |pending| pending.count);
        let pending = Pending {
            asked: asked.clone(),
            series,
            count: before + 1,
        };
        meanings.pending.insert(name.clone(), pending);
    }

    /// It was answered, or skipped.
    pub fn answered(&mut self, name: &Rc<[u8]>) {
        let Some(meanings) = self.0.get_mut() else { return };
        if let Some(pending) = meanings.pending.get_mut(name) {
            pending.count -= 1;
            if pending.count == 0 {
                meanings.pending.remove(name);
            }
        }
    }

    /// ParseComplete or BindComplete.
    pub fn confirmed(&mut self, name: Rc<[u8]>, asked: Rc<Asked>, given: Given) {
        let confirmed = Confirmed {
            asked,
            given,
            is_described: false,
        };
        self.0.made().confirmed.insert(name, confirmed);
    }

    /// ParameterDescription.
    pub fn typed(&mut self, name: &[u8], types: impl FnOnce() -> Rc<[u32]>) {
        let confirmed = self.confirmed_mut(name);
        // Whoever must approve it sees them.
        let waits = |asked: &Asked| matches!(asked.decision.verdict, Verdict::Hold(_));
        if let Some(confirmed) = confirmed.filter(|confirmed| waits(&confirmed.asked)) {
            confirmed.given.types = Some(types());
        }
    }

    fn confirmed_mut(&mut self, name: &[u8]) -> Option<&mut Confirmed> {
        self.0.get_mut()?.confirmed.get_mut(name)
    }

    /// What came along with a name that the server confirmed.
    pub fn came_along(&self, name: &[u8]) -> Option<&Given> {
        let meanings = self.0.get()?;
        meanings.confirmed.get(name).map(|confirmed| &confirmed.given)
    }

    /// CloseComplete.
    pub fn forget(&mut self, name: &[u8]) {
        if let Some(meanings) = self.0.get_mut() {
            meanings.confirmed.remove(name);
        }
    }

    /// The server has dropped them all.
    pub fn forget_all(&mut self) {
        let Some(meanings) = self.0.get_mut() else { return };
        if meanings.confirmed.capacity() > KEPT_MAX {
            meanings.confirmed = HashMap::new();
        } else {
            meanings.confirmed.clear();
        }
    }

    /// What a name stands for in that series.
    pub fn meaning(&self, name: &[u8], series: u64) -> Meaning {
        let Some(meanings) = self.0.get() else {
            return Meaning::Nothing;
        };
        match (meanings.pending.get(name), meanings.confirmed.get(name)) {
            (Some(pending), _) if pending.series == series => Meaning::Known(pending.asked.clone()),
            (Some(_), _) => Meaning::Unsettled,
            (None, Some(confirmed)) => Meaning::Known(confirmed.asked.clone()),
            (None, None) => Meaning::Nothing,
        }
    }

    /// Whether there is room for another text: so many names, and so many bytes of texts that are not short.
    pub fn has_room(&self, bytes: usize) -> bool {
        let Some(meanings) = self.0.get() else {
            return bytes <= TEXTS_BYTES_MAX;
        };
        let texts = || {
            let pending = meanings.pending.values().map(|pending| pending.asked.text.len());
            let confirmed = meanings
                .confirmed
                .values()
                .map(|confirmed| confirmed.asked.text.len());
            pending.chain(confirmed).sum::<usize>()
        };
        meanings.pending.len() + meanings.confirmed.len() < NAMES_MAX
            && (bytes <= SHORT_BYTES_MAX || texts() + bytes <= TEXTS_BYTES_MAX)
    }

    /// A Describe goes to the server.
    pub fn description_asked(&mut self, name: &Rc<[u8]>) {
        self.0.made().described.insert(name.clone());
    }

    /// It was answered.
    pub fn described(&mut self, name: &[u8]) {
        if let Some(confirmed) = self.confirmed_mut(name) {
            confirmed.is_described = true;
        }
    }

    /// A Sync goes to the server.
    pub fn next_series(&mut self) {
        if let Some(meanings) = self.0.get_mut() {
            meanings.described.clear();
        }
    }

    /// Whether whoever uses the name now comes behind its description.
    pub fn is_described(&self, name: &[u8]) -> bool {
        let Some(meanings) = self.0.get() else {
            return false;
        };
        let confirmed = meanings.confirmed.get(name);
        let confirmed = confirmed.filter(|_| !meanings.pending.contains_key(name));
        meanings.described.contains(name) || confirmed.is_some_and(|confirmed| confirmed.is_described)
    }
}
