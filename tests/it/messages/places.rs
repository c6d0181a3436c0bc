//! Files, ports, programs, and fronts that are not there.

use std::net::TcpListener;

use nix::sys::signal::Signal;

use super::{Bench, ENDING, compare, plain, said};
use crate::support::{Http, Program, Sse, get, request};

/// Command line, variables, exit status, and what is said.
const MISSING: &[(&str, &str, i32, &str)] = &[
    (
        "demo --http -p 0",
        "MCP_HTTP_TOKEN_FILE=token.txt",
        1,
        "mcp-http-transport: cannot read what MCP_HTTP_TOKEN_FILE names, token.txt: No such file or directory (os error 2)",
    ),
    ("run --env-file vars -- cat", "", 1, "ERROR cannot read what --env-file names, DIR/vars: No such file or directory (os error 2)"),
    ("run --cwd nowhere -- cat", "", 2, "ERROR --cwd is \"DIR/nowhere\": it must be a directory that exists"),
    ("run -- nosuchprogram", "", 127, "ERROR nosuchprogram: command not found: check the spelling and PATH, or give an absolute path"),
    (
        "run child.py",
        "",
        127,
        "ERROR child.py: command not found, but it is a file here: name its interpreter before it, or say ./child.py",
    ),
    (
        "config cursor -- nosuchprogram",
        "",
        127,
        "mcp-http-transport: nosuchprogram: command not found: check the spelling and PATH, or give an absolute path",
    ),
    (
        "run --no-watch -- ./server.json",
        "",
        126,
        "ERROR ./server.json cannot be executed: Permission denied (os error 13): set its executable bit (chmod +x), or name its interpreter before it",
    ),
    ("run --no-watch -- .", "", 126, "ERROR . cannot be executed: is a directory: name the program in it"),
    (
        "demo --http --host 203.0.113.7 -p 80 --insecure",
        "",
        1,
        "ERROR cannot listen on 203.0.113.7:80: Cannot assign requested address (os error 99): it is no address of this machine, \
         as localhost and 0.0.0.0 always are",
    ),
    ("reload", "", 2, "ERROR no front is running: start one with `mcp-http-transport run`"),
    ("status", "", 2, "ERROR no front is running: start one with `mcp-http-transport run`"),
];

#[test]
fn what_is_not_there_is_named() {
    compare(&Bench::new(), MISSING.iter().map(|(line, variables, code, text)| (*line, *variables, *code, (*text).to_owned())));
}

#[test]
fn a_taken_port_is_named_with_the_ways_out() {
    let bench = Bench::new();
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port().to_string();
    let (code, text) = said(&bench, &["demo", "--http", "-p", &port], &[]);
    let wanted = format!(
        "ERROR port {port} is taken: set MCP_HTTP_PORT or --port to another one (0 takes any free one), or find the holder with lsof -ti:{port}"
    );
    assert_eq!((code, text), (Some(1), wanted));
}

#[test]
fn a_server_that_is_not_up_is_not_healthy() {
    let bench = Bench::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, text) = said(&bench, &["healthcheck", &format!("http://{free}")], &[]);
    let wanted =
        format!("ERROR http://{free}/healthz is not healthy: Connection refused (os error 111): is the server running, and on this port?");
    assert_eq!((code, text), (Some(1), wanted));
}

#[test]
fn https_without_the_feature_says_how_to_get_it() {
    if cfg!(feature = "tls") {
        return;
    }
    let bench = Bench::new();
    let (code, text) = said(&bench, &["connect", "https://localhost/mcp"], &[]);
    let wanted = "ERROR this build speaks http only: install one that speaks https with cargo install mcp-http-transport --features tls";
    assert_eq!((code, text.as_str()), (Some(2), wanted));
    let (code, text) = said(&bench, &["config", "cursor", "--", "https://localhost/mcp"], &[]);
    assert_eq!(code, Some(0));
    assert!(text.contains("This build speaks http only: connect to https needs one with --features tls."), "{text}");
}

/// On a terminal nobody speaks MCP.
#[test]
fn a_person_at_a_terminal_is_told_in_one_line() {
    let bench = Bench::new();
    // The program becomes the server, and keeps the other end of its terminal open.
    let script = "import os, pty, sys\nmaster, slave = pty.openpty()\nos.set_inheritable(master, True)\nos.dup2(slave, 0)\nos.execv(sys.argv[1], sys.argv[1:])";
    let mut command = std::process::Command::new("python3");
    command.args(["-c", script, env!("CARGO_BIN_EXE_mcp-http-transport"), "demo"]).current_dir(&bench.dir);
    let mut program = Program::start(&mut command);
    let line = program.stderr("");
    program.signal(Signal::SIGTERM);
    assert_eq!(program.wait().code(), Some(0));
    let lines: Vec<String> = std::iter::once(line).chain(program.rest_of_stderr()).collect();
    let wanted =
        "WARN  this is a server on stdin and stdout, for an MCP client to start; to try it by hand, use --http (MCP_TRANSPORT=http)";
    assert_eq!(plain(lines, &bench), [wanted, ENDING]);
}

/// The first one waits for a call, the second does not.
#[test]
fn a_second_interrupt_ends_at_once() {
    let bench = Bench::new();
    let mut program =
        Program::start(bench.command(&["demo", "--http", "--host", "127.0.0.1", "-p", "0", "--grace", "60s"]).env("MCP_LOG", "info"));
    let address = program.address();
    let session = Sse::open(address);
    session.request("1", "tools/call", r#"{"name":"slow","arguments":{"seconds":60,"steps":60}}"#);
    let mut kept = Http::connect(address);
    assert_eq!(kept.exchange(request("GET", "/readyz", "", "")).status, 200);
    program.signal(Signal::SIGINT);
    crate::support::eventually("it ends", || get(address, "/readyz").status == 503);
    program.signal(Signal::SIGINT);
    assert_eq!(program.wait().code(), Some(130));
    let lines = plain(program.rest_of_stderr(), &bench);
    assert_eq!(lines, ["INFO  ending: running calls get up to 60s; a second Ctrl-C ends at once"]);
}
