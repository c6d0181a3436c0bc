//! Stateless requests (2026-07-28), over HTTP and on any other connection.

use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use mcp_http_transport::{
    ClientRequest, Config, Handler, Json, LogLevel, Request, Resource, RpcError, Server, ServerHandle, Service, Session, Tool, ToolError,
    TransportMode, memory,
};
use serde_json::{Value, json};

use crate::http::{Answer, Client, SOON};

struct Fixture {
    service: Service,
    http: Client,
    handle: ServerHandle,
    cancelled: crossbeam_channel::Receiver<()>,
}

fn name_form() -> ClientRequest {
    ClientRequest::elicitation("Who?", json!({"type": "object", "properties": {"name": {"type": "string"}}}))
}

fn server(cancelled: Sender<()>) -> Server {
    let annotated: Json = json!({"type": "object", "properties": {"value": {"type": "string", "x-mcp-header": "Value"}}}).into();
    Server::new("everything", "1")
        .tool(Tool::new("quiet", ""), |_, _| Ok("done"))
        .tool(Tool::new("loud", ""), |_, session| {
            session.progress(1.0, None, None)?;
            session.log(LogLevel::Info, None, json!("heard"))?;
            session.log(LogLevel::Debug, None, json!("too much"))?;
            session.notify("notifications/message", json!({"level": "error", "data": "by hand"}))?;
            session.notify("notifications/tools/list_changed", json!({}))?;
            Ok("done")
        })
        .tool(Tool::new("greet", ""), |_, session| {
            let name = session.ask("name", name_form())?;
            let color = session.ask("color", name_form())?;
            Ok(format!("{} likes {}", name.get("content").unwrap_or("-"), color.get("content").unwrap_or("-")))
        })
        .tool(Tool::new("both", ""), |_, session| {
            let answers = session.ask_all([("name", name_form()), ("roots", ClientRequest::roots())])?;
            Ok(format!("{} answers", answers.len()))
        })
        .tool(Tool::new("sample", ""), |_, session| {
            session.ask("joke", ClientRequest::sampling(json!({"messages": [], "maxTokens": 1})))?;
            Ok("fun")
        })
        .tool(Tool::new("annotated", "").schema(annotated), |_, _| Ok("fine"))
        .tool(Tool::new("until cancelled", ""), move |_, session| {
            session.progress(1.0, None, None)?;
            if session.cancelled().recv_timeout(SOON).is_err_and(|error| error.is_disconnected()) {
                cancelled.send(()).unwrap();
            }
            Err::<&str, _>(ToolError::from("over"))
        })
        .resource(Resource::new("test://watched", "watched"), |_, _| Ok("text"))
}

fn start() -> Fixture {
    let (cancel, cancelled) = bounded(4);
    let server = server(cancel);
    let handle = server.handle();
    let service = Service::start(server, &Config::new().transport(TransportMode::Http).port(0)).unwrap();
    let http = Client { address: service.local_addrs()[0] };
    Fixture { service, http, handle, cancelled }
}

fn meta(further: Value) -> Value {
    let mut meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {"elicitation": {}, "roots": {}},
        "progressToken": "p",
    });
    further.as_object().unwrap().iter().for_each(|(name, value)| meta[name] = value.clone());
    meta
}

impl Fixture {
    fn send(&self, method: &str, mut params: Value, further: &[(&str, &str)]) -> Answer {
        if params.get("_meta").is_none() {
            params["_meta"] = meta(json!({}));
        }
        let name = params.get("name").or(params.get("uri")).and_then(Value::as_str).map(str::to_owned);
        let mut headers = vec![("Content-Type", "application/json"), ("MCP-Protocol-Version", "2026-07-28"), ("Mcp-Method", method)];
        headers.extend(name.as_deref().map(|name| ("Mcp-Name", name)));
        headers.extend(further);
        let body = json!({"jsonrpc": "2.0", "id": "r-1", "method": method, "params": params}).to_string();
        self.http.send("POST", "/mcp", &headers, &body)
    }

    fn tool(&self, name: &str) -> Answer {
        self.send("tools/call", json!({"name": name, "arguments": {}}), &[])
    }

    fn refusal(&self, method: &str, params: Value) -> (u16, Value) {
        let answer = self.send(method, params, &[]);
        (answer.status, answer.json()["error"]["code"].clone())
    }
}

