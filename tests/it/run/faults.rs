//! `kill -9` of a server in every state of a reload. Whatever was under way, each open call gets one answer or one error, the next call is answered by
//! the newest code that is live, and no process is left.

mod scene;

use serde_json::{Value, json};

use super::stateless::{Http, modern, with_meta};
use super::{Bench, session, texts};
use crate::support::{eventually, get, spawn};
use scene::{Scene, Way, kill_9};

/// A state, what the front is started with, and what happens in it. Each gets a front that has said nothing yet.
type State = (&'static str, &'static [&'static str], fn(&mut Scene));

/// With one session.
const STATES: [State; 18] = [
    ("the first start: initialize is not answered", &[], first_start),
    ("idle", &[], idle),
    ("a call is in flight", &[], call_in_flight),
    ("the server has asked the client", &[], asking),
    ("the one started again after a crash is starting", &[], starting_again),
    ("a build runs", &["--build", "./build.sh"], building),
    ("the new one is starting: the new one", &[], starting_new),
    ("the new one is starting: the old one", &[], starting_old),
    ("the new one is starting: both", &[], starting_both),
    ("the old one drains: the old one", &[], draining_old),
    ("the old one drains: the new one", &[], draining_new),
    ("the old one drains: both", &[], draining_both),
    ("a third generation waits for the first: the first", &[], third_waits),
    ("the old one is being stopped", &[], stopping),
    ("the lists are being compared", &[], comparing),
    ("stop-first: the new one is starting", &["--stop-first"], stop_first),
    ("stop-first: the old one drains", &["--stop-first"], stop_first_draining),
    ("shared", &["--shared"], call_in_flight),
];

fn walk(way: Way) {
    for (name, flags, happens) in STATES {
        eprintln!("{way:?}: {name}");
        let bench = Bench::new();
        if flags.contains(&"--build") {
            bench.script("build.sh", "touch building.tmp; while [ -e hold.tmp ]; do sleep 0.01; done\n");
        }
        let mut scene = Scene::start(way, flags, bench);
        happens(&mut scene);
        scene.end();
    }
}

#[test]
fn over_stdio() {
    walk(Way::Stdio);
}

#[test]
fn over_http_and_sse() {
    walk(Way::Sse);
}

#[test]
fn over_streamable_http() {
    walk(Way::Mcp);
}

/// Saves version `two`, which is in need of what `more` names.
fn save_two(scene: &Scene, more: Value) {
    scene.bench.edit("two", &["add", "sub"], more);
}

fn first_start(scene: &mut Scene) {
    // It may have been started already: then it is the next one that waits at the gate.
    let gate = scene.gate("gate.tmp");
    scene.bench.edit("one", &["add"], json!({"gate_initialize": gate}));
    let hello = scene.send("initialize", &serde_json::from_str(super::CLIENT).unwrap());
    kill_9(scene.server());
    kill_9(scene.server());
    scene.open_gate("gate.tmp");
    assert!(scene.answer(hello)["result"].is_object());
    assert_eq!(scene.version(), ["one"]);
}

fn idle(scene: &mut Scene) {
    scene.initialize();
    kill_9(scene.server());
    // What is sent to it in this very moment is lost with it.
    scene.program.stderr("has ended by itself");
    assert_eq!(scene.version(), ["one"]);
}

fn call_in_flight(scene: &mut Scene) {
    scene.initialize();
    let calls = [scene.open_call("a.tmp"), scene.open_call("b.tmp")];
    kill_9(scene.server());
    calls.into_iter().for_each(|call| scene.is_lost(call, "crashed"));
    assert_eq!(scene.version(), ["one"]);
}

fn asking(scene: &mut Scene) {
    scene.initialize();
    let call = scene.send("tools/call", &json!({"name": "ask", "arguments": {}}));
    // Over streamable HTTP the question is on the stream of the call, which is read as a whole.
    if scene.way != Way::Mcp {
        scene.wait_for("roots/list");
    }
    scene.version();
    kill_9(scene.server());
    scene.is_lost(call, "crashed");
    if scene.way != Way::Mcp {
        scene.wait_for("notifications/cancelled");
    }
    assert_eq!(scene.version(), ["one"]);
}

fn starting_again(scene: &mut Scene) {
    scene.initialize();
    let gate = scene.gate("gate.tmp");
    scene.bench.edit("two", &["add"], json!({"gate_initialize": gate}));
    kill_9(scene.wait_for_servers(2)[0]);
    scene.program.stderr("has ended by itself");
    kill_9(scene.server());
    let call = scene.waiting_call();
    // And the next one, too.
    kill_9(scene.server());
    scene.open_gate("gate.tmp");
    assert_eq!(texts(&scene.answer(call)), ["two"]);
}

fn building(scene: &mut Scene) {
    scene.initialize();
    let call = scene.open_call("a.tmp");
    scene.open_gate("hold.tmp");
    std::fs::remove_file(scene.gate("building.tmp")).unwrap();
    save_two(scene, json!({}));
    eventually("it builds", || scene.gate("building.tmp").exists());
    kill_9(scene.server());
    scene.is_lost(call, "crashed");
    let waiting = scene.waiting_call();
    std::fs::remove_file(scene.gate("hold.tmp")).unwrap();
    assert_eq!(texts(&scene.answer(waiting)), ["two"]);
}

/// An old one with a call in flight, and a new one that is starting.
fn with_new_one(scene: &mut Scene) -> (u32, i32, i32) {
    scene.initialize();
    let call = scene.open_call("a.tmp");
    save_two(scene, json!({"gate_initialize": scene.gate("gate.tmp")}));
    let servers = scene.wait_for_servers(2);
    (call, servers[0], servers[1])
}

fn starting_new(scene: &mut Scene) {
    let (call, _, new) = with_new_one(scene);
    let waiting = scene.waiting_call();
    kill_9(new);
    let told = texts(&scene.answer(waiting));
    assert!(told[0] == "one" && told[1].contains("signal: 9"), "the old one serves, and says why: {told:?}");
    scene.open_gate("a.tmp");
    assert_eq!(texts(&scene.answer(call)), ["one"]);
    scene.open_gate("gate.tmp");
    assert_eq!(scene.bench.ask(&["reload"]).0, Some(0));
    assert_eq!(scene.version(), ["two"]);
}

fn starting_old(scene: &mut Scene) {
    let (call, old, _) = with_new_one(scene);
    let waiting = scene.waiting_call();
    kill_9(old);
    scene.is_lost(call, "crashed");
    scene.open_gate("gate.tmp");
    assert_eq!(texts(&scene.answer(waiting)), ["two"]);
}

fn starting_both(scene: &mut Scene) {
    let (call, old, new) = with_new_one(scene);
    let waiting = scene.waiting_call();
    kill_9(old);
    scene.is_lost(call, "crashed");
    kill_9(new);
    scene.open_gate("gate.tmp");
    assert_eq!(texts(&scene.answer(waiting)), ["two"]);
}

/// An old one that drains a call, and a new one that serves.
fn with_old_one(scene: &mut Scene, more: Value) -> (u32, i32, i32) {
    scene.initialize();
    let call = scene.open_call("a.tmp");
    save_two(scene, more);
    assert_eq!(scene.version(), ["two"]);
    let servers = scene.wait_for_servers(2);
    (call, servers[0], servers[1])
}

fn draining_old(scene: &mut Scene) {
    let (call, old, _) = with_old_one(scene, json!({}));
    let newer = scene.open_call("b.tmp");
    kill_9(old);
    scene.is_lost(call, "crashed");
    scene.open_gate("b.tmp");
    assert_eq!(texts(&scene.answer(newer)), ["two"]);
    assert_eq!(scene.version(), ["two"]);
}

fn draining_new(scene: &mut Scene) {
    let (call, _, new) = with_old_one(scene, json!({}));
    let newer = scene.open_call("b.tmp");
    kill_9(new);
    scene.is_lost(newer, "crashed");
    assert_eq!(scene.version(), ["two"]);
    scene.open_gate("a.tmp");
    assert_eq!(texts(&scene.answer(call)), ["one"], "the old one finishes its call all the same");
}

fn draining_both(scene: &mut Scene) {
    let (call, old, new) = with_old_one(scene, json!({}));
    let newer = scene.open_call("b.tmp");
    kill_9(old);
    kill_9(new);
    [call, newer].into_iter().for_each(|call| scene.is_lost(call, "crashed"));
    assert_eq!(scene.version(), ["two"]);
}

fn third_waits(scene: &mut Scene) {
    let (first, old, _) = with_old_one(scene, json!({}));
    let second = scene.open_call("b.tmp");
    scene.bench.edit("three", &["add"], json!({}));
    let waiting = scene.waiting_call();
    kill_9(old);
    scene.is_lost(first, "crashed");
    assert_eq!(texts(&scene.answer(waiting)), ["three"]);
    scene.open_gate("b.tmp");
    assert_eq!(texts(&scene.answer(second)), ["two"]);
}

fn stopping(scene: &mut Scene) {
    scene.bench.edit("one", &["add"], json!({"hang_on_stop": true}));
    scene.initialize();
    assert_eq!(scene.version(), ["one"]);
    save_two(scene, json!({}));
    assert_eq!(scene.version(), ["two"]);
    let call = scene.open_call("a.tmp");
    kill_9(scene.wait_for_servers(2)[0]);
    scene.open_gate("a.tmp");
    assert_eq!(texts(&scene.answer(call)), ["two"]);
}

fn comparing(scene: &mut Scene) {
    scene.initialize();
    scene.request("tools/list", &json!({}));
    let gate = scene.gate("gate.tmp");
    save_two(scene, json!({"gate_list": gate}));
    assert_eq!(scene.version(), ["two"]);
    let call = scene.open_call("a.tmp");
    kill_9(scene.server());
    scene.is_lost(call, "crashed");
    scene.open_gate("gate.tmp");
    assert_eq!(scene.version(), ["two"]);
    let tools = scene.request("tools/list", &json!({}));
    assert_eq!(tools["result"]["tools"].as_array().map(Vec::len), Some(2), "{tools}");
    assert_eq!(scene.bench.ask(&["reload"]).0, Some(0), "nothing waits for the one that is gone");
}

fn stop_first(scene: &mut Scene) {
    scene.initialize();
    let old = scene.server();
    save_two(scene, json!({"gate_initialize": scene.gate("gate.tmp")}));
    let call = scene.waiting_call();
    eventually("the old one is gone, and a new one there", || matches!(scene.servers()[..], [only] if only != old));
    kill_9(scene.server());
    scene.open_gate("gate.tmp");
    assert_eq!(texts(&scene.answer(call)), ["two"]);
}

fn stop_first_draining(scene: &mut Scene) {
    scene.initialize();
    let call = scene.open_call("a.tmp");
    save_two(scene, json!({}));
    let waiting = scene.waiting_call();
    scene.program.stderr("calls wait meanwhile");
    kill_9(scene.server());
    scene.is_lost(call, "crashed");
    assert_eq!(texts(&scene.answer(waiting)), ["two"]);
}

/// The server that stateless requests share, with a call in flight, and before it has said whether it serves such requests.
#[test]
fn stateless_over_http() {
    let bench = Bench::new();
    let gate = bench.path("gate.tmp");
    bench.edit("one", &["add"], modern(json!({"gate_initialize": gate})));
    let mut scene = Scene::start(Way::Sse, &[], bench);
    let http = Http(scene.address());
    let first = spawn(move || http.send("tools/list", json!({}), &[]).json());
    kill_9(scene.server());
    scene.open_gate("gate.tmp");
    // Whether it would have served it nobody knows: a client begins with `initialize`, or asks again.
    let answer = first.join().unwrap();
    assert!(answer["result"].is_object() || answer["error"]["code"] == -32601, "{answer}");
    eventually("it is served again", || http.send("tools/list", json!({}), &[]).json()["result"].is_object());
    let here = scene.gate("here.tmp");
    let arguments = json!({"path": scene.gate("never.tmp"), "here": here});
    let call = spawn(move || http.send("tools/call", json!({"name": "until", "arguments": arguments}), &[]).json());
    eventually("the call has begun", || here.exists());
    kill_9(scene.server());
    let answer = call.join().unwrap();
    assert_eq!(answer["error"]["data"]["reason"], "crashed", "{answer}");
    assert_eq!(http.version(), "one");
    scene.bench.edit("two", &["add"], modern(json!({})));
    assert_eq!(http.version(), "two");
    scene.initialize();
    scene.end();
}

#[test]
fn stateless_over_stdio() {
    let bench = Bench::new();
    bench.edit("one", &["add"], modern(json!({})));
    let mut scene = Scene::start(Way::Stdio, &[], bench);
    let call = |tool: &str, more: Value| with_meta(json!({"name": tool, "arguments": more}));
    assert_eq!(texts(&scene.request("tools/call", &call("add", json!({})))), ["one"]);
    let here = scene.gate("here.tmp");
    let open = scene.send("tools/call", &call("until", json!({"path": scene.gate("never.tmp"), "here": here})));
    eventually("the call has begun", || here.exists());
    kill_9(scene.server());
    scene.is_lost(open, "crashed");
    assert_eq!(texts(&scene.request("tools/call", &call("add", json!({})))), ["one"]);
    scene.end();
}

/// It has been asked whether it serves stateless requests, which it does not, and waits for a session.
#[test]
fn waiting_for_a_session() {
    let mut scene = Scene::start(Way::Stdio, &[], Bench::new());
    let refused = scene.request("server/discover", &with_meta(json!({})));
    assert_eq!(refused["error"]["code"], -32601, "{refused}");
    kill_9(scene.server());
    scene.initialize();
    assert_eq!(scene.version(), ["one"]);
    scene.end();
}

/// Over HTTP one is started ahead of the first client.
#[test]
fn waiting_for_the_first_client() {
    let bench = Bench::new();
    let mut scene = Scene::start(Way::Sse, &[], bench);
    let address = scene.address();
    kill_9(scene.server());
    eventually("it is not ready", || get(address, "/readyz").status == 503);
    scene.initialize();
    assert_eq!((scene.version(), get(address, "/readyz").status), (vec!["one".to_owned()], 200));
    scene.end();
}

/// Two sessions and room for one server: the one that is not used has none, and the one that is dies.
#[test]
fn parked() {
    let mut scene = Scene::start(Way::Sse, &["--max-children", "1"], Bench::new());
    scene.initialize();
    assert_eq!(scene.version(), ["one"]);
    let mut other = session(&scene.program, scene.address());
    let call = r#"{"name":"add","arguments":{}}"#;
    assert_eq!(texts(&other.call("1", "tools/call", call)), ["one"]);
    kill_9(scene.server());
    assert_eq!(scene.version(), ["one"]);
    let lost = scene.open_call("a.tmp");
    kill_9(scene.server());
    scene.is_lost(lost, "crashed");
    scene.bench.edit("two", &["add"], json!({}));
    assert_eq!(scene.version(), ["two"]);
    assert_eq!(texts(&other.call("2", "tools/call", call)), ["two"]);
    drop(other);
    scene.end();
}

/// The front itself, while one server starts, one serves and one drains, for each of two sessions: all of them die with it.
#[test]
fn the_front_takes_all_its_servers_along() {
    let mut scene = Scene::start(Way::Sse, &[], Bench::new());
    scene.initialize();
    let mut other = session(&scene.program, scene.address());
    let until = json!({"name": "until", "arguments": {"path": scene.gate("never.tmp")}}).to_string();
    other.request("1", "tools/call", &until);
    scene.open_call("a.tmp");
    scene.bench.edit("two", &["add"], json!({}));
    assert_eq!(scene.version(), ["two"]);
    assert_eq!(texts(&other.call("2", "tools/call", r#"{"name":"add","arguments":{}}"#)), ["two"]);
    scene.wait_for_servers(4);
    // Both have a call at the old server, and none at the one after it: the next one is started beside them.
    scene.bench.edit("three", &["add"], json!({"gate_initialize": scene.gate("gate.tmp")}));
    let servers = scene.wait_for_servers(5);
    scene.program.child.kill().unwrap();
    scene.program.wait();
    eventually("all servers die with it", || servers.iter().all(|server| super::is_dead(&server.to_string())));
    scene.nothing_is_left();
}
