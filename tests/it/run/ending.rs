//! How it starts and how it ends: exit statuses, signals, and what is left behind.

use nix::sys::signal::Signal;
use serde_json::json;

use super::{Bench, is_dead};
use crate::support::{Program, eventually};

fn status(bench: &Bench, arguments: &[&str]) -> (Option<i32>, String) {
    let (code, _, said) = bench.ask(arguments);
    (code, said)
}

#[test]
fn exit_statuses() {
    let bench = Bench::new();
    assert_eq!(status(&bench, &["run"]).0, Some(2));
    assert_eq!(status(&bench, &["run", "--", "no-such-command-anywhere"]).0, Some(127));
    assert_eq!(status(&bench, &["run", "--no-watch", "--", "./nowhere"]).0, Some(127));
    assert_eq!(status(&bench, &["run", "--no-watch", "--", "./server.json"]).0, Some(126));
    assert_eq!(status(&bench, &["run", "--cwd", "nowhere", "--", "python3"]).0, Some(2));
    let (code, said) = status(&bench, &["run", "--env-file", "nowhere", "--", "python3"]);
    assert!(code == Some(1) && said.contains("nowhere"), "{said}");
    // With an end of stdin: a client that left.
    assert_eq!(status(&bench, &["run", "--", "python3", "child.py", "server.json"]).0, Some(0));
}

#[test]
fn the_last_client_and_a_signal_end_it_and_all_its_children() {
    for signal in [None, Some(Signal::SIGTERM), Some(Signal::SIGINT)] {
        let bench = Bench::new();
        let mut client = bench.run(&[]);
        client.initialize();
        let (child, grandchild) = (client.call("pid", json!({})), client.call("fork", json!({})));
        match signal {
            None => client.program.close_stdin(),
            Some(signal) => client.program.signal(signal),
        }
        assert!(client.program.wait().success(), "{signal:?}");
        assert!(is_dead(&child[0]));
        eventually("the grandchild is ended", || is_dead(&grandchild[0]));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn killed_with_9_it_leaves_no_child() {
    let bench = Bench::new();
    let mut client = bench.run(&[]);
    client.initialize();
    let child = client.call("pid", json!({}));
    client.program.child.kill().unwrap();
    client.program.wait();
    eventually("the child dies with it", || is_dead(&child[0]));
}

#[test]
fn a_first_version_that_does_not_start_is_waited_for() {
    let bench = Bench::new();
    bench.break_it();
    let mut client = bench.run(&[]);
    let id = client.send("initialize", super::CLIENT);
    client.program.stderr("SyntaxError");
    bench.edit("one", &["add"], json!({}));
    assert_eq!(client.program.answer(&id)["result"]["serverInfo"]["name"], "one");
}

#[test]
fn it_does_not_exit_because_a_child_does() {
    let bench = Bench::new();
    let mut client = bench.run(&[]);
    client.initialize();
    let lost = client.request("tools/call", r#"{"name":"crash","arguments":{}}"#);
    assert_eq!(lost["error"]["data"]["reason"], "crashed", "{lost}");
    assert_eq!(client.version(), "one");
}

#[test]
fn over_http_it_is_ready_when_a_child_lives() {
    let bench = Bench::new();
    bench.edit("one", &["add"], json!({"crash_at_start": true}));
    let program: Program = bench.serve(&[]);
    let address = program.address();
    eventually("not ready", || crate::support::get(address, "/readyz").status == 503);
    bench.edit("two", &["add"], json!({}));
    eventually("ready", || crate::support::get(address, "/readyz").status == 200);
    assert_eq!(crate::support::get(address, "/healthz").status, 200);
}

#[test]
fn a_new_version_that_was_starting_is_no_news_at_the_end() {
    for over_http in [true, false] {
        let bench = Bench::new();
        let mut front = if over_http { bench.serve(&[]) } else { bench.start(&[], &["python3", "child.py", "server.json"]) };
        let _session = if over_http {
            let address = front.address();
            Some(super::session(&front, address))
        } else {
            front.request("1", "initialize", super::CLIENT);
            front.answer("1");
            None
        };
        let (trace, gate) = (bench.path("trace.tmp"), bench.path("gate.tmp"));
        bench.edit("two", &["add"], json!({"gate_initialize": gate, "trace": trace}));
        eventually("the new one starts", || std::fs::read_to_string(&trace).is_ok_and(|text| text.contains("two got initialize")));
        front.signal(Signal::SIGTERM);
        assert!(front.wait().success());
        let said = front.rest_of_stderr();
        assert!(!said.iter().any(|line| line.contains("WARN") || line.contains("ERROR")), "{said:#?}");
    }
}
