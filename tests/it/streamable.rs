//! Streamable HTTP with sessions, up to 2025-11-25.

use std::sync::Mutex;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use mcp_http_transport::{
    ClientRequest, Config, Endpoints, Json, Limits, Notification, Reply, Request, RpcError, Service, Session, TransportMode,
    initialize_result,
};
use serde_json::{Value, json};
use tiny_http::{Header, Method};

use crate::http::{Answer, Client, SOON};

/// A handler with whatever these tests need. What is sent on `go` lets waiting calls go on.
struct Handler {
    go: Receiver<()>,
    kept: Mutex<Vec<Session>>,
}

impl mcp_http_transport::Handler for Handler {
    fn handle(&self, request: &Request, session: &Session) -> Result<Json, RpcError> {
        match &*request.method() {
            "initialize" => Ok(initialize_result(request, "test", "1", json!({"tools": {"listChanged": true}, "logging": {}}))),
            "quiet" => Ok(json!({"said": "nothing else"}).into()),
            "progress" => {
                for step in 1..=3 {
                    session.progress(f64::from(step), Some(3.0), None).map_err(RpcError::internal)?;
                }
                Ok(json!({"steps": 3}).into())
            }
            "ask" => session.ask("name", ClientRequest::roots()).map_err(RpcError::from),
            "wait" => {
                let _ = self.go.recv_timeout(SOON);
                Ok(json!({"waited": true}).into())
            }
            "until cancelled" => {
                let _ = session.cancelled().recv_timeout(SOON);
                Ok(json!({}).into())
            }
            "poll" => {
                session.close_stream();
                let _ = self.go.recv_timeout(SOON);
                Ok(json!({"polled": true}).into())
            }
            "change" => {
                for session in self.kept.lock().unwrap().iter() {
                    let _ = session.notify("notifications/tools/list_changed", json!({}));
                }
                Ok(json!({}).into())
            }
            "panic" => panic!("as asked"),
            method => Err(RpcError::method_not_found(method)),
        }
    }

    fn notified(&self, _: &Notification, _: &Session) {}

    fn opened(&self, session: &Session) {
        self.kept.lock().unwrap().push(session.clone());
    }
}

struct Fixture {
    service: Service,
    http: Client,
    go: crossbeam_channel::Sender<()>,
}

fn config() -> Config {
    Config::new().transport(TransportMode::Http).port(0)
}

fn start(config: &Config) -> Fixture {
    let (go, waiting) = bounded(16);
    let service = Service::start(Handler { go: waiting, kept: Mutex::default() }, config).unwrap();
    let http = Client { address: service.local_addrs()[0] };
    Fixture { service, http, go }
}

struct Peer<'f> {
    http: &'f Client,
    id: String,
    version: &'static str,
}

impl Fixture {
    fn initialize(&self, version: &'static str) -> Peer<'_> {
        let body = request(
            0,
            "initialize",
            json!({"protocolVersion": version, "capabilities": {"roots": {}}, "clientInfo": {"name": "t", "version": "1"}}),
        );
        let answer = self.http.send("POST", "/mcp", &[("Content-Type", "application/json")], &body);
        assert_eq!(answer.status, 200);
        let id = answer.header("mcp-session-id").unwrap().to_owned();
        assert_eq!(answer.json()["result"]["protocolVersion"], version);
        Peer { http: &self.http, id, version }
    }
}

impl Peer<'_> {
    fn with(&self, method: &str, further: &[(&str, &str)], body: &str) -> Answer {
        let mut headers = vec![("Content-Type", "application/json"), ("Mcp-Session-Id", &self.id), ("MCP-Protocol-Version", self.version)];
        headers.extend(further);
        self.http.send(method, "/mcp", &headers, body)
    }

    fn post(&self, body: &str) -> Answer {
        self.with("POST", &[("Accept", "application/json, text/event-stream")], body)
    }

    fn call(&self, method: &str) -> Answer {
        self.post(&request(1, method, json!({"_meta": {"progressToken": "p"}})))
    }

    fn get(&self) -> Answer {
        self.with("GET", &[("Accept", "text/event-stream")], "")
    }
}

fn request(id: u32, method: &str, params: Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
}

fn notification(method: &str) -> String {
    json!({"jsonrpc": "2.0", "method": method}).to_string()
}

