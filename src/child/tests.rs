//! Children that behave and children that do not. Every wait has a deadline, and only processes started here are ended.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};

use super::*;

/// No test waits longer for anything; none that passes waits nearly as long.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);
/// A rung that is never reached by a child that does what it should.
const LONG: Duration = Duration::from_secs(60);
const GENTLE: Ladder = Ladder { close_stdin_wait: LONG, term_wait: LONG };
const AT_ONCE: Ladder = Ladder { close_stdin_wait: Duration::ZERO, term_wait: Duration::ZERO };

/// A directory of its own for one test, removed at its end.
pub(super) struct TempDir(PathBuf);

impl TempDir {
    pub(super) fn new(name: &str) -> TempDir {
        let dir = std::env::temp_dir().join(format!("mcp-http-transport-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        TempDir(dir)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(super) fn command(program: &str, args: &[&str]) -> CommandLine {
    CommandLine { program: program.into(), args: args.iter().map(OsString::from).collect(), cwd: std::env::temp_dir(), env: Vec::new() }
}

pub(super) fn sh(script: &str) -> CommandLine {
    command("/bin/sh", &["-c", script])
}

/// A child whose events arrive in a channel.
pub(super) struct Running {
    pub(super) child: Child,
    events: Receiver<ChildEvent>,
    stderr: VecDeque<String>,
}

impl Running {
    pub(super) fn start(spawner: &Spawner, line: &CommandLine) -> Running {
        // Larger than any test fills it: the callback must not block.
        let (sender, events) = bounded(100_000);
        let child = spawner.spawn(line, move |event| assert!(!sender.try_send(event).is_err_and(|error| error.is_full()))).unwrap();
        Running { child, events, stderr: VecDeque::new() }
    }

    fn event(&self) -> ChildEvent {
        self.events.recv_timeout(DEADLINE).expect("an event before the deadline")
    }

    /// The next line of stdout.
    pub(super) fn line(&mut self) -> String {
        loop {
            match self.event() {
                ChildEvent::Line(line) => return line,
                ChildEvent::Stderr(line) => self.stderr.push_back(line),
                other => panic!("{other:?} in place of a line"),
            }
        }
    }

    /// The last event, with nothing behind it.
    pub(super) fn exit(&mut self) -> Exit {
        loop {
            if let ChildEvent::Exited(exit) = self.event() {
                // The callback is dropped after it, and the channel's end is all that follows.
                assert!(self.events.recv_timeout(DEADLINE).is_err_and(|error| error.is_disconnected()));
                return exit;
            }
        }
    }

    pub(super) fn pid(&self) -> i32 {
        self.child.pid() as i32
    }
}

pub(super) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "not before the deadline: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Gone altogether, or a zombie that somebody else is to reap.
pub(super) fn is_dead(pid: i32) -> bool {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.rsplit_once(')').is_some_and(|(_, rest)| rest.starts_with(" Z")),
        Err(_) => true,
    }
}

fn spawner() -> Spawner {
    Spawner::with(None, false).unwrap()
}

#[test]
fn lines_go_in_and_come_out_in_order() {
    let spawner = spawner();
    let mut cat = Running::start(&spawner, &command("cat", &[]));
    assert!(cat.child.is_running() && cat.child.wait(Duration::ZERO).is_none());
    for number in 0..500 {
        cat.child.send(&format!("{{\"id\":{number}}}")).unwrap();
    }
    for number in 0..500 {
        assert_eq!(cat.line(), format!("{{\"id\":{number}}}"));
    }
    cat.child.close_stdin();
    assert!(matches!(cat.child.send("late"), Err(SendError::Closed)));
    let exit = cat.exit();
    assert!(exit.status.unwrap().success() && !exit.stopped && exit.exec_error().is_none());
    assert!(!cat.child.is_running());
    assert!(!Path::new(&format!("/proc/{}", cat.pid())).exists(), "reaped");
}

#[test]
fn a_child_is_alone_in_its_group_and_gets_its_own_environment_and_directory() {
    let (spawner, dir) = (spawner(), TempDir::new("child-surroundings"));
    let mut line = sh("echo $$ $(ps -o pgid= -p $$); echo \"$MCP_FRONT_CHILD $GIVEN\"; pwd; echo \"$0\"; echo \"$1\"");
    line.args.extend(["a b;c".into(), "$HOME *".into()]);
    line.cwd = dir.path().canonicalize().unwrap();
    line.env = vec![("GIVEN".into(), "yes".into())];
    let mut child = Running::start(&spawner, &line);
    assert_eq!(child.line(), format!("{0} {0}", child.pid()));
    assert_eq!(child.line(), "1 yes");
    assert_eq!(child.line(), line.cwd.to_str().unwrap());
    assert_eq!((child.line(), child.line()), ("a b;c".to_owned(), "$HOME *".to_owned()), "no shell reads the arguments");
    child.exit();
}

#[test]
fn a_crash_at_start_brings_the_end_of_stderr() {
    let mut child = Running::start(&spawner(), &sh("echo 'Traceback: no module' >&2; printf 'no end' >&2; exit 3"));
    let exit = child.exit();
    assert_eq!(exit.status.unwrap().code(), Some(3));
    assert_eq!(exit.stderr_tail, "Traceback: no module\nno end");
    assert_eq!(child.child.stderr_tail(), exit.stderr_tail);
    assert_eq!(child.child.wait(DEADLINE).unwrap().to_string(), "exit status: 3");
}

#[test]
fn everything_said_before_the_end_arrives_before_the_exit() {
    let mut child = Running::start(&spawner(), &sh("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; exit 7"));
    for number in 0..20000 {
        assert_eq!(child.line(), format!("line {number}"));
    }
    assert_eq!(child.exit().status.unwrap().code(), Some(7));
}

#[test]
fn a_slow_callback_still_gets_what_was_written_before_the_end() {
    let (sender, events) = bounded(10_000);
    let (open, gate) = bounded::<()>(0);
    let on_event = move |event| {
        // Holds the reader at the first line until the gate is opened, by dropping its other side.
        let _ = gate.recv_timeout(DEADLINE);
        assert!(!sender.try_send(event).is_err_and(|error| error.is_full()));
    };
    let child = spawner().spawn(&sh("i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done"), on_event).unwrap();
    let stat = format!("/proc/{}", child.pid());
    until("it is reaped", || !Path::new(&stat).exists());
    drop(open);
    for number in 0..5000 {
        assert!(matches!(events.recv_timeout(DEADLINE), Ok(ChildEvent::Line(line)) if line == format!("line {number}")), "{number}");
    }
    assert!(matches!(events.recv_timeout(DEADLINE), Ok(ChildEvent::Exited(_))));
}

#[test]
fn that_a_child_closes_its_stdout_is_told_when_it_runs_on() {
    let spawner = spawner();
    let mut child = Running::start(&spawner, &sh("echo up; exec >&-; cat >/dev/null"));
    assert_eq!(child.line(), "up");
    assert!(matches!(child.event(), ChildEvent::Muted));
    child.child.stop(GENTLE);
    assert!(child.exit().status.unwrap().success());
}

#[test]
fn a_polite_child_is_stopped_by_closing_its_stdin() {
    let mut child = Running::start(&spawner(), &sh("cat; exit 5"));
    child.child.send("last words").unwrap();
    child.child.stop(GENTLE);
    child.child.stop(GENTLE);
    assert_eq!(child.line(), "last words", "what was sent is delivered first");
    let exit = child.exit();
    assert!(exit.stopped && exit.status.unwrap().code() == Some(5));
    child.child.stop(GENTLE);
}

#[test]
fn a_child_that_ignores_its_stdin_gets_a_sigterm() {
    let mut child = Running::start(&spawner(), &sh("trap 'echo bye; exit 6' TERM; echo up; while :; do sleep 0.05; done"));
    assert_eq!(child.line(), "up");
    child.child.stop(Ladder { close_stdin_wait: Duration::ZERO, term_wait: LONG });
    assert_eq!(child.line(), "bye");
    assert_eq!(child.exit().status.unwrap().code(), Some(6));
}

#[test]
fn a_child_that_ignores_sigterm_is_killed_and_a_second_stop_can_be_shorter() {
    let mut child = Running::start(&spawner(), &sh("trap '' TERM; echo up; while :; do sleep 0.05; done"));
    assert_eq!(child.line(), "up");
    child.child.stop(GENTLE);
    child.child.stop(AT_ONCE);
    assert_eq!(child.exit().to_string(), "signal: 9 (SIGKILL)");
}

#[test]
fn dropping_the_handle_kills_the_whole_group() {
    let spawner = spawner();
    let mut child = Running::start(&spawner, &sh("trap '' TERM HUP; sleep 60 & echo $!; wait"));
    let (main, other) = (child.pid(), child.line().parse().unwrap());
    let Running { child, events, .. } = child;
    drop(child);
    assert!(matches!(events.recv_timeout(DEADLINE), Ok(ChildEvent::Exited(exit)) if exit.stopped));
    assert!(is_dead(main));
    until("the group ends", || is_dead(other));
}

#[test]
fn a_child_that_ends_takes_its_group_along() {
    let mut child = Running::start(&spawner(), &sh("sleep 60 & echo $!; exit 0"));
    let other = child.line().parse().unwrap();
    child.exit();
    until("the group ends", || is_dead(other));
}

#[test]
fn a_child_that_does_not_read_never_blocks_us_and_gets_everything_in_order_later() {
    let dir = TempDir::new("child-deaf");
    let gate = dir.path().join("gate");
    let script = format!("echo up; while [ ! -e {} ]; do sleep 0.02; done; exec cat", gate.display());
    let mut child = Running::start(&spawner(), &sh(&script));
    assert_eq!(child.line(), "up");
    let filler = "x".repeat(10_000);
    let mut sent = 0;
    let refused = loop {
        match child.child.send(&format!("{sent} {filler}")) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, SendError::Full), "{refused:?}");
    assert!(sent > 1024, "the queue and the pipe: {sent}");
    assert!(matches!(child.child.send(&"x".repeat(65 << 20)), Err(SendError::Full)), "more than any queue");
    child.child.close_stdin();
    fs::write(gate, "").unwrap();
    for number in 0..sent {
        assert_eq!(child.line(), format!("{number} {filler}"));
    }
    assert!(child.exit().status.unwrap().success());
}

#[test]
fn a_child_that_dies_with_a_full_queue_is_reported_like_any_other() {
    let mut child = Running::start(&spawner(), &sh("echo up; trap '' TERM; while :; do sleep 0.05; done"));
    assert_eq!(child.line(), "up");
    child.child.send(&"x".repeat(1 << 20)).unwrap();
    child.child.stop(AT_ONCE);
    child.exit();
    assert!(matches!(child.child.send("more"), Err(SendError::Closed)));
}

#[test]
fn a_line_of_many_pipefuls_passes_whole() {
    let mut child = Running::start(&spawner(), &command("cat", &[]));
    let long = "0123456789".repeat(500_000);
    child.child.send(&long).unwrap();
    child.child.send("after").unwrap();
    assert!(child.line() == long);
    assert_eq!(child.line(), "after");
}

#[test]
fn the_program_must_exist_and_be_executable_and_so_must_its_interpreter() {
    let (spawner, dir) = (spawner(), TempDir::new("child-missing"));
    let start = |program: &str| spawner.spawn(&command(program, &[]), |_| {}).map(|_| ()).unwrap_err();
    assert!(start("no-such-program-anywhere").is_command_not_found());
    assert!(start(dir.file("plain", "x", 0o644).to_str().unwrap()).is_command_not_executable());
    assert!(start(dir.file("script", "#!/no/such/interpreter\n", 0o755).to_str().unwrap()).is_command_not_executable());
    let mut lost = command("cat", &[]);
    lost.cwd = dir.path().join("nowhere");
    assert!(spawner.spawn(&lost, |_| {}).map(|_| ()).unwrap_err().to_string().contains("nowhere"));
    lost.cwd = "/".into();
    lost.args = vec!["a\0b".into()];
    assert!(spawner.spawn(&lost, |_| {}).map(|_| ()).unwrap_err().is_usage());
}

#[test]
fn a_file_that_is_still_being_written_is_said_to_be() {
    let (spawner, dir) = (spawner(), TempDir::new("child-busy"));
    let program = dir.file("program", "", 0o755);
    fs::copy("/bin/sh", &program).unwrap();
    let mut writer = fs::OpenOptions::new().append(true).open(&program).unwrap();
    writer.flush().unwrap();
    let error = spawner.spawn(&command(program.to_str().unwrap(), &["-c", "exit 0"]), |_| {}).map(|_| ()).unwrap_err();
    assert!(is_text_busy(&error) && error.is_command_not_executable(), "{error}");
}

#[test]
fn a_callback_that_panics_ends_its_child() {
    let (ended, end) = bounded::<()>(0);
    let on_event = move |event| {
        let _held = &ended;
        assert!(!matches!(event, ChildEvent::Line(_)), "panics on purpose");
    };
    let child = spawner().spawn(&sh("echo up; trap '' TERM; while :; do sleep 0.05; done"), on_event).unwrap();
    assert!(end.recv_timeout(DEADLINE).is_err_and(|error| error.is_disconnected()));
    assert!(is_dead(child.pid() as i32));
}

#[test]
fn stop_all_ends_everything_and_nothing_starts_after_it() {
    let spawner = spawner();
    let mut children: Vec<Running> =
        ["cat", "trap '' TERM; echo up; while :; do sleep 0.05; done"].iter().map(|script| Running::start(&spawner, &sh(script))).collect();
    assert_eq!(children[1].line(), "up");
    assert_eq!(spawner.stop_all(Ladder { close_stdin_wait: Duration::from_millis(20), term_wait: Duration::from_millis(20) }), 0);
    for child in &mut children {
        assert!(is_dead(child.pid()) && child.exit().stopped);
    }
    assert!(spawner.spawn(&sh("exit 0"), |_| {}).is_err());
}
