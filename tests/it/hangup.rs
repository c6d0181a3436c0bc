//! Clients of event streams that hang up: noticed at once, however rarely the stream says something; and those that only send no more.

use std::fs;

use serde_json::json;

use super::support::{Http, Program, Server, Sse, eventually, request};

const HOUR: std::time::Duration = std::time::Duration::from_secs(3600);

fn demo() -> Program {
    Program::binary(&["demo", "--http", "--host", "127.0.0.1", "--port", "0", "--keep-alive", "1h"], &[])
}

/// How many threads have these names, and how many descriptors there are.
fn threads_and_descriptors(program: &Program, names: &[&str]) -> (usize, usize) {
    let entries = |what| fs::read_dir(format!("/proc/{}/{what}", program.child.id())).unwrap().flatten();
    let is_named = |task: &fs::DirEntry| fs::read_to_string(task.path().join("comm")).is_ok_and(|its| names.contains(&its.trim()));
    (entries("task").filter(is_named).count(), entries("fd").count())
}

/// A session of `/mcp`: what its requests have besides the content type.
fn begin(address: std::net::SocketAddr) -> String {
    let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let body = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}).to_string();
    let answer = Http::connect(address).exchange(request("POST", "/mcp", "Content-Type: application/json\r\nConnection: close\r\n", &body));
    format!("Mcp-Session-Id: {}\r\nMCP-Protocol-Version: 2025-06-18\r\n", answer.header("mcp-session-id").unwrap())
}

#[test]
fn streams_whose_clients_close_end_and_give_everything_back() {
    let program = demo();
    let address = program.address();
    let session = begin(address);
    let counts = || threads_and_descriptors(&program, &["http", "http-stream"]);
    let mut before = counts();
    eventually("only what is always there is there", || {
        before = counts();
        before.0 == 0
    });
    let leave: Vec<_> = (0..40).map(|_| Sse::open(address)).collect();
    let listening: Vec<_> = (0..3)
        .map(|_| {
            let mut http = Http::sending(address, request("GET", "/mcp", &session, ""));
            assert_eq!(http.head().unwrap().status, 200);
            http
        })
        .collect();
    // A thread has its name a moment after it has begun.
    eventually("each stream has its thread", || counts() == (43, before.1 + 43));
    let paths: Vec<_> = leave.iter().map(|sse| sse.path.clone()).collect();
    for (number, sse) in leave.into_iter().enumerate() {
        if number % 3 == 0 { sse.http.reset() } else { drop(sse) }
    }
    drop(listening);
    eventually("everything is given back", || counts() == before);
    let gone = super::support::post(address, &paths[0], r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    assert_eq!(gone.status, 404);
}

/// In a session a call goes on without its client; the thread that wrote its stream does not.
#[test]
fn the_stream_of_a_call_ends_with_its_client() {
    let program = demo();
    let address = program.address();
    let session = begin(address);
    let params = json!({"name": "slow", "arguments": {"seconds": 3600, "steps": 2}, "_meta": {"progressToken": 1}});
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).to_string();
    let headers = format!("{session}Content-Type: application/json\r\nAccept: application/json, text/event-stream\r\n");
    let mut http = Http::sending(address, request("POST", "/mcp", &headers, &body));
    assert_eq!(http.head().unwrap().header("content-type"), Some("text/event-stream"));
    let has = |name: &str| threads_and_descriptors(&program, &[name]).0 > 0;
    eventually("a thread writes the stream", || has("http-stream"));
    drop(http);
    eventually("the stream has ended", || !has("http-stream"));
    assert!(has("http"), "the call goes on");
}

#[test]
fn a_client_that_only_sends_no_more_keeps_its_stream() {
    let server = Server::with(|config| config.keep_alive = HOUR);
    let mut session = Sse::open(server.address);
    session.http.end();
    assert_eq!(session.event().unwrap().raw, ": keep-alive\n\n", "whether it is there is asked at once");
    for id in ["1", "2", "3"] {
        assert_eq!(session.call(id, "echo", r#"{"a":1}"#)["result"], json!({"a": 1}));
    }
    server.service.stop(std::time::Duration::ZERO);
    while let Some(event) = session.event() {
        assert!(event.raw.starts_with(':'), "nothing but comments: {event:?}");
    }
}