#[test]
fn a_server_says_what_it_is_and_answers_plainly() {
    let fixture = start();
    let answer = fixture.send("server/discover", json!({}), &[]);
    assert_eq!((answer.status, answer.header("mcp-session-id")), (200, None));
    let result = &answer.json()["result"];
    assert_eq!(result["supportedVersions"], json!(["2026-07-28"]));
    assert_eq!((&result["resultType"], &result["ttlMs"], &result["cacheScope"]), (&json!("complete"), &json!(0), &json!("private")));
    assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "everything");
    let result = fixture.tool("quiet").json();
    assert_eq!((&result["id"], &result["result"]["content"][0]["text"]), (&json!("r-1"), &json!("done")));
    // What is of a session means nothing here.
    let answer = fixture.send("tools/list", json!({}), &[("Mcp-Session-Id", "0123456789abcdef0123456789abcdef"), ("Last-Event-ID", "1")]);
    assert_eq!((answer.status, answer.header("mcp-session-id")), (200, None));
}

#[test]
fn what_is_wrong_has_its_code_and_its_status() {
    let fixture = start();
    for method in ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe", "unknown/method"] {
        assert_eq!(fixture.refusal(method, json!({})), (404, json!(-32601)), "{method}");
    }
    let without = |name: &str| {
        let mut meta = meta(json!({}));
        meta.as_object_mut().unwrap().remove(&format!("io.modelcontextprotocol/{name}"));
        json!({"_meta": meta})
    };
    for params in [json!({"_meta": {}}), without("protocolVersion"), without("clientCapabilities")] {
        assert_eq!(fixture.refusal("tools/list", params), (400, json!(-32602)));
    }
    assert_eq!(fixture.send("tools/list", without("clientInfo"), &[]).status, 200);
    assert_eq!(fixture.refusal("tools/call", json!({"name": "none"})), (200, json!(-32602)));
    let post = |headers: &[(&str, &str)], body: Value| {
        let mut all = vec![("Content-Type", "application/json")];
        all.extend(headers);
        let answer = fixture.http.send("POST", "/mcp", &all, &body.to_string());
        let status = answer.status;
        let body = answer.body();
        (status, serde_json::from_str::<Value>(&body).unwrap_or_default()["error"].clone())
    };
    let list = |version: &str| {
        let params = json!({"_meta": meta(json!({"io.modelcontextprotocol/protocolVersion": version}))});
        json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": params})
    };
    let header = ("MCP-Protocol-Version", "2026-07-28");
    let method = ("Mcp-Method", "tools/list");
    assert_eq!(post(&[header], list("2026-07-28")).1["code"], -32020);
    assert_eq!(post(&[method], list("2026-07-28")).1["code"], -32020);
    assert_eq!(post(&[header, ("Mcp-Method", "TOOLS/LIST")], list("2026-07-28")).1["code"], -32020);
    assert_eq!(post(&[header, method], list("v999.0.0")).1["code"], -32020);
    let (status, error) = post(&[("MCP-Protocol-Version", "v999.0.0"), method], list("v999.0.0"));
    assert_eq!((status, &error["code"]), (400, &json!(-32022)));
    assert_eq!(error["data"], json!({"supported": ["2026-07-28"], "requested": "v999.0.0"}));
    assert_eq!(post(&[header], json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}})).0, 202);
    assert_eq!(post(&[header], json!({"jsonrpc": "2.0", "id": 1, "result": {}})).0, 400);
    assert_eq!(post(&[header], json!([list("2026-07-28")])).0, 400);
    for method in ["GET", "DELETE"] {
        assert_eq!(fixture.http.send(method, "/mcp", &[header], "").status, 405);
    }
}

#[test]
fn headers_repeat_annotated_arguments() {
    let fixture = start();
    let call =
        |headers: &[(&str, &str)]| fixture.send("tools/call", json!({"name": "annotated", "arguments": {"value": "grün"}}), headers).status;
    assert_eq!(call(&[("Mcp-Param-Value", "=?base64?Z3LDvG4=?=")]), 200);
    assert_eq!(call(&[]), 400);
    assert_eq!(call(&[("mcp-param-value", "green")]), 400);
    assert_eq!(call(&[("Mcp-Param-Value", "=?base64?Z3LDvG4?=")]), 400);
    assert_eq!(fixture.tool("annotated").status, 200);
}

#[test]
fn a_call_says_on_its_stream_what_was_asked_for() {
    let fixture = start();
    let methods = |answer: Answer| -> Vec<String> {
        answer.messages().iter().map(|message| message["method"].as_str().unwrap_or("answer").to_owned()).collect()
    };
    assert_eq!(methods(fixture.tool("loud")), ["notifications/progress", "answer"]);
    let params = json!({"name": "loud", "_meta": meta(json!({"io.modelcontextprotocol/logLevel": "info"}))});
    let mut answer = fixture.send("tools/call", params, &[]);
    assert_eq!(answer.header("x-accel-buffering"), Some("no"));
    assert_eq!(answer.event().unwrap().id, None);
    assert_eq!(methods(answer), ["notifications/message", "notifications/message", "answer"]);
}

