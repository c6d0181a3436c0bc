//! One server, two modes, chosen by the environment alone. `cargo run --example modes` waits on standard input and output;
//! `MCP_TRANSPORT=http MCP_HTTP_PORT=3001 cargo run --example modes` listens on <http://localhost:3001/sse>. A `.env` file with these lines does the same,
//! and a wrong value (`MCP_TRANSPORT=htpp`) ends with a sentence that says what is allowed. The tool `where` answers how it was reached.

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
