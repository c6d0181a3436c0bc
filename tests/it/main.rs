//! The integration tests, in one binary: a server in this process or in one of its own, and clients on raw sockets.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod calls;
mod connect;
mod demo;
mod ending;
mod guard;
// It is epoll that notices.
#[cfg(target_os = "linux")]
mod hangup;
mod hostile;
mod http;
// What the system says of a failure is in Linux's words.
#[cfg(target_os = "linux")]
mod messages;
mod modern;
mod mount;
mod pitfalls;
#[cfg(unix)]
mod run;
mod sse;
mod stdio;
mod streamable;
mod support;
mod survive;
mod transcripts;
