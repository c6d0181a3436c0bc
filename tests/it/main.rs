//! The integration tests: real sockets and real threads.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod http;
mod modern;
mod streamable;
