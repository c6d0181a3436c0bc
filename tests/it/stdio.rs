//! stdio, in a process of its own.

use std::time::Instant;

use mcp_http_transport::{Config, serve};
use serde_json::json;

use super::support::{Program, Sse, get, test_handler};

/// The log on stderr, as the program would have it.
struct Stderr;

impl log::Log for Stderr {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        eprintln!("{} {}", record.level(), record.args());
    }

    fn flush(&self) {}
}

/// No test: other tests start this binary again with this one, and then it serves the test handler. It is the way to a process whose stdin, stdout and
/// signals can be tested, without a program that nobody else needs.
#[test]
fn the_server_that_other_tests_start() {
    if std::env::var_os("MCP_TEST_SERVER").is_none() {
        return;
    }
    log::set_logger(&Stderr).unwrap();
    log::set_max_level(log::LevelFilter::Info);
    // Over HTTP, as another user, it cannot be opened and is not needed.
    #[cfg(unix)]
    if let Ok(stdout) = std::fs::File::options().write(true).open("/dev/fd/3") {
        nix::unistd::dup2_stdout(stdout).unwrap();
    }
    let mut config = Config::from_env().unwrap();
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
    config.limits.max_line = number("MCP_TEST_LINE").unwrap_or(config.limits.max_line);
    config.limits.calls = number("MCP_TEST_CALLS").unwrap_or(config.limits.calls);
    let (handler, events) = test_handler();
    super::support::spawn(move || {
        while let Some(said) = events.next_ever() {
            eprintln!("says: {said}");
        }
    });
    let status = serve(handler, &config).map_or_else(
        |error| {
            eprintln!("{error}");
            if error.is_usage() { 2 } else { 1 }
        },
        |()| 0,
    );
    std::process::exit(status);
}

#[test]
fn one_message_a_line_with_either_line_end() {
    let mut program = Program::server("", &[]);
    program.write("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"echo\",\"params\":{\"a\":1}}\r\n\r\n  \n");
    assert_eq!(program.raw().unwrap(), r#"{"jsonrpc":"2.0","id":1,"result":{"a":1}}"#);
    program.write("{\"jsonrpc\":\"2.0\",");
    program.write("\"id\":\"zwei\",\"method\":\"ping\"}\n");
    assert_eq!(program.raw().unwrap(), r#"{"jsonrpc":"2.0","id":"zwei","result":{}}"#);
    // A last line without its end counts.
    program.write("{\"jsonrpc\":\"2.0\",\"id\":123456789012345678901234567890,\"method\":\"ping\"}");
    program.close_stdin();
    assert_eq!(program.raw().unwrap(), r#"{"jsonrpc":"2.0","id":123456789012345678901234567890,"result":{}}"#);
    assert_eq!(program.raw(), None);
    assert_eq!(program.wait().code(), Some(0));
}

#[test]
fn an_unknown_first_request_is_answered_at_once() {
    let mut program = Program::server("", &[]);
    program.request("\"server-discover-probe-1\"", "server/discover", "{}");
    let answer = program.message();
    assert_eq!((&answer["id"], &answer["error"]["code"]), (&json!("server-discover-probe-1"), &json!(-32601)));
    program.request("0", "initialize", r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}"#);
    assert_eq!(program.answer("0")["result"]["protocolVersion"], "2025-11-25");
}

/// Scripts write all that they have to say in one go, and take the first line for the answer to the first request.
#[test]
fn the_handshake_is_answered_before_what_was_sent_behind_it() {
    let begin = r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}"#;
    let behind: String = (2..10).map(|id| format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/list\"}}\n")).collect();
    for _ in 0..10 {
        let mut program = Program::binary(&["demo"], &[]);
        program.write(format!("{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{begin}}}\n{behind}"));
        program.close_stdin();
        let mut ids: Vec<_> = (1..10).map(|_| program.message()["id"].as_u64().unwrap()).collect();
        assert_eq!(ids[0], 1, "{ids:?}");
        ids.sort_unstable();
        assert_eq!(ids, (1..10).collect::<Vec<_>>());
        assert_eq!(program.wait().code(), Some(0));
    }
}

#[test]
fn what_is_no_message_is_answered_and_the_stream_goes_on() {
    let mut program = Program::server("", &[("MCP_TEST_LINE", "1000")]);
    let mut expect = |line: &[u8], code: i64, id: serde_json::Value| {
        program.write(line);
        program.write("\n");
        let answer = program.message();
        assert_eq!((&answer["error"]["code"], &answer["id"]), (&json!(code), &id), "{}", String::from_utf8_lossy(line));
    };
    expect(b"hello", -32700, json!(null));
    expect(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"p\xff\"}", -32700, json!(null));
    expect(&vec![b'x'; 1001], -32600, json!(null));
    expect(&vec![b' '; 100_000], -32600, json!(null));
    expect(b"[]", -32600, json!(null));
    expect(b"{\"jsonrpc\":\"2.0\",\"id\":7}", -32600, json!(7));
    expect(b"{\"jsonrpc\":\"2.0\",\"id\":null,\"method\":\"ping\"}", -32600, json!(null));
    program.request("1", "ping", "{}");
    assert_eq!(program.message()["result"], json!({}));
}

/// The schema of 2025-11-25 and later has no id that is null, and a stateless request tells the version as well as a handshake.
#[test]
fn an_error_without_an_id_has_none_where_the_version_is_known_to_want_none() {
    let about = r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}"#;
    let old = r#"{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}"#;
    for (method, params, id) in [("server/discover", about, None), ("initialize", old, Some(&json!(null)))] {
        let mut program = Program::server("", &[]);
        program.request("1", method, params);
        program.message();
        program.line("hello");
        let answer = program.message();
        assert_eq!((&answer["error"]["code"], answer.get("id")), (&json!(-32700), id), "after {method}");
    }
}

