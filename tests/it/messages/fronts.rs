//! What `run` says about its watching, and about a server that does not start or does not last.

use serde_json::json;

use super::{Bench, plain};
use crate::support::Program;

const INITIALIZE: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}"#;

/// What the front says first.
fn first_words(bench: &Bench, flags: &[&str], command: &[&str]) -> String {
    let mut program = bench.start(flags, command);
    let line = program.stderr("watch");
    program.close_stdin();
    program.wait();
    plain([line], bench).remove(0)
}

#[test]
fn what_is_watched_is_said_and_loudly_when_it_is_nothing() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path("empty")).unwrap();
    let child = &["python3", "child.py", "server.json"];
    assert_eq!(first_words(&bench, &[], child), "INFO  watching DIR: 2 files; besides, 1 file of the command");
    assert_eq!(
        first_words(&bench, &["--watch", "child.py"], child),
        "INFO  watching DIR/child.py: 1 file; besides, 2 files of the command"
    );
    bench.write("note.txt", "named, whatever its extension");
    assert_eq!(
        first_words(&bench, &["--watch", "note.txt"], &["cat"]),
        "INFO  watching DIR/note.txt: 1 file; besides, 1 file of the command"
    );
    assert_eq!(first_words(&bench, &["--no-watch"], child), "INFO  watching nothing (--no-watch): `mcp-http-transport reload` reloads");
    let loud =
        "where NO FILE COUNTS: nothing there has one of the extensions that count, or all is ignored; see --watch, --ext and --ignore";
    assert_eq!(
        first_words(&bench, &["--watch", "empty"], &["cat"]),
        format!("WARN  watching DIR/empty, {loud}; besides, 1 file of the command")
    );
    let root = first_words(&bench, &["--cwd", "/"], &["cat"]);
    assert_eq!(
        root,
        "WARN  / is the root of a file system, too much to watch: only the files of the command are; name others with --watch; besides, 1 file of the command"
    );
}

/// One that no client uses yet, which is what whoever tries it first sees.
#[test]
fn a_healthy_front_says_what_it_watches_where_it_listens_and_each_reload() {
    let bench = Bench::new();
    let trace = bench.path("trace.tmp");
    bench.edit("one", &["add"], json!({"trace": trace}));
    let mut program = bench.serve(&[]);
    assert!(program.stderr("").contains("INFO  watching ") && program.stderr("").contains("INFO  listening on http://127.0.0.1:"));
    // What reads its configuration reads it before the next edit.
    let has_started = |name: &str, times: usize| {
        let start = format!("{name} start");
        crate::support::eventually("it is there", || {
            std::fs::read_to_string(&trace).is_ok_and(|text| text.matches(&start).count() == times)
        });
    };
    has_started("one", 1);
    for name in ["two", "three"] {
        bench.edit(name, &["add"], json!({"trace": trace}));
        let said = plain([program.stderr("")], &bench).remove(0);
        assert!(said.starts_with("INFO  reloaded in ") && said.ends_with(" ms"), "{said}");
        // The one that was tried, and the one that waits for the first client.
        has_started(name, 2);
    }
    bench.write("server.json", "{");
    program.stderr("json.decoder.JSONDecodeError");
    let said = plain([program.stderr("")], &bench).remove(0);
    assert_eq!(said, "WARN  the new server did not start: it ended before it was ready: exit status: 1; the old version keeps serving");
    bench.edit("four", &["add"], json!({"trace": trace}));
    program.stderr("reloaded in ");
    has_started("four", 2);
    program.signal(nix::sys::signal::Signal::SIGTERM);
    assert!(program.wait().success());
    assert_eq!(plain(program.rest_of_stderr(), &bench), [super::ENDING]);
}

#[test]
fn what_is_to_come_is_waited_for() {
    let bench = Bench::new();
    let mut program = bench.start(&["--watch", "later"], &["./server"]);
    let lines = [program.stderr("command not found"), program.stderr("later")];
    let wanted = [
        "WARN  ./server: command not found: check the spelling and PATH, or give an absolute path: waiting for it to come",
        "WARN  DIR/later does not exist yet: waiting for it",
    ];
    assert_eq!(plain(lines, &bench), wanted);
    program.close_stdin();
    assert_eq!(program.wait().code(), Some(0));
}

