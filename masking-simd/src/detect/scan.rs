//! The vector scan: classify a chunk, find candidates, confirm each on its cell.

use std::ops::Range;

use crate::dispatch::Level;

use super::entity::{Detectors, Entity, Hit, HitSink, Span};
use super::filter::{self, Candidates};
use super::grammar::{BEHIND, before, byte, entity_at, hides};
use super::masks::{self, BLOCK_BYTES, CHUNK_BLOCKS, Classes, Needs, READ_BYTES};
use super::network::{ENCODED_AT, LOCAL_BYTES_MAX, is_hex_or_colon, is_local};
use super::secrets::value_reach;

const CHUNK_BYTES: usize = CHUNK_BLOCKS * BLOCK_BYTES;

/// What needs more than the classes of personal data.
const OTHERS: Detectors = Detectors::CREDENTIALS.with(Entity::Ipv4).with(Entity::Ipv6);

/// What is remembered within one cell. Places are offsets in the cell as a whole, also when a piece of it is scanned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CellState {
    /// For each kind where the next hit may start.
    next: [u32; Entity::COUNT],
    /// How far AWS secrets have been looked for, in the piece: names that make a context may stand close together.
    secrets_to: usize,
    /// Behind the last colon tried, in the piece: another one of the same address need not be.
    colon_end: usize,
}

impl CellState {
    /// A cell from its start.
    pub(crate) const fn new() -> Self {
        Self {
            next: [0; Entity::COUNT],
            secrets_to: 0,
            colon_end: 0,
        }
    }

    /// Goes on in another piece of the same cell.
    pub(crate) fn in_piece(&mut self) {
        (self.secrets_to, self.colon_end) = (0, 0);
    }
}

/// A bit of a block's words.
#[derive(Clone, Copy)]
struct Candidate<'a> {
    found: &'a Candidates,
    block: usize,
    bit: u64,
}

/// A cell or a piece of one that is being looked at.
pub(crate) struct Place<'a> {
    /// Its bytes.
    pub cell: &'a [u8],
    /// Which cell it is.
    pub index: u32,
    /// Where it starts in what hits are reported in.
    pub hits_at: u32,
    /// Where it starts in its cell.
    pub cell_at: u32,
    /// Hits must start here, in the piece.
    pub starts: Range<usize>,
}

