//! A tool that asks the person behind the client before it does something. Be the client: the question has an id, and the answer the same:
//!
//! ```text
//! $ cargo run --example ask
//! > {"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{}},"clientInfo":{"name":"me","version":"1"}}}
//! < {"jsonrpc":"2.0","id":0,"result":...}
//! > {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete","arguments":{"file":"a.txt"}}}
//! < {"jsonrpc":"2.0","id":ID,"method":"elicitation/create",...}
//! > {"jsonrpc":"2.0","id":ID,"result":{"action":"accept","content":{"sure":true}}}
//! < {"jsonrpc":"2.0","id":1,"result":...}
//! ```

use std::time::Duration;

use mcp_http_transport::{ClientRequest, Config, Server, Tool, Type, serve};
use serde_json::{Value, json};

fn main() -> mcp_http_transport::Result<()> {
    let delete = Tool::new("delete", "Deletes a file (not really)").param("file", Type::String, "which one").destructive(true);
    let server = Server::new("ask", "1.0.0").tool(delete, |args, session| {
        let file = args.string("file")?;
        let form = json!({"type": "object", "properties": {"sure": {"type": "boolean"}}, "required": ["sure"]});
        let question = ClientRequest::elicitation(&format!("Delete {file}?"), form).timeout(Duration::from_secs(120));
        // Waits for the person, and delays nobody else meanwhile. A client that cannot ask makes this an error, which the model sees.
        let answer: Value = session.ask("sure", question)?.parse()?;
        if answer["action"] == "accept" && answer["content"]["sure"] == true {
            Ok(format!("{file} would be gone now"))
        } else {
            Ok(format!("{file} stays"))
        }
    });
    serve(server, &Config::load()?)
}
