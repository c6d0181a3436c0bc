//! Edit your MCP server; your client never notices.

mod error;

pub use error::{Error, Result};
