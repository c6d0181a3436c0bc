//! What changes while the server runs, and who hears of it.

use crossbeam_channel::bounded;

use super::*;
use crate::handler::LogLevel;

/// Everything up to the answer to the call with this id, as pairs of method and uri.
fn heard(client: &Connection) -> Vec<(String, Option<String>)> {
    client.send(r#"{"jsonrpc":"2.0","id":"end","method":"ping"}"#).unwrap();
    let others = std::iter::from_fn(|| Some(next(client)).filter(|message| message.id() != "\"end\""));
    others.map(|message| (message.method().into_owned(), message.find(&["uri"]).map(str::to_owned))).collect()
}

fn changed(family: &str) -> Vec<(String, Option<String>)> {
    vec![(format!("notifications/{family}/list_changed"), None)]
}

#[test]
fn every_change_is_told() {
    let server = Server::new("t", "1");
    let handle = server.handle();
    let client = client(server);
    let capabilities = &result(&client, "initialize", json!({"protocolVersion": "2025-11-25"}))["capabilities"];
    let expected = json!({"logging": {}, "prompts": {"listChanged": true}, "resources": {"subscribe": true, "listChanged": true},
        "tools": {"listChanged": true}});
    assert_eq!(*capabilities, expected);
    assert_eq!(result(&client, "tools/list", json!({})), json!({"tools": []}));
    handle.add_tool(Tool::new("new", ""), |_args, _session| Ok("yes"));
    assert_eq!(heard(&client), changed("tools"));
    assert_eq!(tool(&client, "new", json!({}))["content"][0]["text"], "yes");
    assert!(handle.remove_tool("new"));
    assert_eq!(heard(&client), changed("tools"));
    assert_eq!(code(&client, "tools/call", json!({"name": "new"})), RpcError::INVALID_PARAMS);
    handle.add_prompt(Prompt::new("p", ""), |_args, _session| Ok(""));
    assert!(handle.remove_prompt("p"));
    assert_eq!(heard(&client), [changed("prompts"), changed("prompts")].concat());
    handle.add_resource(Resource::new("demo://a", "a"), |_uri, _session| Ok(""));
    handle.add_resource_template(ResourceTemplate::new("demo://{x}", "x"), |_found, _session| Ok(""));
    assert!(handle.remove_resource("demo://a") && handle.remove_resource_template("demo://{x}"));
    assert_eq!(heard(&client).len(), 4);
    assert!(!handle.remove_tool("new") && !handle.remove_prompt("p") && !handle.remove_resource("demo://a"));
    assert_eq!(heard(&client), []);
}

#[test]
fn nobody_is_told_before_the_handshake_is_over() {
    let server = clock();
    let handle = server.handle();
    let [silent, greeting, ready, without] = clients(server);
    let change = || handle.add_tool(Tool::new("x", ""), |_args, _session| Ok(()));
    let initialize = json!({"protocolVersion": "2025-11-25"});
    code(&greeting, "server/discover", json!({}));
    result(&greeting, "initialize", initialize.clone());
    result(&ready, "initialize", initialize);
    ready.send(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#).unwrap();
    // The notification is worked on by a thread of its own: changes are made until one is told.
    let deadline = std::time::Instant::now() + SOON;
    while ready.receive(Duration::from_millis(1)).is_none() {
        assert!(std::time::Instant::now() < deadline);
        change();
    }
    result(&without, "tools/list", json!({}));
    change();
    assert_eq!((heard(&silent), heard(&greeting)), (Vec::new(), Vec::new()));
    assert_eq!(heard(&without), changed("tools"));
    result(&greeting, "tools/list", json!({}));
    change();
    assert_eq!(heard(&greeting), changed("tools"));
}

#[test]
fn an_update_is_told_to_those_who_subscribed() {
    let server = Server::new("t", "1").resource(Resource::new("demo://a", "a"), |_uri, _session| Ok(""));
    let handle = server.handle();
    let [one, other] = clients(server);
    assert_eq!(result(&one, "resources/subscribe", json!({"uri": "demo://a"})), json!({}));
    assert_eq!(result(&other, "resources/subscribe", json!({"uri": "demo://b"})), json!({}));
    handle.resource_updated("demo://a");
    let told = ("notifications/resources/updated".to_owned(), Some("\"demo://a\"".to_owned()));
    assert_eq!((heard(&one), heard(&other)), (vec![told], Vec::new()));
    assert_eq!(result(&one, "resources/unsubscribe", json!({"uri": "demo://a"})), json!({}));
    handle.resource_updated("demo://a");
    assert_eq!(heard(&one), []);
    assert_eq!(code(&one, "resources/subscribe", json!({})), RpcError::INVALID_PARAMS);
    for number in 0..1024 {
        result(&one, "resources/subscribe", json!({"uri": format!("demo://{number}")}));
    }
    assert_eq!(code(&one, "resources/subscribe", json!({"uri": "demo://more"})), RpcError::INVALID_REQUEST);
}

#[test]
fn a_client_that_left_is_forgotten() {
    struct Noted(Server, crossbeam_channel::Sender<()>);
    impl Handler for Noted {
        fn handle(&self, request: &crate::handler::Request, session: &crate::handler::Session) -> Result<Json, RpcError> {
            Handler::handle(&self.0, request, session)
        }
        fn opened(&self, session: &crate::handler::Session) {
            self.0.opened(session);
        }
        fn closed(&self, session: &crate::handler::Session) {
            self.0.closed(session);
            self.1.send(()).unwrap();
        }
    }
    let server = clock();
    let shared = Arc::clone(&server.shared);
    let (closed, is_closed) = bounded(1);
    let client = client(Noted(server, closed));
    result(&client, "tools/list", json!({}));
    assert_eq!(shared.clients.count(), 1);
    drop(client);
    is_closed.recv_timeout(SOON).unwrap();
    assert_eq!(shared.clients.count(), 0);
}

#[test]
fn a_tool_may_change_its_server_while_others_run() {
    let server = clock();
    let handle = server.handle();
    let (entered, has_entered) = bounded(1);
    let (leave, may_leave) = bounded::<()>(1);
    let inner = handle.clone();
    let server = server.tool(Tool::new("grow", ""), move |_args, _session| {
        inner.add_tool(Tool::new("grown", ""), |_args, _session| Ok("grown"));
        inner.remove_tool("grow");
        entered.send(())?;
        may_leave.recv_timeout(SOON)?;
        Ok("done")
    });
    let [one, other] = clients(server);
    one.send(r#"{"jsonrpc":"2.0","id":"g","method":"tools/call","params":{"name":"grow"}}"#).unwrap();
    has_entered.recv_timeout(SOON).unwrap();
    assert_eq!(tool_names(&other), ["add", "echo", "grown"]);
    assert_eq!(tool(&other, "grown", json!({}))["content"][0]["text"], "grown");
    leave.send(()).unwrap();
    let answer = std::iter::from_fn(|| Some(next(&one))).find(|message| message.id() == "\"g\"").unwrap();
    assert!(answer.as_str().contains("done"));
    drop((one, other));
    assert!(!handle.remove_tool("nothing"));
}

fn tool_names(client: &Connection) -> Vec<String> {
    let list = result(client, "tools/list", json!({}));
    list["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_log_level_is_honoured() {
    let server = clock().tool(Tool::new("log", ""), |_args, session| {
        session.log(LogLevel::Info, None, json!("low"))?;
        session.log(LogLevel::Error, Some("t"), json!("high"))?;
        Ok(())
    });
    let [one, other] = clients(server);
    assert_eq!(result(&one, "logging/setLevel", json!({"level": "warning"})), json!({}));
    assert_eq!(code(&one, "logging/setLevel", json!({"level": "loud"})), RpcError::INVALID_PARAMS);
    assert_eq!(code(&one, "logging/setLevel", json!({})), RpcError::INVALID_PARAMS);
    let logged = |client: &Connection| {
        client.send(r#"{"jsonrpc":"2.0","id":"l","method":"tools/call","params":{"name":"log"}}"#).unwrap();
        let messages = std::iter::from_fn(|| Some(next(client)).filter(|message| message.id() != "\"l\""));
        messages.map(|message| message.find(&["data"]).unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(logged(&one), ["\"high\""]);
    assert_eq!(logged(&other), ["\"low\"", "\"high\""]);
}
