//! Ending: signals, the grace period, and what clients see of it.

use std::time::Duration;

use serde_json::json;

use super::support::{Http, Program, SOON, Server, Sse, eventually, get, request, spawn};

/// While running calls have their grace, new requests are told so; then the streams end.
#[test]
fn running_calls_are_waited_for_and_everything_new_is_refused() {
    let server = std::sync::Arc::new(Server::start());
    let mut session = Sse::open(server.address);
    let mut kept = Http::connect(server.address);
    assert_eq!(kept.exchange(request("GET", "/readyz", "", "")).status, 200);
    session.request("1", "block", "{}");
    server.events.wait_for("blocks 1");
    session.request("2", "ask", "{}");
    server.events.wait_for("asks 2");
    let stopping = std::sync::Arc::clone(&server);
    let stopper = spawn(move || stopping.service.stop(SOON));
    server.events.wait_for("asked 2 the client is gone");
    eventually("it is not ready", || get(server.address, "/readyz").status == 503);
    assert_eq!(kept.exchange(request("GET", "/readyz", "", "")).status, 503, "on a connection that was kept alive as well");
    assert_eq!(get(server.address, "/healthz").status, 200, "it still accepts");
    for refused in [get(server.address, "/sse"), session.post(r#"{"jsonrpc":"2.0","id":3,"method":"ping"}"#)] {
        assert_eq!((refused.status, refused.header("retry-after").is_some()), (503, true));
    }
    assert_eq!(session.answer("2")["error"]["code"], -32603);
    server.events.let_one_go();
    assert_eq!(session.answer("1")["result"], json!({}));
    assert!(session.event().is_none(), "the last chunk");
    assert!(session.http.is_closed() && kept.is_closed());
    stopper.join().unwrap();
}

#[test]
fn calls_that_outlive_the_grace_period_get_one_error_each() {
    let server = Server::with(|config| config.limits.calls_per_session = 2);
    let mut session = Sse::open(server.address);
    for id in ["1", "2", "3"] {
        session.request(id, "stuck", "{}");
    }
    server.events.wait_for("stuck 2");
    server.service.stop(Duration::from_millis(10));
    server.events.release();
    for id in ["1", "2", "3"] {
        assert_eq!(session.answer(id)["error"]["code"], -32603);
    }
    assert!(session.event().is_none());
}

/// A handler that takes no notice of its cancellation keeps its thread. Whoever waits for it is told.
#[test]
fn a_handler_that_is_stuck_holds_up_nobody() {
    let server = Server::start();
    let hello = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
    let begun = Http::connect(server.address).exchange(request("POST", "/mcp", "Content-Type: application/json\r\n", hello));
    let headers = format!("Content-Type: application/json\r\nMcp-Session-Id: {}\r\n", begun.header("mcp-session-id").unwrap());
    let mut posts: Vec<_> = ["1", "2"]
        .map(|id| {
            let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"stuck"}}"#);
            let http = Http::sending(server.address, request("POST", "/mcp", &headers, &body));
            server.events.wait_for(&format!("stuck {id}"));
            http
        })
        .into();
    let began = std::time::Instant::now();
    server.service.stop(Duration::from_millis(50));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    for post in &mut posts {
        let got = String::from_utf8(post.rest()).unwrap();
        assert!(got.contains("-32603") && got.ends_with("\r\n0\r\n\r\n"), "{got}");
    }
}

#[test]
fn stopping_twice_and_waiting_do_no_harm() {
    let server = Server::start();
    server.service.stop(Duration::ZERO);
    server.service.stop(Duration::ZERO);
    server.service.wait();
}

