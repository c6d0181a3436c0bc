//! What the system gives runs out: disk, descriptors, threads; and the clock jumps. Who is there goes on, and when there is enough again so do the others.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;

use super::{Bench, Client, session, texts};
use crate::support::{Http, Program, eventually, request};

const ADD: &str = r#"{"name":"add","arguments":{}}"#;

/// A file system of 64 KiB on `path`; gone when dropped. None where that is not allowed.
struct Small(std::path::PathBuf);

impl Small {
    fn mount(path: std::path::PathBuf) -> Option<Small> {
        fs::create_dir(&path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k", "none"]).arg(&path).stderr(Stdio::null());
        let is_mounted = mount.status().is_ok_and(|status| status.success());
        if !is_mounted {
            eprintln!("not tested: a small file system cannot be mounted");
        }
        is_mounted.then_some(Small(path))
    }

    fn fill(&self) {
        let filled = fs::write(self.0.join("filler"), vec![0; 1 << 20]);
        assert_eq!(filled.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
    }

    fn empty(&self) {
        fs::remove_file(self.0.join("filler")).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        drop(Command::new("umount").arg(&self.0).status());
    }
}

#[test]
fn no_disk_for_a_build_is_told_and_the_next_one_that_has_some_is_live() {
    let bench = Bench::new();
    let Some(small) = Small::mount(bench.path("small")) else { return };
    bench.write("source.toml", r#"{"name":"one","tools":["add"]}"#);
    bench.script("build.sh", "set -e\nhead -c 20000 /dev/zero >small/object.tmp\ncp source.toml server.json\n");
    let mut client = bench.run(&["--build", "./build.sh"]);
    client.initialize();
    assert_eq!(client.version(), "one");
    fs::remove_file(bench.path("small/object.tmp")).unwrap();
    small.fill();
    bench.write("source.toml", r#"{"name":"two","tools":["add"]}"#);
    let told = client.call("add", json!({}));
    assert!(told[0] == "one" && told[1].contains("No space left on device"), "{told:?}");
    assert_eq!(client.version(), "one", "it goes on");
    small.empty();
    assert_eq!(bench.ask(&["reload"]).0, Some(0));
    assert_eq!(client.version(), "two");
}

/// The directories for the key and for the control socket cannot be written to: a full disk, and a place where nothing can be created.
#[test]
fn without_a_place_for_its_own_files_it_serves() {
    let bench = Bench::new();
    let small = Small::mount(bench.path("small"));
    small.iter().for_each(Small::fill);
    let full = small.as_ref().map(|small| small.0.clone());
    for place in [Some("/proc/nowhere".into()), full].into_iter().flatten() {
        let mut command = bench.command(&["run", "--", "python3", "child.py", "server.json"]);
        command.env("XDG_STATE_HOME", &place).env("XDG_RUNTIME_DIR", &place).env("TMPDIR", &place).env("HOME", &place);
        let mut client = Client::new(Program::start(&mut command));
        client.initialize();
        assert_eq!(client.version(), "one");
        bench.edit("two", &["add"], json!({}));
        assert_eq!(client.version(), "two");
        client.program.close_stdin();
        assert!(client.program.wait().success());
        bench.edit("one", &["add"], json!({}));
    }
}

/// The front, started by `wrapper` and with `limits` set by its shell.
fn limited(bench: &Bench, limits: &str, wrapper: &str) -> Program {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{limits}\nexec {wrapper} \"$0\" \"$@\"")).arg(env!("CARGO_BIN_EXE_mcp-http-transport"));
    command.args([
        "run",
        "--http",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--keep-alive",
        "200ms",
        "--",
        "python3",
        "child.py",
        "server.json",
    ]);
    command.current_dir(&bench.dir).env("XDG_RUNTIME_DIR", bench.dir.with_file_name("run"));
    Program::start(&mut command)
}

/// Ticks of the processor that a process has used; there are a hundred a second.
fn ticks(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn out_of_descriptors_clients_go_on_and_the_listener_does_not_spin() {
    let bench = Bench::new();
    // Enough for the servers of both sessions to be started beside the old ones at the same time.
    let program = limited(&bench, "ulimit -n 56", "");
    let address = program.address();
    let mut first = session(&program, address);
    let gate = bench.path("gate.tmp");
    first.request("1", "tools/call", &json!({"name": "until", "arguments": {"path": gate}}).to_string());
    assert_eq!(texts(&first.call("2", "tools/call", ADD)), ["one"]);
    let mut other = Client::new(program);
    other.initialize();
    assert_eq!(other.version(), "one");
    let descriptors = |program: &Program| fs::read_dir(format!("/proc/{}/fd", program.child.id())).unwrap().count();
    let without_crowd = descriptors(&other.program);
    // Streams are not closed for newcomers: they take all there is.
    let mut crowd: Vec<_> = (0..60).map(|_| Http::sending(address, request("GET", "/sse", "", ""))).collect();
    other.program.stderr("cannot accept a connection");
    for _ in 0..50 {
        assert_eq!(other.version(), "one");
    }
    bench.write("gate.tmp", "");
    assert_eq!(texts(&first.answer("1")), ["one"]);
    // A reload needs descriptors: there may be some, as there are when a connection has just ended.
    bench.edit("two", &["add"], json!({}));
    let answer = other.call("add", json!({}));
    assert!(answer == ["two"] || (answer[0] == "one" && answer[1].contains("is not live")), "{answer:?}");
    let program = &other.program;
    // For a second nothing happens but that the listener tries again, and the watcher looks.
    let (begun, before) = (Instant::now(), ticks(program.child.id()));
    while begun.elapsed() < Duration::from_secs(1) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let used = ticks(program.child.id()) - before;
    eprintln!("{used} ticks in a second");
    assert!(used < 30, "{used} ticks in a second");
    crowd.clear();
    // Before that there may be some for one session's server and none for the other's.
    eventually("the crowd has left", || descriptors(&other.program) <= without_crowd);
    // What failed for want of descriptors is tried again when asked for.
    eventually("reloaded", || bench.ask(&["reload"]).0 == Some(0));
    assert_eq!(other.version(), "two");
    assert_eq!(texts(&session(&other.program, address).call("1", "tools/call", ADD)), ["two"]);
    assert_eq!(texts(&first.call("3", "tools/call", ADD)), ["two"]);
}

/// The system bounds the threads of any user but root: see `survive`.
#[test]
fn out_of_threads_clients_go_on() {
    let has_setpriv = Command::new("setpriv").arg("--version").output().is_ok_and(|output| output.status.success());
    if !nix::unistd::geteuid().is_root() || !has_setpriv {
        eprintln!("not tested: it takes root and setpriv");
        return;
    }
    let bench = Bench::new();
    // A user of its own: the bound is for all processes of a user.
    let program = limited(&bench, "", "prlimit --nproc=40 setpriv --reuid=65533 --clear-groups");
    let address = program.address();
    let mut first = session(&program, address);
    assert_eq!(texts(&first.call("1", "tools/call", ADD)), ["one"]);
    let crowd: Vec<_> = (0..100).map(|_| Http::sending(address, request("GET", "/sse", "", ""))).collect();
    program.stderr("cannot start a thread for a connection");
    drop(crowd);
    eventually("the crowd's threads are gone", || {
        let body = format!(r#"{{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{ADD}}}"#);
        let mut http = Http::connect(address);
        let posted = http.send(request("POST", &first.path, "Content-Type: application/json\r\n", &body)).try_response();
        posted.is_some_and(|answer| answer.status == 202) && texts(&first.answer("2")) == ["one"]
    });
    bench.edit("two", &["add"], json!({}));
    assert_eq!(texts(&first.call("3", "tools/call", ADD)), ["two"]);
    assert_eq!(texts(&session(&program, address).call("1", "tools/call", ADD)), ["two"]);
}

/// The clock of files jumps: what counts is the content. (We measure time by a clock that does not jump.)
#[test]
fn the_clock_of_files_jumps() {
    let bench = Bench::new();
    let mut client = bench.run(&[]);
    client.initialize();
    assert_eq!(client.version(), "one");
    let day = Duration::from_secs(24 * 60 * 60);
    let now = SystemTime::now();
    for (number, time) in [now + 4000 * day, now - 4000 * day, SystemTime::UNIX_EPOCH, now + day, now].into_iter().enumerate() {
        // The same size each time, and in place.
        let name = format!("v{number}0");
        bench.edit(&name, &["add"], json!({}));
        fs::File::options().write(true).open(bench.path("server.json")).unwrap().set_modified(time).unwrap();
        assert_eq!(client.version(), name);
        // Another time alone is no edit.
        let server = client.call("pid", json!({}));
        fs::File::options().write(true).open(bench.path("server.json")).unwrap().set_modified(time + day).unwrap();
        assert_eq!(client.call("pid", json!({})), server);
    }
}
