//! Against a server that answers whatever a test tells it to.

use serde_json::{Value, json};

use super::super::support::{Program, Raw, Received};
use super::{INITIALIZE, connect, error, text};

const OK: &str = r#"{"content":[{"type":"text","text":"ok"}]}"#;
const CALL: &str = r#"{"name":"x"}"#;

/// A client with a session called `one`.
fn client(raw: &Raw, flags: &[&str]) -> Program {
    let mut client = connect(&raw.url("/mcp"), flags);
    client.request("0", "initialize", INITIALIZE);
    client.line(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    raw.handshake("one");
    client.answer("0");
    client
}

/// The same, whose stream by itself is refused.
fn without_stream(flags: &[&str]) -> (Raw, Program) {
    let raw = Raw::start();
    let client = client(&raw, flags);
    raw.get().answer("405 Method Not Allowed", "Allow: POST\r\n", "");
    (raw, client)
}

fn message(method: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"{method}"}}"#)
}

#[test]
fn requests_carry_the_session_and_the_version_and_the_end_deletes_it() {
    let raw = Raw::start();
    let mut client = client(&raw, &["--header", "X-Own: ${SECRET}"]);
    let get = raw.get();
    assert_eq!((get.header("mcp-session-id"), get.header("accept")), (Some("one"), Some("text/event-stream")));
    get.answer("405 Method Not Allowed", "", "");
    client.request("1", "tools/call", CALL);
    let post = raw.post();
    for (name, value) in [
        ("mcp-session-id", "one"),
        ("mcp-protocol-version", "2025-11-25"),
        ("accept", "application/json, text/event-stream"),
        ("content-type", "application/json"),
        ("x-own", "s3cret"),
        ("host", &raw.address.to_string()),
    ] {
        assert_eq!(post.header(name), Some(value));
    }
    assert_eq!(post.body, format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{CALL}}}"#), "byte for byte");
    post.result(OK);
    assert_eq!(text(&client.answer("1")), "ok");
    client.close_stdin();
    let delete = raw.delete();
    assert_eq!(delete.header("mcp-session-id"), Some("one"));
    delete.answer("204 No Content", "", "");
    assert_eq!(client.wait().code(), Some(0));
}

