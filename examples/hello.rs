//! A server with one tool. `cargo run --example hello` waits for a client on standard input and output; paste this line, and see the sum:
//!
//! `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{"a":2,"b":3}}}`
//!
//! `MCP_TRANSPORT=http cargo run --example hello` serves the same on <http://localhost:3000/sse>.

use mcp_http_transport::{Config, Server, Tool, Type, serve};

fn main() -> mcp_http_transport::Result<()> {
    let server = Server::new("hello", "1.0.0").tool(
        Tool::new("add", "Add two numbers").param("a", Type::Number, "first").param("b", Type::Number, "second"),
        |args, _session| Ok(args.number("a")? + args.number("b")?),
    );
    serve(server, &Config::load()?)
}
