//! Edit your MCP server; your client never notices.

#[cfg(feature = "run")]
#[doc(hidden)]
pub mod cli;
mod config;
mod error;

#[cfg(feature = "run")]
pub use config::RunConfig;
pub use config::{Config, Limits, Token, TransportMode};
pub use error::{Error, Result};