#[test]
fn a_stateless_request_is_repeated_in_its_headers_and_cancelled_by_closing() {
    let raw = Raw::start();
    let mut client = connect(&raw.url("/mcp"), &[]);
    let meta = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;
    client.request("1", "tools/call", &format!(r#"{{"name":"grüß",{meta}}}"#));
    let post = raw.post();
    assert_eq!(post.header("mcp-protocol-version"), Some("2026-07-28"));
    assert_eq!(post.header("mcp-method"), Some("tools/call"));
    assert_eq!(post.header("mcp-name"), Some("=?base64?Z3LDvMOf?="));
    assert_eq!(post.header("mcp-session-id"), None);
    post.result(OK);
    assert_eq!(text(&client.answer("1")), "ok");

    // What a list of tools marks is repeated as well.
    client.request("\"l\"", "tools/list", &format!("{{{meta}}}"));
    raw.post().result(r#"{"tools":[{"name":"x","inputSchema":{"properties":{"where":{"x-mcp-header":"Region"}}}}]}"#);
    client.answer("\"l\"");
    client.request("\"p\"", "tools/call", &format!(r#"{{"name":"x","arguments":{{"where":"here"}},{meta}}}"#));
    let post = raw.post();
    assert_eq!(post.header("mcp-param-region"), Some("here"));
    post.result(OK);
    client.answer("\"p\"");

    client.request("2", "tools/call", &format!(r#"{{"name":"slow",{meta}}}"#));
    let mut slow = raw.post();
    slow.stream(&format!("data: {}\n\n", message("notifications/message")));
    assert_eq!(client.message()["method"], "notifications/message");
    client.line(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}"#);
    // Sooner or later writing fails; the notification itself is not sent.
    super::super::support::eventually("the stream is closed", || slow.try_raw(": are you there?\n\n").is_err());
    assert!(!raw.has_post());

    // A subscription is opened again when it breaks, and the client hears that things may have changed.
    client.request("3", "subscriptions/listen", &format!(r#"{{"notifications":{{"toolsListChanged":true}},{meta}}}"#));
    let acknowledged = format!("data: {}\n\n", message("notifications/subscriptions/acknowledged"));
    let mut listen = raw.post();
    listen.stream(&acknowledged);
    assert_eq!(client.message()["method"], "notifications/subscriptions/acknowledged");
    listen.close();
    let mut again = raw.post();
    assert_eq!(again.json()["id"], 3);
    again.stream(&acknowledged);
    let news = client.message();
    assert_eq!(news["method"], "notifications/tools/list_changed");
    assert_eq!(news["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"], 3);
}

#[test]
fn an_answer_can_come_as_events_however_they_are_cut() {
    let (raw, mut client) = without_stream(&[]);
    client.request("1", "tools/call", CALL);
    let mut post = raw.post();
    let events = format!(
        ": hello\r\n\r\nid: 1\r\ndata:\r\n\r\nevent: message\r\ndata: {}\r\n\r\ndata: {{\"jsonrpc\":\"2.0\",\r\ndata: \"id\":1,\"result\":{OK}}}\r\n\r\n",
        message("notifications/progress")
    );
    post.raw("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n");
    for byte in events.bytes() {
        post.raw(format!("1\r\n{}\r\n", byte as char));
    }
    post.raw("0\r\n\r\n");
    assert_eq!(client.message()["method"], "notifications/progress");
    assert_eq!(text(&client.answer("1")), "ok");
}

#[test]
fn a_broken_answer_is_resumed_where_it_broke() {
    let (raw, mut client) = without_stream(&[]);
    client.request("1", "tools/call", CALL);
    let mut post = raw.post();
    post.stream(&format!("id: a/1\nretry: 10\ndata:\n\nid: a/2\ndata: {}\n\nid: a/3\ndata: {{\"cut\"", message("notifications/progress")));
    assert_eq!(client.message()["method"], "notifications/progress");
    post.close();
    let get = raw.get();
    assert_eq!((get.header("last-event-id"), get.header("mcp-session-id")), (Some("a/2"), Some("one")));
    // The server may break it off again, as often as it likes.
    get.close();
    let mut get = raw.get();
    assert_eq!(get.header("last-event-id"), Some("a/2"));
    get.stream(&format!("id: a/3\ndata: {{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{OK}}}\n\n"));
    assert_eq!(text(&client.answer("1")), "ok");
}

#[test]
fn the_stream_is_resumed_and_a_question_on_it_is_answered() {
    let raw = Raw::start();
    let mut client = client(&raw, &[]);
    let mut get = raw.get();
    get.stream(&format!("id: s/1\nretry: 10\ndata: {}\n\n", message("notifications/tools/list_changed")));
    assert_eq!(client.message()["method"], "notifications/tools/list_changed");
    get.close();
    let mut get = raw.get();
    assert_eq!(get.header("last-event-id"), Some("s/1"));
    get.stream("data: {\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"ping\"}\n\n");
    assert_eq!(client.message()["method"], "ping");
    client.line(r#"{"jsonrpc":"2.0","id":8,"result":{"nobody":"asked"}}"#);
    client.line(r#"{"jsonrpc":"2.0","id":7,"result":{}}"#);
    let answer = raw.post();
    assert_eq!(answer.json(), json!({"jsonrpc": "2.0", "id": 7, "result": {}}));
    answer.answer("202 Accepted", "", "");
}

/// 404 as the specification has it, and 400 as the reference server has it.
#[test]
fn a_forgotten_session_is_begun_again_with_the_clients_own_words() {
    for (status, body) in [
        ("404 Not Found", ""),
        ("400 Bad Request", r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Bad Request: No valid session ID provided"},"id":null}"#),
    ] {
        let (raw, mut client) = without_stream(&[]);
        for (id, method, params) in
            [("1", "logging/setLevel", r#"{"level":"debug"}"#), ("2", "resources/subscribe", r#"{"uri":"a:1"}"#), ("3", "ping", "{}")]
        {
            client.request(id, method, params);
            raw.post().result("{}");
            client.answer(id);
        }
        client.request("4", "tools/call", CALL);
        let post = raw.post();
        assert_eq!(post.json()["id"], 4);
        post.answer(status, "", body);
        raw.handshake("two");
        for (method, params) in [("logging/setLevel", json!({"level": "debug"})), ("resources/subscribe", json!({"uri": "a:1"}))] {
            let post = raw.post();
            assert_eq!((&post.json()["method"], &post.json()["params"]), (&json!(method), &params));
            assert_eq!(post.header("mcp-session-id"), Some("two"));
            post.result("{}");
        }
        let again = raw.post();
        assert_eq!((&again.json()["id"], again.header("mcp-session-id")), (&json!(4), Some("two")));
        again.result(OK);
        assert_eq!(client.message()["method"], "notifications/tools/list_changed");
        assert_eq!(text(&client.answer("4")), "ok");
    }
}

#[test]
fn a_server_that_forgets_every_session_is_an_error() {
    let (raw, mut client) = without_stream(&["--timeout", "2s"]);
    client.request("1", "tools/call", CALL);
    raw.post().answer("404 Not Found", "", "");
    for _ in 0..3 {
        raw.handshake("new");
        raw.post().answer("404 Not Found", "", "");
    }
    assert!(error(&client.answer("1")).contains("does not know the session"));
}

/// Each of these is one error that says something, and no harm to the next call.
#[test]
fn odd_answers_are_errors() {
    let (raw, mut client) = without_stream(&["--timeout", "5s"]);
    let json = "Content-Type: application/json\r\n";
    let answers = [
        ("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>".to_owned(), "is it an MCP server?"),
        ("HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n".to_owned(), "without an answer"),
        (format!("HTTP/1.1 200 OK\r\n{json}Content-Length: 2\r\n\r\n{{}}"), "another question"),
        (format!("HTTP/1.1 200 OK\r\n{json}Content-Length: 3\r\n\r\nnot"), "another question"),
        (format!("HTTP/1.1 200 OK\r\n{json}Content-Length: x\r\n\r\n"), "is no number"),
        ("SSH-2.0-OpenSSH_9.9\r\n".to_owned(), "does not speak HTTP"),
        (format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(70_000)), "too long"),
        ("HTTP/1.1 500 Oops\r\nContent-Length: 8\r\n\r\nit broke".to_owned(), "500: it failed: it broke"),
        ("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n".to_owned(), "403"),
        ("HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n".to_owned(), "MCP_HTTP_TOKEN"),
        ("HTTP/1.1 307 There\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n".to_owned(), "redirects to http://127.0.0.1:1/"),
        ("HTTP/1.1 307 There\r\nContent-Length: 0\r\n\r\n".to_owned(), "nowhere"),
        (format!("HTTP/1.1 200 OK\r\n{json}Content-Length: 99\r\n\r\n{{"), "may have been carried out"),
        ("HTTP/1.1 502 Bad\r\nContent-Length: 0\r\n\r\n".to_owned(), "may have been carried out"),
        ("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n".to_owned(), "may have been carried out"),
        (String::new(), "may have been carried out"),
    ];
    for (id, (answer, expected)) in answers.into_iter().enumerate() {
        let id = (id + 1).to_string();
        client.request(&id, "tools/call", CALL);
        let mut post = raw.post();
        post.raw(&answer);
        post.close();
        let found = client.answer(&id);
        assert!(error(&found).contains(expected), "{answer:?} gave {found}");
    }
    // An error of the server's own passes as it is, whatever the status, under the id of the request.
    client.request("97", "tools/call", CALL);
    raw.post().answer("400 Bad Request", json, r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32020,"message":"own","data":[1]}}"#);
    assert_eq!(client.answer("97")["error"], json!({"code": -32020, "message": "own", "data": [1]}));
    client.request("98", "tools/call", CALL);
    raw.post().result(OK);
    assert_eq!(text(&client.answer("98")), "ok");
}

#[test]
fn what_was_not_done_is_done_again() {
    let (raw, mut client) = without_stream(&[]);
    // 503: it did nothing. A tool may be called again.
    client.request("1", "tools/call", CALL);
    raw.post().answer("503 Busy", "Retry-After: 0\r\n", "");
    raw.post().result(OK);
    assert_eq!(text(&client.answer("1")), "ok");
    // It may have done something, but only by reading.
    client.request("2", "tools/list", "{}");
    raw.post().close();
    raw.post().result("{\"tools\":[]}");
    assert_eq!(client.answer("2")["result"], json!({"tools": []}));
    // A redirect within the server.
    client.request("3", "tools/call", CALL);
    raw.post().answer("307 Temporary Redirect", "Location: /mcp/\r\n", "");
    let post = raw.post();
    assert_eq!(post.path, "/mcp/");
    post.result(OK);
    assert_eq!(text(&client.answer("3")), "ok");
}

#[test]
fn auto_falls_back_to_sse_when_a_post_is_not_understood() {
    for status in ["404 Not Found", "405 Method Not Allowed", "400 Bad Request", "410 Gone"] {
        let raw = Raw::start();
        let mut client = connect(&raw.url("/sse"), &[]);
        client.request("\"d\"", "server/discover", r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}"#);
        raw.post().answer(status, "", "");
        assert_eq!(client.answer("\"d\"")["error"]["code"], -32601, "the client goes on with initialize");
        client.request("0", "initialize", INITIALIZE);
        raw.post().answer(status, "", "");
        let mut get = raw.get();
        get.stream("event: endpoint\ndata: messages/?session_id=1\n\n");
        let post = raw.post();
        assert_eq!(post.path, "/messages/?session_id=1");
        post.answer("202 Accepted", "", "Accepted");
        get.raw("data: {\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{\"protocolVersion\":\"2024-11-05\",\"capabilities\":{}}}\n\n");
        assert_eq!(client.answer("0")["result"]["protocolVersion"], "2024-11-05", "{status}");
    }
}

#[test]
fn auto_stays_where_a_modern_server_answers() {
    for (status, code) in [("400 Bad Request", -32022), ("404 Not Found", -32601)] {
        let raw = Raw::start();
        let mut client = connect(&raw.url("/mcp"), &[]);
        client.request("0", "initialize", INITIALIZE);
        let body = json!({"jsonrpc": "2.0", "id": 0, "error": {"code": code, "message": "modern only"}}).to_string();
        raw.post().answer(status, "Content-Type: application/json\r\n", &body);
        assert_eq!(client.answer("0")["error"]["code"], code);
    }
}

#[test]
fn messages_are_sent_to_no_other_server() {
    for endpoint in ["http://127.0.0.1:1/messages", "//other/messages", "https://localhost/"] {
        let raw = Raw::start();
        let mut client = connect(&raw.url("/sse"), &["--transport", "sse"]);
        client.request("0", "initialize", INITIALIZE);
        raw.get().stream(&format!("event: endpoint\ndata: {endpoint}\n\n"));
        let answer = client.answer("0");
        assert!(error(&answer).contains("another server"), "{answer}");
    }
}

/// An event that answers a request.
fn answer(id: &Value, result: &str) -> String {
    format!("data: {{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}\n\n")
}

/// Opens the stream that a client asked for, which is to POST to `path`, and takes the handshake, whoever begins it.
fn greet_over_sse(raw: &Raw, path: &str) -> Received {
    let mut get = raw.get();
    get.stream(&format!("retry: 10\nevent: endpoint\ndata: {path}\n\n"));
    let initialize = raw.post();
    assert_eq!((initialize.path.as_str(), &initialize.json()["method"]), (path, &json!("initialize")));
    let id = initialize.json()["id"].clone();
    initialize.answer("202 Accepted", "", "");
    get.raw(answer(&id, r#"{"protocolVersion":"2024-11-05","capabilities":{}}"#));
    assert_eq!(raw.post_and_accept()["method"], "notifications/initialized");
    get
}

/// A client over HTTP+SSE, and its stream.
fn client_over_sse(raw: &Raw) -> (Program, Received) {
    let mut client = connect(&raw.url("/sse"), &["--transport", "sse"]);
    client.request("0", "initialize", INITIALIZE);
    client.line(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    let get = greet_over_sse(raw, "/one");
    client.answer("0");
    (client, get)
}

/// The end of the stream has arrived, and much before it is still to be read: what is said now is not sent to where nobody can answer.
#[test]
#[cfg(target_os = "linux")]
fn a_call_after_the_stream_was_cut_waits_for_the_next_one() {
    let raw = Raw::start();
    let (mut client, mut get) = client_over_sse(&raw);
    get.raw(format!("data: {}\n\n", message("notifications/message")).repeat(500));
    get.close();
    client.request("7", "tools/call", CALL);
    let mut get = greet_over_sse(&raw, "/two");
    assert_eq!(raw.post_and_accept()["method"], "tools/call");
    get.raw(answer(&json!(7), OK));
    assert_eq!(text(&client.answer("7")), "ok");
}

#[test]
fn a_question_of_a_server_that_is_gone_is_withdrawn() {
    let raw = Raw::start();
    let (mut client, mut get) = client_over_sse(&raw);
    get.raw("data: {\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"roots/list\"}\n\n");
    assert_eq!(client.message()["method"], "roots/list");
    get.close();
    let mut get = greet_over_sse(&raw, "/two");
    let withdrawn = client.message();
    assert_eq!((&withdrawn["method"], &withdrawn["params"]["requestId"]), (&json!("notifications/cancelled"), &json!(5)));
    client.line(r#"{"jsonrpc":"2.0","id":5,"result":{"roots":[]}}"#);
    client.request("6", "ping", "{}");
    assert_eq!(raw.post_and_accept()["method"], "ping", "the late answer is not sent");
    get.raw(answer(&json!(6), "{}"));
    client.answer("6");
}

#[test]
fn an_id_in_use_is_refused() {
    let (raw, mut client) = without_stream(&["--transport", "http"]);
    client.request("1", "tools/call", CALL);
    let post = raw.post();
    client.request("1", "tools/call", CALL);
    assert_eq!(client.answer("1")["error"]["code"], -32600);
    post.result(OK);
    assert_eq!(text(&client.answer("1")), "ok");
}
