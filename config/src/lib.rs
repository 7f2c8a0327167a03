//! What the operator asked for: the text of `linegate.toml` in, a typed and checked [`Config`] out.
//!
//! [`Config::parse`] is pure and reports every mistake at once, each with its line, the line's text and a hint. I/O
//! happens in three named places: [`Config::load`], [`Config::policy_files`] and [`SecretSource::load`].
//!
//! `model` holds the types, `values` how one value is read from text, `sections`, `target` and `doors` which keys a section
//! has, `section` the reader they share, `redact` what a label says of redactions, `mistake` what a mistake says, `files` globs and paths, `secret` passwords.

mod doors;
mod files;
mod mistake;
mod model;
mod redact;
mod secret;
mod section;
mod sections;
mod target;
mod values;

#[cfg(test)]
mod tests;

pub use masking_simd::{Detectors, Entity};
pub use mistake::{Mistake, Mistakes};
pub use model::{
    Address, Algorithm, ClientCertificates, ClientTls, ColumnName, Config, ControlConfig, Credential,
    DataConfig, GroupConfig, HoldInTransaction, HostPort, IssuerConfig, LabelConfig, Listen, Member,
    MemberKind, OauthConfig, OnDetect, PolicyConfig, Protocol, RecordLevel, RecordingFull, Runtime,
    StateStore, TargetConfig, TlsIdentity, TlsMode, UnixSocket, WarmPool, WarmShare, Workers,
};
pub use redact::{JsonPath, Redact};
pub use secret::{SECRET_BYTES_MAX, Secret, SecretSource};
