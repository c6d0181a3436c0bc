//! The process survives, and answers a normal client at once afterwards.

use std::io::Write;
use std::time::Duration;

use serde_json::json;

use super::support::{Http, Program, Random, Server, Sse, eventually, get, post, request, spawn};

const HTTP: [(&str, &str); 2] = [("MCP_TRANSPORT", "http"), ("MCP_HTTP_PORT", "0")];
const PING: &str = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;

fn serves(address: std::net::SocketAddr) {
    assert_eq!(get(address, "/healthz").status, 200);
    assert_eq!(Sse::open(address).call("1", "echo", r#"{"a":1}"#)["result"]["a"], 1);
}

#[test]
fn a_content_length_of_100_gb() {
    let program = Program::server("ulimit -v 4000000", &HTTP);
    let address = program.address();
    let session = Sse::open(address);
    for path in [session.path.as_str(), "/messages/", "/nowhere"] {
        let text = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100000000000\r\n\r\n{PING}"
        );
        let mut http = Http::sending(address, text);
        assert!(matches!(http.response().status, 404 | 413));
        serves(address);
    }
}

#[cfg(unix)]
#[test]
fn resets_after_the_request() {
    let program = Program::server("", &HTTP);
    let address = program.address();
    let session = Sse::open(address);
    let posting = request("POST", &session.path, "Content-Type: application/json\r\n", PING);
    for round in 0..300 {
        let text = [request("GET", "/sse", "", ""), posting.clone(), posting[..posting.len() - 5].to_owned(), "GET /hea".to_owned()];
        Http::sending(address, &text[round % text.len()]).reset();
    }
    serves(address);
}

/// Out of descriptors the listener waits: who is there goes on, and when descriptors are free again newcomers come in.
#[cfg(unix)]
#[test]
fn out_of_descriptors_the_listener_waits_and_goes_on() {
    let program = Program::server("ulimit -n 40", &[HTTP[0], HTTP[1], ("MCP_KEEP_ALIVE", "100ms")]);
    let address = program.address();
    let mut session = Sse::open(address);
    assert_eq!(session.call("1", "echo", "{}")["result"], json!({}));
    // New streams are not closed to make room, so their number grows until nothing is left.
    let others: Vec<_> = (0..60).map(|_| Http::sending(address, request("GET", "/sse", "", ""))).collect();
    program.stderr("cannot accept a connection");
    let mut posting = Http::sending(address, request("POST", &session.path, "Content-Type: application/json\r\n", PING));
    drop(others);
    // It waits in the system's queue until there is a descriptor for it.
    assert_eq!(posting.response().status, 202);
    assert_eq!(session.answer("1")["result"], json!({}), "who was there goes on");
    // More than there are descriptors for, at once: each waits for its turn, and none is closed for the next one.
    let mut crowd: Vec<_> = (0..100).map(|_| Http::sending(address, request("GET", "/healthz", "Connection: close\r\n", ""))).collect();
    assert!(crowd.iter_mut().all(|http| http.response().status == 200));
    serves(address);
}

/// Out of threads a connection or a call is refused, and the rest goes on. The system bounds the threads of any user but root, so root starts the server
/// as nobody; other users have too many threads of their own to say how many are left.
#[cfg(target_os = "linux")]
#[test]
fn out_of_threads_the_rest_goes_on() {
    let has_setpriv = std::process::Command::new("setpriv").arg("--version").output().is_ok_and(|output| output.status.success());
    if !nix::unistd::geteuid().is_root() || !has_setpriv {
        eprintln!("not tested: it takes root and setpriv");
        return;
    }
    let wrapper = "WRAPPER='prlimit --nproc=40 setpriv --reuid=65534 --clear-groups'";
    let program = Program::server(wrapper, &[HTTP[0], HTTP[1], ("MCP_KEEP_ALIVE", "50ms")]);
    let address = program.address();
    let mut session = Sse::open(address);
    session.request("\"before\"", "echo", "{}");
    session.answer("\"before\"");
    let crowd: Vec<_> = (0..100).map(|_| Http::sending(address, request("GET", "/sse", "", ""))).collect();
    program.stderr("cannot start a thread for a connection");
    drop(crowd);
    eventually("newcomers come in", || {
        let mut http = Http::connect(address);
        http.send(request("GET", "/healthz", "", "")).try_response().is_some_and(|answer| answer.status == 200)
    });
    eventually("the crowd's threads are gone", || {
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"echo","params":{}}"#;
        let mut http = Http::connect(address);
        let posted = http.send(request("POST", &session.path, "Content-Type: application/json\r\n", body)).try_response();
        posted.is_some_and(|answer| answer.status == 202) && session.answer("1")["result"].is_object()
    });
    serves(address);
}

