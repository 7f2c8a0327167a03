//! Who is asking: principals, actor chains, scopes and leases, and the proofs that carry them.
//!
//! Pure: no I/O, no clock, no randomness of its own; time and random bytes are arguments.
//!
//! A client proves a lease in one of three ways, each in a module of its own: the lease's user name and secret
//! ([`scram`], [`md5`] for servers that still ask for it), a lease token ([`token`]) or a CI id-token ([`jwt`]). Tokens come as
//! passwords or as OAuth does it ([`oauth`]); a client certificate ([`certificate`]) may be asked for besides, or stand alone.

pub mod assent;
pub mod certificate;
pub mod chain;
pub mod effects;
pub mod fault;
pub mod id;
pub mod jwt;
pub mod lease;
pub mod leases;
pub mod md5;
pub mod oauth;
pub mod scope;
pub mod scram;
pub mod tls;
pub mod token;

pub use assent::Assent;
pub use certificate::{Certificate, CertificateError, NameTemplate, end_point};
pub use chain::{ActorChain, ChainError, NameError, Principal, PrincipalKind, is_unprintable};
pub use effects::Effects;
pub use fault::Fault;
pub use id::{LeaseSecret, hold_id, session_id};
pub use jwt::{IssuerKeysView, JwtAlgorithm, JwtError, VerifiedJwt};
pub use lease::{LeaseError, LeaseGrant, LeaseId, LeaseRequest, ScramVerifier, UnixMillis};
pub use leases::Leases;
pub use oauth::{BearerError, OauthChallenge, bearer};
pub use scope::{Scope, ScopeError};
pub use scram::{ScramBinding, ScramChallenge, ScramClient, ScramError, ScramKeys, ScramServer};
pub use tls::{AnyCertificate, ByAuthority, WhoHoldsTheKey};
pub use token::{Attenuation, TokenError, TokenKey, VerifiedToken};
