//! What SECURITY.md promises, against the real program: nothing that a stranger writes moves a terminal, makes a log line or a header, or runs a command.

use serde_json::json;

use super::{Bench, CLIENT, session};
use crate::support::{Http, Program, Sse, eventually, request};

/// A terminal would obey it, a reader of the log would take it for a line, a page for another direction.
const EVIL: &str = "x\u{1b}[2J\r\n2026-01-01T00:00:00.000Z INFO  forged\u{9b}31m\u{202e}\u{200f}\u{2028}\u{7f}\0end";
/// The same as far as a header may have it.
const EVIL_HEADER: &str = "x\u{9b}31m\u{202e}\u{200f}\u{2028}end";

/// Each line begins as one of ours, and has nothing in it that is no text.
fn is_clean(line: &str) {
    let is_ours = line.as_bytes().get(..24).is_some_and(|time| time.ends_with(b"Z") && time[10] == b'T') && !line.starts_with("2026-01-01");
    let is_text = line
        .chars()
        .all(|c| !c.is_control() && !matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'));
    assert!(is_ours && is_text, "{line:?}");
}

#[test]
fn nothing_that_a_stranger_writes_moves_a_terminal_or_makes_a_line_of_the_log() {
    let bench = Bench::new();
    let front = bench.serve(&["--log-level", "debug"]);
    let demo = Program::binary(&["demo", "--http", "--host", "127.0.0.1", "--port", "0", "--log-level", "debug"], &[]);
    for (mut program, tool) in [(front, "say"), (demo, "no such tool")] {
        let address = program.address();
        let mut client = session(&program, address);
        client.request("1", "tools/call", &json!({"name": tool, "arguments": {"text": EVIL}}).to_string());
        client.answer("1");
        for (id, method) in [(json!("x\u{1b}"), EVIL), (json!(3), "tools/call"), (json!(EVIL), "ping")] {
            let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": {"name": EVIL, "_meta": {"progressToken": EVIL}}});
            client.send(&body.to_string());
            client.find(|message| message["id"] == id);
        }
        for body in [
            json!({"jsonrpc": "2.0", "method": format!("notifications/{EVIL}")}),
            json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": EVIL, "reason": EVIL}}),
            json!({"jsonrpc": "2.0", "id": EVIL, "result": {}}),
            json!({"jsonrpc": "2.0", "id": EVIL, "error": {"code": 1, "message": EVIL}}),
        ] {
            client.send(&body.to_string());
        }
        for head in [
            format!("GET /sse HTTP/1.1\r\nHost: {EVIL_HEADER}"),
            format!("GET /sse HTTP/1.1\r\nHost: localhost\r\nOrigin: http://{EVIL_HEADER}"),
            format!("GET /{EVIL_HEADER} HTTP/1.1\r\nHost: localhost"),
            "GET /%1b%5b2J%0d%0aINFO HTTP/1.1\r\nHost: localhost".to_owned(),
            format!("GET /mcp HTTP/1.1\r\nHost: localhost\r\nMcp-Session-Id: {EVIL_HEADER}"),
            format!("GET /mcp HTTP/1.1\r\nHost: localhost\r\nMCP-Protocol-Version: {EVIL_HEADER}"),
            format!("GET /{EVIL} HTTP/1.1\r\nHost: localhost"),
            format!("{EVIL} / HTTP/1.1\r\nHost: localhost"),
        ] {
            let answer = Http::sending(address, format!("{head}\r\n\r\n")).head();
            assert!(answer.is_none_or(|answer| answer.status >= 400), "{head:?}");
        }
        assert_eq!(client.call("9", "ping", "{}")["result"], json!({}));
        program.signal(nix::sys::signal::Signal::SIGTERM);
        assert!(program.wait().success());
        let lines = program.rest_of_stderr();
        assert!(lines.len() > 3, "{lines:?}");
        lines.iter().for_each(|line| is_clean(line));
        assert!(
            tool != "say" || lines.iter().any(|line| line.contains("\\x1b[2J") && !line.contains("dropped")),
            "it says it, escaped: {lines:?}"
        );
    }
}

#[test]
fn nothing_that_a_client_writes_gets_into_a_header() {
    const MARK: &str = "InJeCtEd";
    let variables = [("MCP_ALLOW_ORIGIN", "https://app.example"), ("MCP_BASE_PATH", "/base")];
    let program = Program::binary(&["demo", "--http", "--host", "127.0.0.1", "--port", "0"], &variables);
    let address = program.address();
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":"{MARK}","method":"initialize","params":{{"protocolVersion":"{MARK}","capabilities":{{"{MARK}":{{}}}},"clientInfo":{{"name":"{MARK}\r\nX: {MARK}","version":"{MARK}"}}}}}}"#
    );
    let mut requests = Vec::new();
    for target in
        ["/mcp", "/sse", "/messages/?session_id=", "/healthz", "/x", "/base/mcp", "/mcp%0d%0aX:", "/sse?a=%0d%0aX:", "//", "http://h/"]
    {
        for method in ["GET", "POST", "DELETE", "OPTIONS", "HEAD", MARK] {
            for header in [
                "Origin: https://app.example\r\nX: ",
                "Origin: http://localhost:1/",
                "Origin: ",
                "Mcp-Session-Id: ",
                "Last-Event-ID: ",
                "MCP-Protocol-Version: ",
                "Accept: ",
                "Authorization: Bearer ",
                "X-Forwarded-Host: ",
                "X-Forwarded-Prefix: /",
                "Access-Control-Request-Headers: ",
                "Connection: ",
                "Upgrade: ",
            ] {
                let headers = format!("{header}{MARK}\r\nContent-Type: application/json\r\n");
                requests.push(request(method, &format!("{target}{MARK}"), &headers, if method == "POST" { &body } else { "" }));
                requests.push(request(method, target, &headers, if method == "POST" { &body } else { "" }));
            }
        }
    }
    for text in requests {
        let Some(head) = Http::sending(address, &text).head() else { continue };
        let shown = format!("{head:?}");
        assert!(!shown.to_ascii_lowercase().contains(&MARK.to_ascii_lowercase()), "{text:?}: {shown}");
    }
}

