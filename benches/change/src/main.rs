//! Our server with a tool that changes the list of tools, for the benchmark of one notification to many sessions. Settings come from the environment.

use std::sync::OnceLock;

use mcp_http_transport::{Config, Server, ServerHandle, Tool, Type, serve};

static HANDLE: OnceLock<ServerHandle> = OnceLock::new();

fn main() -> mcp_http_transport::Result<()> {
    let server = Server::new("change", "1.0.0")
        .tool(Tool::new("echo", "Says what it is told").param("message", Type::String, "what to say"), |args, _session| {
            args.string("message")
        })
        .tool(Tool::new("change", "Adds a tool, or removes it again"), |_args, _session| {
            let handle = HANDLE.get().ok_or("not served yet")?;
            if !handle.remove_tool("new") {
                handle.add_tool(Tool::new("new", "Was not there before"), |_args, _session| Ok("here"));
            }
            Ok("changed")
        });
    // Set once, here.
    drop(HANDLE.set(server.handle()));
    serve(server, &Config::from_env()?)
}
