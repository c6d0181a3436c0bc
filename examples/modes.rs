//! One server, two modes, chosen by the environment alone, or by a `.env` file with the same lines. The tool `where` answers how it was reached:
//!
//! ```text
//! $ cargo run --example modes
//! > {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"where","arguments":{}}}
//! < {"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"stdio"}]}}
//! ```
//!
//! ```text
//! $ MCP_TRANSPORT=http MCP_HTTP_PORT=3001 cargo run --example modes
//! $ curl -s --retry 9 --retry-connrefused http://localhost:3001/healthz
//! < ok
//! ```
//!
//! A wrong value ends with a sentence that says what is allowed:
//!
//! ```text
//! $ MCP_TRANSPORT=htpp cargo run --example modes
//! ! modes: MCP_TRANSPORT is "htpp": it must be stdio or http
//! = 2
//! ```

use mcp_http_transport::{Config, Server, Tool, serve};

fn main() {
    if let Err(error) = run() {
        eprintln!("modes: {error}");
        std::process::exit(if error.is_usage() { 2 } else { 1 });
    }
}

fn run() -> mcp_http_transport::Result<()> {
    let config = Config::load()?;
    let mode = config.transport;
    let server =
        Server::new("modes", "1.0.0").tool(Tool::new("where", "Says how it was reached"), move |_args, _session| Ok(mode.to_string()));
    serve(server, &config)
}