impl Place<'_> {
    /// Reports the `entity` that starts at `at`, if one does and it may.
    #[inline]
    pub(crate) fn confirm(
        &self,
        entity: Entity,
        wanted: Detectors,
        at: usize,
        state: &mut CellState,
        sink: &mut dyn HitSink,
    ) {
        let cell_at = self.cell_at + at as u32;
        if !wanted.has(entity) || !self.starts.contains(&at) || cell_at < state.next[entity as usize] {
            return;
        }
        let Some(bytes) = entity_at(entity, wanted, self.cell, at) else {
            return;
        };
        let bytes = bytes as u32;
        state.next[entity as usize] = cell_at + bytes;
        for hidden in hides(entity) {
            let next = &mut state.next[*hidden as usize];
            *next = (*next).max(cell_at + bytes);
        }
        sink.hit(Hit {
            cell: self.index,
            at: self.hits_at + at as u32,
            bytes,
            entity,
        });
    }

    /// Looks at everything that starts or stands at a candidate. What shares a place goes in the order of
    /// [`Entity::ALL`], as hits may hide others.
    #[inline]
    fn look(
        &self,
        Candidate { found, block, bit }: Candidate<'_>,
        at: usize,
        wanted: Detectors,
        state: &mut CellState,
        sink: &mut dyn HitSink,
    ) {
        let mut confirm = |entity, at| self.confirm(entity, wanted, at, state, sink);
        if found.card[block] & bit != 0 {
            confirm(Entity::Card, at);
        }
        if found.ssn[block] & bit != 0 {
            confirm(Entity::Ssn, at);
        }
        if found.iban[block] & bit != 0 {
            confirm(Entity::Iban, at);
        }
        if found.phone[block] & bit != 0 {
            confirm(Entity::Phone, at);
        }
        if found.email[block] & bit != 0 && (self.cell[at] == b'@' || self.cell[at..].starts_with(ENCODED_AT))
        {
            let local = self.back(at, LOCAL_BYTES_MAX + 1, is_local);
            if local <= LOCAL_BYTES_MAX {
                confirm(Entity::Email, at - local);
            }
        }
        if found.ipv4[block] & bit != 0 {
            confirm(Entity::Ipv4, at - self.back(at, 3, |byte| byte.is_ascii_digit()));
        }
        if found.pem[block] & bit != 0 {
            confirm(Entity::PemKey, at);
        }
        if found.assign[block] & bit != 0 {
            let reach = value_reach(self.cell, at);
            (at + 1..=at + reach).for_each(|at| confirm(Entity::Secret, at));
        }
        if found.ipv6[block] & bit != 0 {
            let start = at - self.back(at, BEHIND, is_hex_or_colon);
            if start >= state.colon_end {
                self.confirm(Entity::Ipv6, wanted, start, state, sink);
            }
            state.colon_end = at + 1;
        }
        if found.token[block] & bit != 0 {
            self.look_at_token(at, wanted, state, sink);
        }
    }

    fn look_at_token(&self, at: usize, wanted: Detectors, state: &mut CellState, sink: &mut dyn HitSink) {
        let kinds: &[Entity] = match byte(self.cell, at) {
            b'e' => &[Entity::Jwt],
            b'A' => &[Entity::AwsKeyId, Entity::GoogleKey],
            b'g' => &[Entity::GithubToken, Entity::GitlabToken],
            b'x' | b'h' => &[Entity::SlackToken],
            b's' | b'r' | b'w' => &[Entity::StripeKey],
            b'y' | b'G' | b'1' => &[Entity::GoogleKey],
            _ => &[],
        };
        for entity in kinds {
            self.confirm(*entity, wanted, at, state, sink);
        }
        let rest = &self.cell[at..];
        let is_context = rest.starts_with(b"AKIA")
            || rest.starts_with(b"ASIA")
            || rest
                .get(..6)
                .is_some_and(|word| word.eq_ignore_ascii_case(b"secret"));
        if wanted.has(Entity::AwsSecret) && is_context {
            let end = (at + BEHIND + 1).min(self.cell.len());
            for at in state.secrets_to.max(at + 4)..end {
                self.confirm(Entity::AwsSecret, wanted, at, state, sink);
            }
            state.secrets_to = end;
        }
    }

    /// How many bytes right before `at` are `class`, up to `max`.
    #[inline(always)]
    fn back(&self, at: usize, max: usize, class: impl Fn(u8) -> bool) -> usize {
        (1..=max.min(at))
            .take_while(|back| class(before(self.cell, at, *back)))
            .count()
    }
}

/// Looks through all cells of a buffer, which ascend and do not overlap.
pub(crate) fn cells(level: Level, wanted: Detectors, buffer: &[u8], cells: &[Span], sink: &mut dyn HitSink) {
    let mut cursor = Cursor {
        cells,
        index: 0,
        confirmed: usize::MAX,
        state: CellState::new(),
    };
    chunks(level, wanted, buffer, cells, |found, block, block_at| {
        let mut left = found.any[block];
        while left != 0 {
            let (at, bit) = (
                block_at + left.trailing_zeros() as usize,
                left & left.wrapping_neg(),
            );
            left &= left - 1;
            let Some((span, index)) = cursor.find(at) else {
                continue;
            };
            let (start, end) = (span.at as usize, span.at as usize + span.bytes as usize);
            let place = Place {
                cell: &buffer[start..end],
                index: index as u32,
                hits_at: span.at,
                cell_at: 0,
                starts: 0..usize::MAX,
            };
            place.look(
                Candidate { found, block, bit },
                at - start,
                wanted,
                &mut cursor.state,
                sink,
            );
        }
    });
}

/// Looks through one piece of a cell.
pub(crate) fn piece(
    level: Level,
    wanted: Detectors,
    place: &Place<'_>,
    state: &mut CellState,
    sink: &mut dyn HitSink,
) {
    let whole = [Span {
        at: 0,
        bytes: place.cell.len() as u32,
    }];
    chunks(level, wanted, place.cell, &whole, |found, block, block_at| {
        let mut left = found.any[block];
        while left != 0 {
            let (at, bit) = (
                block_at + left.trailing_zeros() as usize,
                left & left.wrapping_neg(),
            );
            left &= left - 1;
            if at < place.cell.len() {
                place.look(Candidate { found, block, bit }, at, wanted, state, sink);
            }
        }
    });
}

/// Which cell a place lies in; places ascend.
struct Cursor<'a> {
    cells: &'a [Span],
    index: usize,
    confirmed: usize,
    state: CellState,
}

