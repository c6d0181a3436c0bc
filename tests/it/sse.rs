//! HTTP+SSE: the stream, the endpoint, what is answered where, and how sessions end.

use std::time::Duration;

use serde_json::json;

use super::support::{Http, Random, SOON, Server, Sse, eventually, get, post, request, spawn};

const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

#[test]
fn a_stream_begins_with_retry_and_the_endpoint() {
    let server = Server::start();
    let mut http = Http::sending(server.address, request("GET", "/sse", "Accept: text/event-stream\r\n", ""));
    let head = http.head().unwrap();
    assert_eq!((head.status, head.version.as_str()), (200, "HTTP/1.1"));
    assert_eq!(head.header("content-type"), Some("text/event-stream"));
    assert_eq!(head.header("cache-control"), Some("no-cache, no-transform"));
    assert_eq!(head.header("x-accel-buffering"), Some("no"));
    assert_eq!(head.header("transfer-encoding"), Some("chunked"));
    assert_eq!((head.header("content-length"), head.header("access-control-allow-origin")), (None, None));
    assert_eq!(http.until(b"\r\n").unwrap().len(), 4, "one chunk");
    assert_eq!(http.until(b"\n\n").unwrap(), b"retry: 500\n\n");
    let endpoint = String::from_utf8(http.until(b"\n\n").unwrap()).unwrap();
    let id = endpoint.strip_prefix("event: endpoint\ndata: /messages/?session_id=").unwrap().trim_end();
    assert!(id.len() == 48 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
}

#[test]
fn http_1_0_gets_its_stream_without_chunks_and_the_end_by_closing() {
    let server = Server::start();
    let mut session = Sse::open_with(server.address, "GET /sse HTTP/1.0\r\n\r\n");
    assert_eq!((session.head.version.as_str(), session.head.header("transfer-encoding")), ("HTTP/1.0", None));
    assert_eq!(session.head.header("connection"), Some("close"));
    assert_eq!(session.call("1", "echo", r#"{"a":[1]}"#)["result"], json!({"a": [1]}));
    server.service.stop(Duration::ZERO);
    assert!(session.event().is_none());
}

/// The session is there before its client can know of it.
#[test]
fn whoever_reads_the_endpoint_can_post_there_at_once() {
    let server = Server::start();
    for _ in 0..200 {
        let session = Sse::open(server.address);
        assert_eq!(session.post(PING).status, 202);
    }
}

#[test]
fn a_post_is_answered_once_with_202_on_a_connection_that_stays_and_the_answer_comes_on_the_stream() {
    let server = Server::start();
    let mut session = Sse::open(server.address);
    let mut bystander = Sse::open(server.address);
    let mut http = Http::connect(server.address);
    for (id, path) in
        [("1", "/messages/?session_id="), ("2", "/messages?session_id="), ("3", "/messages/?sessionId="), ("4", "/messages?sessionId=")]
    {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"echo","params":{{"n":{id}}}}}"#);
        let path = format!("{path}{}", session.id());
        let answer = http.exchange(request("POST", &path, "Content-Type: application/json\r\n", &body));
        assert_eq!((answer.status, answer.body.trim_end()), (202, "Accepted"));
        assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()));
        assert_eq!(answer.header("connection"), None);
        assert_eq!(session.message(), format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"n":{id}}}}}"#));
    }
    // Nothing more came on that connection: the next answer is the next request's. And nothing came to others.
    assert_eq!(http.exchange(request("GET", "/healthz", "", "")).status, 200);
    assert_eq!(bystander.call("9", "ping", "{}")["result"], json!({}));
}