#[test]
fn a_call_is_answered_plainly_or_by_a_stream() {
    let fixture = start(&config());
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let peer = fixture.initialize(version);
        let answer = peer.post(&notification("notifications/initialized"));
        assert_eq!((answer.status, answer.body()), (202, String::new()));
        let answer = peer.call("quiet");
        assert_eq!(answer.status, 200);
        assert_eq!(answer.json(), json!({"jsonrpc": "2.0", "id": 1, "result": {"said": "nothing else"}}));
        let answer = peer.call("progress");
        assert!(answer.is_stream());
        let messages = answer.messages();
        assert_eq!(messages.len(), 4, "{messages:?}");
        assert_eq!(messages[2]["params"], json!({"progressToken": "p", "progress": 3.0, "total": 3.0}));
        assert_eq!(messages[3]["result"]["steps"], 3);
        assert_eq!(peer.call("nothing").json()["error"]["code"], -32601);
        assert_eq!(peer.call("panic").json()["error"]["code"], -32603);
    }
}

#[test]
fn the_newest_version_with_a_handshake_is_offered_to_those_who_ask_for_the_one_without() {
    let fixture = start(&config());
    let body =
        request(0, "initialize", json!({"protocolVersion": "2026-07-28", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}));
    for headers in
        [vec![("Content-Type", "application/json")], vec![("Content-Type", "application/json"), ("MCP-Protocol-Version", "2026-07-28")]]
    {
        assert_eq!(fixture.http.send("POST", "/mcp", &headers, &body).json()["result"]["protocolVersion"], "2025-11-25");
    }
}

#[test]
fn a_handler_asks_on_the_stream_of_its_call() {
    let fixture = start(&config());
    let peer = fixture.initialize("2025-06-18");
    let mut answer = peer.call("ask");
    let question = answer.message().unwrap();
    assert_eq!(question["method"], "roots/list");
    let reply = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"roots": []}});
    assert_eq!(peer.post(&reply.to_string()).status, 202);
    assert_eq!(answer.message().unwrap()["result"], json!({"roots": []}));
    assert_eq!(answer.event(), None);
}

#[test]
fn batches_are_for_one_version_only() {
    let fixture = start(&config());
    let batch = format!("[{},{},{}, 7]", request(1, "quiet", json!({})), notification("notifications/x"), request(2, "nothing", json!({})));
    let peer = fixture.initialize("2025-03-26");
    let answers = peer.post(&batch).json();
    let mut ids: Vec<String> = answers.as_array().unwrap().iter().map(|answer| answer["id"].to_string()).collect();
    ids.sort();
    assert_eq!(ids, ["1", "2", "null"]);
    assert_eq!(peer.post(&format!("[{}]", notification("notifications/x"))).status, 202);
    // Two requests with one id: the first goes on, and each has its answer.
    for method in ["quiet", "ping"] {
        let answers = peer.post(&format!("[{0},{0}]", request(1, method, json!({})))).json();
        let has = |what: &str| answers.as_array().unwrap().iter().filter(|answer| answer.get(what).is_some()).count();
        assert_eq!((has("result"), has("error")), (1, 1), "{answers}");
    }
    let batch = format!("[{},{}]", request(1, "quiet", json!({})), request(2, "progress", json!({"_meta": {"progressToken": 1}})));
    let messages = peer.post(&batch).messages();
    assert_eq!(messages.len(), 5);
    assert_eq!(messages.iter().filter(|message| message.get("result").is_some()).count(), 2);
    for version in ["2025-06-18", "2025-11-25"] {
        let answer = fixture.initialize(version).post(&batch);
        assert_eq!((answer.status, answer.json()["error"]["code"].clone()), (400, json!(-32600)));
    }
}

#[test]
fn a_session_is_named_known_and_ended() {
    let fixture = start(&config());
    let peer = fixture.initialize("2025-11-25");
    let json_type = ("Content-Type", "application/json");
    let call = request(1, "quiet", json!({}));
    let send = |method: &str, headers: &[(&str, &str)], body: &str| fixture.http.send(method, "/mcp", headers, body).status;
    assert_eq!(send("POST", &[json_type], &call), 400);
    assert_eq!(send("GET", &[], ""), 400);
    assert_eq!(send("DELETE", &[], ""), 400);
    let foreign = "0123456789abcdef0123456789abcdef0123456789abcdef";
    assert_eq!(send("POST", &[json_type, ("Mcp-Session-Id", foreign)], &call), 404);
    assert_eq!(send("GET", &[("Mcp-Session-Id", foreign)], ""), 404);
    assert_eq!(send("DELETE", &[("Mcp-Session-Id", foreign)], ""), 404);
    assert_eq!(send("POST", &[json_type, ("Mcp-Session-Id", &peer.id), ("MCP-Protocol-Version", "1999-01-01")], &call), 400);
    assert_eq!(send("POST", &[json_type, ("Mcp-Session-Id", &peer.id)], &call), 200);
    assert_eq!(send("POST", &[("Content-Type", "text/plain"), ("Mcp-Session-Id", &peer.id)], &call), 415);
    assert_eq!(send("POST", &[json_type, ("Mcp-Session-Id", &peer.id)], "{"), 400);
    let mut stream = peer.get();
    assert_eq!(stream.event().unwrap().data.as_deref(), Some(""));
    for method in ["GET", "DELETE"] {
        assert_eq!(send(method, &[("Mcp-Session-Id", &peer.id), ("MCP-Protocol-Version", "1999-01-01")], ""), 400, "{method}");
    }
    assert_eq!(peer.with("DELETE", &[], "").status, 204);
    assert_eq!(stream.event(), None);
    for method in ["POST", "GET", "DELETE"] {
        assert_eq!(peer.with(method, &[], if method == "POST" { &call } else { "" }).status, 404, "{method}");
    }
}

