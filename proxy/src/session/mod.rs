//! Sessions: one client connection and one server connection under one lease.

pub mod postgres;
