//! Calls: which run and which wait, cancellation, asking the client, and what a vanished client leaves behind.

use std::collections::HashSet;
use std::time::Duration;

use mcp_http_transport::Limits;
use serde_json::json;

use super::support::{Server, Sse};

#[test]
fn the_defaults_are_those_of_the_papers() {
    let limits = Limits::default();
    assert_eq!((limits.head_bytes, limits.headers), (16 << 10, 100));
    assert_eq!((limits.head_deadline, limits.body_deadline), (Duration::from_secs(10), Duration::from_secs(30)));
    assert_eq!((limits.idle_timeout, limits.write_deadline), (Duration::from_secs(75), Duration::from_secs(30)));
    assert_eq!(limits.max_line, 64 << 20);
    assert_eq!((limits.calls, limits.calls_per_session), (64, 16));
    assert_eq!((limits.waiting_calls, limits.waiting_bytes), (256, 8 << 20));
    assert_eq!((limits.queue_messages, limits.queue_bytes), (64, 8 << 20));
    assert_eq!(limits.stray_stream, Duration::from_secs(60));
}

#[test]
fn a_request_whose_id_is_in_flight_is_refused_and_the_first_goes_on() {
    let server = Server::start();
    let mut session = Sse::open(server.address);
    for id in ["1", "\"1\""] {
        session.request(id, "block", "{}");
        server.events.wait_for(&format!("blocks {id}"));
        for method in ["block", "echo"] {
            session.request(id, method, "{}");
            assert_eq!(session.answer(id)["error"]["code"], -32600, "{id}");
        }
    }
    // The same id in another session is another one.
    let mut other = Sse::open(server.address);
    assert_eq!(other.call("1", "echo", "{}")["result"], json!({}));
    server.events.let_one_go();
    server.events.let_one_go();
    assert_eq!(session.answer("1")["result"], json!({}));
    assert_eq!(session.answer("\"1\"")["result"], json!({}));
    assert_eq!(session.call("1", "echo", "{}")["result"], json!({}), "an id whose request is over is free");
}

/// 16 of a session run, 64 in all; the others wait and are served in the end.
#[test]
fn calls_run_in_slots_and_beyond_them_wait() {
    let server = Server::start();
    let mut sessions: Vec<_> = (0..5).map(|_| Sse::open(server.address)).collect();
    for session in &sessions {
        for id in 0..20 {
            session.request(&id.to_string(), "block", "{}");
        }
    }
    let running = |count: usize| {
        let mut started = 0;
        while started < count {
            started += usize::from(server.events.next().starts_with("blocks"));
        }
    };
    running(64);
    // Pings, cancellations and other small talk need no slot.
    assert_eq!(sessions[4].call("\"p\"", "ping", "{}")["result"], json!({}));
    let started: HashSet<String> = server.events.rest().into_iter().filter(|said| said.starts_with("blocks")).collect();
    assert!(started.is_empty(), "more than 64 run: {started:?}");
    for _ in 0..100 {
        server.events.let_one_go();
    }
    running(36);
    for session in &mut sessions {
        for id in 0..20 {
            assert_eq!(session.answer(&id.to_string())["result"], json!({}));
        }
    }
}

#[test]
fn a_full_waiting_list_refuses_and_a_session_hurts_only_itself() {
    let server = Server::with(|config| {
        config.limits.calls_per_session = 1;
        config.limits.waiting_calls = 3;
        config.limits.waiting_bytes = 10_000;
    });
    let mut session = Sse::open(server.address);
    session.request("0", "block", "{}");
    server.events.wait_for("blocks 0");
    for id in 1..=3 {
        session.request(&id.to_string(), "echo", r#"{"a":1}"#);
    }
    assert_eq!(session.call("4", "echo", "{}")["error"]["code"], -32603);
    let mut other = Sse::open(server.address);
    assert_eq!(other.call("1", "echo", "{}")["result"], json!({}));
    server.events.let_one_go();
    for id in 1..=3 {
        assert_eq!(session.answer(&id.to_string())["result"]["a"], 1);
    }
    // The bytes are bounded as well.
    session.request("10", "block", "{}");
    server.events.wait_for("blocks 10");
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(6000));
    session.request("11", "echo", &large);
    assert_eq!(session.call("12", "echo", &large)["error"]["code"], -32603);
    server.events.let_one_go();
    assert!(session.answer("11")["result"]["a"].is_string());
}