#[test]
fn what_a_post_can_do_wrong_has_a_status_each() {
    let server = Server::with(|config| config.max_body = 1000);
    let session = Sse::open(server.address);
    let at = |path: &str, body: &str| post(server.address, path, body);
    for id in ["", "?session_id=", "?session_id=x", "?session_id=%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20%20", "?session=x"] {
        assert_eq!(at(&format!("/messages/{id}"), PING).status, 400, "{id}");
    }
    let unknown = at("/messages/?session_id=0123456789abcdef0123456789abcdef0123456789abcdef", PING);
    assert!(unknown.status == 404 && unknown.body.contains("GET /sse"), "{unknown:?}");
    assert_eq!(session.post(&" ".repeat(1001)).status, 413);
    for kind in ["", "Content-Type: text/plain\r\n"] {
        assert_eq!(Http::connect(server.address).exchange(request("POST", &session.path, kind, PING)).status, 415);
    }
    for (body, code) in [("{", "-32700"), ("[]", "-32600"), ("{}", "-32600")] {
        let refused = session.post(body);
        assert_eq!((refused.status, refused.header("content-type")), (400, Some("application/json")));
        assert!(refused.body.contains(code) && refused.body.contains(r#""jsonrpc":"2.0""#), "{refused:?}");
    }
    let refused = session.post(r#"{"jsonrpc":"2.0","id":"mine","method":1}"#);
    assert!(refused.body.contains(r#""id":"mine""#), "the id that could be read: {refused:?}");
    let wrong = at("/sse", PING);
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
    let wrong = get(server.address, &session.path);
    assert_eq!((wrong.status, wrong.header("allow")), (405, Some("POST, OPTIONS")));
}

#[test]
fn other_paths_are_a_404_that_names_the_paths_there_are() {
    let server = Server::with(|config| *config = config.clone().token("secret"));
    for path in [
        "/",
        "/.well-known/oauth-protected-resource",
        "/.well-known/oauth-authorization-server/sse",
        "/sse/.well-known/openid-configuration",
        "/sse/",
        "/register",
    ] {
        for answer in [get(server.address, path), post(server.address, path, PING)] {
            assert_eq!(answer.status, 404, "{path}");
            assert!(answer.body.contains("GET /sse") && answer.body.contains("POST /messages/"), "{answer:?}");
        }
    }
}

#[test]
fn the_base_path_stands_in_the_endpoint_and_is_routed_with_and_without() {
    let server = Server::with(|config| *config = config.clone().base_path("/tools/x"));
    for path in ["/sse", "/tools/x/sse"] {
        let mut session = Sse::open_with(server.address, &request("GET", path, "", ""));
        assert!(session.path.starts_with("/tools/x/messages/?session_id="), "{}", session.path);
        assert_eq!(session.call("1", "ping", "{}")["result"], json!({}));
        session.path = session.path.replace("/tools/x", "");
        assert_eq!(session.call("2", "ping", "{}")["result"], json!({}));
    }
    for path in ["/tools/sse", "/tools/xsse", "/tools/x", "/tools/x/", "/tools/x/tools/x/sse"] {
        assert_eq!(get(server.address, path).status, 404, "{path}");
    }
    assert_eq!(get(server.address, "/tools/x/healthz").status, 200);
}

#[test]
fn a_session_without_initialize_is_served_and_discovery_is_an_unknown_method() {
    let server = Server::start();
    let mut session = Sse::open(server.address);
    assert_eq!(session.call("1", "echo", r#"{"a":1}"#)["result"]["a"], 1);
    assert_eq!(session.call("2", "server/discover", "{}")["error"]["code"], -32601);
    assert_eq!(session.initialize("2025-11-25", "{}")["result"]["protocolVersion"], "2025-11-25");
    assert_eq!(session.call("3", "server/discover", "{}")["error"]["code"], -32601);
    let facts = session.call("4", "session", "{}");
    assert_eq!((&facts["result"]["version"], &facts["result"]["client"]["name"]), (&json!("2025-11-25"), &json!("tester")));
    assert_eq!(facts["result"]["id"], session.id());
}

#[test]
fn keep_alive_comments_come_when_the_stream_is_quiet() {
    let server = Server::with(|config| config.keep_alive = Duration::from_millis(50));
    let mut session = Sse::open(server.address);
    for _ in 0..3 {
        assert_eq!(session.event().unwrap().raw, ": keep-alive\n\n");
    }
    assert_eq!(session.call("1", "ping", "{}")["result"], json!({}));
}

/// Two keep-alives: the first write after a close is still taken by the system, the second fails.
#[test]
fn a_vanished_client_is_noticed_and_everything_of_it_freed() {
    let server = Server::with(|config| config.keep_alive = Duration::from_millis(50));
    for reset in [false, true] {
        let session = Sse::open(server.address);
        server.events.wait_for("opened");
        session.request("1", "block", "{}");
        server.events.wait_for("blocks 1");
        let (path, http) = (session.path, session.http);
        if reset {
            http.reset()
        } else {
            drop(http)
        }
        // A running call is cancelled, the handler told, the id unknown.
        let mut told = [server.events.next(), server.events.next()];
        told.sort();
        assert_eq!(told, ["cancelled 1", "closed"]);
        assert_eq!(post(server.address, &path, PING).status, 404);
    }
}

#[test]
fn a_session_lives_exactly_as_long_as_its_stream() {
    let server = Server::start();
    let mut session = Sse::open(server.address);
    let path = session.path.clone();
    server.service.stop(Duration::ZERO);
    assert!(session.event().is_none(), "the end of the stream, with its last chunk");
    let again = Server::start();
    assert_eq!(post(again.address, &path, PING).status, 404, "an id from before a restart");
}

#[test]
fn there_are_never_more_sessions_than_allowed_and_the_unused_go_first() {
    let server = Server::with(|config| {
        config.max_sessions = 8;
        config.limits.stray_stream = Duration::ZERO;
    });
    let used: Vec<_> = (0..8).map(|_| Sse::open(server.address)).collect();
    used.iter().for_each(|session| session.send(PING));
    let openers: Vec<_> = (0..16)
        .map(|_| {
            let address = server.address;
            spawn(move || get(address, "/sse"))
        })
        .collect();
    for opener in openers {
        let refused = opener.join().unwrap();
        assert_eq!((refused.status, refused.header("retry-after").is_some()), (503, true));
    }
    drop(used);
    let server = Server::with(|config| {
        config.max_sessions = 8;
        config.limits.stray_stream = Duration::ZERO;
    });
    let mut strays: Vec<_> = (0..8).map(|_| Sse::open(server.address)).collect();
    let mut newer = Sse::open(server.address);
    assert_eq!(newer.call("1", "ping", "{}")["result"], json!({}));
    assert!(strays[0].event().is_none(), "the oldest made room");
    assert_eq!(strays[7].call("1", "ping", "{}")["result"], json!({}));
}

/// 64 openers at once, and a bound that only some can be within.
#[test]
fn openers_that_come_at_once_do_not_pass_the_bound() {
    let server = Server::with(|config| config.max_sessions = 10);
    let openers: Vec<_> = (0..64)
        .map(|_| {
            let address = server.address;
            spawn(move || {
                let mut http = Http::sending(address, request("GET", "/sse", "", ""));
                (http.head().unwrap().status, http)
            })
        })
        .collect();
    let all: Vec<_> = openers.into_iter().map(|opener| opener.join().unwrap()).collect();
    assert_eq!(all.iter().filter(|(status, _)| *status == 200).count(), 10);
    assert_eq!(all.iter().filter(|(status, _)| *status == 503).count(), 54);
}

/// Big numbers, the order of keys and odd ids pass byte for byte; line breaks never reach the stream.
#[test]
fn messages_pass_byte_for_byte_on_one_line() {
    let server = Server::start();
    let mut session = Sse::open(server.address);
    for id in ["0", "-7", "123456789012345678901234567890", "\"\"", "\"a\\u000ab\"", "\"\\ud83d\\ude00\"", "\"😀\""] {
        session.request(id, "ping", "{}");
        assert_eq!(session.message(), format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#));
    }
    session.send("{\"jsonrpc\":\n\"2.0\",\r\n\"id\":5,\r\"method\":\"ask\",\n\"params\":\n{}}");
    let question = session.find(|message| message["method"] == "roots/list");
    let answer =
        format!("{{\"jsonrpc\":\"2.0\",\n\"id\":{},\n\"result\":{{\"z\":123456789012345678901234567890,\n\"a\": 1.50}}}}", question["id"]);
    session.send(&answer);
    assert_eq!(session.message(), r#"{"jsonrpc":"2.0","id":5,"result":{"z":123456789012345678901234567890, "a": 1.50}}"#);
}

#[test]
fn what_nobody_asked_for_is_harmless() {
    let server = Server::start();
    let mut session = Sse::open(server.address);
    for message in [
        r#"{"jsonrpc":"2.0","id":77,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":"77","error":{"code":1,"message":"no"}}"#,
        r#"{"jsonrpc":"2.0","method":"no/such/notification"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":12345}}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
    ] {
        session.send(message);
    }
    session.request("1", "ping", "{}");
    assert_eq!(session.message(), r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    assert_eq!(session.call("2", "no/such/method", "{}")["error"]["code"], -32601);
    assert_eq!(session.call("3", "echo", "{\"a\":1}")["result"]["a"], 1);
}

/// A client that does not read is dropped, at the latest when its write deadline is over, and disturbs nobody meanwhile.
#[test]
fn a_stuck_client_is_dropped_and_blocks_nobody() {
    let server = Server::with(|config| {
        config.limits.write_deadline = Duration::from_millis(500);
        config.limits.queue_bytes = 1 << 20;
    });
    let stuck = Sse::open(server.address);
    stuck.request("1", "notify", r#"{"count":100000,"bytes":65536}"#);
    let mut busy = Sse::open(server.address);
    for id in 0..200 {
        let id = id.to_string();
        assert_eq!(busy.call(&id, "echo", r#"{"a":1}"#)["result"]["a"], 1);
    }
    server.events.wait_for("gone 1");
    eventually("the stuck client's session is over", || stuck.post(PING).status == 404);
    assert_eq!(busy.call("\"then\"", "ping", "{}")["result"], json!({}));
}

/// Pings are answered by the reader, which waits for nobody: a client that sends them and does not read is dropped.
#[test]
fn a_client_that_never_reads_its_answers_is_dropped() {
    let server = Server::start();
    let stuck = Sse::open(server.address);
    let mut http = Http::connect(server.address);
    let id = "x".repeat(500_000);
    let body = format!(r#"{{"jsonrpc":"2.0","id":"{id}","method":"ping"}}"#);
    eventually("the queue is full", || {
        http.exchange(request("POST", &stuck.path, "Content-Type: application/json\r\n", &body)).status == 404
    });
}

#[test]
fn health_and_readiness_need_no_token_and_no_host() {
    let server = Server::with(|config| *config = config.clone().token("secret"));
    for path in ["/healthz", "/readyz"] {
        let answer = Http::connect(server.address)
            .exchange(format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\nOrigin: http://evil.example\r\n\r\n"));
        assert_eq!((answer.status, answer.body.trim_end()), (200, "ok"));
    }
    assert_eq!(get(server.address, "/sse").status, 401);
}

/// Many senders to one stream, some of which wait and some of which never do, while its client now reads and now does not: each sender's order holds,
/// nothing is lost, and nobody is dropped for pinging.
#[test]
fn many_senders_keep_their_order() {
    const SENDERS: usize = 12;
    let server = Server::start();
    for (bytes, count) in [(1, 600), (3000, 100), (200_000, 5)] {
        let mut session = Sse::open(server.address);
        for id in 0..SENDERS {
            session.request(&id.to_string(), "notify", &format!(r#"{{"count":{count},"bytes":{bytes}}}"#));
        }
        let (address, path) = (session.address, session.path.clone());
        let (pong, ponged) = crossbeam_channel::bounded(1);
        let pinger = spawn(move || {
            let mut http = Http::connect(address);
            for ping in 0..50 {
                let body = format!(r#"{{"jsonrpc":"2.0","id":"{ping}","method":"ping"}}"#);
                let status = http.exchange(request("POST", &path, "Content-Type: application/json\r\n", &body)).status;
                assert_eq!(status, 202, "ping {ping}");
                ponged.recv_timeout(SOON).unwrap();
            }
        });
        let (mut next, mut next_ping, mut answered, mut random) = ([0; SENDERS], 0, 0, Random(7));
        while answered < SENDERS || next_ping < 50 {
            let message: serde_json::Value = serde_json::from_str(&session.message()).unwrap();
            if random.below(500) == 0 {
                // The client looks away, and everybody's way to it fills up.
                std::thread::sleep(Duration::from_millis(5));
            }
            if message["method"] == "notifications/message" {
                let data = &message["params"]["data"];
                let from = data["from"].as_str().unwrap().parse::<usize>().unwrap();
                assert_eq!(data["count"], next[from], "from {from}");
                next[from] += 1;
            } else if let Some(ping) = message["id"].as_str() {
                assert_eq!(ping, next_ping.to_string());
                next_ping += 1;
                pong.send(()).unwrap();
            } else {
                assert_eq!(next[message["id"].as_u64().unwrap() as usize], count, "an answer comes behind what its handler sent");
                answered += 1;
            }
        }
        pinger.join().unwrap();
    }
}
