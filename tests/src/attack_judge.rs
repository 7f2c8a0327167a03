//! Plays a case and judges it: on a server of its own without linegate, to prove that the attack works at all, and through
//! linegate, where it must not.

use std::collections::{BTreeMap, HashMap};

use crate::attack::{Case, Compare, Judge, Line, Places, Step};
use crate::attack_client::{AttackClient, Door, Outcome};
use crate::attack_detect::{Detector, Found};
use crate::attack_fixture::{Secrets, Target};

/// How a case ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// A secret, or something about it, reached the client.
    Leaked,
    /// What is denied or held happened.
    TookEffect,
    /// An honest program noticed linegate.
    Broken,
    /// The case does not do without linegate what it is about.
    Invalid,
    /// The server lacks what it needs.
    Skipped,
    /// Ran; nothing leaked.
    Masked,
    /// Refused, or the connection ended.
    Blocked,
    /// Waits for a person.
    Held,
    /// Ran without the effect.
    NoEffect,
    /// As without linegate.
    Ok,
}

impl Verdict {
    /// Whether the run fails for it.
    pub fn is_bad(self) -> bool {
        matches!(
            self,
            Self::Leaked | Self::TookEffect | Self::Broken | Self::Invalid
        )
    }

    /// Its name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::Leaked => "leaked",
            Self::TookEffect => "took-effect",
            Self::Broken => "broken",
            Self::Invalid => "invalid",
            Self::Skipped => "skipped",
            Self::Masked => "masked",
            Self::Blocked => "blocked",
            Self::Held => "held",
            Self::NoEffect => "no-effect",
            Self::Ok => "ok",
        }
    }
}

/// What came of one case.
#[derive(Clone, Debug)]
pub struct Judged {
    /// The case's name.
    pub id: String,
    /// Its chapter.
    pub chapter: String,
    /// What decided.
    pub judge: Judge,
    /// Over TLS.
    pub over_tls: bool,
    /// How it ended.
    pub verdict: Verdict,
    /// What was seen, or why it was refused.
    pub why: String,
}

/// Everything that a run needs.
pub struct Arena {
    /// A server that nothing stands in front of.
    pub bare: Target,
    /// The server behind linegate.
    pub guarded: Target,
    /// Into the bare server.
    pub direct: Door,
    /// Into linegate.
    pub via: Door,
    /// The run's secrets.
    pub secrets: Secrets,
    /// What finds them.
    pub detector: Detector,
    /// Number of the next play, for names that must be fresh.
    pub once: u32,
    /// Cases that were shown to work without linegate; honest ones with their answer.
    pub shown: HashMap<String, Outcome>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Direct,
    Via,
}

impl Arena {
    /// Plays a case on both sides and judges it.
    pub fn judge(&mut self, line: &Line, over_tls: bool) -> Judged {
        let case = &line.case;
        let (verdict, why) = match self.lacks(case) {
            Some(what) => (Verdict::Skipped, what),
            None => match case.judge {
                Judge::Leak => self.judge_leak(line, over_tls),
                Judge::Effect => self.judge_effect(line, over_tls),
                Judge::Honest => self.judge_honest(line, over_tls),
            },
        };
        Judged {
            id: case.id.clone(),
            chapter: case.chapter.clone(),
            judge: case.judge,
            over_tls,
            verdict,
            why,
        }
    }

    fn lacks(&self, case: &Case) -> Option<String> {
        let missing = case
            .needs
            .iter()
            .find(|name| !self.guarded.extensions.contains(name));
        if let Some(name) = missing {
            return Some(format!("no extension {name}"));
        }
        let version = self.guarded.version;
        let fits = version >= case.min && (case.max == 0 || version <= case.max);
        (!fits).then(|| format!("not for version {version}"))
    }

    fn judge_leak(&mut self, line: &Line, over_tls: bool) -> (Verdict, String) {
        if !self.shown.contains_key(&line.case.id) {
            let (found, outcome) = self.leak_on(Side::Direct, line, false);
            if found.is_none() {
                let why = format!("does not leak directly: {}", outcome.why());
                return (Verdict::Invalid, why);
            }
            self.shown.insert(line.case.id.clone(), Outcome::default());
        }
        let (found, outcome) = self.leak_on(Side::Via, line, over_tls);
        match found {
            Some(found) => (Verdict::Leaked, format!("{} `{}`", found.how, found.what)),
            None if outcome.held => (Verdict::Held, outcome.why()),
            None if outcome.failed() => (Verdict::Blocked, outcome.why()),
            None => (Verdict::Masked, String::new()),
        }
    }

