//! Fuzz targets: what must hold for any bytes at all. A target panics when it does not.
//!
//! Each module has one `check(&[u8])`. `tests/fuzz/run` feeds it from libFuzzer; the test `fuzz` feeds it seeds and a fixed
//! series of changed seeds, so that every run of the tests goes through all of them.

pub mod backend;
pub mod config;
pub mod copy_rows;
pub mod detect;
pub mod frontend;
pub mod json;
pub mod rows;
pub mod scram;
pub mod sql;
pub mod startup;

/// Takes numbers off the front of an input; what is used up yields zeros.
pub(crate) struct Head<'a>(pub(crate) &'a [u8]);

impl Head<'_> {
    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }
}
