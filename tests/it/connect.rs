//! `connect` against our own demo, which is killed and started again, and against a server that answers whatever a test tells it to.

mod demo;
#[cfg(unix)]
mod front;
mod odd;

use serde_json::{Value, json};

use super::support::Program;

const INITIALIZE: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{}},"clientInfo":{"name":"test","version":"1"}}"#;

/// `connect` to `url`, with these flags before it.
fn connect(url: &str, flags: &[&str]) -> Program {
    let arguments: Vec<&str> = ["connect"].into_iter().chain(flags.iter().copied()).chain([url]).collect();
    Program::binary(&arguments, &[("SECRET", "s3cret")])
}

/// As a client does; the answer to `initialize`.
fn handshake(client: &mut Program) -> Value {
    client.request("0", "initialize", INITIALIZE);
    let answer = client.answer("0");
    client.line(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    answer
}

fn call(client: &mut Program, id: &str, tool: &str, arguments: &Value) -> Value {
    client.request(id, "tools/call", &json!({"name": tool, "arguments": arguments, "_meta": {"progressToken": id}}).to_string());
    client.answer(id)
}

fn text(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text in {answer}"))
}

fn error(answer: &Value) -> &str {
    answer["error"]["message"].as_str().unwrap_or_else(|| panic!("no error in {answer}"))
}
