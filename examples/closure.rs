//! A server without the builder: one closure gets every request. `MCP_TRANSPORT=http` serves the same over HTTP.
//!
//! ```text
//! $ cargo run --example closure
//! > {"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"shout","arguments":{"text":"hello"}}}
//! < {"jsonrpc":"2.0","id":1,"result":{"content":[{"text":"HELLO","type":"text"}]}}
//! ```

use mcp_http_transport::{Config, Json, Request, RpcError, Session, initialize_result, serve};
use serde_json::{Value, json};

fn answer(request: &Request, _session: &Session) -> Result<Json, RpcError> {
    match request.method().as_ref() {
        "initialize" => Ok(initialize_result(request, "closure", "1.0.0", json!({"tools": {}}))),
        "tools/list" => {
            let schema = json!({"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]});
            Ok(json!({"tools": [{"name": "shout", "description": "Says it louder", "inputSchema": schema}]}).into())
        }
        "tools/call" => {
            let params: Value = request.parse()?;
            match (params["name"].as_str(), params["arguments"]["text"].as_str()) {
                (Some("shout"), Some(text)) => Ok(json!({"content": [{"type": "text", "text": text.to_uppercase()}]}).into()),
                (Some("shout"), None) => Ok(json!({"content": [{"type": "text", "text": "text is missing"}], "isError": true}).into()),
                _ => Err(RpcError::invalid_params("there is no such tool")),
            }
        }
        method => Err(RpcError::method_not_found(method)),
    }
}

fn main() -> mcp_http_transport::Result<()> {
    serve(answer, &Config::load()?)
}
