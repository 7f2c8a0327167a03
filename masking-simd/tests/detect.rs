//! What the detectors find on a labelled corpus, in figures, and with floors under them.
//! The table: `cargo test -p masking-simd --test detect -- --nocapture precision`.

mod corpus;
mod levels;

use corpus::{Labelled, corpus};
use masking_simd::{Detectors, Entity, Hit, detect};

const SEED: u64 = 7;
const PER_ENTITY: usize = 300;

/// The least precision and recall, in percent.
const FLOORS: [(Entity, f64, f64); Entity::COUNT] = [
    (Entity::Card, 88.0, 93.0),
    (Entity::Ssn, 99.0, 99.0),
    (Entity::Iban, 99.0, 99.0),
    (Entity::Email, 99.0, 90.0),
    (Entity::Phone, 98.0, 93.0),
    (Entity::Ipv4, 99.0, 98.0),
    (Entity::Ipv6, 99.0, 99.0),
    (Entity::Jwt, 99.0, 99.0),
    (Entity::PemKey, 99.0, 99.0),
    (Entity::AwsKeyId, 99.0, 99.0),
    (Entity::AwsSecret, 99.0, 98.0),
    (Entity::GithubToken, 99.0, 99.0),
    (Entity::GitlabToken, 99.0, 99.0),
    (Entity::SlackToken, 99.0, 99.0),
    (Entity::StripeKey, 99.0, 99.0),
    (Entity::GoogleKey, 99.0, 99.0),
    (Entity::Secret, 97.0, 90.0),
];

fn found(cell: &[u8], wanted: Detectors) -> Vec<Hit> {
    let mut hits = Vec::new();
    detect(cell, wanted, &mut hits);
    hits.sort_unstable();
    hits
}

#[derive(Clone, Copy, Default)]
struct Score {
    labelled: u32,
    found: u32,
    exact: u32,
    hits: u32,
    right: u32,
}

fn score(cells: &[Labelled]) -> [Score; Entity::COUNT] {
    let mut scores = [Score::default(); Entity::COUNT];
    for cell in cells {
        let hits = found(cell.text.as_bytes(), Detectors::ALL);
        let span = |hit: &Hit| (hit.at as usize, (hit.at + hit.bytes) as usize);
        for (entity, at, bytes) in &cell.truth {
            let score = &mut scores[*entity as usize];
            let mut same = hits.iter().filter(|hit| hit.entity == *entity).map(span);
            score.labelled += 1;
            score.found += u32::from(same.clone().any(|(start, end)| start < at + bytes && *at < end));
            score.exact += u32::from(same.any(|hit| hit == (*at, at + bytes)));
        }
        for hit in &hits {
            let (start, end) = span(hit);
            let is_right = cell
                .truth
                .iter()
                .any(|(entity, at, bytes)| *entity == hit.entity && start < at + bytes && *at < end);
            scores[hit.entity as usize].hits += 1;
            scores[hit.entity as usize].right += u32::from(is_right);
        }
    }
    scores
}

fn percent(part: u32, whole: u32) -> f64 {
    f64::from(part) * 100.0 / f64::from(whole.max(1))
}

#[test]
fn precision_and_recall_keep_their_floors() {
    let cells = corpus(SEED, PER_ENTITY);
    let scores = score(&cells);
    println!(
        "{} cells, {} of them with nothing private",
        cells.len(),
        cells.iter().filter(|cell| cell.truth.is_empty()).count()
    );
    println!(
        "{:14} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "entity", "labelled", "hits", "precision", "recall", "exact"
    );
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
    for (entity, precision, recall) in FLOORS {
        let score = scores[entity as usize];
        assert!(
            score.labelled >= PER_ENTITY as u32,
            "{entity}: too few labels to say anything"
        );
        assert!(
            percent(score.right, score.hits) >= precision,
            "{entity}: precision fell"
        );
        assert!(
            percent(score.found, score.labelled) >= recall,
            "{entity}: recall fell"
        );
    }
}

#[test]
fn every_level_finds_what_the_reference_finds_in_the_corpus() {
    let cells = corpus(SEED + 1, 12);
    levels::find_what_the_reference_finds(cells.iter().map(|cell| cell.text.as_ref()));
}