#[test]
fn five_thousand_half_open_heads() {
    let server = Server::with(|config| config.max_connections = 300);
    let mut normal = Sse::open(server.address);
    let mut kept: Vec<Http> = Vec::new();
    for count in 0..5000 {
        // More than there is room for are open at any time.
        if kept.len() == 400 {
            kept.remove(0);
        }
        kept.push(Http::sending(server.address, "GET /sse HTTP/1.1\r\nHost: localh"));
        if count % 500 == 0 {
            normal.request(&count.to_string(), "echo", "{}");
            assert_eq!(normal.answer(&count.to_string())["result"], json!({}));
        }
    }
    serves(server.address);
}

/// At the bound of sessions those whose clients have left make room at once, not at their next keep-alive; and of several newcomers each gets its place.
#[test]
fn who_has_left_makes_room() {
    let server = Server::with(|config| {
        config.max_sessions = 16;
        config.keep_alive = Duration::from_secs(3600);
    });
    let address = server.address;
    let mut stays = Sse::open(address);
    for _ in 0..4 {
        drop((0..15).map(|_| Sse::open(address)).collect::<Vec<_>>());
    }
    let newcomers: Vec<_> = (0..8)
        .map(|_| {
            spawn(move || {
                for _ in 0..20 {
                    let params = r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}"#;
                    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"initialize","params":{params}}}"#);
                    let answer = post(address, "/mcp", &body);
                    assert_eq!(answer.status, 200, "{answer:?}");
                }
            })
        })
        .collect();
    for newcomer in newcomers {
        newcomer.join().unwrap();
    }
    assert_eq!(stays.call("1", "echo", "{}")["result"], json!({}));
}

/// A client whose machine is gone sends neither FIN nor RST: here the network between the two is switched off. With the second comment that it does not
/// acknowledge its session ends, and its call is cancelled.
#[cfg(target_os = "linux")]
#[test]
fn a_client_that_vanishes_without_a_word_is_noticed() {
    use std::process::{Command, Stdio};
    const CLIENT: &str = r#"
import socket, sys, time
port = int(sys.argv[1])
stream = socket.create_connection(("127.0.0.1", port))
stream.sendall(b"GET /sse HTTP/1.1\r\nHost: localhost\r\n\r\n")
path = next(line[6:] for line in stream.makefile("rb") if line.startswith(b"data: ")).strip()
body = b'{"jsonrpc":"2.0","id":1,"method":"block"}'
post = socket.create_connection(("127.0.0.1", port))
post.sendall(b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (path, len(body), body))
time.sleep(600)
"#;
    let has = |command: &str| Command::new(command).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !nix::unistd::geteuid().is_root() || !["unshare", "nsenter", "ip", "python3"].into_iter().all(has) {
        eprintln!("not tested: it takes root, unshare, nsenter, ip and Python");
        return;
    }
    let variables = [HTTP[0], HTTP[1], ("MCP_HTTP_HOST", "0.0.0.0"), ("MCP_INSECURE", "1"), ("MCP_KEEP_ALIVE", "1500ms")];
    let program = Program::server("WRAPPER='unshare --net'", &variables);
    let port = program.address().port().to_string();
    let inside = |command: &[&str]| {
        let mut nsenter = Command::new("nsenter");
        nsenter.args(["--net", "--target", &program.child.id().to_string()]).args(command);
        Program::start(&mut nsenter)
    };
    assert!(inside(&["ip", "link", "set", "lo", "up"]).wait().success());
    let _client = inside(&["python3", "-c", CLIENT, &port]);
    program.stderr("says: blocks 1");
    assert!(inside(&["ip", "link", "set", "lo", "down"]).wait().success());
    // In whichever order.
    let mut said = [program.stderr("says: c"), program.stderr("says: c")];
    said.sort();
    assert_eq!(said, ["says: cancelled 1", "says: closed"]);
}

