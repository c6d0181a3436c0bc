//! A tool that takes its time, says how far it has come, and stops when it is cancelled:
//!
//! ```text
//! $ cargo run --example progress
//! > {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"countdown","arguments":{"from":3},"_meta":{"progressToken":"p"}}}
//! < {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p","progress":1.0,"total":3.0...}}
//! < {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p","progress":2.0,"total":3.0...}}
//! < {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"p","progress":3.0,"total":3.0...}}
//! < {"jsonrpc":"2.0","id":1,"result":...}
//! > {"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"countdown","arguments":{"from":60},"_meta":{"progressToken":"q"}}}
//! < {"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"q","progress":1.0,"total":60.0...}}
//! > {"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}
//! ! cancelled after 1 s
//! ```
//!
//! A cancelled call has no answer.

use std::time::Duration;

use mcp_http_transport::{Config, Server, Tool, Type, serve};

fn main() -> mcp_http_transport::Result<()> {
    let countdown = Tool::new("countdown", "Counts the seconds down").param("from", Type::Integer, "how many seconds, at most 60");
    let server = Server::new("progress", "1.0.0").tool(countdown, |args, session| {
        let from = args.integer("from")?.clamp(0, 60);
        let cancelled = session.cancelled();
        for second in 1..=from {
            // The channel hangs up when the call is cancelled; else this is a pause.
            if cancelled.recv_timeout(Duration::from_secs(1)).is_err_and(|error| error.is_disconnected()) {
                eprintln!("cancelled after {} s", second - 1);
                return Err("cancelled".into());
            }
            session.progress(second as f64, Some(from as f64), Some(&format!("{} s left", from - second)))?;
        }
        Ok("lift-off")
    });
    serve(server, &Config::load()?)
}