#[test]
fn a_failed_initialize_begins_no_session() {
    let fixture = start(&config());
    let answer = fixture.http.send("POST", "/mcp", &[("Content-Type", "application/json")], &request(0, "initialize", json!([])));
    assert!(answer.status == 200);
    drop(answer);
    let refusing = |_: &Request, _: &Session| -> Result<Json, RpcError> { Err(RpcError::internal("no")) };
    let service = Service::start(refusing, &config()).unwrap();
    let http = Client { address: service.local_addrs()[0] };
    let answer = http.send("POST", "/mcp", &[("Content-Type", "application/json")], &request(0, "initialize", json!({})));
    assert_eq!(answer.header("mcp-session-id"), None);
    assert_eq!(answer.json()["error"]["code"], -32603);
}

#[test]
fn ids_of_ours_outlive_the_process() {
    let first = start(&config());
    let peer = first.initialize("2025-06-18");
    let (id, version) = (peer.id.clone(), peer.version);
    first.service.stop(Duration::ZERO);
    let second = start(&config());
    let peer = Peer { http: &second.http, id, version };
    assert_eq!(peer.call("quiet").json()["result"]["said"], "nothing else");
    let mut stream = peer.get();
    assert_eq!(stream.event().unwrap().retry.as_deref(), Some("500"));
    assert_eq!(peer.call("change").status, 200);
    assert_eq!(stream.message().unwrap()["method"], "notifications/tools/list_changed");
    assert_eq!(peer.with("DELETE", &[], "").status, 204);
    assert_eq!(peer.call("quiet").status, 404);
}

#[test]
fn the_newest_stream_receives_and_the_fifth_is_refused() {
    let fixture = start(&config());
    let peer = fixture.initialize("2025-11-25");
    let mut streams: Vec<Answer> = (0..4).map(|_| peer.get()).collect();
    streams.iter_mut().for_each(|stream| assert!(stream.event().unwrap().id.is_some()));
    let fifth = peer.get();
    assert_eq!((fifth.status, fifth.json()["error"]["code"].clone()), (409, json!(-32600)));
    assert_eq!(peer.call("change").status, 200);
    let mut newest = streams.pop().unwrap();
    assert_eq!(newest.message().unwrap()["method"], "notifications/tools/list_changed");
    drop(newest);
    // Its place is free again, and the next one gets what comes, or a new one does.
    let mut another = peer.get();
    assert_eq!(another.status, 200);
    assert_eq!(peer.call("change").status, 200);
    assert_eq!(another.message().unwrap()["method"], "notifications/tools/list_changed");
    drop(another);
    assert_eq!(peer.call("change").status, 200);
    assert_eq!(streams.pop().unwrap().message().unwrap()["method"], "notifications/tools/list_changed");
}

#[test]
fn what_a_broken_stream_missed_is_replayed_on_the_next() {
    let fixture = start(&config());
    let peer = fixture.initialize("2025-11-25");
    let mut stream = peer.get();
    let seen = stream.event().unwrap().id.unwrap();
    assert_eq!(peer.call("change").status, 200);
    let first = stream.event().unwrap();
    drop(stream);
    assert_eq!(peer.call("change").status, 200);
    let resume = |id: &str| peer.with("GET", &[("Last-Event-ID", id)], "");
    let mut resumed = resume(&first.id.clone().unwrap());
    assert_eq!(resumed.message().unwrap()["method"], "notifications/tools/list_changed");
    assert_eq!(peer.call("change").status, 200);
    assert_eq!(resumed.message().unwrap()["method"], "notifications/tools/list_changed");
    drop(resumed);
    let mut all = resume(&seen);
    assert_eq!(all.event().unwrap().retry.as_deref(), Some("500"));
    assert_eq!(all.event(), Some(first));
    // An id that is not of this session points nowhere.
    let other = fixture.initialize("2025-11-25");
    assert!(other.get().event().is_some());
    assert_eq!(other.call("change").status, 200);
    let mut fresh = other.with("GET", &[("Last-Event-ID", &seen)], "");
    assert_eq!(fresh.event().unwrap().data.as_deref(), Some(""));
    assert_eq!(other.with("GET", &[("Last-Event-ID", "no id at all")], "").status, 200);
    assert_eq!(other.call("change").status, 200);
}