#[test]
fn a_client_that_never_reads() {
    let server = Server::with(|config| config.limits.write_deadline = Duration::from_millis(500));
    let stuck: Vec<_> = (0..3).map(|_| Sse::open(server.address)).collect();
    for session in &stuck {
        session.request("1", "big", r#"{"bytes":6000000}"#);
    }
    let mut normal = Sse::open(server.address);
    for id in 0..100 {
        assert_eq!(normal.call(&id.to_string(), "echo", "{}")["result"], json!({}));
    }
    for session in &stuck {
        eventually("it is dropped", || session.post(r#"{"jsonrpc":"2.0","id":2,"method":"ping"}"#).status == 404);
    }
    serves(server.address);
}

/// Nor is one dropped before its time that reads on after a while: to the system it looks like one that vanished.
#[test]
fn a_client_that_pauses_gets_everything() {
    let server = Server::with(|config| config.keep_alive = Duration::from_millis(400));
    let mut session = Sse::open(server.address);
    session.request("1", "big", r#"{"bytes":12000000}"#);
    // More than the system keeps: the rest waits for the client.
    std::thread::sleep(Duration::from_secs(4));
    let answer = session.answer("1");
    assert_eq!(answer["result"]["text"].as_str().map(str::len), Some(12_000_000));
    assert_eq!(session.call("2", "ping", "{}")["result"], json!({}));
}

#[test]
fn panics_in_handlers() {
    let program = Program::server("", &HTTP);
    let mut session = Sse::open(program.address());
    for id in 0..100 {
        session.request(&id.to_string(), "panic", "{}");
        assert_eq!(session.answer(&id.to_string())["error"]["code"], -32603);
    }
    serves(session.address);
}

/// A property with a fixed seed: whatever is sent, the answer is 4xx or 5xx, or the request was a good one; and the next client is served.
#[test]
fn ten_thousand_malformed_requests() {
    let server = Server::with(|config| {
        config.limits.head_deadline = Duration::from_secs(2);
        config.limits.body_deadline = Duration::from_secs(2);
    });
    let session = Sse::open(server.address);
    let mut session = session;
    let path = session.path.clone();
    let seeds = [
        request("POST", &path, "Content-Type: application/json\r\n", PING),
        request(
            "POST",
            &path,
            "Content-Type: application/json\r\n",
            r#"{"jsonrpc":"2.0","id":"a","method":"echo","params":{"a":[1,2.5e3,null]}}"#,
        ),
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n28\r\n{PING}\r\n0\r\n\r\n"
        ),
        request("GET", "/healthz", "Origin: http://localhost\r\nConnection: keep-alive\r\n", ""),
        request("OPTIONS", "/messages/", "Origin: http://localhost\r\nAccess-Control-Request-Method: POST\r\n", ""),
        "GET /nowhere HTTP/1.0\r\nConnection: close\r\n\r\n".to_owned(),
    ];
    let address = server.address;
    let drain = spawn(move || while session.event().is_some() {});
    let threads: Vec<_> = (0..4)
        .map(|thread| {
            let seeds = seeds.clone();
            spawn(move || {
                let mut random = Random(20_261_124 + thread);
                for round in 0..2500 {
                    let mut bytes = seeds[random.below(seeds.len())].clone().into_bytes();
                    for _ in 0..=random.below(4) {
                        mutate(&mut bytes, &mut random);
                    }
                    let mut http = Http::sending(address, &bytes);
                    http.end();
                    let mut answers = 0;
                    while let Some(head) = http.head() {
                        if head.status == 200 && head.header("content-type") == Some("text/event-stream") {
                            break;
                        }
                        assert!((200..=599).contains(&head.status) || head.status == 100, "{head:?}");
                        let length = head.header("content-length").map_or(0, |length| length.parse().unwrap());
                        if http.exactly(length).is_none() {
                            break;
                        }
                        answers += 1;
                        assert!(answers < 100, "{:?}", String::from_utf8_lossy(&bytes));
                    }
                    if round % 250 == 0 {
                        serves(address);
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    serves(address);
    drop(server);
    drain.join().unwrap();
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    const PIECES: [&[u8]; 16] = [
        b"\r\n",
        b"\n",
        b"\r",
        b"\0",
        b" ",
        b"\t",
        b":",
        b"Content-Length: 5\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Host: localhost\r\n",
        b"\xff",
        b"%00",
        b"{",
        b"]",
        b"\"",
        b"HTTP/1.1",
    ];
    let at = random.below(bytes.len() + 1);
    match random.below(6) {
        0 if at < bytes.len() => bytes[at] = random.next() as u8,
        1 if at < bytes.len() => drop(bytes.remove(at)),
        2 => bytes.truncate(at),
        3 => {
            let piece = PIECES[random.below(PIECES.len())];
            bytes.splice(at..at, piece.iter().copied());
        }
        4 => {
            let end = at + random.below(bytes.len() - at + 1);
            let copy = bytes[at..end].to_vec();
            bytes.splice(at..at, copy);
        }
        _ => {
            let end = (at + 1 + random.below(8)).min(bytes.len());
            bytes.drain(at.min(end)..end);
        }
    }
}

/// 64 sessions whose handlers all wait for their clients, with small bounds: pings and answers come through.
#[test]
fn sixty_four_sessions_that_all_ask() {
    let server = Server::with(|config| {
        config.limits.calls = 8;
        config.limits.calls_per_session = 2;
    });
    let mut sessions: Vec<_> = (0..64).map(|_| Sse::open(server.address)).collect();
    for session in &sessions {
        for id in 0..4 {
            session.request(&id.to_string(), "ask", "{}");
        }
    }
    let mut questions = Vec::new();
    for session in &mut sessions {
        let asked: Vec<_> = (0..4).map(|_| session.find(|message| message["method"] == "roots/list")["id"].clone()).collect();
        questions.push(asked);
    }
    for session in &mut sessions {
        assert_eq!(session.call("\"p\"", "ping", "{}")["result"], json!({}));
        assert_eq!(session.call("\"e\"", "echo", r#"{"a":1}"#)["result"]["a"], 1);
    }
    for (session, asked) in sessions.iter_mut().zip(&questions) {
        for id in asked.iter().rev() {
            session.send(&json!({"jsonrpc": "2.0", "id": id, "result": {"answer": id}}).to_string());
        }
    }
    for session in &mut sessions {
        for id in 0..4 {
            assert!(session.answer(&id.to_string())["result"]["answer"].is_u64());
        }
    }
}

/// The rude and the polite together, on few connections and sessions.
#[cfg(unix)]
#[test]
fn the_polite_beside_the_rude() {
    let server = Server::with(|config| {
        config.keep_alive = Duration::from_millis(100);
        config.limits.write_deadline = Duration::from_millis(500);
    });
    let address = server.address;
    let is_over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let rude: Vec<_> = (0..4)
        .map(|number| {
            let is_over = std::sync::Arc::clone(&is_over);
            spawn(move || {
                let mut random = Random(number);
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    match random.below(5) {
                        0 => Http::sending(address, request("GET", "/sse", "", "")).reset(),
                        1 => drop(Http::sending(address, "POST /messages/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{")),
                        2 => {
                            let session = Sse::open(address);
                            session.request("1", "notify", r#"{"count":1000,"bytes":10000}"#);
                        }
                        3 => {
                            let session = Sse::open(address);
                            session.request("1", "ask", "{}");
                            session.http.reset();
                        }
                        _ => {
                            let mut http = Http::connect(address);
                            http.stream.write_all(b"GET /healthz HTTP/1.1\r\n").ok();
                            http.end();
                        }
                    }
                }
            })
        })
        .collect();
    let polite: Vec<_> = (0..8)
        .map(|_| {
            spawn(move || {
                let mut session = Sse::open(address);
                let mut http = Http::connect(address);
                for id in 0..200 {
                    let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"echo","params":{{"n":{id}}}}}"#);
                    session.post_on(&mut http, &body);
                    assert_eq!(session.message(), format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"n":{id}}}}}"#));
                }
            })
        })
        .collect();
    for client in polite {
        client.join().unwrap();
    }
    is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    for client in rude {
        client.join().unwrap();
    }
    serves(address);
    assert_eq!(post(address, "/messages/", PING).status, 400);
}
