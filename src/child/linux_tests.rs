//! What only Linux does: children that die with a killed front, grandchildren that are found outside the group.
//!
//! Both are about whole processes, so a test starts its own binary again: as the front, and as the exec step, whose `main` is not ours here.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::step::{Step, become_command};
use super::tests::{Running, TempDir, command, is_dead, sh, until};
use super::*;

/// Says which play the test binary, started again, is to give.
const PLAY: &str = "CHILD_TEST_PLAY";
const LONG: Duration = Duration::from_secs(60);

fn step() -> Step {
    let leading = ["child::linux_tests::the_step", "--exact", "--nocapture", "--"];
    Step { executable: "/proc/self/exe".into(), leading: leading.iter().map(Into::into).collect() }
}

/// Nothing by itself; the step when started as one.
#[test]
fn the_step() {
    if let Some(front) = env::var_os("MCP_EXEC_STEP") {
        std::process::exit(become_command(&front, env::args_os().skip_while(|word| word != "--").skip(1)));
    }
}

/// Skips what the test harness says before the step is reached.
fn line(child: &mut Running) -> String {
    loop {
        let line = child.line();
        if !line.starts_with("running ") {
            return line;
        }
    }
}

#[test]
fn the_step_becomes_the_command_without_a_trace() {
    let spawner = Spawner::with(Some(step()), false).unwrap();
    let mut given = sh("echo $$ \"$MCP_EXEC_STEP\" \"$MCP_FRONT_CHILD\" $PPID; echo \"$0 $1\"; tr '\\0' ' ' < /proc/$$/cmdline; echo; cat");
    given.program = "sh".into();
    given.args.extend(["zero".into(), "one two".into()]);
    let mut child = Running::start(&spawner, &given);
    assert_eq!(line(&mut child), format!("{}  1 {}", child.pid(), std::process::id()));
    assert_eq!(line(&mut child), "zero one two");
    assert!(line(&mut child).starts_with("sh -c echo"), "argv[0] is what the user typed");
    child.child.close_stdin();
    assert!(child.exit().status.unwrap().success());
}

#[test]
fn the_step_reports_what_keeps_the_program_from_being_executed() {
    let (spawner, dir) = (Spawner::with(Some(step()), false).unwrap(), TempDir::new("child-step-fails"));
    let busy = dir.path().join("busy");
    fs::copy("/bin/sh", &busy).unwrap();
    let writer = fs::OpenOptions::new().append(true).open(&busy).unwrap();
    let mut child = Running::start(&spawner, &command(busy.to_str().unwrap(), &[]));
    let exit = child.exit();
    assert_eq!(exit.exec_error().unwrap().kind(), io::ErrorKind::ExecutableFileBusy, "{exit}");
    assert_eq!(exit.status.unwrap().code(), Some(126));
    drop(writer);

    let script = dir.file("script", "#!/no/such/interpreter\n", 0o755);
    let exit = Running::start(&spawner, &command(script.to_str().unwrap(), &[])).exit();
    assert_eq!((exit.exec_error().unwrap().kind(), exit.status.unwrap().code()), (io::ErrorKind::NotFound, Some(127)));
    assert!(exit.stderr_tail.contains("cannot execute"), "{}", exit.stderr_tail);

    assert!(Running::start(&spawner, &sh("exit 127")).exit().exec_error().is_none(), "the program's own status");
}

#[test]
fn a_step_whose_front_is_another_process_does_nothing() {
    let mut alone = Command::new(env::current_exe().unwrap());
    alone.args(step().leading).args(["/bin/echo", "echo", "executed"]).env("MCP_EXEC_STEP", "1");
    let output = alone.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(!String::from_utf8_lossy(&output.stdout).contains("executed"));
}

/// Runs `play` of the test below in a process of its own; its lines that start with `>`.
fn front(play: &str) -> (std::process::Child, impl Iterator<Item = String>) {
    let mut front = Command::new(env::current_exe().unwrap());
    front.args(["child::linux_tests::the_front", "--exact", "--nocapture"]).env(PLAY, play);
    let mut front = front.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(front.stdout.take().unwrap()).lines().map_while(io::Result::ok);
    (front, lines.filter_map(|line| Some(line.split_once('>')?.1.to_owned())))
}

fn say(text: impl fmt::Display) {
    use std::io::Write as _;
    let mut stdout = io::stdout();
    writeln!(stdout, ">{text}").unwrap();
}

