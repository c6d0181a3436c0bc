//! The thread that spawns, what a child gets from us, and the list of all children.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::{self, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, SendError, Sender, bounded};

use super::life::{self, Life, OnEvent, SMALL_STACK};
use super::step::Step;
use super::{Child, ChildEvent, CommandLine, Ladder, lock, orphans, resolve};
use crate::error::{Error, Result};
use crate::threads;

/// Tells a child that it is one (D14).
const FRONT_CHILD: &str = "MCP_FRONT_CHILD";
/// Longer than any system takes to start a program; the end of a wait that does not happen.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks for adopted zombies.
const ROUND: Duration = Duration::from_secs(15);
/// Requests waiting for the thread. More wait with their callers.
const QUEUE: usize = 16;
/// How long a killed process may take to be gone.
const KILLED: Duration = Duration::from_secs(2);

/// The way to the spawning thread, which lives as long as anybody holds one.
pub(super) type Requests = Sender<Request>;

pub(super) struct Request {
    command: Command,
    reply: Sender<io::Result<process::Child>>,
}

/// Starts children, all from one thread: the parent-death signal fires when the spawning thread ends, not the process.
pub(crate) struct Spawner {
    requests: Requests,
    children: Arc<Mutex<Children>>,
    step: Option<Step>,
}

#[derive(Default)]
struct Children {
    lives: Vec<Weak<Life>>,
    /// Everything is being stopped, and nothing more is started.
    closed: bool,
}

impl Spawner {
    /// Starts the thread.
    ///
    /// In a program that called [`exec_step`](super::exec_step), and so is ours to command, children die with this process, and it adopts
    /// their orphans: from now on all its children must be spawned here. In any other program neither is the case.
    pub(crate) fn start() -> Result<Spawner> {
        let step = Step::available();
        let adopt = step.is_some();
        Spawner::with(step, adopt)
    }

    pub(super) fn with(step: Option<Step>, adopt: bool) -> Result<Spawner> {
        let (requests, received) = bounded(QUEUE);
        let children = Arc::new(Mutex::new(Children::default()));
        let adopting = adopt && adopt_orphans();
        let known = Arc::clone(&children);
        threads::start_small("child-spawner", SMALL_STACK, move || spawn_all(&received, &known, adopting))
            .map_err(|error| Error::io("cannot start a thread to spawn processes", error))?;
        Ok(Spawner { requests, children, step })
    }

    /// Starts a command. Its events go to `on_event`, which must not block for long, from before this returns.
    ///
    /// # Errors
    /// The program is not there or cannot be executed; there is no such directory; the system has no more processes, threads or
    /// descriptors. A program that turns out not to be executable later gives [`Exit::exec_error`](super::Exit::exec_error).
    pub(crate) fn spawn(&self, line: &CommandLine, on_event: impl FnMut(ChildEvent) + Send + 'static) -> Result<Child> {
        let mark = next_mark();
        let mut environment = environment(std::env::vars_os(), &line.env, &mark);
        let path = environment.iter().rev().find(|(name, _)| name == "PATH").map(|(_, value)| value.as_os_str());
        let directory =
            std::fs::metadata(&line.cwd).and_then(|found| if found.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) });
        directory.map_err(|error| Error::file("cannot start a server in", &line.cwd, error))?;
        let program = resolve(&line.program, &line.cwd, path)?;
        let mut command = match &self.step {
            Some(step) => {
                environment.push(Step::variable());
                step.command(&program, &line.program)
            }
            None => {
                let mut command = Command::new(&program);
                command.arg0(&line.program);
                command
            }
        };
        command.args(&line.args).current_dir(&line.cwd).env_clear().envs(environment).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let process = self.request(command).map_err(|error| self.refusal(&line.program, error))?;
        let cannot = |error| Error::io(format!("cannot start {}", line.program.to_string_lossy()), error);
        let on_event: OnEvent = Box::new(on_event);
        let life = Life::start(process, mark, self.step.is_some(), on_event, self.requests.clone()).map_err(cannot)?;
        let child = Child { life };
        let mut children = lock(&self.children);
        if children.closed {
            // Dropped here, it is killed.
            return Err(cannot(io::Error::other("everything is being stopped")));
        }
        children.lives.retain(|life| life.strong_count() > 0);
        children.lives.push(Arc::downgrade(&child.life));
        Ok(child)
    }

    fn request(&self, command: Command) -> io::Result<process::Child> {
        let late = || io::Error::new(io::ErrorKind::TimedOut, "the system takes too long to start a process");
        // Nothing is buffered: a process whose caller has gone is noticed by the thread.
        let (reply, answer) = bounded(0);
        self.requests.send_timeout(Request { command, reply }, PATIENCE).map_err(|_| late())?;
        answer.recv_timeout(PATIENCE).map_err(|_| late())?
    }

    /// What the system said about the program itself is told apart from what it said about starting anything.
    fn refusal(&self, program: &OsStr, error: io::Error) -> Error {
        use io::ErrorKind::{ExecutableFileBusy, InvalidInput, NotFound, PermissionDenied};
        const ENOEXEC: Option<i32> = Some(nix::errno::Errno::ENOEXEC as i32);
        let name = program.to_string_lossy();
        match error.kind() {
            // It was there a moment ago: what is missing is the interpreter that its first line names.
            NotFound | PermissionDenied | ExecutableFileBusy if self.step.is_none() => Error::command_not_executable(name, error),
            _ if self.step.is_none() && error.raw_os_error() == ENOEXEC => Error::command_not_executable(name, error),
            InvalidInput => Error::usage(format!("{name}: an argument or variable of the command holds a NUL character")),
            _ => Error::io(format!("cannot start {name}"), error),
        }
    }

    /// Stops every child, at once and each by `ladder`, and waits until they are gone. Nothing can be spawned any more.
    ///
    /// Returns how many are left: processes that hang in the kernel, where not even SIGKILL reaches them.
    pub(crate) fn stop_all(&self, ladder: Ladder) -> usize {
        let lives: Vec<Arc<Life>> = {
            let mut children = lock(&self.children);
            children.closed = true;
            children.lives.iter().filter_map(Weak::upgrade).collect()
        };
        lives.iter().for_each(|life| life.stop(ladder));
        let patience = ladder.close_stdin_wait.saturating_add(ladder.term_wait).saturating_add(KILLED);
        let now = Instant::now();
        let deadline = now.checked_add(patience).unwrap_or(now + PATIENCE);
        lives.iter().filter(|life| !life.wait_reaped(deadline)).count()
    }
}

