//! The endpoints without our listener: as pure answers, and mounted into a `tiny_http::Server`.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use mcp_http_transport::{Config, Endpoints, Reply};
use serde_json::json;
use tiny_http::{Header, Method};

use super::support::{Http, Sse, get, post, request, spawn, test_handler};

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

fn headers(lines: &[(&str, &str)]) -> Vec<Header> {
    lines.iter().map(|(name, value)| Header::from_bytes(*name, *value).unwrap()).collect()
}

struct Pure(Endpoints);

impl Pure {
    fn new(config: &Config) -> Pure {
        Pure(Endpoints::new(test_handler().0, config).unwrap())
    }

    fn full(&self, method: &Method, target: &str, lines: &[(&str, &str)], body: &str) -> (u16, String) {
        match self.0.answer(method, target, &headers(lines), body.as_bytes().to_vec()) {
            Reply::Full(full) => (full.status.0, String::from_utf8(full.body).unwrap()),
            Reply::Stream(_) => panic!("a stream"),
        }
    }
}

/// The next block of a stream that is read.
fn block(stream: &mut impl BufRead) -> String {
    let mut block = String::new();
    while !block.ends_with("\n\n") {
        assert!(stream.read_line(&mut block).unwrap() > 0, "the stream ended behind {block:?}");
    }
    block
}

#[test]
fn a_session_without_any_socket() {
    let pure = Pure::new(&Config::new());
    let Reply::Stream(body) = pure.0.answer(&Method::Get, "/sse", &headers(&[("Host", "localhost")]), Vec::new()) else {
        panic!("no stream")
    };
    assert!(body.headers().iter().any(|header| header.field.equiv("Content-Type") && header.value.as_str() == "text/event-stream"));
    let mut stream = BufReader::new(body);
    assert_eq!(block(&mut stream), "retry: 500\n\n");
    let endpoint = block(&mut stream);
    let path = endpoint.strip_prefix("event: endpoint\ndata: ").unwrap().trim_end().to_owned();
    let json = [("Content-Type", "application/json")];
    assert_eq!(pure.full(&Method::Post, &path, &json, PING).0, 202);
    assert_eq!(block(&mut stream), "event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n");
    let call = r#"{"jsonrpc":"2.0","id":2,"method":"echo","params":{"a":1}}"#;
    assert_eq!(pure.full(&Method::Post, &path, &json, call).0, 202);
    assert_eq!(block(&mut stream), "event: message\ndata: {\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"a\":1}}\n\n");
    drop(stream);
    assert_eq!(pure.full(&Method::Post, &path, &json, PING).0, 404, "dropping the body ends the session");
}

#[test]
fn the_pure_answer_is_as_strict_as_the_listener() {
    let pure = Pure::new(&Config::new().token("s3cret"));
    let mut small = Config::new();
    small.max_body = 10;
    let small = Pure::new(&small);
    let get = &Method::Get;
    assert_eq!(pure.full(get, "/healthz", &[], "").0, 200);
    assert_eq!(pure.full(get, "/nowhere", &[("Host", "localhost")], "").0, 404);
    assert_eq!(pure.full(get, "/sse", &[("Host", "localhost")], "").0, 401);
    assert_eq!(pure.full(get, "/sse", &[("Host", "evil.example")], "").0, 403);
    assert_eq!(pure.full(get, "/sse", &[("Host", "localhost"), ("Host", "localhost")], "").0, 400);
    assert_eq!(pure.full(get, "/sse x", &[("Host", "localhost")], "").0, 400);
    assert_eq!(pure.full(get, "sse", &[("Host", "localhost")], "").0, 400);
    for value in ["x\r\nAuthorization: Bearer s3cret", "x\r\n\r\n", "x\ny"] {
        assert_eq!(pure.full(get, "/sse", &[("Host", "localhost"), ("X", value)], "").0, 400, "{value:?}");
    }
    assert_eq!(small.full(&Method::Post, "/messages/", &[("Host", "localhost")], &" ".repeat(11)).0, 413);
    assert_eq!(pure.full(&Method::Head, "/healthz", &[], "").0, 200);
    assert_eq!(pure.full(&Method::Delete, "/healthz", &[], "").0, 405);
}

/// Somebody's own server, with a page of its own beside us.
#[test]
fn mounted_into_a_tiny_http_server() {
    let (handler, events) = test_handler();
    let mut config = Config::new();
    config.keep_alive = Duration::from_millis(100);
    config.max_body = 1000;
    let endpoints = Endpoints::new(handler, &config).unwrap();
    let server = std::sync::Arc::new(tiny_http::Server::http("127.0.0.1:0").unwrap());
    let address = server.server_addr().to_ip().unwrap();
    let serving = std::sync::Arc::clone(&server);
    let server_loop = spawn(move || {
        for request in serving.incoming_requests() {
            if let Some(other) = endpoints.take(request) {
                other.respond(tiny_http::Response::from_string("my own page")).unwrap();
            }
        }
    });
    assert_eq!(get(address, "/").body, "my own page");
    assert_eq!(get(address, "/healthz").status, 200);
    for open in [request("GET", "/sse", "", ""), "GET /sse HTTP/1.0\r\n\r\n".to_owned()] {
        let mut session = Sse::open_with(address, &open);
        assert_eq!(session.initialize("2025-11-25", r#"{"roots":{}}"#)["result"]["protocolVersion"], "2025-11-25");
        assert_eq!(session.call("1", "echo", r#"{"a":1}"#)["result"]["a"], 1);
        session.request("2", "ask", "{}");
        let question = session.find(|message| message["method"] == "roots/list");
        session.send(&json!({"jsonrpc": "2.0", "id": question["id"], "result": {"roots": []}}).to_string());
        assert_eq!(session.answer("2")["result"], json!({"roots": []}));
        assert_eq!(session.post("{").status, 400);
        assert_eq!(session.post(&" ".repeat(1001)).status, 413);
        let mut http = Http::connect(address);
        for _ in 0..3 {
            let answer = http.exchange(request("POST", &session.path, "Content-Type: application/json\r\n", PING));
            assert_eq!((answer.status, answer.body.trim_end()), (202, "Accepted"), "on a connection that stays");
        }
        // A call on /mcp holds up nobody, nor its own cancellation.
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-11-25", "capabilities": {},
            "clientInfo": {"name": "t", "version": "1"}}});
        let json_type = "Content-Type: application/json\r\n";
        let begun = http.exchange(request("POST", "/mcp", json_type, &hello.to_string()));
        let named = format!("{json_type}Mcp-Session-Id: {}\r\n", begun.header("mcp-session-id").unwrap());
        let call = r#"{"jsonrpc":"2.0","id":7,"method":"block"}"#;
        let mut blocked = Http::sending(address, request("POST", "/mcp", &named, call));
        events.wait_for("blocks 7");
        assert_eq!(get(address, "/").body, "my own page");
        let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#;
        assert_eq!(http.exchange(request("POST", "/mcp", &named, cancel)).status, 202);
        assert_eq!(blocked.head().unwrap().status, 202);
        session.request("3", "block", "{}");
        events.wait_for("blocks 3");
        let path = session.path.clone();
        drop(session);
        events.wait_for("closed");
        assert_eq!(post(address, &path, PING).status, 404);
    }
    server.unblock();
    server_loop.join().unwrap();
}