/// Nothing by itself; a front when started as one.
#[test]
fn the_front() {
    let Ok(play) = env::var(PLAY) else { return };
    let spawner = Spawner::with(Some(step()), true).unwrap();
    match play.as_str() {
        "is killed" => {
            let mut child = Running::start(&spawner, &sh("trap '' TERM HUP PIPE; echo up; exec sleep 60"));
            assert_eq!(line(&mut child), "up");
            say(child.pid());
            std::thread::park_timeout(LONG);
        }
        "has many" => has_many(&spawner),
        "has orphans" => has_orphans(&spawner),
        other => panic!("no such play: {other}"),
    }
}

#[test]
fn a_child_dies_with_a_front_that_is_killed() {
    let (mut front, mut lines) = front("is killed");
    let child: i32 = lines.next().unwrap().parse().unwrap();
    assert!(!is_dead(child));
    front.kill().unwrap();
    front.wait().unwrap();
    until("the child dies", || is_dead(child));
}

#[test]
fn orphans_end_with_the_child_they_came_from_and_others_live_on() {
    let (mut front, lines) = front("has orphans");
    let said: Vec<String> = lines.collect();
    assert!(front.wait().unwrap().success(), "{said:?}");
    assert_eq!(said, ["ended"]);
}

#[test]
fn a_hundred_children_leave_no_descriptor_thread_or_process() {
    let (mut front, lines) = front("has many");
    let said: Vec<String> = lines.collect();
    assert!(front.wait().unwrap().success(), "{said:?}");
    assert_eq!(said, ["ended"]);
}

fn has_many(spawner: &Spawner) {
    let count = || ["fd", "task"].map(|what| fs::read_dir(format!("/proc/self/{what}")).unwrap().count());
    let before = count();
    for number in 0..100 {
        let mut child = Running::start(spawner, &sh("(setsid sleep 60 & echo up); cat"));
        assert_eq!(line(&mut child), "up");
        // More than the pipe holds, so that there is a writer thread as well.
        child.child.send(&"x".repeat(100_000)).unwrap();
        if number % 2 == 0 {
            child.child.stop(Ladder { close_stdin_wait: Duration::ZERO, term_wait: Duration::ZERO });
            child.exit();
        }
    }
    until("all are gone", || super::orphans::descendants(std::process::id() as i32).is_empty());
    until("as at the start", || count() == before);
    say("ended");
}

fn has_orphans(spawner: &Spawner) {
    // Not from the spawner, as in a program that embeds us.
    let mut other = Command::new("sleep").arg("60").stdout(Stdio::null()).spawn().unwrap();
    // One that keeps its mark and has lost its parent; and one that has lost its mark and has a child, found by the tree.
    let script = "(setsid sleep 60 & echo $!); setsid env -i /bin/sh -c 'trap \"\" TERM; sleep 60 & echo $!; echo $$; wait' & cat; exit 0";
    let mut child = Running::start(spawner, &sh(script));
    let mut second = Running::start(spawner, &sh("(setsid sleep 60 & echo $!); cat"));
    let orphans: Vec<i32> = (0..3).map(|_| line(&mut child).parse().unwrap()).collect();
    let seconds: i32 = line(&mut second).parse().unwrap();
    for orphan in &orphans {
        assert!(!is_dead(*orphan));
    }
    child.child.stop(Ladder { close_stdin_wait: LONG, term_wait: LONG });
    assert!(child.exit().status.unwrap().success());
    for orphan in &orphans {
        assert!(!std::path::Path::new(&format!("/proc/{orphan}")).exists(), "{orphan} of {orphans:?} ended and reaped");
    }
    assert!(!is_dead(seconds) && second.child.is_running(), "another child's orphan");

    // A zombie that nobody knows is reaped in the second round.
    let mut third = Running::start(spawner, &sh("(setsid env -i sleep 0 & echo $!); cat"));
    let zombie: i32 = line(&mut third).parse().unwrap();
    until("it is a zombie", || is_dead(zombie));
    let mut zombies = super::orphans::Zombies::default();
    let spawned = [third.pid(), second.pid()];
    zombies.round(&spawned);
    assert!(std::path::Path::new(&format!("/proc/{zombie}")).exists(), "somebody may be about to wait for it");
    until("two rounds", || {
        zombies.round(&spawned);
        !std::path::Path::new(&format!("/proc/{zombie}")).exists()
    });

    assert_eq!(spawner.stop_all(Ladder { close_stdin_wait: LONG, term_wait: LONG }), 0);
    assert!(is_dead(seconds));
    assert!(other.try_wait().unwrap().is_none(), "not ours, and alive");
    other.kill().unwrap();
    other.wait().unwrap();
    say("ended");
}