/// The thread: spawns what is asked for; between requests it reaps adopted zombies.
fn spawn_all(requests: &Receiver<Request>, children: &Mutex<Children>, adopting: bool) {
    let mut zombies = Zombies::default();
    let mut next_round = Instant::now() + ROUND;
    loop {
        let request =
            if adopting { requests.recv_deadline(next_round) } else { requests.recv().map_err(|_| RecvTimeoutError::Disconnected) };
        match request {
            Ok(Request { mut command, reply }) => {
                let unheard = reply.send(command.spawn()).err().map(SendError::into_inner);
                if let Some(Ok(mut process)) = unheard {
                    life::discard(&mut process);
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                let alive: Vec<i32> = {
                    let children = lock(children);
                    children.lives.iter().filter_map(Weak::upgrade).filter(|life| !life.is_reaped()).map(|life| life.pid()).collect()
                };
                zombies.round(&alive);
                next_round = Instant::now() + ROUND;
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(target_os = "linux")]
use orphans::Zombies;

#[cfg(target_os = "linux")]
fn adopt_orphans() -> bool {
    let adopted = nix::sys::prctl::set_child_subreaper(true);
    if let Err(error) = adopted {
        log::warn!("processes that a server leaves behind will survive it: cannot become a child subreaper: {error}");
    }
    adopted.is_ok()
}

#[cfg(not(target_os = "linux"))]
#[derive(Default)]
struct Zombies;

#[cfg(not(target_os = "linux"))]
impl Zombies {
    fn round(&mut self, _spawned: &[i32]) {}
}

#[cfg(not(target_os = "linux"))]
fn adopt_orphans() -> bool {
    false
}

/// Tells the children of this process apart.
fn next_mark() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    format!("{}.{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// The child's environment: what is `inherited` without `MCP_*`, what is `given`, and what makes it a child of ours.
fn environment(
    inherited: impl Iterator<Item = (OsString, OsString)>,
    given: &[(OsString, OsString)],
    mark: &str,
) -> Vec<(OsString, OsString)> {
    let kept = inherited.filter(|(name, _)| !name.as_bytes().starts_with(b"MCP_"));
    let ours = [(FRONT_CHILD.into(), "1".into()), (orphans::MARK.into(), mark.into())];
    kept.chain(given.iter().cloned()).chain(ours).collect()
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn settings_of_ours_stay_here_and_what_is_given_goes_along() {
        let pair = |name: &str, value: &str| (OsString::from(name), OsString::from(value));
        let inherited = [pair("PATH", "/bin"), pair("MCP_HTTP_TOKEN", "secret"), pair("MCP_FRONT_CHILD", "0"), pair("MCPX", "1")];
        let given = [pair("PATH", "/opt"), pair("MCP_FRONT_CHILD", "0"), pair("MCP_THEIRS", "x")];
        let made = environment(inherited.into_iter(), &given, "7.0");
        let names: Vec<&str> = made.iter().filter_map(|(name, _)| name.to_str()).collect();
        assert_eq!(names, ["PATH", "MCPX", "PATH", "MCP_FRONT_CHILD", "MCP_THEIRS", "MCP_FRONT_CHILD", "MCP_FRONT_MARK"]);
        assert_eq!(made[5].1, "1", "the last one counts");
    }
}
