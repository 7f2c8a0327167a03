//! Rows that are too large to be held: taken in as they come, without the cells that nobody will look at.
//!
//! Whether such a row is shown depends on what is shown of it alone. If a computed value that is left out counted, anybody could
//! tell how long it is by what still fits beside it.

use codecs::postgres::backend::tag;
use codecs::postgres::copy_rows::CopySieve;
use codecs::postgres::frame::FrameSize;
use codecs::postgres::sieve::RowSieve;
use codecs::postgres::{HEADER_BYTES, Limits, PostgresError, frame};

use super::{Flow, Outgoing};
use crate::session::postgres::results::{Copied, whole::Whole};
use crate::session::postgres::{Ended, FrontTurn};
use crate::slab::Ingress;

/// One row as far as it has come.
pub(super) enum Large {
    Row(RowSieve),
    Copied(CopySieve),
}

impl Flow {
    /// Whether `bytes` are of a row that is too large to be held: its next ones, or its first.
    pub(super) fn is_at_large_row(&self, bytes: &[u8]) -> bool {
        self.result.large.is_some()
            || matches!(bytes.first(), Some(&(tag::DATA_ROW | tag::COPY_DATA)))
                && matches!(
                    frame::step(bytes, &self.session.limits),
                    Err(PostgresError::FrameTooLong { .. })
                )
    }

    /// Takes what is there of one row. `Some(bytes)` when more is needed.
    pub(super) async fn large_row(
        &mut self,
        turn: &FrontTurn<'_>,
        ingress: &mut Ingress,
        at: &mut usize,
        out: &mut Outgoing,
        whole: &Whole,
    ) -> std::result::Result<Option<usize>, Ended> {
        let mut large = match self.result.large.take() {
            Some(large) => large,
            None => {
                let Some(header) = ingress.data()[*at..].first_chunk::<HEADER_BYTES>() else {
                    return Ok(Some(HEADER_BYTES));
                };
                let max = self.session.limits.frame_bytes_max;
                let begun = RowSieve::begin(*header, whole.keeps(), max);
                let (sieve, bytes) = begun.map_err(|error| self.server_fault(&error))?;
                *at += bytes;
                Box::new(Large::Row(sieve))
            }
        };
        let Large::Row(sieve) = &mut *large else {
            return Err(self.out_of_turn(tag::COPY_DATA));
        };
        let (bytes, is_whole) = sieve
            .take(&ingress.data()[*at..])
            .map_err(|error| self.server_fault(&error))?;
        *at += bytes;
        if !is_whole {
            self.result.large = Some(large);
            return Ok(Some(1));
        }
        let before = self.result.found();
        whole
            .search(sieve.row(), self.result.found.made())
            .map_err(|error| self.server_fault(&error))?;
        self.searched(turn, ingress, out, whole, before).await?;
        self.gather(turn, ingress, out).await?;
        if let Some(cut) = self.rewrite_rows(turn, sieve.row(), out, whole).await? {
            self.cut(turn, ingress, out, cut).await?;
        }
        Ok(None)
    }

    /// The same of a row of COPY.
    pub(super) async fn large_copied_row(
        &mut self,
        turn: &FrontTurn<'_>,
        ingress: &mut Ingress,
        at: &mut usize,
        out: &mut Outgoing,
        copied: &Copied,
    ) -> std::result::Result<Option<usize>, Ended> {
        let mut large = match self.result.large.take() {
            Some(large) => large,
            None => {
                let Some([_, size @ ..]) = ingress.data()[*at..].first_chunk::<HEADER_BYTES>() else {
                    return Ok(Some(HEADER_BYTES));
                };
                let size = FrameSize::checked(u32::from_be_bytes(*size), &Limits::STREAMED)
                    .map_err(|error| self.server_fault(&error))?;
                *at += HEADER_BYTES;
                let payload = size.with_tag() - HEADER_BYTES;
                let max = self.session.limits.frame_bytes_max;
                Box::new(Large::Copied(copied.sieve(&self.result.copied, payload, max)))
            }
        };
        let Large::Copied(sieve) = &mut *large else {
            return Err(self.out_of_turn(tag::DATA_ROW));
        };
        let (bytes, is_whole) = copied
            .take(sieve, &ingress.data()[*at..])
            .map_err(|error| self.server_fault(&error))?;
        *at += bytes;
        if !is_whole {
            self.result.large = Some(large);
            return Ok(Some(1));
        }
        let start = out.copied.len();
        if let Err(error) = copied.rewrite(&mut self.result.copied, sieve.row(), &mut out.copied) {
            out.copied.truncate(start);
            return Err(self.server_fault(&error));
        }
        self.copied(turn, ingress, out, start, 1).await?;
        Ok(None)
    }
}
