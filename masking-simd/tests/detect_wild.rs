//! What the detectors find on a second labelled corpus that they were not written beside, with floors under the figures.
//! The tables: `cargo test -p masking-simd --test detect_wild -- --nocapture --test-threads 1`.

mod levels;
mod wild;

use std::collections::BTreeMap;

use masking_simd::{Detectors, Entity, Hit, detect};
use wild::{Labelled, Section, corpus};

const SEED: u64 = 1;
const ROUNDS: usize = 200;

/// The least precision and recall of the open section, in percent.
const OPEN_FLOORS: [(Entity, f64, f64); Entity::COUNT] = [
    (Entity::Card, 92.0, 99.0),
    (Entity::Ssn, 99.0, 99.0),
    (Entity::Iban, 99.0, 99.0),
    (Entity::Email, 99.0, 99.0),
    (Entity::Phone, 99.0, 99.0),
    (Entity::Ipv4, 99.0, 99.0),
    (Entity::Ipv6, 99.0, 99.0),
    (Entity::Jwt, 99.0, 99.0),
    (Entity::PemKey, 99.0, 99.0),
    (Entity::AwsKeyId, 99.0, 99.0),
    (Entity::AwsSecret, 99.0, 99.0),
    (Entity::GithubToken, 99.0, 99.0),
    (Entity::GitlabToken, 99.0, 99.0),
    (Entity::SlackToken, 99.0, 99.0),
    (Entity::StripeKey, 99.0, 99.0),
    (Entity::GoogleKey, 99.0, 99.0),
    (Entity::Secret, 99.0, 98.0),
];

/// The same of the section held out, where they differ.
const HELD_OUT_FLOORS: [(Entity, f64, f64); 2] = [(Entity::Card, 86.0, 99.0), (Entity::Phone, 99.0, 80.0)];

fn overlaps(hit: &Hit, at: usize, bytes: usize) -> bool {
    (hit.at as usize) < at + bytes && at < (hit.at + hit.bytes) as usize
}

#[derive(Clone, Copy, Default)]
struct Score {
    labelled: u32,
    found: u32,
    exact: u32,
    hits: u32,
    right: u32,
}

fn percent(part: u32, whole: u32) -> f64 {
    f64::from(part) * 100.0 / f64::from(whole.max(1))
}

/// Counts what is found and prints it; of the open section also what is mistaken for what, and what is missed.
fn score(section: Section) -> [Score; Entity::COUNT] {
    let cells = corpus(SEED, section, ROUNDS);
    let mut scores = [Score::default(); Entity::COUNT];
    let (mut mistaken, mut missed) = (BTreeMap::new(), BTreeMap::new());
    for cell in &cells {
        let mut hits = Vec::new();
        detect(cell.text.as_bytes(), Detectors::ALL, &mut hits);
        for (entity, at, bytes) in &cell.truth {
            let score = &mut scores[*entity as usize];
            let mut same = hits.iter().filter(|hit| hit.entity == *entity);
            score.labelled += 1;
            let is_exact = |hit: &Hit| (hit.at as usize, hit.bytes as usize) == (*at, *bytes);
            score.exact += u32::from(same.clone().any(is_exact));
            if same.any(|hit| overlaps(hit, *at, *bytes)) {
                score.found += 1;
            } else {
                missed
                    .entry(entity.name())
                    .or_insert_with(Vec::new)
                    .push(&cell.text);
            }
        }
        for hit in &hits {
            let mut same = cell.truth.iter().filter(|(entity, ..)| *entity == hit.entity);
            let score = &mut scores[hit.entity as usize];
            score.hits += 1;
            if same.any(|(_, at, bytes)| overlaps(hit, *at, *bytes)) {
                score.right += 1;
            } else {
                let kind = (hit.entity.name(), cell.lookalike);
                mistaken.entry(kind).or_insert_with(Vec::new).push(&cell.text);
            }
        }
    }
    let bare = cells.iter().filter(|cell| cell.truth.is_empty()).count();
    println!(
        "{section:?}: {} cells, {bare} of them with nothing private",
        cells.len()
    );
    println!("entity          labelled      hits precision    recall     exact");
    for (entity, score) in Entity::ALL.into_iter().zip(scores) {
        println!(
            "{:14} {:>9} {:>9} {:>8.1}% {:>8.1}% {:>8.1}%",
            entity.name(),
            score.labelled,
            score.hits,
            percent(score.right, score.hits),
            percent(score.found, score.labelled),
            percent(score.exact, score.labelled)
        );
    }
    if section == Section::Open {
        for ((entity, lookalike), texts) in mistaken {
            println!(
                "mistaken for {entity}: {} of {lookalike:?}, as in {:?}",
                texts.len(),
                texts[0]
            );
        }
        for (entity, texts) in missed {
            println!("missed {entity}: {}, as in {:?}", texts.len(), texts[0]);
        }
    }
    scores
}

fn check(section: Section, floors: impl Iterator<Item = (Entity, f64, f64)>) {
    let scores = score(section);
    for (entity, precision, recall) in floors {
        let score = scores[entity as usize];
        assert!(
            score.labelled >= ROUNDS as u32,
            "{entity}: too few labels to say anything"
        );
        let got = (
            percent(score.right, score.hits),
            percent(score.found, score.labelled),
        );
        assert!(got.0 >= precision, "{entity}: precision fell to {:.1}%", got.0);
        assert!(got.1 >= recall, "{entity}: recall fell to {:.1}%", got.1);
    }
}

#[test]
fn the_open_section_keeps_its_floors() {
    check(Section::Open, OPEN_FLOORS.into_iter());
}

#[test]
fn the_section_held_out_keeps_its_floors() {
    let floor = |open: (Entity, f64, f64)| {
        HELD_OUT_FLOORS
            .into_iter()
            .find(|own| own.0 == open.0)
            .unwrap_or(open)
    };
    check(Section::HeldOut, OPEN_FLOORS.into_iter().map(floor));
}

#[test]
fn a_seed_names_a_corpus() {
    let texts = |seed| -> Vec<String> {
        let cells: Vec<Labelled> = corpus(seed, Section::Open, 1);
        cells.into_iter().map(|cell| cell.text).collect()
    };
    assert_eq!(texts(5), texts(5));
    assert_ne!(texts(5), texts(6));
}

#[test]
fn labels_stand_on_what_they_name() {
    for section in [Section::Open, Section::HeldOut] {
        for cell in corpus(SEED, section, 2) {
            for (entity, at, bytes) in cell.truth {
                assert!(
                    bytes > 0 && cell.text.get(at..at + bytes).is_some(),
                    "{entity} in {:?}",
                    cell.text
                );
            }
        }
    }
}

#[test]
fn every_level_finds_what_the_reference_finds() {
    let cells = [Section::Open, Section::HeldOut].map(|section| corpus(SEED + 1, section, 6));
    levels::find_what_the_reference_finds(cells.iter().flatten().map(|cell| cell.text.as_ref()));
}