#[test]
fn a_client_is_asked_by_the_answer_round_by_round() {
    let fixture = start();
    let first = fixture.tool("greet").json()["result"].clone();
    assert_eq!(first["resultType"], "input_required");
    assert_eq!(first["inputRequests"]["name"]["method"], "elicitation/create");
    let retry = |state: &Value, responses: Value| {
        let params = json!({"name": "greet", "arguments": {}, "requestState": state, "inputResponses": responses});
        fixture.send("tools/call", params, &[]).json()
    };
    let accept = |name: &str| json!({"action": "accept", "content": {"name": name}});
    let second = retry(&first["requestState"], json!({"name": accept("Ada")}))["result"].clone();
    assert_eq!(second["inputRequests"].as_object().unwrap().keys().collect::<Vec<_>>(), ["color"]);
    assert_ne!(second["requestState"], first["requestState"]);
    let third = retry(&second["requestState"], json!({"color": accept("red")}));
    assert_eq!(third["result"]["content"][0]["text"], r#"{"name":"Ada"} likes {"name":"red"}"#);
    // Answers that answer nothing are asked for again.
    let again = retry(&first["requestState"], json!({"other": accept("Ada"), "name": 7}))["result"].clone();
    assert_eq!(again["inputRequests"].as_object().unwrap().len(), 1);
    let mut forged = second["requestState"].as_str().unwrap().to_owned();
    forged.replace_range(..1, if forged.starts_with('A') { "B" } else { "A" });
    assert_eq!(retry(&json!(forged), json!({}))["error"]["code"], -32602);
    let both = fixture.tool("both").json()["result"].clone();
    assert_eq!(both["inputRequests"].as_object().unwrap().len(), 2);
}

#[test]
fn what_a_client_cannot_be_asked_is_said_at_once() {
    let fixture = start();
    let answer = fixture.tool("sample");
    assert_eq!(answer.status, 400);
    let error = answer.json()["error"].clone();
    assert_eq!((&error["code"], &error["data"]), (&json!(-32021), &json!({"requiredCapabilities": {"sampling": {}}})));
}

#[test]
fn closing_the_stream_cancels_the_call() {
    let fixture = start();
    let mut answer = fixture.tool("until cancelled");
    assert_eq!(answer.message().unwrap()["method"], "notifications/progress");
    drop(answer);
    fixture.cancelled.recv_timeout(SOON).unwrap();
    // The same before anything was said.
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "until cancelled",
        "_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}}});
    let headers = [
        ("Content-Type", "application/json"),
        ("MCP-Protocol-Version", "2026-07-28"),
        ("Mcp-Method", "tools/call"),
        ("Mcp-Name", "until cancelled"),
    ];
    fixture.http.send_and_leave("POST", "/mcp", &headers, &body.to_string());
    fixture.cancelled.recv_timeout(SOON).unwrap();
}

#[test]
fn a_client_hears_of_the_changes_it_asked_for() {
    let fixture = start();
    let wanted = json!({"toolsListChanged": true, "resourceSubscriptions": ["test://watched"]});
    let mut stream = fixture.send("subscriptions/listen", json!({"notifications": wanted}), &[]);
    let first = stream.message().unwrap();
    assert_eq!(first["method"], "notifications/subscriptions/acknowledged");
    let mark = json!({"io.modelcontextprotocol/subscriptionId": "r-1"});
    assert_eq!(first["params"], json!({"notifications": wanted, "_meta": mark}));
    fixture.handle.add_prompt(mcp_http_transport::Prompt::new("p", ""), |_, _| Ok("text"));
    fixture.handle.resource_updated("test://other");
    fixture.handle.resource_updated("test://watched");
    fixture.handle.remove_tool("loud");
    let heard: Vec<Value> = (0..2).map(|_| stream.message().unwrap()).collect();
    assert_eq!((&heard[0]["params"]["uri"], &heard[0]["params"]["_meta"]), (&json!("test://watched"), &mark));
    assert_eq!((&heard[1]["method"], &heard[1]["params"]["_meta"]), (&json!("notifications/tools/list_changed"), &mark));
    // At its end the server says so.
    let service = &fixture.service;
    std::thread::scope(|scope| {
        scope.spawn(|| service.stop(SOON));
        let end = stream.messages();
        assert_eq!(end[0]["method"], "notifications/cancelled");
        assert_eq!(end[1], json!({"jsonrpc": "2.0", "id": "r-1", "result": {"resultType": "complete", "_meta": mark}}));
    });
}

#[test]
fn other_connections_serve_both_eras_at_once() {
    let (cancel, _cancelled) = bounded(4);
    let server = server(cancel);
    let handle = server.handle();
    let client = memory(server);
    let text = |params: Value| params.to_string();
    let call = |id: u32, method: &str, params: Value| client.call(id, method, &params.to_string(), SOON);
    let bare = json!({"_meta": meta(json!({}))});
    assert!(call(1, "server/discover", bare.clone()).unwrap().get("supportedVersions").is_some());
    assert_eq!(call(2, "server/discover", json!({})).unwrap_err().code(), -32601);
    let initialize = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    assert_eq!(call(3, "initialize", initialize).unwrap().get("protocolVersion"), Some("\"2025-11-25\""));
    assert_eq!(call(4, "tools/list", json!({})).unwrap().get("ttlMs"), None);
    assert_eq!(call(5, "tools/list", bare.clone()).unwrap().get("ttlMs"), Some("0"));
    assert_eq!(call(6, "ping", bare).unwrap_err().code(), -32601);
    let required = call(7, "tools/call", json!({"name": "greet", "_meta": meta(json!({}))})).unwrap();
    assert_eq!(required.get("resultType"), Some("\"input_required\""));
    let listen = json!({"jsonrpc": "2.0", "id": 8, "method": "subscriptions/listen",
        "params": {"notifications": {"toolsListChanged": true}, "_meta": meta(json!({}))}});
    client.send(&text(listen)).unwrap();
    let acknowledged = client.receive(SOON).unwrap();
    assert_eq!(acknowledged.method(), "notifications/subscriptions/acknowledged");
    // The client of the session hears of it as well, so two come; and one when it listens no more.
    let marked = |count: usize| {
        let heard: Vec<_> = (0..count).map(|_| client.receive(SOON).unwrap()).collect();
        assert!(heard.iter().all(|message| message.method() == "notifications/tools/list_changed"));
        heard.iter().filter(|message| message.as_str().contains("subscriptionId\":8")).count()
    };
    // A session whose handshake the client has left unfinished is told nothing; one that goes on without it is.
    assert!(call(9, "tools/list", json!({})).is_ok());
    let deadline = Instant::now() + SOON;
    handle.remove_tool("loud");
    assert_eq!(marked(2), 1);
    client.send(&text(json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 8}}))).unwrap();
    assert!(call(10, "tools/list", json!({})).is_ok());
    handle.remove_tool("quiet");
    assert_eq!(marked(1), 0);
    assert!(client.receive(Duration::ZERO).is_none() && Instant::now() < deadline);
}

