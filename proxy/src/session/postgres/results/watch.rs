//! Detectors over a result: text cells that no label covers are searched for private data and credentials.
//! Source: `pg_type.dat` for the object identifiers.
//!
//! Searched are text, JSON and what is written as text (arrays of text, XML, composites, types that somebody defined), in
//! text format; text and JSON in binary format too, where they are the same bytes. Numbers, dates, `bytea` are not.

use std::cell::RefCell;

use codecs::postgres::rows::{CellSink, Piece, Place, find};
use codecs::postgres::{Limits, PostgresError};
use linegate_config::{OnDetect, TargetConfig};
use linegate_policy::redact::Kind;
use linegate_policy::{FieldOrigin, MaskPlan};
use masking_simd::{
    Detectors, Entity, Hit, HitCounts, HitSink, MASK, Redaction, Span, detect_cells, redact_hits,
};

/// The first object identifier that is not PostgreSQL's own.
const FIRST_USER_OID: u32 = 16384;

/// How what is found is overwritten, so that the cell stays a value of its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Style {
    /// Any bytes are text.
    Text,
    /// Strings with escapes, and numbers.
    Json,
    /// Quoted parts with a backslash before what is meant literally.
    Quoted,
}

impl Style {
    /// `None` for cells that are not searched.
    fn of(type_oid: u32, format: i16) -> Option<Self> {
        let is_text_format = format == 0;
        match Kind::of(type_oid) {
            Kind::Char => None, // one byte
            kind if kind.is_text() => Some(Self::Text),
            Kind::Json | Kind::Jsonb => Some(Self::Json),
            Kind::Other if is_text_format => match type_oid {
                // xml, "char"[], name[], text[], bpchar[], varchar[], json[], jsonb[], xml[], record
                142 | 1002 | 1003 | 1009 | 1014 | 1015 | 199 | 3807 | 143 | 2249 | FIRST_USER_OID.. => {
                    Some(Self::Quoted)
                }
                _ => None,
            },
            _ => None,
        }
    }
}

/// What is looked for in which columns of a result.
pub struct Watch {
    wanted: Detectors,
    on_detect: OnDetect,
    columns: Vec<u16>,
    /// By column.
    styles: Vec<Style>,
    columns_count: u16,
}

/// What a search needs besides, one a thread: nothing in it outlives the search.
#[derive(Default)]
struct Scratch {
    cells: Vec<Span>,
    /// By cell, the index of its column in the list.
    owners: Vec<u16>,
    hits: Vec<Hit>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl CellSink for Scratch {
    fn cell(&mut self, index: usize, piece: Piece) -> bool {
        if piece.bytes > 0 {
            self.cells.push(Span {
                at: piece.at,
                bytes: piece.bytes,
            });
            self.owners.push(index as u16); // below the number of columns
        }
        true
    }
}

struct Both<'a>(&'a mut HitCounts, &'a mut Vec<Hit>);

impl HitSink for Both<'_> {
    fn hit(&mut self, hit: Hit) {
        self.0.hit(hit);
        self.1.push(hit);
    }
}

impl Watch {
    /// What the target asks to look for in the columns that are not masked; `None` when there is nothing to do.
    pub fn of(target: &TargetConfig, fields: &[FieldOrigin], plan: &MaskPlan) -> Option<Self> {
        Self::new(target.detect, target.on_detect, fields, plan)
    }

    pub(super) fn new(
        wanted: Detectors,
        on_detect: OnDetect,
        fields: &[FieldOrigin],
        plan: &MaskPlan,
    ) -> Option<Self> {
        if wanted.is_empty() {
            return None;
        }
        let is_masked = |index: u16| plan.columns.iter().any(|column| column.index == index);
        let (columns, styles): (Vec<u16>, Vec<Style>) = (0..plan.columns_count)
            .zip(fields)
            .filter(|(index, _)| !is_masked(*index))
            .filter_map(|(index, field)| Some((index, Style::of(field.type_oid, field.format)?)))
            .unzip();
        (!columns.is_empty()).then_some(Self {
            wanted,
            on_detect,
            columns,
            styles,
            columns_count: plan.columns_count,
        })
    }

    /// A hit ends the session.
    pub fn ends(&self) -> bool {
        self.on_detect == OnDetect::End
    }