#[test]
fn a_call_goes_on_without_its_stream() {
    let fixture = start(&config());
    let peer = fixture.initialize("2025-11-25");
    let mut answer = peer.call("poll");
    let priming = answer.event().unwrap();
    assert_eq!((priming.data.as_deref(), priming.retry.as_deref()), (Some(""), Some("500")));
    assert_eq!(answer.event(), None);
    let mut resumed = peer.with("GET", &[("Last-Event-ID", &priming.id.clone().unwrap())], "");
    fixture.go.send(()).unwrap();
    assert_eq!(resumed.message().unwrap()["result"]["polled"], true);
    assert_eq!(resumed.event(), None);
    // Once more, when all is over.
    let late = peer.with("GET", &[("Last-Event-ID", &priming.id.unwrap())], "").messages();
    assert_eq!(late.len(), 1);
    // A version without polling is answered plainly.
    let older = fixture.initialize("2025-06-18");
    fixture.go.send(()).unwrap();
    assert_eq!(older.call("poll").json()["result"]["polled"], true);
}

#[test]
fn a_client_that_leaves_has_not_cancelled() {
    let fixture = start(&config());
    let peer = fixture.initialize("2025-11-25");
    let mut answer = peer.call("ask");
    let priming = answer.event().unwrap().id.unwrap();
    let question = answer.message().unwrap();
    drop(answer);
    let reply = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"roots": []}});
    assert_eq!(peer.post(&reply.to_string()).status, 202);
    let messages = peer.with("GET", &[("Last-Event-ID", &priming)], "").messages();
    assert_eq!(messages.last().unwrap()["result"], json!({"roots": []}));
}

#[test]
fn a_cancelled_call_is_not_answered() {
    let fixture = start(&config());
    let peer = fixture.initialize("2025-11-25");
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}).to_string();
    std::thread::scope(|scope| {
        let call = scope.spawn(|| peer.call("until cancelled"));
        // Until it has begun there is nothing to cancel.
        while !call.is_finished() {
            assert_eq!(peer.post(&cancel).status, 202);
        }
        let answer = call.join().unwrap();
        assert_eq!((answer.status, answer.body()), (202, String::new()));
    });
}

#[test]
fn unused_sessions_end() {
    let mut config = config();
    config.session_timeout = Duration::from_millis(40);
    let fixture = start(&config);
    let unused = fixture.initialize("2025-11-25");
    let used = fixture.initialize("2025-11-25");
    let mut stream = used.get();
    assert!(stream.event().is_some());
    let deadline = std::time::Instant::now() + SOON;
    // Asking would be using it; that a GET stream has ended says the same.
    let is_over = || {
        std::thread::sleep(Duration::from_millis(200));
        unused.call("quiet").status == 404
    };
    while !is_over() {
        assert!(std::time::Instant::now() < deadline);
    }
    assert_eq!(used.call("quiet").status, 200);
}

#[test]
fn at_the_bound_the_oldest_idle_session_goes() {
    let mut config = config();
    config.max_sessions = 3;
    let fixture = start(&config);
    let listening = fixture.initialize("2025-11-25");
    let mut stream = listening.get();
    assert!(stream.event().is_some());
    let (older, newer) = (fixture.initialize("2025-11-25"), fixture.initialize("2025-11-25"));
    assert_eq!(older.call("quiet").status, 200);
    fixture.initialize("2025-11-25");
    assert_eq!((newer.call("quiet").status, older.call("quiet").status, listening.call("quiet").status), (404, 200, 200));
    // Sessions of both kinds count together.
    // One whose client has left would make room.
    let streams = [fixture.http.send("GET", "/sse", &[], ""), fixture.http.send("GET", "/sse", &[], "")];
    assert!(streams.iter().all(|stream| stream.status == 200));
    assert_eq!(fixture.http.send("GET", "/sse", &[], "").status, 503);
    assert_eq!(listening.call("quiet").status, 200);
}

