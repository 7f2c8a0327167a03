//! Whose fault an error is: the counter's key. What may be said aloud is each error's own `public`.

/// Who can do something about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// Whoever connects.
    Client,
    /// The protected server.
    Server,
    /// Whoever configured or runs linegate.
    Operator,
}
