//! Edit your MCP server; your client never notices.

mod error;
mod http1;

pub use error::{Error, Result};
