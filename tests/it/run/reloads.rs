//! Edits, good and bad; `reload` and `status`.

use serde_json::{Value, json};

use super::{Bench, CLIENT, session, texts};
use crate::http;

#[test]
fn a_call_made_after_an_edit_is_answered_by_it_and_the_changed_list_is_announced() {
    let bench = Bench::new();
    let mut client = bench.run(&[]);
    let hello = client.initialize();
    assert_eq!(hello["serverInfo"]["name"], "one");
    assert_eq!(hello["capabilities"]["tools"]["listChanged"], true);
    client.request("tools/list", "{}");
    assert_eq!(client.version(), "one");
    for round in 2..6 {
        let name = format!("version {round}");
        bench.edit(&name, &["add", &format!("tool-{round}")], json!({}));
        client.send("tools/call", r#"{"name":"add","arguments":{}}"#);
        // On a busy machine the edit may be live before the call comes; then the notification is the first.
        let (told, answers): (Vec<_>, Vec<_>) =
            (0..2).map(|_| client.program.message()).partition(|message| message.get("method").is_some());
        assert_eq!(texts(&answers[0]), [name]);
        assert_eq!(told[0]["method"], "notifications/tools/list_changed");
        let log = client.program.stderr("reloaded in ");
        assert!(log.contains(&format!("+tool-{round}")) && (round == 2 || log.contains(&format!("-tool-{}", round - 1))), "{log}");
        client.request("tools/list", "{}");
    }
    client.program.close_stdin();
    assert!(client.program.wait().success());
}

#[test]
fn a_broken_edit_leaves_the_old_version_serving_and_says_so_once() {
    let bench = Bench::new();
    let mut client = bench.run(&[]);
    client.initialize();
    assert_eq!(client.version(), "one");
    bench.break_it();
    let told = client.call("add", json!({}));
    assert_eq!((told.len(), told[0].as_str()), (2, "one"), "{told:?}");
    assert!(told[1].contains("is not live") && told[1].contains("SyntaxError: invalid syntax \\u{1b}[31mbroken"), "{told:?}");
    assert_eq!(client.version(), "one", "told once");
    client.program.stderr("keeps serving");
    // Another broken save is another verdict.
    bench.edit("worse", &["add"], json!({"crash_at_start": true}));
    assert!(client.call("add", json!({}))[1].contains("worse"));
    bench.edit("two", &["add"], json!({}));
    assert_eq!(client.version(), "two");
}

#[test]
fn with_no_hold_the_old_version_answers_at_once() {
    let bench = Bench::new();
    let mut client = bench.run(&["--hold", "0"]);
    client.initialize();
    bench.edit("two", &["add"], json!({"slow_start": 1.0}));
    assert_eq!(client.call("add", json!({}))[0], "one");
    client.program.stderr("reloaded in ");
    assert_eq!(client.version(), "two");
}

#[test]
fn every_session_over_http_gets_the_new_version() {
    let bench = Bench::new();
    let program = bench.serve(&[]);
    let address = program.address();
    let mut sessions = [session(&program, address), session(&program, address)];
    let call = r#"{"name":"add","arguments":{}}"#;
    for session in &mut sessions {
        assert_eq!(texts(&session.call("1", "tools/call", call)), ["one"]);
    }
    bench.edit("two", &["add"], json!({}));
    for session in &mut sessions {
        assert_eq!(texts(&session.call("2", "tools/call", call)), ["two"]);
    }
    bench.break_it();
    for session in &mut sessions {
        let told = texts(&session.call("3", "tools/call", call));
        assert_eq!((told.len(), told[0].as_str()), (2, "two"), "{told:?}");
        assert_eq!(texts(&session.call("4", "tools/call", call)), ["two"]);
    }
}

#[test]
fn a_call_in_flight_finishes_on_the_old_version() {
    let bench = Bench::new();
    let mut client = bench.run(&[]);
    client.initialize();
    let gate = bench.path("gate.tmp");
    let slow = client.send("tools/call", &json!({"name": "until", "arguments": {"path": gate}}).to_string());
    assert_eq!(client.version(), "one", "so the slow one is on its way");
    bench.edit("two", &["add"], json!({}));
    assert_eq!(client.version(), "two");
    bench.write("gate.tmp", "");
    assert_eq!(texts(&client.program.answer(&slow)), ["one"]);
}

#[test]
fn an_undone_save_holds_nobody_up_and_is_no_news() {
    let bench = Bench::new();
    // A save that is not undone before it has rested counts, and on a busy machine this thread may wait for longer than a save otherwise rests.
    let mut client = bench.run(&["--debounce", "1s"]);
    client.initialize();
    let path = bench.path("server.json");
    let undo = |client: &mut super::Client| {
        let old = std::fs::read(&path).unwrap();
        std::fs::write(&path, "{}").unwrap();
        let id = client.send("tools/call", r#"{"name":"add","arguments":{}}"#);
        std::fs::write(&path, &old).unwrap();
        texts(&client.program.answer(&id))
    };
    for _ in 0..20 {
        assert_eq!(undo(&mut client), ["one"]);
    }
    bench.break_it();
    assert_eq!(client.call("add", json!({})).len(), 2);
    for _ in 0..20 {
        assert_eq!(undo(&mut client), ["one"], "told already");
    }
    bench.edit("two", &["add"], json!({}));
    assert_eq!(client.version(), "two");
}

#[test]
fn a_reload_that_is_asked_for_says_how_it_ended() {
    let bench = Bench::new();
    let (code, _, said) = bench.ask(&["reload"]);
    assert!(code == Some(2) && said.contains("no front"), "{code:?} {said}");
    let mut client = bench.run(&["--no-watch"]);
    client.initialize();
    let first = client.call("pid", json!({}));
    bench.edit("two", &["add", "sub"], json!({}));
    assert_eq!(client.version(), "one", "nothing is watched");
    client.request("tools/list", "{}");
    let (code, said, _) = bench.ask(&["reload"]);
    assert!(code == Some(0) && said.starts_with("reloaded in ") && said.trim_end().ends_with("+sub"), "{said}");
    assert_eq!(client.version(), "two");
    // Changed or not.
    assert_eq!(bench.ask(&["reload"]).0, Some(0));
    assert_ne!(client.call("pid", json!({})), first);
    bench.break_it();
    let (code, said, _) = bench.ask(&["reload"]);
    assert!(code == Some(1) && said.contains("SyntaxError"), "{said}");
    let (code, said, _) = bench.ask(&["status", "--json"]);
    let status: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((code, &status["pid"], &status["sessions"]), (Some(1), &json!(client.program.child.id()), &json!(1)));
    assert_eq!(status["reloads"].as_array().unwrap().iter().map(|past| past["live"] == true).collect::<Vec<_>>(), [false, true, true]);
    assert!(bench.ask(&["status"]).1.contains("SyntaxError"));
}

#[test]
fn of_several_fronts_the_one_that_is_named_is_meant() {
    let bench = Bench::new();
    let (mut one, mut other) = (bench.run(&[]), bench.run(&[]));
    one.initialize();
    other.initialize();
    let (code, _, said) = bench.ask(&["reload"]);
    assert_eq!(code, Some(2));
    let pids = [one.program.child.id().to_string(), other.program.child.id().to_string()];
    assert!(pids.iter().all(|pid| said.contains(pid)), "{said}");
    assert_eq!(bench.ask(&["reload", "--pid", &pids[0]]).0, Some(0));
    one.program.close_stdin();
    assert!(one.program.wait().success());
    assert_eq!(bench.ask(&["status"]).0, Some(0), "the one that is left");
    // From a directory below as well, and not from one elsewhere.
    let below = |dir: &str| bench.command(&["status"]).current_dir(dir).output().unwrap().status.code();
    std::fs::create_dir(bench.path("below")).unwrap();
    assert_eq!(below(bench.path("below").to_str().unwrap()), Some(0));
    assert_eq!(below("/"), Some(2));
    // One that was killed leaves a socket that is in nobody's way.
    drop(other);
    assert_eq!(bench.ask(&["status"]).0, Some(2));
}

#[test]
fn a_quick_edit_of_an_imported_python_module_is_never_the_old_bytecode() {
    let bench = Bench::new();
    bench.write("value.py", "VALUE = 'v00'\n");
    let source = std::fs::read_to_string(bench.path("child.py")).unwrap();
    bench.write(
        "child.py",
        &source.replace(
            "result = text(get(\"name\"))\n    if name == \"ask\"",
            "import value\n    result = text(value.VALUE)\n    if name == \"ask\"",
        ),
    );
    let mut client = bench.run(&[]);
    client.initialize();
    assert_eq!(client.version(), "v00");
    for round in 1..20 {
        // The same size within the same second: what bytecode files are matched by.
        bench.write("value.py", &format!("VALUE = 'v{round:02}'\n"));
        assert_eq!(client.version(), format!("v{round:02}"));
    }
    assert!(!bench.path("__pycache__").exists());
}

#[cfg(target_os = "linux")]
#[test]
fn the_first_edit_of_any_file_of_a_large_tree_is_known_to_the_next_call() {
    let bench = Bench::new();
    for number in 0..2000 {
        let dir = bench.path(&format!("more/d{}", number % 20));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join(format!("f{number}.py")), "").unwrap();
    }
    let source = std::fs::read_to_string(bench.path("child.py")).unwrap();
    let newest = "import importlib\n    result = text(max(importlib.import_module(f\"more.d{n}.value\").VALUE for n in range(20)))\n    if name == \"ask\"";
    bench.write("child.py", &source.replace("result = text(get(\"name\"))\n    if name == \"ask\"", newest));
    (0..20).for_each(|n| drop(bench.write(&format!("more/d{n}/value.py"), "VALUE = 'v00'\n")));
    let mut client = bench.run(&["--watch", "."]);
    client.initialize();
    assert_eq!(client.version(), "v00");
    for round in 1..10 {
        bench.write(&format!("more/d{round}/value.py"), &format!("VALUE = 'v{round:02}'\n"));
        assert_eq!(client.version(), format!("v{round:02}"));
    }
}

#[test]
fn a_quick_answer_over_streamable_http_is_a_plain_one() {
    let bench = Bench::new();
    let front = bench.serve(&[]);
    let http = http::Client { address: front.address() };
    let headers = [("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream")];
    let initialize = format!(r#"{{"jsonrpc":"2.0","id":0,"method":"initialize","params":{CLIENT}}}"#);
    let answer = http.send("POST", "/mcp", &headers, &initialize);
    let session = answer.header("mcp-session-id").unwrap().to_owned();
    let headers = [headers[0], headers[1], ("Mcp-Session-Id", &session)];
    http.send("POST", "/mcp", &headers, r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    // After a few quick ones the thread that sends a call reads its answer.
    for id in 1..50 {
        let call = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"version","arguments":{{}}}}}}"#);
        let answer = http.send("POST", "/mcp", &headers, &call);
        assert!(!answer.is_stream(), "call {id}");
        assert_eq!(answer.json()["id"], id);
    }
}
