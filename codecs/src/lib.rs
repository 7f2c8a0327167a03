//! What the bytes of each protocol mean: pure functions over borrowed bytes. No I/O, no async, no clock, no unsafe.
//!
//! A codec takes bytes and returns a step; a short buffer is an ordinary answer, not an error. Nothing here decides
//! what is allowed: that is `policy`'s.

#![forbid(unsafe_code)]

pub mod postgres;