/// stdout belongs to the protocol, also when a handler prints, or its child does, or reads stdin.
#[cfg(unix)]
#[test]
fn a_handler_that_prints_breaks_nothing() {
    let mut program = Program::server("", &[]);
    program.request("1", "print", "{}");
    program.request("2", "echo", "{}");
    assert_eq!(program.answer("1")["result"], json!({}));
    let mut program = Program::server("", &[]);
    program.request("1", "print", "{}");
    assert_eq!(program.raw().unwrap(), r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    program.stderr("printed by the handler");
    program.stderr("printed by the child");
    program.request("2", "ping", "{}");
    assert_eq!(program.raw().unwrap(), r#"{"jsonrpc":"2.0","id":2,"result":{}}"#, "the child did not eat it");
    program.close_stdin();
    assert_eq!((program.raw(), program.wait().code()), (None, Some(0)));
    assert!(program.rest_of_stderr().iter().all(|line| !line.contains("it read")));
}

/// At the end of stdin questions fail at once, other calls get a second, every answer is written, and it is over before clients send SIGTERM.
#[test]
fn the_end_of_stdin_ends_the_process_with_every_answer_written() {
    let mut program = Program::server("", &[]);
    program.request("1", "ask", "{}");
    assert_eq!(program.message()["method"], "roots/list");
    program.request("2", "slow", r#"{"steps":1,"ms":50}"#);
    program.request("3", "stuck", "{}");
    program.stderr("says: stuck 3");
    for id in 10..60 {
        program.request(&id.to_string(), "big", r#"{"bytes":10000}"#);
    }
    let began = Instant::now();
    program.close_stdin();
    let mut answers = std::collections::BTreeMap::new();
    while let Some(line) = program.raw() {
        let message: serde_json::Value = serde_json::from_str(&line).unwrap();
        if message.get("method").is_none() {
            assert!(answers.insert(message["id"].as_u64().unwrap(), message).is_none(), "answered twice: {line}");
        }
    }
    assert_eq!(program.wait().code(), Some(0));
    let took = began.elapsed();
    assert_eq!(answers[&1]["error"]["code"], -32603);
    assert_eq!(answers[&2]["result"]["steps"], 1);
    assert_eq!(answers[&3]["error"]["code"], -32603, "it was given up");
    // On a busy machine some may have to be given up, too.
    assert!((10..60).all(|id| answers[&id].get("result").is_some() || answers[&id]["error"]["code"] == -32603));
    // Clients send SIGTERM after two seconds. On a busy machine a test cannot say more than that nothing waits for the stuck call.
    eprintln!("ended {took:?} after the end of stdin");
}

#[test]
fn a_reader_that_is_gone_ends_the_process() {
    let mut program = Program::server("", &[]);
    program.request("1", "ping", "{}");
    program.answer("1");
    program.close_stdout();
    program.request("2", "big", r#"{"bytes":1000000}"#);
    assert_eq!(program.wait().code(), Some(1));
}

/// Nothing is exclusive at the start: clients start a server twice at once.
#[test]
fn two_at_once_do_not_disturb_each_other() {
    let mut programs: Vec<_> = (0..4).map(|_| Program::server("", &[])).collect();
    for program in &mut programs {
        program.request("1", "echo", r#"{"a":1}"#);
    }
    for program in &mut programs {
        assert_eq!(program.answer("1")["result"]["a"], 1);
        program.close_stdin();
        assert_eq!(program.wait().code(), Some(0));
    }
}

/// The desktop client of the incumbent's users starts the server in HTTP mode: both it and HTTP clients are served.
#[test]
fn in_http_mode_a_client_on_stdin_is_served_too() {
    let mut program = Program::server("", &[("MCP_TRANSPORT", "http"), ("MCP_HTTP_PORT", "0")]);
    let address = program.address();
    program.line("this is no message");
    program.request("1", "echo", r#"{"a":1}"#);
    assert_eq!(program.raw().unwrap(), r#"{"jsonrpc":"2.0","id":1,"result":{"a":1}}"#);
    let mut session = Sse::open(address);
    assert_eq!(session.call("1", "echo", r#"{"a":2}"#)["result"]["a"], 2);
    program.close_stdin();
    assert!(session.find_end());
    assert_eq!(program.wait().code(), Some(0));
}

/// It may have given up on us, or be stuck: the others have nothing to do with it. The end of stdin still ends it all.
#[test]
fn in_http_mode_a_client_on_stdin_that_reads_nothing_more_ends_no_session_of_others() {
    let mut program = Program::server("", &[("MCP_TRANSPORT", "http"), ("MCP_HTTP_PORT", "0")]);
    let mut session = Sse::open(program.address());
    program.request("1", "ping", "{}");
    program.answer("1");
    program.close_stdout();
    program.request("2", "big", r#"{"bytes":1000000}"#);
    program
        .stderr("the client on stdin takes nothing more (Broken pipe (os error 32)): its session ends, others go on until stdin is closed");
    program.request("3", "ping", "{}");
    for id in 0..10 {
        assert_eq!(session.call(&id.to_string(), "echo", "{}")["result"], json!({}));
    }
    program.close_stdin();
    assert!(session.find_end());
    assert_eq!(program.wait().code(), Some(0));
}

#[test]
fn in_http_mode_the_end_of_a_stdin_without_any_message_means_nothing() {
    let mut program = Program::server("", &[("MCP_TRANSPORT", "http"), ("MCP_HTTP_PORT", "0")]);
    let address = program.address();
    program.close_stdin();
    let mut session = Sse::open(address);
    for id in 0..100 {
        assert_eq!(session.call(&id.to_string(), "echo", "{}")["result"], json!({}));
    }
    assert_eq!(get(address, "/healthz").status, 200);
}
