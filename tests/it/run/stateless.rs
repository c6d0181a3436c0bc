//! Requests of 2026-07-28 through the front: over HTTP and stdio, to servers that serve them and to one that does not.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::{Bench, CLIENT, Client};
use crate::http;

/// What one request after another says to a front over HTTP.
#[derive(Clone, Copy)]
pub(super) struct Http(pub(super) SocketAddr);

impl Http {
    pub(super) fn send(&self, method: &str, params: Value, further: &[(&str, &str)]) -> http::Answer {
        let name = params["name"].as_str().map(str::to_owned);
        let mut headers = vec![("Content-Type", "application/json"), ("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", method)];
        headers.extend(name.as_deref().map(|name| ("Mcp-Name", name)));
        headers.extend(further);
        let body = json!({"jsonrpc": "2.0", "id": "r-1", "method": method, "params": with_meta(params)});
        http::Client { address: self.0 }.send("POST", "/mcp", &headers, &body.to_string())
    }

    fn tool(&self, name: &str, arguments: Value) -> Value {
        self.send("tools/call", json!({"name": name, "arguments": arguments}), &[]).json()["result"].clone()
    }

    pub(super) fn version(&self) -> Value {
        self.tool("version", json!({}))["content"][0]["text"].clone()
    }
}

pub(super) fn with_meta(mut params: Value) -> Value {
    params["_meta"] = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}},
    });
    params
}

pub(super) fn modern(more: Value) -> Value {
    let mut config = json!({"modern": true});
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    config
}

#[test]
fn over_http_a_saved_change_is_the_next_answer_and_listeners_hear_of_it() {
    let bench = Bench::new();
    bench.edit("one", &["add"], modern(json!({})));
    let front = bench.serve(&[]);
    let http = Http(front.address());
    let discovered = http.send("server/discover", json!({}), &[]);
    assert_eq!((discovered.status, discovered.header("mcp-session-id")), (200, None));
    assert_eq!(discovered.json()["result"]["capabilities"]["tools"]["listChanged"], true);
    assert_eq!(http.version(), "one");
    let mut stream = http.send("subscriptions/listen", json!({"notifications": {"toolsListChanged": true}}), &[]);
    assert_eq!(stream.message().unwrap()["method"], "notifications/subscriptions/acknowledged");
    bench.edit("two", &["add", "sub"], modern(json!({})));
    assert_eq!(http.version(), "two");
    let changed = stream.message().unwrap();
    assert_eq!(changed["method"], "notifications/tools/list_changed");
    assert_eq!(changed["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], "r-1");
    // A legacy client of the same port at the same time.
    let mut session = super::session(&front, http.0);
    assert_eq!(session.call("1", "ping", "{}")["result"], json!({}));
    bench.break_it();
    let told = http.tool("add", json!({}))["content"].clone();
    assert!(told[0]["text"] == "two" && told[1]["text"].as_str().unwrap().contains("SyntaxError"), "{told}");
}

#[test]
fn headers_are_checked_by_what_the_server_lists_now() {
    let bench = Bench::new();
    let schema = json!({"add": {"type": "object", "properties": {"x": {"type": "string", "x-mcp-header": "X"}}}});
    bench.edit("one", &["add"], modern(json!({"schemas": schema})));
    let front = bench.serve(&[]);
    let http = Http(front.address());
    http.send("tools/list", json!({}), &[]).json();
    let call = |headers: &[(&str, &str)]| {
        let answer = http.send("tools/call", json!({"name": "add", "arguments": {"x": "y"}}), headers);
        (answer.status, answer.json()["error"]["code"].clone())
    };
    assert_eq!(call(&[("Mcp-Param-X", "y")]), (200, Value::Null));
    assert_eq!(call(&[]), (400, json!(-32020)));
    assert_eq!(call(&[("Mcp-Param-X", "z")]), (400, json!(-32020)));
    // What the child answers has its status as well.
    let answer = http.send("none/none", json!({}), &[]);
    assert_eq!((answer.status, answer.json()["error"]["code"].clone()), (404, json!(-32601)));
}

#[test]
fn a_server_that_serves_none_makes_clients_fall_back_at_once() {
    let bench = Bench::new();
    let front = bench.serve(&[]);
    let http = Http(front.address());
    for method in ["server/discover", "tools/list"] {
        let answer = http.send(method, json!({}), &[]);
        assert_eq!((answer.status, answer.json()["error"]["code"].clone()), (404, json!(-32601)), "{method}");
    }
    let mut session = super::session(&front, http.0);
    assert_eq!(super::texts(&session.call("1", "tools/call", r#"{"name":"add","arguments":{}}"#)), ["one"]);
    let mut client = bench.run(&[]);
    let refused = client.request("server/discover", &with_meta(json!({})).to_string());
    assert_eq!(refused["error"]["code"], -32601);
    client.initialize();
    assert_eq!(client.version(), "one");
}

#[test]
fn what_one_process_asked_another_one_hears_the_answer_to() {
    let bench = Bench::new();
    let arguments = ["--http", "--host", "127.0.0.1", "--port", "0", "--no-watch"];
    let front = bench.start(&arguments, &[env!("CARGO_BIN_EXE_mcp-http-transport"), "demo"]);
    let http = Http(front.address());
    let first = http.tool("ask", json!({"question": "Who?"}));
    assert_eq!(first["resultType"], "input_required", "{first}");
    let (code, said, why) = bench.ask(&["reload"]);
    assert_eq!(code, Some(0), "{said}{why}");
    let answers = json!({"answer": {"action": "accept", "content": {"answer": "Ada"}}});
    let retry = json!({"name": "ask", "arguments": {"question": "Who?"}, "requestState": first["requestState"], "inputResponses": answers});
    let answer = http.send("tools/call", retry, &[]).json();
    assert_eq!(answer["result"]["content"][0]["text"], "The answer is: Ada", "{answer}");
}

#[test]
fn on_stdio_both_eras_are_served_and_listening_survives_a_reload() {
    let bench = Bench::new();
    bench.edit("one", &["add"], modern(json!({})));
    let mut client: Client = bench.run(&[]);
    let meta = |params: Value| with_meta(params).to_string();
    assert!(client.request("server/discover", &meta(json!({})))["result"]["supportedVersions"].is_array());
    let id = client.send("subscriptions/listen", &meta(json!({"notifications": {"toolsListChanged": true}})));
    assert_eq!(client.notification()["method"], "notifications/subscriptions/acknowledged");
    bench.edit("two", &["add", "sub"], modern(json!({})));
    let call = client.send("tools/call", &meta(json!({"name": "add", "arguments": {}})));
    let (mut heard, mut answered) = (false, false);
    while !(heard && answered) {
        let message = client.program.message();
        match message["method"].as_str() {
            Some(method) => {
                assert_eq!(method, "notifications/tools/list_changed");
                assert_eq!(message["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"].to_string(), id);
                heard = true;
            }
            None => {
                assert_eq!((message["id"].to_string(), super::texts(&message)), (call.clone(), vec!["two".to_owned()]));
                answered = true;
            }
        }
    }
    assert_eq!(client.request("initialize", CLIENT)["result"]["protocolVersion"], "2025-11-25");
    assert_eq!(client.version(), "two");
    client.program.close_stdin();
    assert!(client.program.wait().success());
}