    /// What is done about a hit, for the record.
    pub fn done(&self) -> &'static str {
        match self.on_detect {
            OnDetect::Count => "counted only",
            OnDetect::Redact => "overwritten",
            OnDetect::End => "withheld, and the session ended",
        }
    }

    /// Searches whole rows, adds up what is found, and overwrites it where that was asked for.
    pub fn search(&self, rows: &mut [u8], found: &mut HitCounts) -> Result<(), PostgresError> {
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.cells.clear();
            scratch.owners.clear();
            let mut place = Place::default();
            find(
                rows,
                &mut place,
                &self.columns,
                self.columns_count,
                scratch,
                &Limits::STREAMED,
            )?;
            if self.on_detect != OnDetect::Redact {
                detect_cells(rows, &scratch.cells, self.wanted, found);
                return Ok(());
            }
            let Scratch { cells, owners, hits } = scratch;
            hits.clear();
            detect_cells(rows, cells, self.wanted, &mut Both(found, hits));
            for hit in hits.iter() {
                let cell = hit.cell as usize;
                match self.styles[usize::from(owners[cell])] {
                    Style::Text => redact_hits(rows, std::slice::from_ref(hit), Redaction::Blank),
                    style => {
                        let (start, end) = (cells[cell].at as usize, hit.at as usize + hit.bytes as usize);
                        conceal(
                            &mut rows[start..end],
                            hit.at as usize - start,
                            style == Style::Json,
                        );
                    }
                }
            }
            Ok(())
        })
    }
}

/// What was found, in words that show none of it.
pub fn words(found: &HitCounts) -> String {
    let kinds = Entity::ALL.into_iter().filter(|entity| found.of(*entity) > 0);
    let words: Vec<String> = kinds
        .map(|entity| format!("{entity} ({})", found.of(entity)))
        .collect();
    words.join(", ")
}

