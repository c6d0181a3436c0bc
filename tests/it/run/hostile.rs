//! Files and servers that make it hard.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;

use serde_json::json;

use super::{Bench, Client};
use crate::support::{Program, Sse, eventually};

#[test]
fn a_program_that_is_half_written_is_started_when_it_is_whole() {
    let bench = Bench::new();
    let script = |name: &str| format!("#!/bin/sh\n# {}\nexec python3 child.py {name}\n", "x".repeat(5000));
    bench.write("other.json", r#"{"name":"two","tools":["add"]}"#);
    bench.script("server", &script("server.json"));
    let mut client = Client::new(bench.start(&[], &["./server"]));
    client.initialize();
    assert_eq!(client.version(), "one");
    let text = script("other.json");
    let mut file = OpenOptions::new().write(true).truncate(true).mode(0o755).open(bench.path("server")).unwrap();
    for part in text.as_bytes().chunks(1000) {
        file.write_all(part).unwrap();
        file.flush().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(60));
    }
    // Whole, and still open for writing: it cannot be executed.
    let id = client.send("tools/call", r#"{"name":"add","arguments":{}}"#);
    std::thread::sleep(std::time::Duration::from_millis(200));
    drop(file);
    assert_eq!(super::texts(&client.program.answer(&id)), ["two"], "neither a note nor the old version");
}

#[test]
fn what_the_server_writes_at_each_start_is_output() {
    let bench = Bench::new();
    let trace = bench.path("trace.json");
    bench.edit("one", &["add"], json!({"trace": trace}));
    let mut client = bench.run(&["--hold", "0"]);
    client.initialize();
    bench.edit("two", &["add"], json!({"trace": trace}));
    let said = client.program.stderr("is output");
    assert!(said.contains("trace.json"), "{said}");
    client.program.stderr("reloaded in ");
    let starts = || fs::read_to_string(&trace).unwrap().lines().filter(|line| line.ends_with(" start")).count();
    let before = starts();
    assert_eq!(bench.ask(&["reload"]).0, Some(0));
    assert_eq!(bench.ask(&["reload"]).0, Some(0));
    assert!(starts() <= before + 3, "it goes on starting");
    bench.edit("three", &["add"], json!({}));
    eventually("the new version answers", || client.call("add", json!({}))[0] == "three");
}

#[test]
fn one_file_saved_often_is_not_output() {
    let bench = Bench::new();
    bench.write("part.py", "");
    let mut client = bench.run(&["--hold", "0"]);
    client.initialize();
    for round in 0..40 {
        bench.write("part.py", &format!("# {round}\n"));
        std::thread::sleep(std::time::Duration::from_millis(30));
    }
    bench.write("part.py", "# the last\n");
    assert_eq!(bench.ask(&["reload"]).0, Some(0));
    let first = client.call("pid", json!({}));
    bench.write("part.py", "# one more\n");
    eventually("a change of it counts", || client.call("pid", json!({})) != first);
}

#[test]
fn a_directory_that_disappears_and_comes_back_is_watched_again() {
    let bench = Bench::new();
    bench.write("src/value.py", "1");
    let mut client = bench.run(&["--watch", "src", "--hold", "0"]);
    client.initialize();
    let mut last = client.call("pid", json!({}));
    fs::rename(bench.path("src"), bench.path("away")).unwrap();
    client.program.stderr("is gone");
    fs::create_dir(bench.path("src")).unwrap();
    for content in ["2", "3"] {
        bench.write("src/value.py", content);
        eventually("reloaded", || client.call("pid", json!({})) != last);
        last = client.call("pid", json!({}));
    }
}

/// The old one is alive as long as somebody works in it, and the kernel tells nothing of its end.
#[test]
fn a_working_directory_that_is_removed_and_made_again_is_watched_like_the_first() {
    let bench = Bench::new();
    let mut client = bench.run(&[]);
    client.initialize();
    assert_eq!(client.version(), "one");
    let child = fs::read(bench.path("child.py")).unwrap();
    fs::remove_dir_all(&bench.dir).unwrap();
    client.program.stderr("is gone");
    fs::create_dir(&bench.dir).unwrap();
    fs::write(bench.path("child.py"), child).unwrap();
    bench.edit("two", &["add"], json!({}));
    eventually("there is something to start", || client.version() == "two");
    for name in ["three", "four", "five"] {
        bench.edit(name, &["add"], json!({}));
        assert_eq!(client.version(), name);
    }
}

#[test]
fn what_it_watches_is_said_and_loudly_when_that_is_nothing() {
    let bench = Bench::new();
    fs::create_dir(bench.path("empty")).unwrap();
    let client = bench.run(&["--watch", "empty"]);
    assert!(client.program.stderr("watching ").contains("NO FILE COUNTS"));
    let client = bench.run(&[]);
    assert!(client.program.stderr("watching ").contains(": 2 files"));
    // Where a desktop client starts it.
    let child = bench.path("child.py");
    let mut command = bench.command(&["run", "--", "python3", child.to_str().unwrap(), bench.path("server.json").to_str().unwrap()]);
    command.current_dir("/");
    let mut client = Client::new(crate::support::Program::start(&mut command));
    assert_eq!(client.initialize()["serverInfo"]["name"], "one");
    bench.edit("two", &["add"], json!({}));
    assert_eq!(client.version(), "two");
}

#[test]
fn the_environment_file_is_read_again() {
    let bench = Bench::new();
    bench.write("vars.conf", "GIVEN=first\nMCP_THEIRS=1\n");
    let mut client = bench.run(&["--env-file", "vars.conf", "--env", "OTHER=x"]);
    client.initialize();
    assert_eq!(client.call("env", json!({"name": "GIVEN"})), ["first"]);
    assert_eq!(client.call("env", json!({"name": "OTHER"})), ["x"]);
    assert_eq!(client.call("env", json!({"name": "PYTHONDONTWRITEBYTECODE"})), ["1"]);
    assert_eq!(client.call("env", json!({"name": "MCP_FRONT_CHILD"})), ["1"]);
    bench.write("vars.conf", "GIVEN=second\n");
    assert_eq!(client.call("env", json!({"name": "GIVEN"})), ["second"]);
}

#[test]
fn a_lock_that_only_one_can_hold() {
    let bench = Bench::new();
    let lock = bench.path("lock.tmp");
    bench.edit("one", &["add"], json!({"lock": lock}));
    let mut client = bench.run(&["--stop-first"]);
    client.initialize();
    for name in ["two", "three"] {
        bench.edit(name, &["add"], json!({"lock": lock}));
        assert_eq!(client.version(), name);
    }
    // Without the flag it finds out by itself.
    client.program.close_stdin();
    client.program.wait();
    let mut client = bench.run(&[]);
    client.initialize();
    bench.edit("four", &["add"], json!({"lock": lock}));
    assert_eq!(client.version(), "four");
}

/// A front over HTTP whose stdout is a pipe that nobody reads.
fn with_unread_stdout(bench: &Bench, flags: &[&str], server: &[&str]) -> Program {
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "mkfifo unread; exec \"$0\" \"$@\" 3<>unread >&3", env!("CARGO_BIN_EXE_mcp-http-transport")]);
    command.args(["run", "--http", "--host", "127.0.0.1", "--port", "0", "--no-watch", "--keep-alive", "1h"]);
    command.args(flags).arg("--").args(server);
    command.current_dir(&bench.dir).env("XDG_RUNTIME_DIR", bench.dir.parent().unwrap().join("run"));
    Program::start(&mut command)
}

