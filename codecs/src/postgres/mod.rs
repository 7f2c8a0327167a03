//! The PostgreSQL wire protocol, version 3.0.
//!
//! Source: PostgreSQL manual, "Frontend/Backend Protocol": Message Flow, Message Formats, Error and Notice Message
//! Fields.
//! Shape, big-endian: tag u8 | size i32, counting itself but not the tag | payload. The first packet of a connection
//! has no tag (`startup`). Whole messages are read by `frontend` and `backend`; rows and COPY data, which may outgrow
//! any buffer, are walked in pieces by `rows`; rows of COPY are given other cells by `copy_rows`; `build` appends whole messages.

mod ahead;
pub mod backend;
pub mod build;
pub mod copy_rows;
pub mod error;
pub mod frame;
pub mod frontend;
mod reader;
pub mod rows;
pub mod sieve;
pub mod startup;

pub use error::PostgresError;
pub use frame::{Frame, FrameSize, HEADER_BYTES, Limits, Step};
