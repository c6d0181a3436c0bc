//! Edit your MCP server; your client never notices.

mod error;
#[cfg(feature = "run")]
mod watch;

pub use error::{Error, Result};