/// The client gets an answer to `initialize` all the same, and in it the reason.
#[test]
fn a_server_that_does_not_start_is_explained_to_person_and_model() {
    let bench = Bench::new();
    bench.write("bad.py", "import sys\nsys.exit('there is no module called mcp')\n");
    let mut program = bench.start(&["--start-timeout", "3s"], &["python3", "bad.py"]);
    program.request("1", "initialize", INITIALIZE);
    let line = program.stderr("did not start");
    assert_eq!(plain([line], &bench), ["ERROR the server did not start: it ended before it was ready: exit status: 1"]);
    let instructions = "The server behind this front does not run: it ended before it was ready: exit status: 1. It is started again as soon as its \
                        files change; its tools appear then.\nthere is no module called mcp";
    assert_eq!(program.answer("1")["result"]["instructions"], instructions);
    program.request("2", "tools/call", r#"{"name":"x"}"#);
    let message = "Internal error: no server could be started in time: it ended before it was ready: exit status: 1\n\
                   there is no module called mcp";
    assert_eq!(program.answer("2")["error"], json!({"code": -32603, "message": message, "data": {"reason": "unavailable"}}));
}

#[test]
fn a_server_that_says_nothing_is_given_up_at_its_deadline() {
    let bench = Bench::new();
    bench.write("deaf.py", "import time\nprint('Listening!', flush=True)\ntime.sleep(60)\n");
    let program = bench.start(&["--start-timeout", "2s"], &["python3", "deaf.py"]);
    let mut program: Program = program;
    program.request("1", "initialize", INITIALIZE);
    let lines = [program.stderr("stdout"), program.stderr("did not start")];
    let wanted = [
        "WARN  dropped: the server wrote to its stdout what is no message: \"Listening!\"",
        "ERROR the server did not start: it did not answer initialize within 2s (--start-timeout)",
    ];
    assert_eq!(plain(lines, &bench), wanted);
}

#[test]
fn a_crash_is_an_error_of_the_call() {
    let bench = Bench::new();
    let mut client = bench.run(&[]);
    client.initialize();
    client.program.request("9", "tools/call", r#"{"name":"crash"}"#);
    let answer = client.program.answer("9");
    let message = answer["error"]["message"].as_str().unwrap().to_owned();
    assert_eq!(answer["error"], json!({"code": -32603, "message": message, "data": {"reason": "crashed"}}));
    assert!(message.starts_with("Internal error: the server crashed: "), "{message}");
    client.program.stderr("the server has ended by itself: ");
}

#[test]
fn several_fronts_are_listed_for_the_one_who_meant_one() {
    let bench = Bench::new();
    let mut fronts = [bench.start(&[], &["cat"]), bench.start(&[], &["cat"])];
    for front in &mut fronts {
        front.stderr("watching");
    }
    let mut pids: Vec<u32> = fronts.iter().map(|front| front.child.id()).collect();
    pids.sort_unstable();
    let seen = || {
        let (code, text) = super::said(&bench, &["status"], &[]);
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.get_mut(1..).unwrap_or_default().sort();
        (code, lines)
    };
    // The second one's socket comes a moment after its first words.
    crate::support::eventually("both are there", || seen().1.len() == 3);
    let (code, lines) = seen();
    let wanted: Vec<String> = pids.iter().map(|pid| format!("ERROR   --pid {pid}  DIR  cat")).collect();
    assert_eq!((code, lines[0].as_str()), (Some(2), "ERROR several fronts are running here, say which with --pid:"));
    assert!(wanted.iter().all(|line| lines[1..].contains(line)), "{lines:?}");
    let (code, text) = super::said(&bench, &["reload", "--pid", "1"], &[]);
    assert_eq!((code, text.lines().next()), (Some(2), Some("ERROR no front is running with --pid 1; there are:")));
}
