//! How clients reach a back: stdio, and over HTTP server-sent events and Streamable HTTP.

mod bind;
pub(crate) mod connections;
pub(crate) mod endpoints;
mod hangup;
pub(crate) mod http;
mod incoming;
mod monitor;
pub(crate) mod mount;
mod relay;
pub(crate) mod reply;
mod room;
pub(crate) mod sse;
pub(crate) mod stdio;
pub(crate) mod stream;
pub(crate) mod streamable;
mod wire;