impl Cursor<'_> {
    #[inline]
    fn find(&mut self, at: usize) -> Option<(Span, usize)> {
        let passed = self.cells[self.index..]
            .iter()
            .take_while(|cell| cell.at as usize + cell.bytes as usize <= at)
            .count();
        self.index += passed;
        let cell = *self.cells.get(self.index)?;
        if at < cell.at as usize {
            return None;
        }
        if self.confirmed != self.index {
            (self.confirmed, self.state) = (self.index, CellState::new());
        }
        Some((cell, self.index))
    }
}

/// Classifies a buffer chunk by chunk and hands on the candidates of each block that has any.
///
/// # Panics
/// When the cells do not ascend, overlap or pass the end of the buffer: who collected them broke a promise, and what
/// was not looked at must not be sent.
#[inline(always)]
fn chunks(
    level: Level,
    wanted: Detectors,
    buffer: &[u8],
    cells: &[Span],
    mut look: impl FnMut(&Candidates, usize, usize),
) {
    let needs = if wanted.has_any(OTHERS) {
        Needs::All
    } else {
        Needs::Personal
    };
    let (mut taken, mut last_end, mut chunk_at) = (0, 0, 0);
    let (mut classes, mut found) = (Classes::new(), Candidates::new());
    while chunk_at < buffer.len() {
        if last_end <= chunk_at {
            // Nothing of a cell is left: go on where the next one starts.
            let Some(cell) = cells.get(taken) else { break };
            let ahead = (cell.at as usize).saturating_sub(chunk_at) / CHUNK_BYTES;
            if ahead > 0 {
                chunk_at += ahead * CHUNK_BYTES;
                classes.start();
                continue;
            }
        }
        let mut starts = [0_u64; CHUNK_BLOCKS];
        let (mut block, mut word) = (0, 0);
        for cell in &cells[taken..] {
            if cell.at as usize >= chunk_at + CHUNK_BYTES {
                break;
            }
            taken += 1;
            let at = cell.at as usize;
            assert!(at >= last_end, "cells do not ascend or overlap");
            last_end = at + cell.bytes as usize;
            assert!(last_end <= buffer.len(), "a cell passes the end of its buffer");
            // Kept beside the array, which would be read again right behind each write.
            let this = (at - chunk_at) / BLOCK_BYTES;
            word = if this == block { word } else { 0 } | 1 << (at % BLOCK_BYTES);
            (starts[this], block) = (word, this);
        }
        let rest = &buffer[chunk_at..];
        let blocks = rest.len().div_ceil(BLOCK_BYTES).min(CHUNK_BLOCKS);
        let read = &rest[..rest
            .len()
            .min((blocks + 1) * BLOCK_BYTES + READ_BYTES - BLOCK_BYTES)];
        classify(level, needs, read, blocks, &mut classes);
        candidates(level, wanted, &classes, &starts, blocks, &mut found);
        for block in 0..blocks {
            if found.any[block] != 0 {
                look(&found, block, chunk_at + block * BLOCK_BYTES);
            }
        }
        classes.go_on();
        chunk_at += CHUNK_BYTES;
    }
    if let Some(cell) = cells.get(taken) {
        assert!(
            cell.at as usize + cell.bytes as usize <= buffer.len(),
            "a cell passes the end of its buffer"
        );
        assert!(cell.bytes == 0, "cells do not ascend or overlap");
    }
}

/// The classes of the blocks of `bytes` and of the one behind them, at one level.
#[inline]
pub(crate) fn classify(level: Level, needs: Needs, bytes: &[u8], blocks: usize, classes: &mut Classes) {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => {
            // SAFETY: callers pass a level that `Level::or_scalar` found on this CPU.
            unsafe { super::avx512::classify(needs, bytes, blocks, classes) }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            // SAFETY: callers pass a level that `Level::or_scalar` found on this CPU.
            unsafe { super::avx2::classify(needs, bytes, blocks, classes) }
        }
        _ => masks::portable(needs, bytes, blocks, classes),
    }
}

/// The candidates of a chunk, at one level.
#[inline]
fn candidates(
    level: Level,
    wanted: Detectors,
    classes: &Classes,
    starts: &[u64; CHUNK_BLOCKS],
    blocks: usize,
    found: &mut Candidates,
) {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 => {
            // SAFETY: callers pass a level that `Level::or_scalar` found on this CPU.
            unsafe { super::avx512::candidates(wanted, classes, starts, blocks, found) }
        }
        #[cfg(target_arch = "x86_64")]
        Level::Avx2 => {
            // SAFETY: callers pass a level that `Level::or_scalar` found on this CPU.
            unsafe { super::avx2::candidates(wanted, classes, starts, blocks, found) }
        }
        _ => filter::candidates(wanted, classes, starts, blocks, found),
    }
}