    fn leak_on(&mut self, side: Side, line: &Line, over_tls: bool) -> (Option<Found>, Outcome) {
        let case = self.case(side, line);
        self.set_up(side, &case);
        let outcome = self.play(side, &case, &case.steps, over_tls);
        let mut found = self.found(&outcome, &case);
        if !case.instead.is_empty() {
            let other = self.play(side, &case, &case.instead, over_tls);
            found = found.or_else(|| self.found(&other, &case));
            if found.is_none() && signature(&outcome) != signature(&other) {
                let how = "difference".to_owned();
                let what = format!("{} / {}", told(&outcome), told(&other));
                found = Some(Found { how, what });
            }
        }
        self.tear_down(side, &case);
        (found, outcome)
    }

    fn judge_effect(&mut self, line: &Line, over_tls: bool) -> (Verdict, String) {
        if !self.shown.contains_key(&line.case.id) {
            let (before, after, direct) = self.effect_on(Side::Direct, line, false);
            if before == after || before.starts_with("error") {
                let why = format!("no effect directly: {} {before}", direct.why());
                return (Verdict::Invalid, why);
            }
            self.shown.insert(line.case.id.clone(), Outcome::default());
        }
        let (before, after, outcome) = self.effect_on(Side::Via, line, over_tls);
        if before != after {
            return (Verdict::TookEffect, format!("{before} became {after}"));
        }
        match (outcome.held, outcome.failed()) {
            (true, _) => (Verdict::Held, outcome.why()),
            (false, true) => (Verdict::Blocked, outcome.why()),
            (false, false) => (Verdict::NoEffect, String::new()),
        }
    }

    fn effect_on(&mut self, side: Side, line: &Line, over_tls: bool) -> (String, String, Outcome) {
        let case = self.case(side, line);
        let query = case.effect.clone().expect("checked when it was loaded");
        self.set_up(side, &case);
        let before = self.target(side).ask_effect(&query);
        let outcome = self.play(side, &case, &case.steps, over_tls);
        let after = self.target(side).ask_effect(&query);
        self.tear_down(side, &case);
        (before, after, outcome)
    }

    fn judge_honest(&mut self, line: &Line, over_tls: bool) -> (Verdict, String) {
        let direct = match self.shown.get(&line.case.id) {
            Some(direct) => direct.clone(),
            None => {
                let direct = self.honest_on(Side::Direct, line, false);
                self.shown.insert(line.case.id.clone(), direct.clone());
                direct
            }
        };
        let via = self.honest_on(Side::Via, line, over_tls);
        let case = self.case(Side::Via, line);
        if direct.held || direct.closed {
            return (Verdict::Invalid, format!("fails directly: {}", direct.why()));
        }
        if via.held || via.closed {
            return (Verdict::Broken, via.why());
        }
        if let Some(found) = self.found(&via, &case) {
            return (Verdict::Leaked, format!("{} `{}`", found.how, found.what));
        }
        match difference(&case, &direct, &via) {
            None => (Verdict::Ok, String::new()),
            Some(what) if via.errors.is_empty() => (Verdict::Broken, what),
            Some(what) => (Verdict::Broken, format!("{what}: {}", via.why())),
        }
    }

    fn honest_on(&mut self, side: Side, line: &Line, over_tls: bool) -> Outcome {
        let case = self.case(side, line);
        self.set_up(side, &case);
        let outcome = self.play(side, &case, &case.steps, over_tls);
        self.tear_down(side, &case);
        outcome
    }

    fn case(&mut self, side: Side, line: &Line) -> Case {
        self.once += 1;
        let port = match side {
            Side::Direct => self.bare.postgres.port(),
            Side::Via => self.guarded.postgres.port(),
        };
        line.case(&Places {
            secrets: &self.secrets,
            port,
            once: self.once,
        })
    }

    fn target(&mut self, side: Side) -> &mut Target {
        match side {
            Side::Direct => &mut self.bare,
            Side::Via => &mut self.guarded,
        }
    }

    fn set_up(&mut self, side: Side, case: &Case) {
        for sql in &case.setup {
            if let Err(error) = self.target(side).try_ask(sql) {
                panic!("{}: setup: {error}", case.id);
            }
        }
    }

    fn tear_down(&mut self, side: Side, case: &Case) {
        for sql in &case.teardown {
            let _best_effort = self.target(side).try_ask(sql);
        }
        let _rebuilt = self.target(side).reset();
    }

