//! Edit your MCP server; your client never notices.

#[cfg(all(feature = "run", unix))]
mod child;
mod error;

pub use error::{Error, Result};