#[test]
fn methods_are_those_of_the_path() {
    let fixture = start(&config());
    for method in ["HEAD", "PUT", "PATCH"] {
        let answer = fixture.http.send(method, "/mcp", &[], "");
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, POST, DELETE, OPTIONS")), "{method}");
    }
    let answer = fixture.http.send("OPTIONS", "/mcp", &[], "");
    assert_eq!((answer.status, answer.header("allow")), (204, Some("GET, POST, DELETE, OPTIONS")));
    assert_eq!(fixture.http.send("POST", "/mcp/", &[], "").status, 404);
}

#[test]
fn pages_of_named_origins_can_read_the_session_id() {
    let fixture = start(&config().allow_origin("https://app.example"));
    let body = request(0, "initialize", json!({"protocolVersion": "2025-11-25"}));
    let headers = [("Content-Type", "application/json"), ("Origin", "https://app.example")];
    let answer = fixture.http.send("POST", "/mcp", &headers, &body);
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example"));
    assert!(answer.header("access-control-expose-headers").unwrap().contains("Mcp-Session-Id"));
    assert_eq!(answer.headers.iter().filter(|(name, _)| name == "access-control-allow-origin").count(), 1);
    assert_eq!(fixture.http.send("POST", "/mcp", &[("Origin", "https://evil.example")], &body).status, 403);
}

#[test]
fn calls_that_wait_for_their_turn_are_answered() {
    let mut limits = Limits::default();
    limits.calls_per_session = 1;
    limits.waiting_calls = 1;
    let fixture = start(&config().limits(limits));
    let peer = fixture.initialize("2025-11-25");
    std::thread::scope(|scope| {
        let peer = &peer;
        let calls: Vec<_> = (10..14).map(|id| scope.spawn(move || peer.post(&request(id, "wait", json!({}))).json())).collect();
        // One runs, one waits, and those for which there is no room are told so at once.
        let deadline = std::time::Instant::now() + SOON;
        while calls.iter().filter(|call| call.is_finished()).count() < 2 {
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
        (0..2).for_each(|_| fixture.go.send(()).unwrap());
        let answers: Vec<Value> = calls.into_iter().map(|call| call.join().unwrap()).collect();
        assert_eq!(answers.iter().filter(|answer| answer["result"]["waited"] == true).count(), 2);
        assert_eq!(answers.iter().filter(|answer| answer["error"]["code"] == -32603).count(), 2);
    });
}

#[test]
fn the_end_of_the_server_is_the_end_of_its_streams() {
    let fixture = start(&config());
    let peer = fixture.initialize("2025-11-25");
    let mut stream = peer.get();
    assert!(stream.event().is_some());
    let mut asking = peer.call("ask");
    assert!(asking.message().is_some());
    fixture.service.stop(SOON);
    assert_eq!(stream.event(), None);
    assert_eq!(asking.messages().last().unwrap()["error"]["code"], -32603);
}

#[test]
fn without_a_socket_it_is_the_same() {
    let (_go, waiting) = bounded(1);
    let endpoints = Endpoints::new(Handler { go: waiting, kept: Mutex::default() }, &config()).unwrap();
    let post = |further: &[(&str, &str)], body: String| {
        let headers = [("Host", "localhost"), ("Content-Type", "application/json")];
        let headers: Vec<_> = headers.iter().chain(further).map(|(name, value)| Header::from_bytes(*name, *value).unwrap()).collect();
        endpoints.answer(&Method::Post, "/mcp", &headers, body.into_bytes())
    };
    let initialize = request(0, "initialize", json!({"protocolVersion": "2025-11-25", "capabilities": {}}));
    let Reply::Full(begun) = post(&[], initialize) else { panic!("a stream") };
    let id = begun.headers.iter().find(|header| header.field.equiv("Mcp-Session-Id")).unwrap().value.to_string();
    let session = [("Mcp-Session-Id", &*id)];
    let Reply::Full(quiet) = post(&session, request(1, "quiet", json!({}))) else { panic!("a stream") };
    assert_eq!(serde_json::from_slice::<Value>(&quiet.body).unwrap()["result"]["said"], "nothing else");
    let Reply::Full(accepted) = post(&session, notification("notifications/initialized")) else { panic!("a stream") };
    assert_eq!((accepted.status.0, accepted.body.len()), (202, 0));
    let progress = request(2, "progress", json!({"_meta": {"progressToken": 1}}));
    let Reply::Stream(mut stream) = post(&session, progress) else { panic!("no stream") };
    let mut text = String::new();
    std::io::Read::read_to_string(&mut stream, &mut text).unwrap();
    assert_eq!((text.matches("notifications/progress").count(), text.matches("\"steps\":3").count()), (3, 1));
}