    fn play(&mut self, side: Side, case: &Case, steps: &[Step], over_tls: bool) -> Outcome {
        let mut door = match side {
            Side::Direct => self.direct.clone(),
            Side::Via => self.via.clone(),
        };
        if !over_tls {
            door.tls = None;
        }
        let target = self.target(side);
        let mut clients: BTreeMap<String, AttackClient> = BTreeMap::new();
        let mut whole = Outcome::default();
        for step in steps {
            if let Some(sql) = &step.admin {
                let _its_own_matter = target.try_ask(sql);
                continue;
            }
            if let Some(wait) = step.sleep {
                std::thread::sleep(std::time::Duration::from_millis(wait));
                continue;
            }
            let on = step.on.clone().unwrap_or_else(|| "a".to_owned());
            if !clients.contains_key(&on) {
                let none = BTreeMap::new();
                let parameters = if on == "a" { &case.startup } else { &none };
                match AttackClient::connect(&door, parameters) {
                    Ok(client) => clients.insert(on.clone(), client),
                    Err(outcome) => {
                        whole.absorb(*outcome);
                        break;
                    }
                };
            }
            let client = clients.get_mut(&on).expect("just connected");
            client.step(step, &mut |name| {
                let oid = target.ask(&format!("SELECT '{name}'::regprocedure::oid::bigint"));
                oid.parse().expect("an OID")
            });
            if client.seen.held || client.seen.closed {
                break;
            }
        }
        for client in clients.into_values() {
            whole.absorb(client.finish());
        }
        whole
    }

    /// Looks at the bytes as they came, and at values joined across columns, rows and results.
    fn found(&self, outcome: &Outcome, case: &Case) -> Option<Found> {
        if case.own {
            return None;
        }
        let rows: Vec<_> = outcome.results.iter().flatten().collect();
        let width = rows.iter().map(|row| row.len()).max().unwrap_or(0);
        let cell = |cell: &Option<Vec<u8>>| cell.clone().unwrap_or_default();
        let mut places = vec![
            outcome.raw.clone(),
            outcome.copy.clone(),
            rows.iter().flat_map(|row| row.iter().flat_map(cell)).collect(),
            rows.iter()
                .flat_map(|row| row.iter().flat_map(cell).chain(*b"\n"))
                .collect(),
        ];
        for column in 0..width.min(64) {
            let of = |row: &&Vec<Option<Vec<u8>>>| row.get(column).map(cell).unwrap_or_default();
            places.push(rows.iter().flat_map(of).collect());
        }
        places
            .iter()
            .filter(|bytes| !bytes.is_empty())
            .find_map(|bytes| self.detector.find(bytes, &case.decode))
    }
}

/// What an observer can tell two plays apart by.
fn signature(outcome: &Outcome) -> impl PartialEq + use<> {
    let codes: Vec<String> = outcome.errors.iter().map(|(code, _)| code.clone()).collect();
    (
        outcome.results.clone(),
        codes,
        outcome.tags.clone(),
        outcome.copy.clone(),
        outcome.closed,
    )
}

fn told(outcome: &Outcome) -> String {
    let why = outcome.why();
    if why.is_empty() {
        format!("{:?} {}", outcome.tags, outcome.as_text())
    } else {
        why
    }
}

/// The first way in which an honest answer differs.
fn difference(case: &Case, direct: &Outcome, via: &Outcome) -> Option<String> {
    let codes =
        |outcome: &Outcome| -> Vec<String> { outcome.errors.iter().map(|(code, _)| code.clone()).collect() };
    if codes(direct) != codes(via) {
        return Some(format!("errors {:?}, not {:?}", codes(via), codes(direct)));
    }
    if direct.columns != via.columns {
        return Some(format!("columns {:?}, not {:?}", via.columns, direct.columns));
    }
    if case.compare == Compare::Works {
        return None;
    }
    let counts = |outcome: &Outcome| -> Vec<usize> { outcome.results.iter().map(Vec::len).collect() };
    if counts(direct) != counts(via) {
        return Some(format!("rows {:?}, not {:?}", counts(via), counts(direct)));
    }
    if direct.tags != via.tags {
        return Some(format!("tags {:?}, not {:?}", via.tags, direct.tags));
    }
    if case.compare == Compare::Shape {
        return None;
    }
    for (index, (ours, theirs)) in via.results.iter().zip(&direct.results).enumerate() {
        let names = &direct.columns[index];
        for (ours, theirs) in ours.iter().zip(theirs) {
            for (column, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
                let masked = names.get(column).is_some_and(|name| case.mask.contains(name));
                if !masked && ours != theirs {
                    let text = |cell: &Option<Vec<u8>>| {
                        cell.as_ref().map_or_else(
                            || "NULL".to_owned(),
                            |cell| String::from_utf8_lossy(cell).into_owned(),
                        )
                    };
                    return Some(format!("column {column} is {}, not {}", text(ours), text(theirs)));
                }
            }
        }
    }
    (case.mask.is_empty() && direct.copy != via.copy).then(|| "COPY data differs".to_owned())
}
