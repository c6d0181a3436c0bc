//! MCP beside your own pages on a plain `tiny_http::Server`. `curl` it, and you get the page; point an MCP client at `/sse` there, and it finds the
//! tool `roll`. Ctrl-C ends it. For what this server does not protect you from see `Endpoints::take`.
//!
//! ```text
//! $ cargo run --example mounted
//! ! listening on http://127.0.0.1:
//! $ curl -sN http://127.0.0.1:PORT/
//! < my own page
//! $ curl -sN http://127.0.0.1:PORT/sse
//! < retry: 500
//! < event: endpoint
//! < data: /messages/?session_id=...
//! ```

use std::error::Error;

use mcp_http_transport::{Config, Endpoints, Server, Tool, Type};

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mcp = Server::new("dice", "1.0.0").tool(
        Tool::new("roll", "Rolls a fair die, decided in advance").param("sides", Type::Integer, "how many sides it has"),
        |args, _session| Ok(args.integer("sides")?.min(4)),
    );
    let endpoints = Endpoints::new(mcp, &Config::new())?;
    let server = tiny_http::Server::http("127.0.0.1:0")?;
    eprintln!("listening on http://{}", server.server_addr());
    for request in server.incoming_requests() {
        if let Some(mine) = endpoints.take(request) {
            mine.respond(tiny_http::Response::from_string("my own page\n"))?;
        }
    }
    Ok(())
}
