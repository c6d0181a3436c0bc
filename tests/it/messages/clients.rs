//! What a client is told that is not let in, is in the wrong place, or speaks something else.

use serde_json::json;

use super::{Bench, ENDING, plain};
use crate::support::{Http, Program, request};

fn demo(bench: &Bench) -> Program {
    Program::start(
        bench.command(&["demo", "--http", "--host", "127.0.0.1", "-p", "0", "--max-body", "1KiB"]).env("MCP_HTTP_TOKEN", "s3cret"),
    )
}

#[test]
fn a_refused_request_is_told_why_and_what_would_do() {
    let bench = Bench::new();
    let program = demo(&bench);
    let address = program.address();
    let token = "Authorization: Bearer s3cret\r\n";
    let posted = format!("{token}Content-Type: application/json\r\n");
    let sent = |method: &str, path: &str, headers: &str, body: &str| {
        let answer = Http::sending(address, request(method, path, headers, body)).response();
        (answer.status, answer.body)
    };
    let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    let paths = "there is nothing here; what there is: POST /mcp, GET /sse, POST /messages/, GET /healthz, GET /readyz\n";
    let no_session = json!({"jsonrpc": "2.0", "id": 1, "error": {"code": -32600, "message":
        "Invalid request: Mcp-Session-Id is missing: POST an initialize request first, and name the session that its answer names"}});
    let rows: &[(&str, &str, &str, &str, u16, &str)] = &[
        ("GET", "/sse", "", "", 401, "a token is needed: Authorization: Bearer, with the value of MCP_HTTP_TOKEN on the server\n"),
        (
            "GET",
            "/sse",
            "Authorization: Bearer no\r\n",
            "",
            401,
            "a token is needed: Authorization: Bearer, with the value of MCP_HTTP_TOKEN on the server\n",
        ),
        ("GET", "/", token, "", 404, paths),
        ("GET", "/.well-known/oauth-protected-resource", token, "", 404, paths),
        ("PUT", "/mcp", token, "", 405, "this method is not allowed here: use one of GET, POST, DELETE, OPTIONS\n"),
        ("POST", "/sse", &posted, ping, 405, "this method is not allowed here: use one of GET, HEAD, OPTIONS\n"),
        ("POST", "/mcp", token, ping, 415, "the Content-Type must be application/json\n"),
        ("POST", "/messages/", &posted, ping, 400, "session_id is missing: GET /sse opens a session and says where to POST\n"),
        (
            "POST",
            &format!("/messages/?session_id={}", "0".repeat(48)),
            &posted,
            ping,
            404,
            "no session has this id: its stream has ended; GET /sse opens a new one\n",
        ),
        ("POST", "/mcp", &posted, &"x".repeat(1025), 413, "the body is over the limit, which --max-body (MCP_MAX_BODY) sets\n"),
        ("POST", "/mcp", &posted, ping, 400, &no_session.to_string()),
        // A browser that was given the URL.
        ("GET", "/mcp", &format!("{token}Accept: text/html\r\n"), "", 400, &no_session.to_string().replace("\"id\":1,", "")),
    ];
    for (method, path, headers, body, status, text) in rows {
        let (seen_status, seen) = sent(method, path, headers, body);
        let is_json = text.starts_with('{');
        let same = if is_json {
            serde_json::from_str::<serde_json::Value>(&seen).unwrap() == serde_json::from_str::<serde_json::Value>(text).unwrap()
        } else {
            seen == *text
        };
        assert!(same && seen_status == *status, "{method} {path}: {seen_status} {seen:?}, wanted {status} {text:?}");
    }
}

#[test]
fn a_host_or_an_origin_that_is_not_known_is_named_with_its_flag() {
    let bench = Bench::new();
    let program = demo(&bench);
    let address = program.address();
    let ask = |host: &str, more: &str| {
        let text = format!("GET /sse HTTP/1.1\r\nHost: {host}\r\n{more}Connection: close\r\n\r\n");
        let answer = Http::sending(address, text).response();
        (answer.status, answer.body)
    };
    let host = "the Host \"evil.example\" is not allowed here: name it with --allow-host or MCP_ALLOW_HOST if it should be";
    let origin = "the Origin \"http://evil.example\" is not allowed here: name it with --allow-origin or MCP_ALLOW_ORIGIN if it should be";
    assert_eq!(ask("evil.example", ""), (403, format!("{host}\n")));
    assert_eq!(ask("localhost", "Origin: http://evil.example\r\n"), (403, format!("{origin}\n")));
    let lines = [program.stderr("the Host"), program.stderr("the Origin")];
    assert_eq!(plain(lines, &bench), [format!("WARN  refused a request: {host}"), format!("WARN  refused a request: {origin}")]);
}

/// The one who looks at this client sees a failed handshake, and only the log can say why.
#[test]
fn a_tls_client_is_explained_once_in_the_log() {
    let bench = Bench::new();
    let mut program = demo(&bench);
    let address = program.address();
    let why = "this client speaks TLS, and plain http is spoken here: use an http:// URL, or a proxy that speaks https in front";
    for _ in 0..2 {
        let answer = Http::sending(address, [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]).response();
        assert_eq!((answer.status, answer.body), (400, format!("{why}\n")));
    }
    // Further on it is a control character as any other.
    for text in ["\r\n\x16", "GET / HTTP/1.1\r\n\x16"] {
        assert_eq!(Http::sending(address, text).response().body, "a control character\n");
    }
    program.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(program.wait().code(), Some(0));
    assert_eq!(plain(program.rest_of_stderr(), &bench), [&format!("WARN  refused a connection: {why}"), ENDING]);
}

/// stdin is the client's: what is no message gets an error, the session goes on, and the log says it once.
#[test]
fn what_is_no_message_on_stdin_is_answered_and_explained() {
    let bench = Bench::new();
    let mut program = Program::start(&mut bench.command(&["demo"]));
    let rows = [
        ("GET /mcp HTTP/1.1", -32700, "Parse error: this is not JSON: expected value at line 1 column 1"),
        ("hello", -32700, "Parse error: this is not JSON: expected value at line 1 column 1"),
        ("{\"jsonrpc\":\"2.0\",", -32700, "Parse error: this is not JSON: EOF while parsing an object at line 1 column 17"),
        ("[]", -32600, "Invalid request: the batch is empty"),
        ("42", -32600, "Invalid request: a message is an object"),
        ("{}", -32600, "Invalid request: jsonrpc must be \"2.0\""),
        (r#"{"jsonrpc":"2.0","id":1}"#, -32600, "Invalid request: a message has a method, or an id and either a result or an error"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/fly"}"#, -32601, "Method not found: tools/fly"),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"fly"}}"#, -32602, "Invalid params: there is no tool \"fly\""),
    ];
    for (line, code, message) in rows {
        program.line(line);
        let answer = program.message();
        assert_eq!(answer["error"], json!({"code": code, "message": message}), "{line}");
    }
    program.close_stdin();
    assert_eq!(program.wait().code(), Some(0));
    let wanted = "WARN  stdin carries no message of MCP: Parse error: this is not JSON: expected value at line 1 column 1; \
                  JSON is expected, one message a line, and HTTP only with --http";
    assert_eq!(plain(program.rest_of_stderr(), &bench), [wanted]);
}
