//! From the spawned process to its last event: the threads that read it, the ladder that stops it, the thread that reaps it.

mod ladder;

use std::collections::HashSet;
use std::io;
use std::process::{self, ChildStderr, ChildStdout, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::output::{self, Output, Over, Piece, Pieces, Tail};
use super::reading::Reading;
use super::stdin::Stdin;
use super::{ChildEvent, Exit, lock, orphans, step};

use crate::threads;
use ladder::Rungs;

/// For threads that copy bytes and log.
pub(super) const SMALL_STACK: usize = 256 << 10;
/// For threads whose callback may parse JSON.
const LARGE_STACK: usize = 2 << 20;

/// How long after the end of the process its pipes may stay open: a process outside our reach can hold them.
const DRAIN: Duration = Duration::from_millis(200);
/// How long the callback may then take for all that was still in the pipes. What comes later is not told.
const CALLBACKS: Duration = Duration::from_secs(5);
/// How long after its stdout a process may take to end, before it is said that it runs on.
const MUTED: Duration = Duration::from_millis(500);
/// Nobody waits longer on a rung; keeps the arithmetic of instants in range.
const MAX_RUNG: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) type OnEvent = Box<dyn FnMut(ChildEvent) + Send>;

/// What its threads and its handle share about one child.
pub(super) struct Life {
    pid: i32,
    mark: String,
    state: Mutex<State>,
    changed: Condvar,
    stdin: Arc<Stdin>,
    stdout: Reading<ChildStdout>,
    tail: Tail,
    over: Arc<Over>,
    /// Taken by the last event, with whatever it holds.
    on_event: Mutex<Option<OnEvent>>,
    /// Held, never used: the spawning thread must outlive the child.
    _spawner: super::spawner::Requests,
}

struct State {
    process: process::Child,
    phase: Phase,
    /// Pipes still being read.
    open_pipes: usize,
    rungs: Option<Rungs>,
    stopped: bool,
    /// Processes seen below the child when it was stopped.
    below: HashSet<orphans::Id>,
    exec_errno: Option<i32>,
    exit: Option<Exit>,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    Running,
    /// A zombie: its pid, and its group's id, are still its own.
    Dead,
    Reaped,
}