#[test]
fn a_closure_serves_both_eras() {
    let closure = |request: &Request, _: &Session| -> Result<Json, RpcError> {
        match &*request.method() {
            "initialize" => Ok(mcp_http_transport::initialize_result(request, "closure", "1", json!({"tools": {"listChanged": true}}))),
            "tools/list" => Ok(json!({"tools": []}).into()),
            method => Err(RpcError::method_not_found(method)),
        }
    };
    let client = memory(closure);
    let params = json!({"_meta": meta(json!({}))}).to_string();
    let discovered: Value = client.call(1, "server/discover", &params, SOON).unwrap().parse().unwrap();
    assert_eq!(discovered["capabilities"], json!({"tools": {"listChanged": true}}));
    assert_eq!(discovered["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "closure");
    let list: Value = client.call(2, "tools/list", &params, SOON).unwrap().parse().unwrap();
    assert_eq!(list, json!({"tools": [], "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}));
}

struct Listening(Sender<&'static str>);

impl Handler for Listening {
    fn handle(&self, request: &Request, _: &Session) -> Result<Json, RpcError> {
        Err(RpcError::method_not_found(&request.method()))
    }

    fn opened(&self, _: &Session) {
        self.0.send("opened").unwrap();
    }

    fn closed(&self, _: &Session) {
        self.0.send("closed").unwrap();
    }
}

#[test]
fn a_handler_sees_who_listens_and_nobody_else() {
    let (told, tells) = bounded(8);
    let service = Service::start(Listening(told), &Config::new().transport(TransportMode::Http).port(0)).unwrap();
    let (_, cancelled) = bounded(1);
    let handle = Server::new("none", "1").handle();
    let fixture = Fixture { http: Client { address: service.local_addrs()[0] }, service, handle, cancelled };
    assert_eq!(fixture.refusal("tools/list", json!({})), (404, json!(-32601)));
    let mut stream = fixture.send("subscriptions/listen", json!({"notifications": {"toolsListChanged": true}}), &[]);
    // Nothing of what was asked for is there.
    assert_eq!(stream.message().unwrap()["params"]["notifications"], json!({}));
    assert_eq!(tells.recv_timeout(SOON), Ok("opened"));
    drop(stream);
    assert_eq!(tells.recv_timeout(SOON), Ok("closed"));
    assert_eq!(fixture.refusal("subscriptions/listen", json!({})), (200, json!(-32602)));
    assert!(tells.is_empty());
}