#[test]
fn a_cancelled_call_that_has_not_started_never_starts_and_has_no_answer() {
    let server = Server::with(|config| config.limits.calls_per_session = 1);
    let mut session = Sse::open(server.address);
    session.request("1", "block", "{}");
    server.events.wait_for("blocks 1");
    session.request("2", "block", "{}");
    session.request("3", "echo", r#"{"a":3}"#);
    session.send(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}"#);
    // A cancelled id is free at once when its call never started.
    session.request("2", "echo", r#"{"a":2}"#);
    server.events.let_one_go();
    assert_eq!(session.answer("1")["result"], json!({}));
    assert_eq!(session.answer("3")["result"]["a"], 3);
    assert_eq!(session.answer("2")["result"]["a"], 2);
    assert!(!server.events.rest().contains(&"blocks 2".to_owned()));
}

#[test]
fn a_running_call_hears_of_its_cancellation_and_is_not_answered() {
    let server = Server::start();
    let mut session = Sse::open(server.address);
    session.request("\"slow\"", "block", "{}");
    server.events.wait_for("blocks \"slow\"");
    session.send(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"other"}}"#);
    session.send(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"slow","reason":"enough"}}"#);
    server.events.wait_for("cancelled \"slow\"");
    assert_eq!(session.message_after_ping(), "nothing");
}

