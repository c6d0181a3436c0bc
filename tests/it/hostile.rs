//! Hostile input on raw sockets: a table of what is sent and what must come back; after each case a normal client is served.
//!
//! In a case `|` stands for CRLF, `{id}` for a live session's id, `{other}` for another one's, `{gone}` for that of a session whose stream has ended.
//! What must come back is a list of statuses, with the code of a JSON-RPC error behind a colon, and `close` where the server must close, `open` where
//! the connection must serve another request. `end` in front of a case means that the client sends FIN behind it.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::{Http, Server, Sse, get, spawn};

struct Case {
    name: String,
    bytes: Vec<u8>,
    ends: bool,
    expected: &'static str,
}

fn case(expected: &'static str, text: impl AsRef<str>) -> Case {
    let text = text.as_ref();
    let (ends, text) = text.strip_prefix("end ").map_or((false, text), |rest| (true, rest));
    Case { name: text.chars().take(120).collect(), bytes: text.replace('|', "\r\n").into_bytes(), ends, expected }
}

/// A POST to the live session with a body as it is.
fn body(expected: &'static str, body: impl AsRef<[u8]>) -> Case {
    let body = body.as_ref();
    let head = format!(
        "POST /messages/?session_id={{id}} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let name = format!("body {}", String::from_utf8_lossy(&body[..body.len().min(100)]));
    Case { name, bytes: [head.as_bytes(), body].concat(), ends: false, expected }
}

fn long(before: &str, count: usize, after: &str) -> String {
    format!("{before}{}{after}", "a".repeat(count))
}

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

fn framing() -> Vec<Case> {
    let post = |headers: &str, body: &str| {
        format!("POST /messages/?session_id={{id}} HTTP/1.1|Host: localhost|Content-Type: application/json|{headers}||{body}")
    };
    let length = PING.len();
    let smuggled = "GET /healthz HTTP/1.1|Host: localhost||";
    let mut cases = vec![
        case("202 open", post(&format!("Content-Length: {length}"), PING)),
        case("202 open", post("Transfer-Encoding: chunked", &format!("{length:x}|{PING}|0||"))),
        case("202 open", post("Transfer-Encoding: chunked", &format!("{length:X};a=b|{PING}|0|Trailer: x||"))),
        case("202 open", post("transfer-encoding: CHUNKED", &format!("1|{{|{:x}|{}|000||", length - 1, &PING[1..]))),
        case(
            "202 202 200 open",
            post(&format!("Content-Length: {length}"), PING) + &post(&format!("Content-Length: {length}"), PING) + smuggled,
        ),
        case("200 200 404 close", format!("{smuggled}{smuggled}GET /x HTTP/1.1|Host: localhost|Connection: close||{smuggled}")),
        // No request can be hidden in a body, however it is framed.
        case("400 close", post(&format!("Content-Length: {length}|Content-Length: {length}"), &(PING.to_owned() + smuggled))),
        case("400 close", post(&format!("Content-Length: {length}|content-length: 0"), &(PING.to_owned() + smuggled))),
        case("400 close", post(&format!("Content-Length: 0|Content-Length: {length}"), smuggled)),
        case("400 close", post("Content-Length: 5|Transfer-Encoding: chunked", &format!("0||{smuggled}"))),
        case("400 close", post("Transfer-Encoding: chunked|Content-Length: 5", &format!("0||{smuggled}"))),
        case("400 close", post("Transfer-Encoding: chunked|Transfer-Encoding: identity", &format!("0||{smuggled}"))),
        case("400 close", post("Transfer-Encoding : chunked", &format!("0||{smuggled}"))),
        case("400 close", post("Transfer-Encoding: chunked, identity", &format!("0||{smuggled}"))),
        case("413 close", post("Content-Length: 100000000000", "xy")),
        case("413 close", post("Content-Length: 18446744073709551615", "xy")),
        case("413 close", post("Content-Length: 65537", "")),
        case("413 close", post("Transfer-Encoding: chunked", "10001|")),
        case("413 close", post("Transfer-Encoding: chunked", "ffffffffffffffff|xy")),
        case("413 close", post("Expect: 100-continue|Content-Length: 65537", "")),
        case("100 202 open", post(&format!("Expect: 100-continue|Content-Length: {length}"), "")),
        case("202 open", post(&format!("Expect: 100-continue|Content-Length: {length}"), PING)),
        case("417 close", post(&format!("Expect: something|Content-Length: {length}"), PING)),
        case("404 close", format!("POST /nowhere HTTP/1.1|Host: localhost|Expect: 100-continue|Content-Length: {length}||")),
        case("404 close", "POST /nowhere HTTP/1.1|Host: localhost|Content-Length: 100000000000||xy"),
        case("404 200 open", format!("POST /nowhere HTTP/1.1|Host: localhost|Content-Length: 5||hello{smuggled}")),
        case("404 close", format!("POST /nowhere HTTP/1.1|Host: localhost|Transfer-Encoding: chunked||5|hello|0||{smuggled}")),
        case("200 200 open", format!("GET /healthz HTTP/1.1|Host: localhost|Content-Length: 5||hello{smuggled}")),
        case("close", "end GET /healthz HTTP/1.1|Host: localh"),
        case("close", format!("end {}", post("Content-Length: 500", "hello"))),
        case("close", format!("end {}", post("Transfer-Encoding: chunked", "5|he"))),
        case("close", "end "),
        case("close", "end ||"),
        case("200 close", format!("end {smuggled}")),
        case("200 close", "GET /healthz HTTP/1.0||"),
        case("200 open", "GET /healthz HTTP/1.0|Connection: keep-alive||"),
        case("200 open", "||GET /healthz HTTP/1.1|Host: localhost||"),
        case("400 close", "||||||GET /healthz HTTP/1.1|Host: localhost||"),
        case("400 close", "GET /healthz HTTP/1.1\nHost: localhost\n\n"),
        case("400 close", "GET /healthz HTTP/1.1\rHost: localhost\r\r"),
        case("400 close", "GET /healthz HTTP/1.1|Host: localhost|X: a\nB: c||"),
        case("400 close", "GET /healthz HTTP/1.1|Host: localhost|X: a\rB: c||"),
        case("400 close", "GET /healthz HTTP/1.1|Host: localhost|X: a| folded||"),
        case("400 close", "GET /healthz HTTP/1.1|Host: localhost|X: a\0||"),
        case("400 close", "GET /healthz HTTP/1.1|Host: localhost|no colon||"),
        case("400 close", "GET /healthz HTTP/1.1|Host: localhost|: empty||"),
        case("505 close", "GET / HTTP/2.0|Host: localhost||"),
        case("505 close", "PRI * HTTP/2.0||SM||"),
        case("505 close", "GET / HTTP/0.9||"),
        case("400 close", "GET /|"),
        case("400 close", "GET / HTTP/1.1 |Host: localhost||"),
        case("400 close", "GET  / HTTP/1.1|Host: localhost||"),
        case("400 close", "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}"),
        case("400 close", "\0\0\0\0"),
    ];
    for length in ["", "abc", "-5", "+5", "5, 5", "5,6", "5 5", "0x5", "5.0", "18446744073709551617", "5;"] {
        cases.push(case("400 close", post(&format!("Content-Length: {length}"), smuggled)));
    }
    for coding in ["gzip", "gzip, chunked", "chunked, chunked", "identity", "", "xchunked", "chunked;q=1", "\"chunked\""] {
        cases.push(case("400 close", post(&format!("Transfer-Encoding: {coding}"), &format!("0||{smuggled}"))));
    }
    for chunks in [
        "x||",
        "||",
        "5|hello0||",
        "5|hell|0||",
        "+5|hello|0||",
        "-5|hello|0||",
        "0x5|hello|0||",
        "5 x|hello|0||",
        "5\nhello|0||",
        "0|no colon||",
    ] {
        cases.push(case("400 close", post("Transfer-Encoding: chunked", &format!("{chunks}{smuggled}"))));
    }
    cases.push(case("400 close", post("Transfer-Encoding: chunked", &long("5;", 300, "|hello|0||"))));
    cases.push(case("400 close", post("Transfer-Encoding: chunked", &(long("1;", 200, "|x|").repeat(90) + "0||"))));
    cases
}

fn sizes() -> Vec<Case> {
    vec![
        case("414 close", long("GET /", 3000, " HTTP/1.1|Host: localhost||")),
        case("404 open", long("GET /", 1500, " HTTP/1.1|Host: localhost||")),
        case("400 close", "a".repeat(3000)),
        case("431 close", long("GET / HTTP/1.1|Host: localhost|X: ", 3000, "||")),
        case("431 close", long("GET / HTTP/1.1|Host: localhost|", 3000, ": x||")),
        case("431 close", format!("GET / HTTP/1.1|Host: localhost|{}|", "a: b|".repeat(20))),
        case("200 open", format!("GET /healthz HTTP/1.1|Host: localhost|{}|", "a: b|".repeat(19))),
        case("431 close", format!("POST /messages HTTP/1.1|Host: localhost|Transfer-Encoding: chunked||0|{}|", "a: b|".repeat(30))),
        body("202 open", format!(r#"{{"jsonrpc":"2.0","id":1,"method":"echo","params":{{"x":"{}"}}}}"#, "a".repeat(60_000))),
        body("202 open", long(r#"{"jsonrpc":"2.0","id":""#, 30_000, r#"","method":"ping"}"#)),
        body("202 open", long(r#"{"jsonrpc":"2.0","id":2,"method":""#, 60_000, r#""}"#)),
    ]
}

fn places() -> Vec<Case> {
    let mut cases = Vec::new();
    for path in [
        "/",
        "/ssex",
        "/sse/",
        "/sse/x",
        "/SSE",
        "//sse",
        "/./sse",
        "/x/../sse",
        "/sse%2f",
        "/%73se",
        "/messages/x",
        "/messagesx",
        "/messages//",
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-protected-resource/sse",
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
        "/sse/.well-known/openid-configuration",
        "/register",
        "/favicon.ico",
        "/healthz/",
        "/..;/sse",
        "/sse#a",
        "/sse;x",
        "/etc/passwd",
        "/%00",
        "/%",
    ] {
        cases.push(case("404 open", format!("GET {path} HTTP/1.1|Host: localhost||")));
    }
    for (method, path) in [
        ("POST", "/sse"),
        ("PUT", "/sse"),
        ("DELETE", "/sse"),
        ("PATCH", "/sse"),
        ("TRACE", "/sse"),
        ("get", "/sse"),
        ("BREW", "/sse"),
        ("GET", "/messages/"),
        ("GET", "/messages"),
        ("PUT", "/messages/"),
        ("HEAD", "/messages/"),
        ("DELETE", "/messages/?session_id={id}"),
        ("POST", "/healthz"),
        ("DELETE", "/readyz"),
    ] {
        let expected = if method == "HEAD" { "head:405 open" } else { "405 open" };
        cases.push(case(expected, format!("{method} {path} HTTP/1.1|Host: localhost|Content-Length: 0||")));
    }
    cases.extend([
        case("head:200 open", "HEAD /sse HTTP/1.1|Host: localhost||"),
        case("head:200 open", "HEAD /healthz HTTP/1.1|Host: localhost||"),
        case("head:404 open", "HEAD /nowhere HTTP/1.1|Host: localhost||"),
        case("204 open", "OPTIONS * HTTP/1.1|Host: localhost||"),
        case("204 open", "OPTIONS /sse HTTP/1.1|Host: localhost||"),
        case("204 open", "OPTIONS /messages/ HTTP/1.1|Host: localhost||"),
        case("404 open", "OPTIONS /nowhere HTTP/1.1|Host: localhost||"),
        case("400 close", "GET * HTTP/1.1|Host: localhost||"),
        case("400 close", "GET sse HTTP/1.1|Host: localhost||"),
        case("400 close", "CONNECT localhost:80 HTTP/1.1|Host: localhost||"),
        case("400 close", "GET http://user@localhost/sse HTTP/1.1|Host: localhost||"),
        case("400 close", "GET ftp://localhost/sse HTTP/1.1|Host: localhost||"),
        case("200 open", "GET http://localhost/healthz HTTP/1.1|Host: localhost||"),
        case("403 open", "GET http://evil.example/sse HTTP/1.1|Host: localhost||"),
        case("400 close", "G(T / HTTP/1.1|Host: localhost||"),
        case("400 close", "GET /\u{fc} HTTP/1.1|Host: localhost||"),
        case("400 close", "GET /sse HTTP/1.1||"),
        case("400 close", "GET /sse HTTP/1.1|Host: localhost|Host: localhost||"),
        case("400 close", "GET /sse HTTP/1.1|Host: localhost|Host: evil.example||"),
        case("404 close", "GET /nowhere HTTP/1.0||"),
    ]);
    for host in [
        "evil.example",
        "",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "192.168.0.1",
        "localhost:x",
        "localhost@evil.example",
        "[::1",
        "[::2]",
        "0.0.0.0",
        "127.0.0.1 ,x",
    ] {
        cases.push(case("403 open", format!("GET /sse HTTP/1.1|Host: {host}||")));
    }
    for origin in [
        "http://evil.example",
        "null",
        "http://localhost.evil.example",
        "localhost",
        "",
        "file://",
        "http://localhost@evil.example",
        "http://[::1].evil.example",
        "https://10.0.0.1",
    ] {
        cases.push(case("403 open", format!("GET /sse HTTP/1.1|Host: localhost|Origin: {origin}||")));
        cases.push(case("403 open", format!("OPTIONS /sse HTTP/1.1|Host: localhost|Origin: {origin}||")));
    }
    cases.push(case("403 open", "GET /sse HTTP/1.1|Host: localhost|Origin: http://localhost|Origin: http://evil.example||"));
    for host in ["localhost", "LOCALHOST:1", "127.0.0.1:3000", "127.9.9.9", "[::1]:3000", "localhost."] {
        cases.push(case("404 open", format!("GET /nowhere HTTP/1.1|Host: {host}|Origin: http://{host}||")));
    }
    cases
}

fn sessions() -> Vec<Case> {
    let post = |target: &str| {
        format!("POST {target} HTTP/1.1|Host: localhost|Content-Type: application/json|Content-Length: {}||{PING}", PING.len())
    };
    let typed =
        |kind: &str| format!("POST /messages/?session_id={{id}} HTTP/1.1|Host: localhost|{kind}Content-Length: {}||{PING}", PING.len());
    vec![
        case("202 open", post("/messages/?session_id={id}")),
        case("202 open", post("/messages?session_id={id}")),
        case("202 open", post("/messages/?sessionId={id}")),
        case("202 open", post("/messages/?a=b&session_id={id}&c")),
        case("202 open", post("/messages/?session%5Fid={id}")),
        case("202 open", post("/messages/?session_id={other}")),
        case("400 open", post("/messages/")),
        case("400 open", post("/messages/?")),
        case("400 open", post("/messages/?session_id=")),
        case("400 open", post("/messages/?session_id=short")),
        case("400 open", post("/messages/?session_id={id}x")),
        case("400 open", post("/messages/?session_id=../../../../etc/passwd")),
        case("400 open", post("/messages/?session_id=%00%0d%0a%0d%0aaaaaaaaaaaaaaaaa")),
        case("400 open", post(&long("/messages/?session_id=", 129, ""))),
        case("400 open", post("/messages/?session_id=&session_id={id}")),
        case("404 open", post("/messages/?session_id={gone}")),
        case("404 open", post("/messages/?session_id=00000000000000000000000000000000")),
        case("404 open", post("/messages/?session_id=8c4e0a63-9f3f-4c2e-8d43-1234567890ab")),
        case("404 open", post("/messages/?session_id={id}00")),
        case("415 open", typed("")),
        case("415 open", typed("Content-Type: text/plain|")),
        case("415 open", typed("Content-Type: application/jsonx|")),
        case("415 open", typed("Content-Type: application/x-www-form-urlencoded|")),
        case("415 open", typed("Content-Type:|")),
        case("202 open", typed("content-type: Application/JSON ; charset=utf-8|")),
        case("202 open", typed("Content-Type: application/json|MCP-Protocol-Version: 1999-01-01|")),
        case("202 open", typed("Content-Type: application/json|Mcp-Session-Id: whatever|Accept: nothing/here|")),
    ]
}

fn shapes() -> Vec<Case> {
    let deep = |open: &str, close: &str, count: usize| format!("{}{}", open.repeat(count), close.repeat(count));
    let mut cases = vec![
        body("202 open", PING),
        body("400:-32700 open", ""),
        body("400:-32700 open", " "),
        body("400:-32700 open", "{"),
        body("400:-32700 open", "}"),
        body("400:-32700 open", "{]"),
        body("400:-32700 open", "hello"),
        body("400:-32700 open", "'{}'"),
        body("400:-32700 open", r#"{"jsonrpc":"2.0","id":1,"method":"ping"}{}"#),
        body("400:-32700 open", r#"{"jsonrpc":"2.0","id":1,"method":"ping"},"#),
        body("400:-32700 open", r#"{"jsonrpc":"2.0","id":1,"method":"ping",}"#),
        body("400:-32700 open", r#"{"jsonrpc":"2.0","id":01,"method":"ping"}"#),
        body("400:-32700 open", r#"{"jsonrpc":"2.0","id":NaN,"method":"ping"}"#),
        body("400:-32700 open", r#"{"jsonrpc":"2.0","id":1,"method":"\x"}"#),
        body("400:-32700 open", r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":{"a":"\ud800x"}"#),
        body("400:-32700 open", b"\xff\xfe{\x00}\x00"),
        body("400:-32700 open", b"\xef\xbb\xbf{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}"),
        body("400:-32700 open", b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"p\xffng\"}"),
        body("400:-32700 open", b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"p\x01ng\"}"),
        body("400:-32700 open", b"\x1f\x8b\x08\x00\x00\x00\x00\x00"),
        body("400:-32700 open", deep("[", "]", 5000).as_str().trim_end_matches(']')),
        body("400:-32600 open", "null"),
        body("400:-32600 open", "1"),
        body("400:-32600 open", "\"ping\""),
        body("400:-32600 open", "{}"),
        body("400:-32600 open", "[]"),
        body("400:-32600 open", "[1]"),
        body("400:-32600 open", format!("[{PING}]")),
        body("400:-32600 open", format!("[{PING},{PING}]")),
        body("400:-32600 open", deep("[", "]", 20_000)),
        body("400:-32600 open", r#"{"id":1,"method":"ping"}"#),
        body("400:-32600 open", r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#),
        body("400:-32600 open", r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#),
        body("400:-32600 open", r#"{"jsonrpc":"2.0","id":1}"#),
        body("400:-32600 open", r#"{"jsonrpc":"2.0","method":1}"#),
        body("400:-32600 open", r#"{"jsonrpc":"2.0","id":1,"method":null}"#),
        body("400:-32600 open", r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":1}"#),
        body("400:-32600 open", r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":"x"}"#),
        body("400:-32600 open", r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":null}"#),
        body("400:-32600 open", r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#),
        body("400:-32600 open", r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}"#),
        body("400:-32600 open", r#"{"jsonrpc":"2.0","id":1,"method":"ping","\u006dethod":"tools/call"}"#),
        body("400:-32600 open", r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#),
        body("400:-32600 open", r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#),
        body("400:-32600 open", r#"{"jsonrpc":"2.0","result":{}}"#),
        body("400:-32600 open", r#"{"jsonrpc":"2.0","id":1,"error":"x"}"#),
        body("202 open", r#"{"jsonrpc":"2.0","id":1,"result":{}}"#),
        body("202 open", r#"{"jsonrpc":"2.0","id":"nobody asked","result":{}}"#),
        body("202 open", r#"{"jsonrpc":"2.0","id":99999999999999999999999999,"error":{"code":1,"message":"x"}}"#),
        body("202 open", r#"{"jsonrpc":"2.0","error":{"code":1,"message":"x"}}"#),
        body("202 open", r#"{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":"x"}}"#),
        body("202 open", r#"{"jsonrpc":"2.0","method":"no/such/notification"}"#),
        body("202 open", r#"{"jsonrpc":"2.0","method":"notifications/cancelled"}"#),
        body("202 open", r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":{"a":[1]}}}"#),
        body("202 open", r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":[1]}"#),
        body("202 open", r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"none"}}"#),
        body("202 open", r#"{"jsonrpc":"2.0","method":"tools/call","params":{}}"#),
        body("202 open", r#"{"jsonrpc":"2.0","id":1,"method":""}"#),
        body("202 open", r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[],"extra":{"jsonrpc":1}}"#),
        body("202 open", format!(" \r\n\t{PING}\n\n ")),
        body("202 open", "{\"jsonrpc\":\n\"2.0\",\r\n\"id\"\r:1,\"method\":\"ping\"}"),
        body("202 open", format!(r#"{{"jsonrpc":"2.0","id":1,"method":"echo","params":{{"a":{}}}}}"#, deep("[", "]", 20_000))),
        body(
            "202 open",
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"echo","params":{}1{}}}"#, r#"{"a":"#.repeat(8000), "}".repeat(8000)),
        ),
        body("202 open", format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":{{{}"z":1}}}}"#, r#""a":1,"#.repeat(5000))),
    ];
    for id in ["null", "true", "[]", "[1]", "{}", "{\"a\":1}", "1.5", "1e3", "1.0"] {
        cases.push(body("400:-32600 open", format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#)));
    }
    for id in ["0", "-1", "-0", "123456789012345678901234567890", "\"\"", "\"a\\nb\"", "\"\\u0000\"", "\"\u{1f600}\""] {
        cases.push(body("202 open", format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#)));
    }
    cases
}

/// What the server answers, in the words of the table.
fn observe(http: &mut Http, case: &Case, late: &[u8]) -> String {
    let mut seen: Vec<String> = Vec::new();
    for word in case.expected.split(' ') {
        if word == "open" || word == "close" {
            break;
        }
        let answer = if word.starts_with("head:") { http.head() } else { http.try_response() };
        let Some(answer) = answer else { break };
        assert!(matches!(answer.version.as_str(), "HTTP/1.1" | "HTTP/1.0"));
        if answer.status == 100 {
            http.send(late);
        }
        if answer.status == 405 {
            assert!(answer.header("allow").is_some(), "405 says what is allowed");
        }
        let code = serde_json::from_str::<Value>(&answer.body).ok().and_then(|body| body["error"]["code"].as_i64());
        let head = if word.starts_with("head:") { "head:" } else { "" };
        seen.push(format!("{head}{}{}", answer.status, code.map_or(String::new(), |code| format!(":{code}"))));
    }
    let is_open = case.expected.ends_with("open");
    let then = if is_open {
        http.send("GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .try_response()
            .map_or("close", |answer| if answer.status == 200 { "open" } else { "?" })
    } else if http.is_closed() {
        "close"
    } else {
        "more"
    };
    seen.push(then.to_owned());
    seen.join(" ")
}

#[test]
fn every_hostile_request_gets_its_answer_and_normal_clients_are_served() {
    let server = Server::with(|config| {
        config.max_body = 64 << 10;
        config.limits.head_bytes = 2048;
        config.limits.headers = 20;
    });
    let mut normal = Sse::open(server.address);
    let (target, mut other) = (Sse::open(server.address), Sse::open(server.address));
    let gone = {
        let gone = Sse::open(server.address).id().to_owned();
        server.events.wait_for("opened");
        gone
    };
    // The server notices at its next write; a message to it is one, and the second finds it gone.
    super::support::eventually("the session that ended is unknown", || {
        super::support::post(server.address, &format!("/messages/?session_id={gone}"), PING).status == 404
    });
    let ids = [("{id}", target.id().to_owned()), ("{other}", other.id().to_owned()), ("{gone}", gone)];
    let mut target = target;
    let reader = spawn(move || while target.event().is_some() {});
    let mut cases = framing();
    cases.extend(sizes());
    cases.extend(places());
    cases.extend(sessions());
    cases.extend(shapes());
    assert!(cases.len() >= 150, "{} cases", cases.len());
    let mut wrong = Vec::new();
    let mut slowest = Duration::ZERO;
    for (number, case) in cases.iter().enumerate() {
        let mut bytes = case.bytes.clone();
        for (placeholder, id) in &ids {
            while let Some(at) = bytes.windows(placeholder.len()).position(|window| window == placeholder.as_bytes()) {
                bytes.splice(at..at + placeholder.len(), id.bytes());
            }
        }
        let mut http = Http::sending(server.address, &bytes);
        if case.ends {
            http.end();
        }
        let seen = observe(&mut http, case, PING.as_bytes());
        if seen != case.expected {
            wrong.push(format!("{:?}: expected {}, saw {seen}", case.name, case.expected));
        }
        let began = Instant::now();
        assert_eq!(get(server.address, "/healthz").status, 200);
        let id = number.to_string();
        assert_eq!(normal.call(&id, "echo", r#"{"a":1}"#)["result"]["a"], 1);
        let took = began.elapsed();
        assert!(took < Duration::from_secs(5), "a normal client waited {took:?} after {:?}", case.name);
        slowest = slowest.max(took);
    }
    assert!(wrong.is_empty(), "{} of {} cases:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
    eprintln!("{} cases; the slowest normal client waited {slowest:?}", cases.len());
    // Other sessions got what was sent to them, and nothing else.
    assert_eq!(other.answer("1")["result"], serde_json::json!({}));
    drop(server);
    reader.join().unwrap();
}

/// Slow clients, with reduced limits: what is unfinished ends, however the bytes drip.
#[test]
fn slow_clients_end_at_their_deadlines() {
    let short = Duration::from_millis(400);
    let server = Server::with(|config| {
        config.limits.head_deadline = short;
        config.limits.body_deadline = short;
        config.limits.idle_timeout = short;
    });
    let address = server.address;
    let session = Sse::open(address);
    let post = format!("POST {} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n", session.path);
    let cases = [
        ("", "", "close"),
        ("\r\n", "", "close"),
        ("G", "", "408"),
        ("GET /healthz HTTP/1.1\r\nHost: localhost\r\n", "", "408"),
        ("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ", "a", "408"),
        (&format!("{post}Content-Length: 100\r\n\r\n"), "", "408"),
        (&format!("{post}Content-Length: 100000\r\n\r\n"), " ", "408"),
        (&format!("{post}Transfer-Encoding: chunked\r\n\r\n"), "", "408"),
        (&format!("{post}Transfer-Encoding: chunked\r\n\r\n"), "1\r\n \r\n", "408"),
        (&format!("{post}Transfer-Encoding: chunked\r\n\r\n0\r\n"), "a: b\r\n", "408"),
        (&format!("{post}Content-Length: 100\r\nExpect: 100-continue\r\n\r\n"), "", "100 408"),
        ("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", "", "200"),
        ("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\nGET", "", "200 408"),
    ];
    let mut clients: Vec<_> = cases.iter().map(|(first, drip, expected)| (Http::sending(address, first), *drip, *expected)).collect();
    for (http, drip, expected) in &mut clients {
        let drips = (!drip.is_empty()).then(|| {
            let (mut stream, drip) = (http.stream.try_clone().unwrap(), drip.to_owned());
            spawn(move || {
                while std::io::Write::write_all(&mut stream, drip.as_bytes()).is_ok() {
                    std::thread::sleep(Duration::from_millis(20))
                }
            })
        });
        let mut seen = Vec::new();
        while let Some(answer) = http.try_response() {
            seen.push(answer.status.to_string());
        }
        if seen.is_empty() {
            seen.push("close".to_owned());
        }
        assert_eq!(seen.join(" "), *expected);
        http.stream.shutdown(std::net::Shutdown::Both).ok();
        if let Some(drips) = drips {
            drips.join().unwrap();
        }
        assert_eq!(get(address, "/healthz").status, 200);
    }
}

/// A request behind a GET of a stream belongs to nobody, and blocks nobody.
#[test]
fn what_is_pipelined_behind_a_stream_is_left_alone() {
    let server = Server::start();
    let open = "GET /sse HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let behind = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000);
    let mut piped = Sse::open_with(server.address, &format!("{open}{behind}"));
    let mut doubled = Sse::open_with(server.address, &format!("{open}{open}"));
    let mut normal = Sse::open(server.address);
    for session in [&mut piped, &mut doubled, &mut normal] {
        assert_eq!(session.call("1", "echo", r#"{"a":1}"#)["result"]["a"], 1);
    }
    let mut behind_get = Http::sending(server.address, format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n{open}"));
    assert_eq!(behind_get.response().status, 200);
    assert!(!Sse::on(behind_get, server.address).path.is_empty());
}

#[test]
fn batches_are_for_the_version_that_has_them() {
    let server = Server::start();
    let mut session = Sse::open(server.address);
    assert_eq!(session.initialize("2025-03-26", "{}")["result"]["protocolVersion"], "2025-03-26");
    let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"echo","params":{"a":1}},{"jsonrpc":"2.0","method":"notifications/x"},{"jsonrpc":"2.0","id":2,"method":"ping"},{"jsonrpc":"2.0","id":null,"method":"ping"},{"id":7},{"jsonrpc":"2.0","id":3,"method":"initialize","params":{}}]"#;
    session.send(batch);
    assert_eq!(session.answer("1")["result"]["a"], 1);
    assert_eq!(session.answer("2")["result"], serde_json::json!({}));
    assert_eq!(session.answer("7")["error"]["code"], -32600);
    assert_eq!(session.answer("3")["error"]["code"], -32600);
    assert_eq!(session.answer("null")["error"]["code"], -32600);
    for refused in ["[]", "[", &format!("[{}]", vec![PING; 1001].join(","))] {
        assert_eq!(session.post(refused).status, 400, "{}", &refused[..refused.len().min(20)]);
    }
    for version in ["2024-11-05", "2025-06-18", "2025-11-25"] {
        let mut session = Sse::open(server.address);
        session.initialize(version, "{}");
        let refused = session.post(batch);
        assert_eq!((refused.status, refused.body.contains("-32600")), (400, true), "{version}");
    }
}
