//! Ends that are no good ones: the reader of stdout is gone, stdin closes in the middle of a line, nothing stops when asked to, a second Ctrl-C. Whatever
//! happens, the program ends within eight seconds, says how, and leaves no process behind.

use std::io::Write as _;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use super::{Bench, CLIENT, Client, is_dead, session};
use crate::http;
use crate::support::{Program, eventually, request, spawn};

/// How long an end may take, grace period and all: eight seconds, and two for a machine that has much else to do.
const END: Duration = Duration::from_secs(10);

/// The exit status, which comes in time.
fn status(program: &mut Program) -> Option<i32> {
    let deadline = Instant::now() + END;
    loop {
        if let Some(status) = program.child.try_wait().unwrap() {
            return status.code();
        }
        assert!(Instant::now() < deadline, "it has not ended within {END:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The same of a child whose stdout nobody reads.
fn ends(child: &mut std::process::Child) -> std::process::ExitStatus {
    let deadline = Instant::now() + END;
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return status,
            None if Instant::now() > deadline => {
                child.kill().unwrap();
                panic!("it has not ended within {END:?}");
            }
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// A front before a server that ends only when it is killed, with a call in flight that never ends.
fn stubborn(bench: &Bench, flags: &[&str]) -> (Client, String) {
    bench.edit("one", &["add"], json!({"hang_on_stop": true}));
    let mut client = bench.run(flags);
    client.initialize();
    let server = client.call("pid", json!({}))[0].clone();
    client.send("tools/call", r#"{"name":"hang","arguments":{}}"#);
    client.version();
    (client, server)
}

/// A stubborn front, the demo, and a `connect` before another one; with each what has to live as long.
fn all(bench: &Bench) -> ([(Client, Option<Program>); 3], String) {
    let client = |arguments: &[&str]| {
        let mut client = Client::new(Program::binary(arguments, &[]));
        client.initialize();
        client
    };
    let upstream = Program::binary(&["demo", "--http", "--host", "127.0.0.1", "--port", "0"], &[]);
    let connected = client(&["connect", &format!("http://{}/mcp", upstream.address())]);
    let (front, server) = stubborn(bench, &["--stop-timeout", "1s"]);
    ([(front, None), (client(&["demo"]), None), (connected, Some(upstream))], server)
}

#[test]
fn the_reader_of_stdout_is_gone() {
    let bench = Bench::new();
    let (all, server) = all(&bench);
    for (mut client, _upstream) in all {
        client.program.close_stdout();
        // The reader hangs up when the first answer comes; the next one finds nobody.
        let begun = Instant::now();
        eventually("it ends", || {
            client.program.try_line(r#"{"jsonrpc":"2.0","id":1001,"method":"ping"}"#);
            client.program.child.try_wait().unwrap().is_some()
        });
        assert!(begun.elapsed() < END);
        assert_eq!(status(&mut client.program), Some(1));
        client.program.stderr("the client on stdio is gone");
    }
    assert!(is_dead(&server));
}

#[test]
fn stdin_closes_in_the_middle_of_a_line() {
    let bench = Bench::new();
    let (all, server) = all(&bench);
    for (mut client, _upstream) in all {
        let id = client.send("ping", "{}");
        client.program.write(br#"{"jsonrpc":"2.0","id":77,"method":"tools/ca"#);
        client.program.close_stdin();
        assert_eq!(client.program.answer(&id)["result"], json!({}));
        assert_eq!(status(&mut client.program), Some(0));
        // Half a line is no request: it may be said that it is none.
        while let Some(line) = client.program.raw() {
            assert!(!line.contains("77"), "{line}");
        }
    }
    assert!(is_dead(&server));
}

#[test]
fn nothing_stops_when_it_is_asked_to() {
    for signal in [None, Some(Signal::SIGTERM)] {
        let bench = Bench::new();
        let (mut client, server) = stubborn(&bench, &[]);
        let hung = client.send("tools/call", r#"{"name":"hang","arguments":{}}"#);
        client.version();
        match signal {
            None => client.program.close_stdin(),
            Some(signal) => client.program.signal(signal),
        }
        assert_eq!(status(&mut client.program), Some(0), "{signal:?}");
        assert_eq!(client.program.answer(&hung)["error"]["data"]["reason"], "unavailable");
        assert!(is_dead(&server));
    }
}

/// An open POST gets an error, or is closed at the end of the grace period; a stream that nobody reads holds nobody up.
#[test]
fn over_http_whoever_waits_is_told_or_closed() {
    let bench = Bench::new();
    bench.edit("one", &["add"], json!({"hang_on_stop": true}));
    let mut front = bench.serve(&[]);
    let mut demo = Program::binary(&["demo", "--http", "--host", "127.0.0.1", "--port", "0"], &[]);
    for (program, tool) in [
        (&mut front, json!({"name": "hang", "arguments": {}})),
        (&mut demo, json!({"name": "slow", "arguments": {"seconds": 600, "steps": 1}})),
    ] {
        let address = program.address();
        let unread = session(program, address);
        unread.send(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": tool}).to_string());
        let begun = http::Client { address }.send(
            "POST",
            "/mcp",
            &[("Content-Type", "application/json")],
            &json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": serde_json::from_str::<serde_json::Value>(CLIENT).unwrap()})
                .to_string(),
        );
        let id = begun.header("mcp-session-id").unwrap().to_owned();
        let headers = format!("Content-Type: application/json\r\nMcp-Session-Id: {id}\r\n");
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": tool}).to_string();
        let waiting = spawn(move || {
            let mut post = crate::support::Http::sending(address, request("POST", "/mcp", &headers, &body));
            post.rest()
        });
        // It is under way when another one is answered.
        let mut other = session(program, address);
        other.call("1", "ping", "{}");
        program.signal(Signal::SIGTERM);
        assert_eq!(status(program), Some(0));
        let got = String::from_utf8(waiting.join().unwrap()).unwrap();
        assert!(got.is_empty() || got.contains("-32603") || got.contains(" 503 "), "{got}");
    }
}

/// What waits for a client that does not read its answers waits no longer than the grace period.
#[test]
fn a_client_that_does_not_read_stdout_does_not_hold_up_the_end() {
    let bench = Bench::new();
    bench.edit("one", &["add"], json!({"describe": "x".repeat(100_000)}));
    let mut front = bench.command(&["run", "--grace", "1s", "--", "python3", "child.py", "server.json"]);
    let mut demo = bench.command(&["demo", "--grace", "1s"]);
    let echo = format!(r#""method":"tools/call","params":{{"name":"echo","arguments":{{"message":"{}"}}}}"#, "x".repeat(100_000));
    for (command, long) in [(&mut front, r#""method":"tools/list""#), (&mut demo, &echo)] {
        let long = long.to_owned();
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let sent = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&sent);
        let writer = spawn(move || {
            let hello = format!(r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{CLIENT}}}"#);
            stdin.write_all(format!("{hello}\n").as_bytes()).unwrap();
            for id in 1.. {
                if stdin.write_all(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},{long}}}\n").as_bytes()).is_err() {
                    return;
                }
                count.fetch_add(1, Ordering::SeqCst);
            }
        });
        let mut last = 0;
        eventually("it is stuck", || {
            std::thread::sleep(Duration::from_millis(300));
            let now = sent.load(Ordering::SeqCst);
            std::mem::replace(&mut last, now) == now && now > 0
        });
        let pid = nix::unistd::Pid::from_raw(child.id() as i32);
        nix::sys::signal::kill(pid, Signal::SIGTERM).unwrap();
        assert!(ends(&mut child).success());
        writer.join().unwrap();
    }
}

/// Nor does one that does not read its answers and then closes stdin: each of its calls would wait for room, one after the other.
#[test]
fn a_client_that_does_not_read_stdout_and_closes_stdin_does_not_hold_up_the_end() {
    let bench = Bench::new();
    bench.edit("one", &["add"], json!({"describe": "x".repeat(50_000)}));
    let upstream = Program::binary(&["demo", "--http", "--host", "127.0.0.1", "--port", "0"], &[]);
    let url = format!("http://{}/mcp", upstream.address());
    let echo = format!(r#""method":"tools/call","params":{{"name":"echo","arguments":{{"message":"{}"}}}}"#, "x".repeat(50_000));
    let run: &[&str] = &["run", "--", "python3", "child.py", "server.json"];
    for (arguments, long) in [(run, r#""method":"tools/list""#), (&["demo"], &echo), (&["connect", &url], &echo)] {
        let mut command = bench.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(format!("{{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{CLIENT}}}\n").as_bytes()).unwrap();
        // More than the queue holds, fewer than may wait.
        for id in 1..=150 {
            stdin.write_all(format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},{long}}}\n").as_bytes()).unwrap();
        }
        drop(stdin);
        assert!(ends(&mut child).success(), "{arguments:?}");
    }
}

#[test]
fn a_second_ctrl_c_ends_at_once() {
    let bench = Bench::new();
    let (all, server) = all(&bench);
    for (mut client, _upstream) in all {
        // A call that goes on through the grace period; the stubborn one has had one.
        let slow = r#"{"name":"slow","arguments":{"seconds":100,"steps":1000},"_meta":{"progressToken":1}}"#;
        client.send("tools/call", slow);
        // It runs when it says something.
        client.notification();
        // Two at the same moment may count as one.
        eventually("it ends", || {
            client.program.signal(Signal::SIGINT);
            client.program.child.try_wait().unwrap().is_some()
        });
        assert_eq!(status(&mut client.program), Some(130));
    }
    eventually("the server dies with it", || is_dead(&server));
}