/// An embedder says "for ever" as it likes.
#[test]
fn times_that_no_clock_can_hold_do_no_harm() {
    let server = Server::with(|config| {
        let limits = &mut config.limits;
        let waits = [&mut limits.head_deadline, &mut limits.body_deadline, &mut limits.idle_timeout];
        let others = [&mut limits.write_deadline, &mut limits.stray_stream, &mut config.session_timeout, &mut config.keep_alive];
        waits.into_iter().chain(others).for_each(|wait| *wait = Duration::MAX);
    });
    let mut session = Sse::open(server.address);
    // The time for a message grows with its size.
    let large = "x".repeat(3 << 20);
    assert_eq!(session.call("1", "echo", &format!(r#"{{"a":"{large}"}}"#))["result"]["a"], large.as_str());
    server.service.stop(Duration::MAX);
    assert!(session.event().is_none());
}

/// A client that does not read cannot keep the server from ending.
#[test]
fn a_stuck_client_does_not_hold_up_the_end() {
    let server = Server::start();
    let stuck = Sse::open(server.address);
    stuck.request("1", "notify", r#"{"count":100000,"bytes":65536}"#);
    let mut other = Sse::open(server.address);
    assert_eq!(other.call("1", "ping", "{}")["result"], json!({}));
    server.service.stop(Duration::from_millis(50));
    assert!(other.event().is_none());
}

/// Nor one that does not read the stream of its own POST, with a session or without.
#[test]
fn a_stuck_client_of_a_post_does_not_hold_up_the_end() {
    let server = Server::start();
    let hello = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
    let begun = Http::connect(server.address).exchange(request("POST", "/mcp", "Content-Type: application/json\r\n", hello));
    let id = begun.header("mcp-session-id").unwrap().to_owned();
    let params = r#""count":100000,"bytes":65536"#;
    let session = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"notify","params":{{{params}}}}}"#);
    let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/logLevel":"info"}"#;
    let stateless = format!(r#"{{"jsonrpc":"2.0","id":2,"method":"notify","params":{{{params},{meta}}}}}"#);
    let headers = ["Mcp-Session-Id: ", "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: notify\r\nX: "];
    let stuck: Vec<_> = [(headers[0], id.as_str(), session), (headers[1], "x", stateless)]
        .into_iter()
        .map(|(header, value, body)| {
            let headers = format!("Content-Type: application/json\r\n{header}{value}\r\n");
            let mut http = Http::sending(server.address, request("POST", "/mcp", &headers, &body));
            assert_eq!(http.head().unwrap().header("content-type"), Some("text/event-stream"));
            http
        })
        .collect();
    // Stuck they are when nothing more comes.
    let mut last = Vec::new();
    eventually("they are stuck", || {
        std::thread::sleep(Duration::from_millis(200));
        let mut room = vec![0; 16 << 20];
        let now: Vec<usize> = stuck.iter().map(|http| http.stream.peek(&mut room).unwrap()).collect();
        std::mem::replace(&mut last, now.clone()) == now
    });
    let mut other = Sse::open(server.address);
    assert_eq!(other.call("1", "ping", "{}")["result"], json!({}));
    let began = std::time::Instant::now();
    server.service.stop(Duration::from_millis(50));
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert!(other.event().is_none());
    drop(stuck);
}

#[cfg(unix)]
mod signals {
    use super::*;
    use nix::sys::signal::Signal;

    #[test]
    fn each_signal_ends_the_process_in_good_order() {
        for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
            let mut program = Program::server("", &[("MCP_TRANSPORT", "http"), ("MCP_HTTP_PORT", "0")]);
            let address = program.address();
            let mut session = Sse::open(address);
            session.request("1", "slow", r#"{"steps":1,"ms":300}"#);
            session.request("2", "ask", "{}");
            session.find(|message| message["method"] == "roots/list");
            program.signal(signal);
            assert_eq!(session.answer("2")["error"]["code"], -32603);
            assert_eq!(session.answer("1")["result"]["steps"], 1);
            assert!(session.find_end(), "the last chunk");
            assert_eq!(program.wait().code(), Some(0), "{signal}");
            assert_eq!(program.raw(), None, "nothing was written to stdout");
        }
    }

    #[test]
    fn a_second_signal_ends_at_once() {
        let mut program = Program::server("", &[("MCP_TRANSPORT", "http"), ("MCP_HTTP_PORT", "0"), ("MCP_GRACE", "1h")]);
        let address = program.address();
        let session = Sse::open(address);
        session.request("1", "block", "{}");
        program.stderr("says: blocks 1");
        program.signal(Signal::SIGINT);
        eventually("it ends", || get(address, "/readyz").status == 503);
        program.signal(Signal::SIGINT);
        assert_eq!(program.wait().code(), Some(130));
    }

    #[test]
    fn on_stdio_a_signal_ends_too() {
        let mut program = Program::server("", &[]);
        program.request("1", "echo", "{}");
        assert_eq!(program.answer("1")["result"], json!({}));
        program.signal(Signal::SIGTERM);
        assert_eq!(program.wait().code(), Some(0));
    }
}

#[test]
fn a_port_that_is_taken_is_a_failure_that_says_what_to_do() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port().to_string();
    let mut program = Program::server("", &[("MCP_TRANSPORT", "http"), ("MCP_HTTP_PORT", &port)]);
    assert_eq!(program.wait().code(), Some(1));
    program.stderr(&format!("port {port} is taken"));
    // ::1 taken while 127.0.0.1 is free counts as taken.
    if let Ok(holder) = std::net::TcpListener::bind("[::1]:0") {
        let port = holder.local_addr().unwrap().port().to_string();
        let mut program = Program::server("", &[("MCP_TRANSPORT", "http"), ("MCP_HTTP_PORT", &port)]);
        assert_eq!(program.wait().code(), Some(1));
        program.stderr("is taken");
    }
}
