//! Against our own demo over both transports, with kills and restarts between calls.

use std::time::{Duration, Instant};

use serde_json::json;

use super::super::support::Program;
use super::{call, connect, error, handshake, text};

/// Both endpoints, each found out and each named.
const WAYS: [(&str, &str); 4] = [("/sse", "auto"), ("/sse", "sse"), ("/mcp", "auto"), ("/mcp", "http")];

/// The demo, which can be killed and started again at the same place.
struct Demo {
    program: Program,
    port: u16,
    variables: Vec<(&'static str, &'static str)>,
}

impl Demo {
    fn start() -> Demo {
        // Every start has a key of its own, so that sessions are forgotten.
        Demo::with(&[])
    }

    fn with(variables: &[(&'static str, &'static str)]) -> Demo {
        let program = Program::binary(&["demo", "--http", "--port", "0"], variables);
        let port = program.address().port();
        Demo { program, port, variables: variables.to_vec() }
    }

    fn kill(&mut self) {
        self.program.child.kill().unwrap();
        self.program.wait();
    }

    /// Starts it again; as nobody remembers the sessions of before when `forgets`.
    fn start_again(&mut self, key: &'static str) {
        let mut variables = self.variables.clone();
        variables.push(("MCP_STATE_KEY", key));
        self.program = Program::binary(&["demo", "--http", "--port", &self.port.to_string()], &variables);
        assert_eq!(self.program.address().port(), self.port);
    }

    fn url(&self, path: &str) -> String {
        format!("http://localhost:{}{path}", self.port)
    }
}

const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn everything_passes_in_both_directions() {
    let demo = Demo::start();
    for (path, transport) in WAYS {
        let mut client = connect(&demo.url(path), &["--transport", transport]);
        let opened = handshake(&mut client);
        assert_eq!(opened["result"]["protocolVersion"], "2025-11-25", "{path} {transport}");
        client.request("1", "tools/list", "{}");
        assert!(client.answer("1")["result"]["tools"].as_array().unwrap().len() >= 4);
        assert_eq!(text(&call(&mut client, "\"two\"", "add", &json!({"a": 2, "b": 40}))), "42");

        // Progress comes before the answer it belongs to.
        client.request("3", "tools/call", r#"{"name":"slow","arguments":{"seconds":0.1,"steps":4},"_meta":{"progressToken":"p"}}"#);
        let mut steps = 0;
        loop {
            let message = client.message();
            match message["method"].as_str() {
                Some("notifications/progress") => {
                    assert_eq!(message["params"]["progressToken"], "p");
                    steps += 1;
                }
                None if message["id"] == 3 => break,
                _ => {}
            }
        }
        assert_eq!(steps, 4, "{path} {transport}");

        // The server asks, the client answers.
        client.request("4", "tools/call", r#"{"name":"ask","arguments":{"question":"Which colour?"}}"#);
        let asked = loop {
            let message = client.message();
            if message["method"] == "elicitation/create" {
                break message;
            }
        };
        client
            .line(&json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "accept", "content": {"answer": "teal"}}}).to_string());
        assert!(text(&client.answer("4")).contains("teal"));

        // A cancelled call says nothing more, and delays nobody.
        client.request("5", "tools/call", r#"{"name":"slow","arguments":{"seconds":60,"steps":1000},"_meta":{"progressToken":"c"}}"#);
        while client.message()["params"]["progressToken"] != "c" {}
        client.line(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5}}"#);
        demo.program.stderr("slow was cancelled");
        assert_eq!(text(&call(&mut client, "6", "echo", &json!({"message": "still there"}))), "still there");

        client.request("7", "tools/call", r#"{"name":"no-such-tool"}"#);
        assert_eq!(client.answer("7")["error"]["code"], -32602, "errors of the server's pass as they are");
        client.close_stdin();
        while let Some(line) = client.raw() {
            assert!(!line.contains("\"id\":5"), "a cancelled call was answered: {line}");
        }
        assert_eq!(client.wait().code(), Some(0));
    }
}