/// Overwrites the end of `text` from `at` on so that a document or array stays one: digits become other digits, letters
/// asterisks, escapes and punctuation stay.
fn conceal(text: &mut [u8], at: usize, is_json: bool) {
    let escape_bytes = |next: Option<&u8>| {
        if is_json && next == Some(&b'u') { 5 } else { 1 }
    };
    // What was found may start within an escape.
    let back = (1..=at.min(5)).find(|back| text[at - back] == b'\\');
    let mut kept = back.map_or(0, |back| {
        let slashes = text[..=at - back]
            .iter()
            .rev()
            .take_while(|byte| **byte == b'\\')
            .count();
        let whole = if slashes % 2 == 1 {
            escape_bytes(text.get(at - back + 1))
        } else {
            0
        };
        (whole + 1_usize).saturating_sub(back)
    });
    for index in at..text.len() {
        if kept > 0 {
            kept -= 1;
            continue;
        }
        match text[index] {
            b'\\' => kept = escape_bytes(text.get(index + 1)),
            b'0'..=b'9' => text[index] = b'9',
            b'a'..=b'z' | b'A'..=b'Z' | 0x80.. => text[index] = MASK,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use linegate_policy::{Action, MaskedColumn};

    const TEXT: u32 = 25;
    const JSONB: u32 = 3802;

    fn row(cells: &[Option<&[u8]>]) -> Vec<u8> {
        let mut body = (cells.len() as u16).to_be_bytes().to_vec();
        for cell in cells {
            let length = cell.map_or(-1, |cell| cell.len() as i32);
            body.extend(length.to_be_bytes());
            body.extend(cell.unwrap_or_default());
        }
        let mut row = vec![b'D'];
        row.extend((body.len() as u32 + 4).to_be_bytes());
        row.extend(body);
        row
    }

    fn plan(types: &[(u32, i16)], masked: &[u16]) -> (Vec<FieldOrigin>, MaskPlan) {
        let field = |(type_oid, format): &(u32, i16)| FieldOrigin {
            table_oid: 0,
            attribute: 0,
            type_oid: *type_oid,
            format: *format,
        };
        let column = |index: &u16| MaskedColumn {
            index: *index,
            action: Action::Null,
            paths: Default::default(),
        };
        let plan = MaskPlan {
            columns: masked.iter().map(column).collect(),
            columns_count: types.len() as u16,
            unforeseen_count: 0,
        };
        (types.iter().map(field).collect(), plan)
    }

    fn watch(types: &[(u32, i16)], masked: &[u16], on_detect: OnDetect) -> Option<Watch> {
        let (fields, plan) = plan(types, masked);
        Watch::new(Detectors::ALL, on_detect, &fields, &plan)
    }

    #[test]
    fn text_is_searched_and_masked_columns_and_numbers_are_not() {
        let columns = |types: &[(u32, i16)], masked: &[u16]| {
            watch(types, masked, OnDetect::Count).map_or(Vec::new(), |watch| watch.columns)
        };
        let text = [
            (TEXT, 0),
            (1043, 1),
            (JSONB, 0),
            (JSONB, 1),
            (1009, 0),
            (70_000, 0),
        ];
        assert_eq!(columns(&text, &[]), [0, 1, 2, 3, 4, 5]);
        assert_eq!(columns(&text, &[1, 4]), [0, 2, 3, 5]);
        let others = [
            (23, 0),
            (1700, 0),
            (17, 0),
            (1009, 1),
            (70_000, 1),
            (18, 0),
            (1082, 0),
        ];
        assert_eq!(columns(&others, &[]), Vec::<u16>::new());
        let (fields, plan) = plan(&text, &[]);
        assert!(Watch::new(Detectors::NONE, OnDetect::End, &fields, &plan).is_none());
    }

    #[test]
    fn hits_are_counted_over_all_rows_and_nothing_changes() {
        let watch = watch(&[(TEXT, 0), (23, 0), (TEXT, 0)], &[], OnDetect::Count).expect("text");
        let note: &[u8] = b"card 4111 1111 1111 1111, mail one@example.com";
        let mut rows = row(&[Some(note), Some(b"7"), None]);
        rows.extend(row(&[None, Some(b"4111111111111111"), Some(b"")]));
        rows.extend(row(&[Some(b"none"), None, Some(b"two@example.com")]));
        let (before, mut found) = (rows.clone(), HitCounts::default());
        watch.search(&mut rows, &mut found).expect("whole rows");
        watch.search(&mut rows, &mut found).expect("whole rows");
        assert_eq!(rows, before);
        assert_eq!(words(&found), "card (2), email (4)", "an integer is not searched");
    }

    #[test]
    fn what_is_found_is_overwritten_and_values_stay_values() {
        let types = [(TEXT, 1), (JSONB, 0), (1009, 0)];
        let watch = watch(&types, &[], OnDetect::Redact).expect("text");
        let json = br#"{"n": 4111111111111111, "m": "say\none@example.com", "u": "\u00e9two@example.com"}"#;
        let list = br#"{"4111 1111 1111 1111",x}"#;
        let mut rows = row(&[Some(b"to one@example.com."), Some(json), Some(list)]);
        let mut found = HitCounts::default();
        watch.search(&mut rows, &mut found).expect("a whole row");
        let json = br#"{"n": 9999999999999999, "m": "say\n***@*******.***", "u": "\u00e9***@*******.***"}"#;
        let list = br#"{"9999 9999 9999 9999",x}"#;
        let expected = row(&[Some(b"to ***************."), Some(json), Some(list)]);
        assert_eq!(String::from_utf8_lossy(&rows), String::from_utf8_lossy(&expected));
        assert_eq!((found.of(Entity::Card), found.of(Entity::Email)), (2, 3));
    }

    #[test]
    fn escapes_stay_whole_wherever_a_hit_starts() {
        let concealed = |text: &str, at, is_json| {
            let mut bytes = text.as_bytes().to_vec();
            conceal(&mut bytes, at, is_json);
            String::from_utf8(bytes).expect("ASCII")
        };
        assert_eq!(concealed(r"\nab", 1, true), r"\n**");
        assert_eq!(
            concealed(r"\\ab", 2, true),
            r"\\**",
            "an escaped backslash is over"
        );
        assert_eq!(concealed(r"\u00e9ab", 1, true), r"\u00e9**");
        assert_eq!(concealed(r"\u00e9ab", 4, true), r"\u00e9**");
        assert_eq!(concealed(r"\u00e9ab", 6, true), r"\u00e9**");
        assert_eq!(
            concealed(r"\u00e9", 1, false),
            r"\u99*9",
            "arrays have no such escape"
        );
        assert_eq!(concealed(r#"a\"b"c"#, 0, true), r#"*\"*"*"#);
    }
}
