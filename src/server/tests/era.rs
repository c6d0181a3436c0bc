//! The same server for a client of the stateless era.

use super::*;
use crate::connection::{Back, Client, Gone, Outlet};

/// A client whose version is known without a handshake.
struct Modern {
    link: Arc<dyn crate::connection::Link>,
    outlet: Arc<dyn Outlet>,
    inbox: crossbeam_channel::Receiver<Message>,
}

impl Modern {
    fn new(handler: impl Handler) -> Modern {
        let (sender, inbox) = crossbeam_channel::bounded(64);
        let outlet: Arc<dyn Outlet> = Arc::new(sender);
        let link = Dispatcher::new(Arc::new(handler), &Limits::default(), Workers::new(8)).open(Client::stateless()).unwrap();
        Modern { link, outlet, inbox }
    }

    fn call(&self, method: &str, mut params: Value) -> Result<Value, i64> {
        params["_meta"] =
            json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}});
        let job = self.link.deliver(Message::request("1", method, Some(&params.to_string())), &self.outlet);
        if let Some(job) = job {
            job();
        }
        let answer = self.inbox.recv_timeout(SOON).map_err(|_| Gone).unwrap();
        let letter: Value = serde_json::from_str(answer.letter().unwrap()).unwrap();
        if answer.kind() == crate::message::Kind::Result { Ok(letter) } else { Err(letter["code"].as_i64().unwrap()) }
    }
}

fn modern() -> Modern {
    let server = clock()
        .instructions("Ask.")
        .tool(Tool::new("list", ""), |_args, _session| Ok(json!([1])))
        .tool(Tool::new("meta", ""), |_args, _session| Ok(ToolResult::default().meta(json!({"m": 1}))))
        .resource(Resource::new("demo://a", "a"), |_uri, _session| Ok("text"))
        .prompt(Prompt::new("p", ""), |_args, _session| Ok("text"));
    Modern::new(server)
}

fn info() -> Value {
    json!({"io.modelcontextprotocol/serverInfo": {"name": "clock", "version": "1.0.0"}})
}

#[test]
fn discover_takes_the_place_of_initialize() {
    let client = modern();
    let expected = json!({
        "supportedVersions": ["2026-07-28"],
        "capabilities": {"logging": {}, "prompts": {"listChanged": true}, "resources": {"subscribe": true, "listChanged": true},
            "tools": {"listChanged": true}},
        "instructions": "Ask.", "resultType": "complete", "ttlMs": 0, "cacheScope": "private", "_meta": info(),
    });
    assert_eq!(client.call("server/discover", json!({})), Ok(expected));
    for method in ["initialize", "logging/setLevel", "resources/subscribe", "resources/unsubscribe", "unknown"] {
        let params = json!({"protocolVersion": "2025-11-25", "level": "info", "uri": "demo://a"});
        assert_eq!(client.call(method, params), Err(RpcError::METHOD_NOT_FOUND), "{method}");
    }
}

#[test]
fn results_say_that_they_are_complete_and_lists_how_long_they_hold() {
    let client = modern();
    let params = json!({"uri": "demo://a", "name": "p"});
    for method in ["tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read"] {
        let result = client.call(method, params.clone()).unwrap();
        assert_eq!((&result["ttlMs"], &result["cacheScope"]), (&json!(0), &json!("private")), "{method}");
        assert_eq!((&result["resultType"], &result["_meta"]), (&json!("complete"), &info()), "{method}");
    }
    let result = client.call("prompts/get", params).unwrap();
    assert_eq!((&result["resultType"], &result["_meta"], result.get("ttlMs")), (&json!("complete"), &info(), None));
    let result = client.call("tools/call", json!({"name": "list"})).unwrap();
    let content = json!([{"type": "text", "text": "[1]"}]);
    assert_eq!(result, json!({"content": content, "structuredContent": [1], "resultType": "complete", "_meta": info()}));
    let meta = client.call("tools/call", json!({"name": "meta"})).unwrap()["_meta"].clone();
    assert_eq!(meta, json!({"m": 1, "io.modelcontextprotocol/serverInfo": {"name": "clock", "version": "1.0.0"}}));
    assert_eq!(client.call("resources/read", json!({"uri": "demo://none"})), Err(RpcError::INVALID_PARAMS));
}

#[test]
fn a_client_of_this_era_is_told_nothing_unasked() {
    let server = clock();
    let handle = server.handle();
    let client = Modern::new(server);
    client.call("tools/list", json!({})).unwrap();
    handle.add_tool(Tool::new("x", ""), |_args, _session| Ok(()));
    assert!(client.inbox.is_empty());
}