/// Written in one go, as a script does: each message still finds what it needs.
#[test]
fn messages_keep_their_order() {
    let demo = Demo::start();
    for (path, transport) in WAYS {
        let mut client = connect(&demo.url(path), &["--transport", transport]);
        client.request("0", "initialize", super::INITIALIZE);
        client.line(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
        for id in 1..=20 {
            client.request(&id.to_string(), "tools/call", &json!({"name": "add", "arguments": {"a": id, "b": 1}}).to_string());
        }
        client.close_stdin();
        let mut answered = Vec::new();
        while let Some(line) = client.raw() {
            let message: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert!(message.get("result").is_some(), "{path} {transport}: {line}");
            answered.push(message["id"].as_i64().unwrap());
        }
        answered.sort_unstable();
        assert_eq!(answered, (0..=20).collect::<Vec<_>>(), "{path} {transport}: each call has exactly one answer");
        assert_eq!(client.wait().code(), Some(0));
    }
}

#[test]
fn calls_made_while_the_server_is_away_are_held_until_it_is_back() {
    for (path, transport) in WAYS {
        let mut demo = Demo::start();
        let mut client = connect(&demo.url(path), &["--transport", transport]);
        handshake(&mut client);
        client.request("1", "logging/setLevel", r#"{"level":"emergency"}"#);
        assert_eq!(client.answer("1")["result"], json!({}));
        assert_eq!(text(&call(&mut client, "2", "echo", &json!({"message": "before"}))), "before");
        for round in 0..3 {
            demo.kill();
            let ids: Vec<String> = (0..5).map(|n| format!("\"{round}-{n}\"")).collect();
            for id in &ids {
                client.request(id, "tools/call", &json!({"name": "echo", "arguments": {"message": id}}).to_string());
            }
            client.stderr("cannot reach");
            demo.start_again(&KEY[round * 8..round * 8 + 32]);
            let mut answered = Vec::new();
            while answered.len() < ids.len() {
                let message = client.message();
                if message.get("method").is_none() {
                    let id = message["id"].to_string();
                    assert_eq!(text(&message), id, "{path} {transport}");
                    answered.push(id);
                }
            }
            answered.sort();
            assert_eq!(answered, ids, "{path} {transport}: each call has exactly one answer");
        }
        // What was agreed on before counts still: at the level that a session begins with, there would be messages.
        client.request("9", "tools/call", r#"{"name":"slow","arguments":{"seconds":0,"steps":1}}"#);
        let mut has_logged = false;
        loop {
            let message = client.message();
            has_logged |= message["method"] == "notifications/message";
            if message["id"] == 9 {
                break;
            }
        }
        assert!(!has_logged, "{path} {transport}");
        client.close_stdin();
        assert_eq!(client.wait().code(), Some(0));
    }
}

/// Without any call: the client learns that lists may have changed.
#[test]
fn a_restart_between_calls_is_news() {
    for (path, transport) in WAYS {
        let mut demo = Demo::start();
        let mut client = connect(&demo.url(path), &["--transport", transport, "--log-level", "debug"]);
        handshake(&mut client);
        if path == "/mcp" {
            client.stderr("listening to");
        }
        demo.kill();
        demo.start_again(KEY);
        let news = client.message();
        assert_eq!(news["method"], "notifications/tools/list_changed", "{path} {transport}: {news}");
        client.stderr("the session goes on");
    }
}

/// It may have been carried out, so it is not carried out again; what only reads is.
#[test]
fn a_call_that_runs_when_the_server_dies_gets_one_error() {
    for (path, transport) in WAYS {
        let mut demo = Demo::start();
        let mut client = connect(&demo.url(path), &["--transport", transport]);
        handshake(&mut client);
        client.request("1", "tools/call", r#"{"name":"slow","arguments":{"seconds":60,"steps":1000},"_meta":{"progressToken":"p"}}"#);
        while client.message()["method"] != "notifications/progress" {}
        demo.kill();
        let answer = client.answer("1");
        assert!(error(&answer).contains("may have been carried out"), "{path} {transport}: {answer}");
        demo.start_again(KEY);
        assert_eq!(text(&call(&mut client, "2", "echo", &json!({"message": "after"}))), "after");
        client.close_stdin();
        while let Some(line) = client.raw() {
            assert!(!line.contains("\"id\":1,"), "a second answer: {line}");
        }
    }
}

#[test]
fn a_server_that_does_not_come_back_is_one_clear_error_for_each_call() {
    for (path, transport) in WAYS {
        let mut demo = Demo::start();
        let mut client = connect(&demo.url(path), &["--transport", transport, "--timeout", "400ms"]);
        handshake(&mut client);
        assert_eq!(text(&call(&mut client, "1", "echo", &json!({"message": "there"}))), "there");
        demo.kill();
        for id in 2..6 {
            client.request(&id.to_string(), "tools/list", "{}");
        }
        let mut answered: Vec<i64> = Vec::new();
        while answered.len() < 4 {
            let answer = client.message();
            if let Some(id) = answer["id"].as_i64() {
                assert!(error(&answer).contains("is the server running?"), "{path} {transport}: {answer}");
                answered.push(id);
            }
        }
        answered.sort_unstable();
        assert_eq!(answered, [2, 3, 4, 5]);
        client.close_stdin();
        assert_eq!(client.wait().code(), Some(0));
        assert_eq!(client.raw(), None, "{path} {transport}: nothing is answered twice");
    }
}

#[test]
fn a_held_call_can_be_cancelled_and_the_end_waits_for_nobody() {
    let mut client = connect("http://127.0.0.1:9/mcp", &["--timeout", "10m"]);
    client.request("0", "initialize", super::INITIALIZE);
    client.request("1", "tools/list", "{}");
    client.request("2", "tools/list", "{}");
    client.stderr("cannot reach");
    client.line(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#);
    let closed = Instant::now();
    client.close_stdin();
    let (first, second) = (client.message(), client.message());
    let mut ids = [first["id"].as_i64(), second["id"].as_i64()];
    ids.sort_unstable();
    assert_eq!(ids, [Some(0), Some(2)], "{first} {second}");
    assert_eq!(client.raw(), None);
    assert_eq!(client.wait().code(), Some(0));
    // The bound is a promise: clients kill after two seconds.
    assert!(closed.elapsed() < Duration::from_millis(1800), "{:?}", closed.elapsed());
}

#[test]
fn a_token_is_shown_and_never_logged() {
    let demo = Demo::with(&[("MCP_HTTP_TOKEN", "s3cret")]);
    for path in ["/sse", "/mcp"] {
        let mut client = connect(&demo.url(path), &[]);
        client.request("0", "initialize", super::INITIALIZE);
        let answer = client.answer("0");
        assert!(error(&answer).contains("MCP_HTTP_TOKEN"), "{answer}");
        drop(client);
        let with_variable = Program::binary(&["connect", &demo.url(path), "--log-level", "trace"], &[("MCP_HTTP_TOKEN", "s3cret")]);
        let with_header = connect(&demo.url(path), &["--log-level", "trace", "--header", "Authorization: Bearer ${SECRET}"]);
        for mut client in [with_variable, with_header] {
            handshake(&mut client);
            assert_eq!(text(&call(&mut client, "1", "echo", &json!({"message": "in"}))), "in");
            client.close_stdin();
            assert_eq!(client.wait().code(), Some(0));
            let log = client.rest_of_stderr().join("\n");
            assert!(!log.is_empty() && !log.contains("s3cret"), "{log}");
        }
    }
}

#[test]
fn what_cannot_work_is_said_before_anything_starts() {
    let refused = |arguments: &[&str], text: &str| {
        let mut program = Program::binary(arguments, &[]);
        program.close_stdin();
        assert_eq!(program.wait().code(), Some(2), "{arguments:?}");
        let log = program.rest_of_stderr().join("\n");
        assert!(log.contains(text), "{log}");
    };
    refused(&["connect"], "URL is missing");
    refused(&["connect", "localhost:3000"], "http://localhost:3000/mcp");
    refused(&["connect", "http://a:b@localhost/"], "--header");
    refused(&["connect", "http://localhost/", "--header", "X: ${NOT_SET_ANYWHERE}"], "NOT_SET_ANYWHERE");
    refused(&["connect", "http://localhost/", "--transport", "stdio"], "auto, http or sse");
    #[cfg(not(feature = "tls"))]
    refused(&["connect", "https://localhost/mcp"], "--features tls");
}