#[test]
fn progress_comes_before_the_answer_and_only_when_asked_for() {
    let server = Server::start();
    let mut session = Sse::open(server.address);
    session.request("1", "slow", r#"{"steps":3,"ms":1,"_meta":{"progressToken":"t\u00e9"}}"#);
    for step in 1..=3 {
        let message: serde_json::Value = serde_json::from_str(&session.message()).unwrap();
        assert_eq!(message["method"], "notifications/progress");
        assert_eq!(message["params"], json!({"progressToken": "té", "progress": f64::from(step), "total": 3.0, "message": "step"}));
    }
    assert_eq!(session.message(), r#"{"jsonrpc":"2.0","id":1,"result":{"steps":3}}"#);
    session.request("2", "slow", r#"{"steps":3,"ms":1}"#);
    assert_eq!(session.message(), r#"{"jsonrpc":"2.0","id":2,"result":{"steps":3}}"#);
}

#[test]
fn a_panic_is_an_internal_error_and_the_server_lives() {
    let server = Server::with(|config| config.limits.calls_per_session = 1);
    let mut session = Sse::open(server.address);
    for id in 0..50 {
        let id = id.to_string();
        assert_eq!(session.call(&id, "panic", "{}")["error"]["code"], -32603);
    }
    assert_eq!(session.call("\"after\"", "echo", r#"{"a":1}"#)["result"]["a"], 1);
}

/// `ask` gives the slot back, takes the answer, and wants a slot again.
#[test]
fn a_call_that_asks_lends_its_slot() {
    let server = Server::with(|config| {
        config.limits.calls = 1;
        config.limits.calls_per_session = 1;
    });
    let mut session = Sse::open(server.address);
    session.initialize("2025-11-25", r#"{"roots":{}}"#);
    session.request("1", "ask", "{}");
    let question = session.find(|message| message["method"] == "roots/list");
    for id in 2..10 {
        assert_eq!(session.call(&id.to_string(), "echo", r#"{"a":1}"#)["result"]["a"], 1);
    }
    session.send(&json!({"jsonrpc": "2.0", "id": question["id"], "result": {"roots": []}}).to_string());
    assert_eq!(session.answer("1")["result"], json!({"roots": []}));
    // An error of the client's, an unsupported question, a deadline, a cancellation.
    session.request("11", "ask", "{}");
    let question = session.find(|message| message["method"] == "roots/list");
    session.send(&json!({"jsonrpc": "2.0", "id": question["id"], "error": {"code": -1, "message": "no roots here"}}).to_string());
    assert!(session.answer("11")["error"]["message"].as_str().unwrap().contains("no roots here"));
    assert!(session.call("12", "ask", r#"{"ms":20}"#)["error"]["message"].as_str().unwrap().contains("in time"));
    let question = session.find(|message| message["method"] == "roots/list")["id"].clone();
    assert_eq!(session.find(|message| message["method"] == "notifications/cancelled")["params"]["requestId"], question);
    session.request("13", "ask", "{}");
    session.find(|message| message["method"] == "roots/list");
    session.send(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":13}}"#);
    server.events.wait_for("asked 13 the call was cancelled");
    let mut poor = Sse::open(server.address);
    poor.initialize("2025-11-25", "{}");
    assert!(poor.call("1", "ask", "{}")["error"]["message"].as_str().unwrap().contains("does not support roots"));
}

/// Another session's answer, or a forged one, is nobody's.
#[test]
fn only_the_session_that_was_asked_can_answer() {
    let server = Server::start();
    let (mut asked, other) = (Sse::open(server.address), Sse::open(server.address));
    asked.request("1", "ask", "{}");
    let question = asked.find(|message| message["method"] == "roots/list");
    let forged = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"forged": true}}).to_string();
    other.send(&forged);
    asked.send(&json!({"jsonrpc": "2.0", "id": question["id"].to_string(), "result": {"text": true}}).to_string());
    asked.send(&json!({"jsonrpc": "2.0", "id": question["id"], "result": {"mine": true}}).to_string());
    assert_eq!(asked.answer("1")["result"], json!({"mine": true}));
}

#[test]
fn too_many_questions_are_refused() {
    let server = Server::with(|config| config.limits.asks = 2);
    let mut session = Sse::open(server.address);
    for id in ["1", "2"] {
        session.request(id, "ask", "{}");
        session.find(|message| message["method"] == "roots/list");
    }
    assert!(session.call("3", "ask", "{}")["error"]["message"].as_str().unwrap().contains("too many calls"));
    assert_eq!(session.call("4", "echo", "{}")["result"], json!({}));
}

/// The handlers of a vanished client are cancelled, what waits of it never starts, and its slots are free for others.
#[test]
fn a_vanished_client_gives_its_slots_back() {
    let server = Server::with(|config| {
        config.limits.calls = 4;
        config.limits.calls_per_session = 3;
        config.keep_alive = Duration::from_millis(50);
    });
    for _ in 0..3 {
        let session = Sse::open(server.address);
        for id in 1..=2 {
            session.request(&id.to_string(), "block", "{}");
        }
        session.request("3", "ask", "{}");
        server.events.wait_for("asks 3");
        for id in 4..=9 {
            session.request(&id.to_string(), "block", "{}");
        }
        let path = session.path.clone();
        drop(session);
        let mut asked = false;
        let mut cancelled = 0;
        while !asked || cancelled < 3 {
            let said = server.events.next();
            asked |= said.starts_with("asked 3 ");
            cancelled += usize::from(said.starts_with("cancelled"));
        }
        assert_eq!(super::support::post(server.address, &path, r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).status, 404);
    }
    let mut next = Sse::open(server.address);
    for id in 0..4 {
        next.request(&id.to_string(), "echo", r#"{"a":1}"#);
    }
    for id in 0..4 {
        assert_eq!(next.answer(&id.to_string())["result"]["a"], 1);
    }
}

/// Calls that arrive while their stream ends are cancelled like those before: none keeps its slot.
#[test]
fn a_call_that_crosses_the_end_of_its_stream_is_cancelled() {
    let server = Server::with(|config| {
        config.limits.calls = 2;
        config.keep_alive = Duration::from_millis(1);
    });
    for _ in 0..30 {
        let session = Sse::open(server.address);
        let (path, address) = (session.path.clone(), session.address);
        drop(session);
        let mut id = 0;
        super::support::eventually("the session is over", || {
            id += 1;
            let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"block"}}"#);
            super::support::post(address, &path, &body).status == 404
        });
    }
    let mut next = Sse::open(server.address);
    assert_eq!(next.call("1", "echo", r#"{"a":1}"#)["result"]["a"], 1);
}

#[test]
fn calls_that_block_delay_nobody_else() {
    let server = Server::start();
    let blocked: Vec<_> = (0..3).map(|_| Sse::open(server.address)).collect();
    for session in &blocked {
        for id in 0..40 {
            session.request(&id.to_string(), "stuck", "{}");
        }
    }
    for _ in 0..48 {
        while !server.events.next().starts_with("stuck") {}
    }
    let mut others: Vec<_> = (0..4).map(|_| Sse::open(server.address)).collect();
    for round in 0..50 {
        for session in &mut others {
            let id = round.to_string();
            assert_eq!(session.call(&id, "echo", r#"{"a":1}"#)["result"]["a"], 1);
        }
    }
}
