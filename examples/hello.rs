//! A server with one tool. It waits for a client on standard input and output; type the line behind `>`, and see the sum:
//!
//! ```text
//! $ cargo run --example hello
//! > {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"add","arguments":{"a":2,"b":3}}}
//! < {"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"5"}]}}
//! ```
//!
//! The same over HTTP, for a client that is told <http://localhost:3000/mcp> or <http://localhost:3000/sse>. It prints nothing: the library
//! writes to the `log` facade, and a program that wants to see it installs a logger of its choice.
//!
//! ```text
//! $ MCP_TRANSPORT=http cargo run --example hello
//! $ curl -s --retry 9 --retry-connrefused http://localhost:3000/healthz
//! < ok
//! ```

use mcp_http_transport::{Config, Server, Tool, Type, serve};

fn main() -> mcp_http_transport::Result<()> {
    let server = Server::new("hello", "1.0.0").tool(
        Tool::new("add", "Add two numbers").param("a", Type::Number, "first").param("b", Type::Number, "second"),
        |args, _session| Ok(args.number("a")? + args.number("b")?),
    );
    serve(server, &Config::load()?)
}
