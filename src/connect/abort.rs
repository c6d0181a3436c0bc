//! A wait that somebody else can end: it holds on to the socket that is waited on, and closes it.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Ends whatever one call or one stream waits for.
#[derive(Default)]
pub(super) struct Abort {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_set: bool,
    is_nudged: bool,
    socket: Option<Arc<TcpStream>>,
}

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Woke {
    /// For good.
    Set,
    /// To look at the world again.
    Nudged,
    /// The time is over.
    Time,
}

impl Abort {
    /// Ends every wait, now and later.
    pub fn set(&self) {
        let mut state = self.lock();
        state.is_set = true;
        close(&mut state);
        self.changed.notify_all();
    }

    /// Ends the [wait](Abort::wait) that is on now, or else the next one.
    pub fn nudge(&self) {
        self.lock().is_nudged = true;
        self.changed.notify_all();
    }

    /// As [`nudge`](Abort::nudge), and closes the socket that is waited on.
    pub fn kick(&self) {
        let mut state = self.lock();
        state.is_nudged = true;
        close(&mut state);
        self.changed.notify_all();
    }

    pub fn is_set(&self) -> bool {
        self.lock().is_set
    }

    /// From here on `socket` is what is waited on.
    pub fn watch(&self, socket: &Arc<TcpStream>) -> io::Result<()> {
        let mut state = self.lock();
        if state.is_set {
            return Err(aborted());
        }
        state.socket = Some(Arc::clone(socket));
        Ok(())
    }

    /// Whether the other side has closed the socket that is waited on, even when that was not read yet.
    pub fn is_hung_up(&self) -> bool {
        self.lock().socket.as_ref().is_some_and(|socket| has_hung_up(socket))
    }

    /// The socket is not waited on any more, and is somebody else's from here on.
    pub fn let_go(&self) {
        self.lock().socket = None;
    }

    /// Waits for at most `time`.
    pub fn wait(&self, time: Duration) -> Woke {
        let deadline = Instant::now() + time;
        let mut state = self.lock();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if state.is_set {
                return Woke::Set;
            }
            if std::mem::take(&mut state.is_nudged) {
                return Woke::Nudged;
            }
            if left.is_zero() {
                return Woke::Time;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn close(state: &mut State) {
    if let Some(socket) = state.socket.take() {
        // Fails when the other side was faster.
        drop(socket.shutdown(Shutdown::Both));
    }
}

/// Whether the other side has closed its end, whatever is still to be read before that; false where the system does not tell.
#[cfg(target_os = "linux")]
fn has_hung_up(stream: &TcpStream) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    // POLLRDHUP, which nix does not name. Errors are reported unasked.
    let flags = PollFlags::from_bits_retain(0x2000);
    poll(&mut [PollFd::new(stream.as_fd(), flags)], PollTimeout::ZERO).is_ok_and(|found| found > 0)
}

#[cfg(not(target_os = "linux"))]
fn has_hung_up(_stream: &TcpStream) -> bool {
    false
}

/// The error of a wait that was ended.
pub(super) fn aborted() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "nobody waits for this any more")
}
