//! The guide, which is README.md, and the names that an embedder uses.
//!
#![doc = include_str!("../README.md")]
//!
//! # The items
//!
//! - To serve: [`serve`] until a signal, or [`Service`] beside other work; [`Config`] says how.
//! - To write a server: [`Server`] with a [`Tool`], [`Resource`], [`ResourceTemplate`] or [`Prompt`], changed while it runs by a [`ServerHandle`]; or a
//!   [`Handler`] of one's own, which a closure is, too. A call gets its [`Args`] and its [`Session`], which tells the client things and asks it a
//!   [`ClientRequest`].
//! - To answer: [`ToolResult`], [`Content`] and [`ToolError`]; [`Json`] where nobody should read it; an [`RpcError`] for errors of the protocol.
//! - To test: [`memory`].
//! - To be part of another HTTP server: [`Endpoints`].
//! - To be reloaded while one works on it: `dev`, with the feature `run`.

mod base64;
#[cfg(all(feature = "run", unix))]
mod child;
#[cfg(feature = "run")]
#[doc(hidden)]
pub mod cli;
mod clock;
mod config;
#[cfg(feature = "run")]
mod connect;
mod connection;
#[cfg(all(feature = "run", unix))]
mod control;
#[cfg(feature = "run")]
mod demo;
mod dispatch;
mod error;
mod event;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod guard;
mod handler;
#[cfg(all(feature = "run", unix))]
mod hold;
mod http1;
mod identity;
mod json;
mod line;
mod message;
#[cfg(test)]
mod random;
#[cfg(feature = "run")]
mod reload;
mod rpc_error;
#[cfg(all(feature = "run", unix))]
mod run;
mod scan;
mod serve;
mod server;
mod slots;
mod threads;
mod transport;
mod version;
#[cfg(feature = "run")]
mod watch;
mod workers;

#[cfg(feature = "run")]
pub use cli::dev;
#[cfg(feature = "run")]
pub use config::RunConfig;
pub use config::{Config, Limits, Token, TransportMode};
pub use connection::{Connection, Gone};
pub use dispatch::memory;
pub use error::{Error, Result};
pub use handler::{AskError, ClientRequest, Handler, LogLevel, Notification, Request, Session, initialize_result};
pub use json::Json;
pub use message::{Kind, Message};
pub use rpc_error::RpcError;
pub use serve::{Service, serve};
pub use server::{
    Args, Blob, Completion, CompletionArgument, CompletionRef, Content, Prompt, PromptMessage, PromptResult, ReadResult, Resource,
    ResourceContents, ResourceTemplate, Server, ServerHandle, Tool, ToolError, ToolResult, Type, UriMatch,
};
pub use transport::endpoints::Endpoints;
pub use transport::reply::{EventBody, Full, Reply};
pub use version::Version;