/// The client on stdin, which does not read, has many calls.
fn call_without_reading(program: &mut Program) {
    program.request("0", "initialize", super::CLIENT);
    for number in 0..250 {
        // Its answer has the id in it, and all of them are more than a pipe holds.
        program.request(&format!("\"{number}{}\"", "x".repeat(2000)), "tools/call", r#"{"name":"add","arguments":{}}"#);
    }
}

/// In HTTP mode there may be a client on stdin as well. While it does not read, what is due to others is done in time.
#[test]
fn a_client_on_stdin_that_does_not_read_holds_up_nobody() {
    let bench = Bench::new();
    // The server never answers: calls are given up when it was to be there.
    let mut program = with_unread_stdout(&bench, &["--start-timeout", "3s"], &["sleep", "1000"]);
    let address = program.address();
    call_without_reading(&mut program);
    let mut session = Sse::open(address);
    let greeting = session.call("0", "initialize", super::CLIENT);
    assert!(greeting["result"]["instructions"].is_string(), "{greeting}");
    let answer = session.call("1", "tools/call", r#"{"name":"add","arguments":{}}"#);
    assert_eq!(answer["error"]["data"]["reason"], "unavailable", "{answer}");
}

/// Nor are those held up who share its server.
#[test]
fn a_client_on_stdin_that_does_not_read_holds_up_nobody_of_its_group() {
    let bench = Bench::new();
    let mut program = with_unread_stdout(&bench, &["--shared"], &["python3", "child.py", "server.json"]);
    let address = program.address();
    let mut session = super::session(&program, address);
    call_without_reading(&mut program);
    // The server answers in the order of the calls, so that this answer comes behind all those that nobody reads.
    let answer = session.call("1", "tools/call", r#"{"name":"add","arguments":{}}"#);
    assert_eq!(super::texts(&answer), ["one"]);
}

/// Nor do others lose their sessions when too much waits for it, and it loses its own.
#[test]
fn a_client_on_stdin_that_never_reads_loses_only_its_own_session() {
    let bench = Bench::new();
    let mut program = with_unread_stdout(&bench, &["--shared"], &["python3", "child.py", "server.json"]);
    let address = program.address();
    let mut session = super::session(&program, address);
    program.request("0", "initialize", super::CLIENT);
    let mut call =
        |length: usize| program.request(&format!("\"{}\"", "x".repeat(length)), "tools/call", r#"{"name":"add","arguments":{}}"#);
    (0..250).for_each(|number| call(80_000 + number));
    program.stderr("the client on stdin takes nothing more");
    let answer = session.call("1", "tools/call", r#"{"name":"add","arguments":{}}"#);
    assert_eq!(super::texts(&answer), ["one"]);
    program.close_stdin();
    assert_eq!(program.wait().code(), Some(0));
}

/// Answers `initialize`, and reads nothing more.
const DEAF: &str = r#"import json, sys, time
asked = json.loads(sys.stdin.readline())
info = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "deaf", "version": "1"}}
print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": info}), flush=True)
time.sleep(600)
"#;

#[test]
fn a_server_that_stops_reading_fails_the_calls_that_find_no_room_and_nothing_else() {
    let bench = Bench::new();
    bench.write("deaf.py", DEAF);
    let mut client = Client::new(bench.start(&["--drain", "0"], &["python3", "deaf.py"]));
    client.initialize();
    let long = json!({"name": "add", "arguments": {"text": "x".repeat(10_000)}}).to_string();
    let last = (0..2000).map(|_| client.send("tools/call", &long)).last().unwrap();
    let refused = client.program.answer(&last);
    assert_eq!(refused["error"]["code"], -32603, "{refused}");
    // Whoever read that line still reads.
    bench.write("deaf.py", &DEAF.replace("deaf", "new"));
    client.program.stderr("reloaded in ");
}

#[test]
fn a_server_that_closes_its_stdout_and_runs_on_is_started_again() {
    let bench = Bench::new();
    let mut client = bench.run(&[]);
    client.initialize();
    let first = client.call("pid", json!({}));
    let answer = client.request("tools/call", r#"{"name":"mute"}"#);
    assert_eq!(answer["error"]["data"]["reason"], "crashed", "{answer}");
    client.program.stderr("has closed its stdout");
    assert_ne!(client.call("pid", json!({})), first);
}