impl Life {
    /// Takes over a process just spawned. When there are no threads for it, it is killed, and the error returned.
    pub(super) fn start(
        mut process: process::Child,
        mark: String,
        by_step: bool,
        on_event: OnEvent,
        spawner: super::spawner::Requests,
    ) -> io::Result<Arc<Life>> {
        let pipes = (process.stdin.take(), process.stdout.take(), process.stderr.take());
        // A pid fits: the kernel's type is signed.
        let pid = process.id() as i32;
        let prepared = match pipes {
            (Some(stdin), Some(stdout), Some(stderr)) => Over::new().map(Arc::new).and_then(|over| {
                let stdin = Stdin::new(stdin, Arc::clone(&over))?;
                Ok((stdin, stdout, stderr, over))
            }),
            _ => Err(io::ErrorKind::BrokenPipe.into()),
        };
        let (stdin, stdout, stderr, over) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                discard(&mut process);
                return Err(error);
            }
        };
        let state = State {
            process,
            phase: Phase::Running,
            open_pipes: 2,
            rungs: None,
            stopped: false,
            below: HashSet::new(),
            exec_errno: None,
            exit: None,
        };
        let life = Arc::new(Life {
            pid,
            mark,
            state: Mutex::new(state),
            changed: Condvar::new(),
            stdin,
            stdout: Reading::new(Pieces::new(Output::new(stdout, &over), output::MAX_LINE)),
            tail: Tail::default(),
            over,
            on_event: Mutex::new(Some(on_event)),
            _spawner: spawner,
        });
        life.start_threads(stderr, by_step).inspect_err(|_| {
            lock(&life.on_event).take();
            life.stdin.abandon();
            life.over.raise();
            let mut state = lock(&life.state);
            discard(&mut state.process);
            state.phase = Phase::Reaped;
        })?;
        Ok(life)
    }

    fn start_threads(self: &Arc<Life>, stderr: ChildStderr, by_step: bool) -> io::Result<()> {
        let life = Arc::clone(self);
        threads::start_small("child-stdout", LARGE_STACK, move || {
            let _open = OpenPipe(&life);
            life.stdout.run(|piece| life.tell_piece(piece));
            life.mind_muted();
        })?;
        let (life, pipe) = (Arc::clone(self), Output::new(stderr, &self.over));
        threads::start_small("child-stderr", SMALL_STACK, move || {
            let _open = OpenPipe(&life);
            let mut first = by_step;
            output::read_stderr(pipe, &life.tail, |line| {
                if std::mem::take(&mut first) {
                    lock(&life.state).exec_errno = step::errno_in(&line);
                }
                life.tell(ChildEvent::Stderr(line));
            });
        })?;
        let life = Arc::clone(self);
        threads::start_small("child-wait", LARGE_STACK, move || life.see_off()).map(drop)
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    pub(super) fn stdin(&self) -> &Arc<Stdin> {
        &self.stdin
    }

    pub(super) fn stdout(&self) -> &Reading<ChildStdout> {
        &self.stdout
    }

    /// Has the calling thread read stdout.
    pub(super) fn lead(&self, is_done: &mut dyn FnMut() -> bool) {
        self.stdout.lead(|piece| self.tell_piece(piece), is_done);
    }

    pub(super) fn stderr_tail(&self) -> String {
        self.tail.text()
    }

    pub(super) fn is_running(&self) -> bool {
        lock(&self.state).phase == Phase::Running
    }

    pub(super) fn is_reaped(&self) -> bool {
        lock(&self.state).phase == Phase::Reaped
    }

    pub(super) fn wait(&self, timeout: Duration) -> Option<Exit> {
        self.wait_until(Instant::now() + timeout.min(MAX_RUNG), |state| state.exit.clone())
    }

    /// Until the process is gone, and what it left behind.
    pub(super) fn wait_reaped(&self, deadline: Instant) -> bool {
        self.wait_until(deadline, |state| (state.phase == Phase::Reaped).then_some(())).is_some()
    }

    fn wait_until<T>(&self, deadline: Instant, mut check: impl FnMut(&State) -> Option<T>) -> Option<T> {
        let mut state = lock(&self.state);
        loop {
            if let Some(found) = check(&state) {
                return Some(found);
            }
            let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn note_descendants(&self) {
        if self.is_running() {
            let below = orphans::descendants(self.pid);
            lock(&self.state).below.extend(below);
        }
    }

    pub(super) fn kill(&self) {
        {
            let mut state = lock(&self.state);
            state.stopped |= state.phase == Phase::Running;
        }
        self.note_descendants();
        self.signal(Signal::SIGKILL);
    }

    /// Signals the group, unless the child has been reaped: then the id may be another's. The lock keeps it from being reaped meanwhile.
    fn signal(&self, signal: Signal) {
        let state = lock(&self.state);
        if state.phase == Phase::Reaped {
            return;
        }
        match killpg(Pid::from_raw(self.pid), signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => log::warn!("cannot send {signal} to the process group {}: {error}", self.pid),
        }
    }

    /// Nothing more comes from stdout. Nearly always the process has just ended.
    fn mind_muted(&self) {
        let has_ended = |state: &State| (state.phase != Phase::Running || state.stopped).then_some(());
        if self.wait_until(Instant::now() + MUTED, has_ended).is_none() {
            self.tell(ChildEvent::Muted);
        }
    }

    fn tell_piece(&self, piece: Piece) {
        self.tell(match piece {
            Piece::Line(line) => ChildEvent::Line(line),
            Piece::Oversized(size) => ChildEvent::Oversized(size),
        });
    }

    fn tell(&self, event: ChildEvent) {
        if let Some(on_event) = lock(&self.on_event).as_mut() {
            on_event(event);
        }
    }

    /// The thread that waits for the end: the rest of the group and the orphans go first, while the zombie keeps their id, then it is reaped.
    fn see_off(&self) {
        let waited = self.await_end();
        let below = {
            let mut state = lock(&self.state);
            state.phase = if waited { Phase::Dead } else { Phase::Reaped };
            std::mem::take(&mut state.below)
        };
        self.changed.notify_all();
        self.stdin.abandon();
        self.signal(Signal::SIGKILL);
        if waited {
            orphans::end(self.pid, &self.mark, below);
        }
        let status = {
            let mut state = lock(&self.state);
            // Does not wait: it is a zombie, or not there any more.
            let status = state.process.wait().ok();
            state.phase = Phase::Reaped;
            status
        };
        self.changed.notify_all();
        self.wait_drained(DRAIN);
        self.over.raise();
        self.wait_drained(CALLBACKS);
        let exit = self.exit(status);
        self.changed.notify_all();
        let last = lock(&self.on_event).take();
        if let Some(mut on_event) = last {
            on_event(ChildEvent::Exited(exit));
        }
    }

    fn wait_drained(&self, timeout: Duration) {
        self.wait_until(Instant::now() + timeout, |state| (state.open_pipes == 0).then_some(()));
    }

    /// Waits for the process to end and leaves it a zombie; false when it has been reaped, by whomever.
    #[cfg(target_os = "linux")]
    fn await_end(&self) -> bool {
        use nix::sys::wait::{Id, WaitPidFlag, waitid};
        loop {
            match waitid(Id::Pid(Pid::from_raw(self.pid)), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) {
                Err(Errno::EINTR) => {}
                Err(Errno::ECHILD) => return false,
                // EINVAL stands for a signal that nix has no name for: it has ended, too.
                Ok(_) | Err(_) => return true,
            }
        }
    }

    /// Elsewhere nix has no `waitid`: we look every 10 ms, and have to reap before the rest of the group is killed. While the group has
    /// members the system does not give its id to another process; with none left there is a moment in which it could.
    #[cfg(not(target_os = "linux"))]
    fn await_end(&self) -> bool {
        let mut state = lock(&self.state);
        while let Ok(None) = state.process.try_wait() {
            state = self.changed.wait_timeout(state, Duration::from_millis(10)).unwrap_or_else(PoisonError::into_inner).0;
        }
        // No group any more is the usual case.
        let _ = killpg(Pid::from_raw(self.pid), Signal::SIGKILL);
        false
    }

    fn exit(&self, status: Option<ExitStatus>) -> Exit {
        let stderr_tail = self.tail.text();
        let mut state = lock(&self.state);
        let exec_errno = state.exec_errno.filter(|_| status.is_some_and(step::is_failure));
        let exit = Exit { status, stderr_tail, stopped: state.stopped, exec_errno };
        state.exit = Some(exit.clone());
        exit
    }
}

/// Counts a pipe as open while its thread runs. When a callback panics nobody reads it any more, and the child would hang: it is killed.
struct OpenPipe<'a>(&'a Life);

impl Drop for OpenPipe<'_> {
    fn drop(&mut self) {
        lock(&self.0.state).open_pipes -= 1;
        self.0.changed.notify_all();
        if thread::panicking() {
            self.0.kill();
        }
    }
}

/// For a process that nobody knows of yet.
pub(super) fn discard(process: &mut process::Child) {
    // It was spawned a moment ago and has not been waited for, so the id is its own. Failing means it has ended already.
    let _ = killpg(Pid::from_raw(process.id() as i32), Signal::SIGKILL);
    let _ = process.wait();
}
