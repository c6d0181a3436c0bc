//! A command as a child process: spawned into its own process group, spoken to by lines, ended by a ladder.
//!
//! 1. [`Spawner`]: one thread does all the spawning; on Linux through a step of our own program, so that children die with us (`step`).
//! 2. [`Child::send`] writes a line to stdin and never waits for the child to read it (`stdin`).
//! 3. Two threads per child read stdout and stderr and call the one callback with each line (`output`).
//! 4. A third waits for the end; [`Child::stop`] brings it about: close stdin, SIGTERM, SIGKILL (`life`).
//! 5. What the child leaves behind, even outside its process group, is ended with it (`orphans`).

mod life;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod linux_tests;
mod orphans;
mod output;
mod reading;
mod resolve;
mod spawner;
mod stdin;
mod step;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::Error;
use life::Life;

pub(crate) use resolve::resolve;
pub(crate) use spawner::Spawner;
pub(crate) use step::exec_step;

/// What to start. No shell reads it.
#[derive(Clone, Debug)]
pub(crate) struct CommandLine {
    /// Looked up in the `PATH` of the child's environment; with a slash it is a path, relative to `cwd`.
    pub(crate) program: OsString,
    /// The arguments, without the program.
    pub(crate) args: Vec<OsString>,
    /// The child's working directory.
    pub(crate) cwd: PathBuf,
    /// Added to the inherited environment, whose `MCP_*` variables are left out. The last of a name wins.
    pub(crate) env: Vec<(OsString, OsString)>,
}

/// How long [`Child::stop`] waits on each rung before it takes the next.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ladder {
    /// From closing stdin to SIGTERM.
    pub(crate) close_stdin_wait: Duration,
    /// From SIGTERM to SIGKILL.
    pub(crate) term_wait: Duration,
}

/// What a child says and does. Events come from threads of this room, one at a time; lines of one pipe in order; [`Exited`] last.
///
/// [`Exited`]: ChildEvent::Exited
#[derive(Debug)]
pub(crate) enum ChildEvent {
    /// A line of stdout, without its end; never empty. What is not UTF-8 in it is replaced.
    Line(String),
    /// A line of stderr, without its end. A very long one comes in pieces.
    Stderr(String),
    /// A line of stdout of so many bytes was longer than the bound and has been dropped.
    Oversized(usize),
    /// It has closed its stdout and runs on.
    Muted,
    /// The process has ended, its group with it. Nothing follows.
    Exited(Exit),
}

/// How a child ended.
#[derive(Clone, Debug)]
pub(crate) struct Exit {
    /// `None` when the status was lost: somebody else waited for our child, or we inherited an ignored SIGCHLD.
    pub(crate) status: Option<ExitStatus>,
    /// The end of what it wrote to stderr.
    pub(crate) stderr_tail: String,
    /// True when [`Child::stop`] had been called, or the handle was dropped.
    pub(crate) stopped: bool,
    exec_errno: Option<i32>,
}

impl Exit {
    /// Why the program was never executed, when that is what ended the child.
    ///
    /// ETXTBSY ([`io::ErrorKind::ExecutableFileBusy`]) means that the file is still being written: try again.
    pub(crate) fn exec_error(&self) -> Option<io::Error> {
        self.exec_errno.map(io::Error::from_raw_os_error)
    }
}

#[cfg(test)]
impl Exit {
    /// The end of a child that never was.
    pub(crate) fn for_tests(stderr_tail: &str) -> Exit {
        Exit { status: None, stderr_tail: stderr_tail.to_owned(), stopped: false, exec_errno: None }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.exec_error(), self.status) {
            (Some(error), _) => write!(f, "cannot be executed: {error}"),
            (None, Some(status)) => status.fmt(f),
            (None, None) => f.write_str("unknown exit status"),
        }
    }
}

/// True when `error`, from [`Spawner::spawn`], says that the program's file is still being written: try again.
///
/// Where children are started through the step, the same comes later, as [`Exit::exec_error`].
pub(crate) fn is_text_busy(error: &Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    source.is_some_and(|source| source.kind() == io::ErrorKind::ExecutableFileBusy)
}

/// Why a line could not be sent.
#[derive(Debug)]
pub(crate) enum SendError {
    /// The child does not read, and the queue is full.
    Full,
    /// Stdin is closed, by us or by the child.
    Closed,
    /// There was no thread to write with. The line was not sent, and stdin may be closed for it.
    Failed(io::Error),
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SendError::Full => f.write_str("the server does not read its input, and the queue is full"),
            SendError::Closed => f.write_str("the server's input is closed"),
            SendError::Failed(error) => write!(f, "cannot start a thread to write to the server: {error}"),
        }
    }
}

/// A running child. Dropping it kills the process and its group.
///
/// Nothing here waits for the child except [`wait`](Child::wait), so all of it may be called from the callback or under a lock.
pub(crate) struct Child {
    life: Arc<Life>,
}

impl Child {
    /// The process id, which is the id of its group as well.
    #[cfg(test)]
    pub(crate) fn pid(&self) -> u32 {
        self.life.pid().unsigned_abs()
    }

    /// Sends `line`, which has no line end in it, and one line end. Lines arrive in the order of the calls.
    pub(crate) fn send(&self, line: &str) -> Result<(), SendError> {
        self.life.stdin().send(line)
    }

    /// Reads what it says on this thread, if nobody else does, until `is_done`, but a few milliseconds at most. Events come to the callback as ever.
    pub(crate) fn lead(&self, is_done: &mut dyn FnMut() -> bool) {
        self.life.lead(is_done);
    }

    /// Nothing is to come: until the next [`attend`](Child::attend) those may [`lead`](Child::lead) who send something.
    pub(crate) fn rest(&self) {
        self.life.stdout().rest();
    }

    /// Something is to come, and nobody leads.
    pub(crate) fn attend(&self) {
        self.life.stdout().attend();
    }

    /// Closes stdin once everything sent so far has been written.
    pub(crate) fn close_stdin(&self) {
        self.life.stdin().close();
    }

    /// Starts down the ladder and returns; [`ChildEvent::Exited`] follows. Called again it can only make the end come sooner.
    pub(crate) fn stop(&self, ladder: Ladder) {
        self.life.stop(ladder);
    }

    /// Waits for the end, at most so long.
    pub(crate) fn wait(&self, timeout: Duration) -> Option<Exit> {
        self.life.wait(timeout)
    }

    /// The last 64 KiB of stderr.
    pub(crate) fn stderr_tail(&self) -> String {
        self.life.stderr_tail()
    }

    /// True until the process has ended.
    #[cfg(test)]
    pub(crate) fn is_running(&self) -> bool {
        self.life.is_running()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.life.kill();
    }
}

/// A thread of this room that panicked, in a callback, has left nothing half done: its mutexes are good.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
