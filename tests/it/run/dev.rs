//! `MCP_DEV_MODE=1` in a program that calls `dev()`, which our own demo does.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::{Bench, Client};
use crate::support::{Program, Sse};

/// A copy of the program under test, to be replaced under itself.
fn demo(bench: &Bench) -> std::path::PathBuf {
    let program = bench.path("demo-server");
    // Not by this process: what it has open for writing a child of another test may inherit for a moment, and then nobody can execute it.
    let copied = std::process::Command::new("cp").arg(env!("CARGO_BIN_EXE_mcp-http-transport")).arg(&program).status().unwrap();
    assert!(copied.success());
    program
}

/// What a linker does: another file in place of the old one. The content differs by what is behind its end.
fn rebuild(program: &std::path::Path) {
    let mut bytes = fs::read(program).unwrap();
    bytes.extend(b"rebuilt");
    let fresh = program.with_extension("fresh");
    fs::write(&fresh, bytes).unwrap();
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).unwrap();
    fs::rename(&fresh, program).unwrap();
}

fn start(bench: &Bench, program: &std::path::Path, arguments: &[&str], variables: &[(&str, &str)]) -> Program {
    let mut command = std::process::Command::new(program);
    command.args(arguments).current_dir(&bench.dir).envs(variables.iter().copied());
    // Program::start strips MCP_ variables that the test process has, not those given here.
    Program::start(&mut command)
}

#[test]
fn a_program_in_dev_mode_is_its_own_front_and_reloads_itself() {
    let bench = Bench::new();
    let program = demo(&bench);
    let mut client = Client::new(start(&bench, &program, &["demo"], &[("MCP_DEV_MODE", "1")]));
    client.initialize();
    let tools = client.request("tools/list", "{}");
    for _ in 0..2 {
        rebuild(&program);
        client.program.stderr("reloaded in ");
        assert_eq!(client.request("tools/list", "{}")["result"], tools["result"]);
    }
}

#[test]
fn the_mode_comes_from_the_environment_or_the_file_and_a_child_is_never_a_front() {
    let bench = Bench::new();
    let program = demo(&bench);
    let is_front = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut client = Client::new(start(&bench, &program, arguments, variables));
        client.initialize();
        client.program.close_stdin();
        assert!(client.program.wait().success());
        client.program.rest_of_stderr().iter().filter(|line| line.contains("watching ")).count()
    };
    assert_eq!(is_front(&["demo"], &[]), 0);
    assert_eq!(is_front(&["demo"], &[("MCP_DEV_MODE", "1")]), 1, "one, and none behind it");
    assert_eq!(is_front(&["demo"], &[("MCP_DEV_MODE", "1"), ("MCP_FRONT_CHILD", "1")]), 0);
    bench.write(".env", "MCP_DEV_MODE=1\n");
    assert_eq!(is_front(&["demo"], &[]), 1);
    assert_eq!(is_front(&["demo"], &[("MCP_DEV_MODE", "0")]), 0);
    // `run` before a program in dev mode, with the incumbent's block of variables: the front is `run`, and the only one.
    let block = [("MCP_TRANSPORT", "stdio"), ("MCP_HTTP_HOST", "127.0.0.1"), ("MCP_HTTP_PORT", "0"), ("MCP_DEV_MODE", "1")];
    assert_eq!(is_front(&["run", "--", program.to_str().unwrap(), "demo"], &block), 1);
}

#[test]
fn over_http_with_the_incumbents_block_of_variables() {
    let bench = Bench::new();
    let program = demo(&bench);
    let block = [("MCP_TRANSPORT", "http"), ("MCP_HTTP_HOST", "127.0.0.1"), ("MCP_HTTP_PORT", "0"), ("MCP_DEV_MODE", "1")];
    for arguments in [&["demo"][..], &["run", "--", "./demo-server", "demo"]] {
        let front = start(&bench, &program, arguments, &block);
        let mut session = Sse::open(front.address());
        session.initialize("2025-11-25", "{}");
        let tools = session.call("1", "tools/list", "{}");
        rebuild(&program);
        front.stderr("reloaded in ");
        assert_eq!(session.call("2", "tools/list", "{}")["result"], tools["result"], "the same stream");
    }
}

#[test]
fn by_flag_the_front_listens_and_its_child_does_not() {
    let bench = Bench::new();
    let program = demo(&bench);
    let front = start(&bench, &program, &["demo", "--http", "--host", "127.0.0.1", "-p", "0"], &[("MCP_DEV_MODE", "1")]);
    let mut session = Sse::open(front.address());
    session.initialize("2025-11-25", "{}");
    assert!(session.call("1", "tools/list", "{}")["result"]["tools"].as_array().is_some_and(|tools| !tools.is_empty()));
    assert_eq!(session.call("2", "ping", "{}")["result"], json!({}));
}