#[test]
fn no_way_of_writing_a_path_leads_past_the_token() {
    let program = Program::binary(
        &["demo", "--http", "--host", "127.0.0.1", "--port", "0"],
        &[("MCP_HTTP_TOKEN", "the-token"), ("MCP_BASE_PATH", "/base")],
    );
    let address = program.address();
    let paths = [
        "/mcp",
        "/sse",
        "/messages/",
        "/base/mcp",
        "/base/sse",
        "//mcp",
        "/./mcp",
        "/x/../mcp",
        "/healthz/../mcp",
        "/healthz/..%2fmcp",
        "/%6dcp",
        "/mcp%00",
        "/mcp/",
        "/mcp;x",
        "/mcp?x",
        "/mcp#x",
        "/MCP",
        "/base//mcp",
        "/base/../mcp",
        "/base/base/mcp",
        "http://localhost/mcp",
        "http://evil/mcp",
        "\\mcp",
        "/healthz?/mcp",
        "/healthz/mcp",
        "*",
    ];
    for path in paths {
        for (method, body) in [("GET", ""), ("POST", r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#), ("DELETE", "")] {
            for shown in [
                "",
                "Authorization: Bearer the-toke\r\n",
                "Authorization: Bearer the-tokenn\r\n",
                "Authorization: Basic the-token\r\n",
                "Authorization: the-token\r\n",
                "Authorization: Bearer \r\n",
            ] {
                let headers = format!("{shown}Content-Type: application/json\r\n");
                let answer = Http::sending(address, request(method, path, &headers, body)).head();
                let status = answer.map_or(0, |answer| answer.status);
                assert!(
                    matches!(status, 0 | 400 | 401 | 403 | 404 | 405) || path.starts_with("/healthz?"),
                    "{method} {path} {shown:?}: {status}"
                );
            }
        }
    }
    let open = request("GET", "/base/sse", "authorization: bearer the-token\r\n", "");
    assert_eq!(Sse::open_with(address, &open).head.status, 200);
}

/// A repository that is cloned brings its `.env` along.
#[test]
fn the_file_env_runs_nothing_and_opens_nothing() {
    let bench = Bench::new();
    let evil = [
        "MCP_BUILD=touch pwned-build",
        "MCP_COMMAND=touch pwned-command",
        "MCP_WATCH=/",
        "MCP_ALLOW_HOST=evil.example",
        "MCP_ALLOW_ORIGIN=https://evil.example",
        "MCP_INSECURE=1",
        "MCP_HTTP_TOKEN_FILE=/etc/hostname",
        "MCP_STATE_KEY=00000000000000000000000000000000",
        "MCP_DEV_TOOLS=1",
        "MCP_EXEC_STEP=1",
        "PATH=/nowhere",
        "LD_PRELOAD=/nowhere.so",
    ];
    bench.write(".env", &evil.join("\n"));
    let program = bench.serve(&[]);
    let refused = program.stderr(".env");
    assert!(refused.contains("MCP_BUILD") && refused.contains("MCP_INSECURE"), "it says what it does not take: {refused}");
    let address = program.address();
    let mut client = session(&program, address);
    assert_eq!(super::texts(&client.call("1", "tools/call", r#"{"name":"add","arguments":{}}"#)), ["one"]);
    let tools = client.call("2", "tools/list", "{}");
    assert_eq!(tools["result"]["tools"].as_array().map(Vec::len), Some(1), "no dev tools: {tools}");
    for name in ["MCP_BUILD", "LD_PRELOAD"] {
        let env = client.call("3", "tools/call", &json!({"name": "env", "arguments": {"name": name}}).to_string());
        assert_eq!(super::texts(&env), ["None"], "nothing of it reaches the server");
    }
    let evil_host = request("GET", "/sse", "", "").replace("localhost", "evil.example");
    assert_eq!(Http::connect(address).exchange(evil_host).status, 403);
    bench.edit("two", &["add"], json!({}));
    eventually("reloaded", || super::texts(&client.call("4", "tools/call", r#"{"name":"add","arguments":{}}"#)) == ["two"]);
    assert!(!bench.path("pwned-build").exists() && !bench.path("pwned-command").exists());
    // It may ask for HTTP, but not for other machines, unless there is a token.
    bench.write(".env", "MCP_TRANSPORT=http\nMCP_HTTP_HOST=0.0.0.0\nMCP_HTTP_PORT=0\nMCP_INSECURE=1\n");
    let (code, _, said) = bench.ask(&["demo"]);
    assert!(code == Some(2) && said.contains("MCP_HTTP_TOKEN"), "{code:?} {said}");
}

/// What is said in a session is for whoever has its id, to the last digit.
#[test]
fn a_session_is_reached_by_its_own_id_only() {
    let bench = Bench::new();
    let program = bench.serve(&[]);
    let address = program.address();
    let mut victim = session(&program, address);
    let mut stranger = session(&program, address);
    let hello = format!(r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{CLIENT}}}"#);
    let begun = Http::connect(address).exchange(request("POST", "/mcp", "Content-Type: application/json\r\n", &hello));
    let other = begun.header("mcp-session-id").unwrap().to_owned();
    let ping = r#"{"jsonrpc":"2.0","id":"stranger","method":"ping"}"#;
    let json = "Content-Type: application/json\r\n";
    for id in [victim.id().to_owned(), other] {
        for at in 0..id.len() {
            let mut wrong = id.clone().into_bytes();
            wrong[at] = if wrong[at] == b'0' { b'1' } else { b'0' };
            let wrong = String::from_utf8(wrong).unwrap();
            let status = |text: String| Http::connect(address).exchange(text).status;
            assert_eq!(status(request("POST", &format!("/messages/?session_id={wrong}"), json, ping)), 404);
            let named = format!("{json}Mcp-Session-Id: {wrong}\r\n");
            for method in ["POST", "GET", "DELETE"] {
                assert_eq!(status(request(method, "/mcp", &named, if method == "POST" { ping } else { "" })), 404, "{method}");
            }
        }
        for short in [&id[..id.len() - 1], &id[1..], "", "*", "%"] {
            let status = Http::connect(address).exchange(request("POST", &format!("/messages/?session_id={short}"), json, ping)).status;
            assert!(matches!(status, 400 | 404), "{short}: {status}");
        }
    }
    // What one session hears no other does.
    let logged = victim.call("1", "tools/call", r#"{"name":"log","arguments":{}}"#);
    assert!(logged["result"].is_object());
    assert_eq!(victim.message_after_ping(), "nothing");
    assert_eq!(stranger.message_after_ping(), "nothing");
}
