//! The child's stdin: a line is written at once when the pipe has room, and queued when it has not.
//!
//! Our end of the pipe does not block; the child's end is another file description and blocks as it expects. Only while something is queued
//! is there a thread, which waits for room. Everything is written under one lock, a piece at a time, so the order is that of the calls.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write as _};
use std::process::ChildStdin;
use std::sync::{Arc, Mutex};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::PollFlags;

use super::output::Over;
use super::{SendError, lock};

use crate::threads;

/// Bounds of the queue; beyond either a line is refused.
const MAX_LINES: usize = 1024;
const MAX_BYTES: usize = 64 << 20;

pub(super) struct Stdin {
    inner: Mutex<Inner>,
    over: Arc<Over>,
}

struct Inner {
    /// `None` once closed. Shared with the writer thread, which waits for room without the lock.
    pipe: Option<Arc<ChildStdin>>,
    queue: VecDeque<Vec<u8>>,
    /// How much of the first line in the queue has been written.
    written: usize,
    /// The bytes in the queue, those written included.
    bytes: usize,
    /// A writer thread is there; it goes when the queue is empty.
    writing: bool,
    /// Close when the queue is empty; takes no more lines.
    closing: bool,
}

impl Stdin {
    pub(super) fn new(pipe: ChildStdin, over: Arc<Over>) -> io::Result<Arc<Stdin>> {
        let flags = OFlag::from_bits_retain(fcntl(&pipe, FcntlArg::F_GETFL)?);
        fcntl(&pipe, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
        let pipe = Some(Arc::new(pipe));
        let inner = Inner { pipe, queue: VecDeque::new(), written: 0, bytes: 0, writing: false, closing: false };
        Ok(Arc::new(Stdin { inner: Mutex::new(inner), over }))
    }

    pub(super) fn send(self: &Arc<Stdin>, line: &str) -> Result<(), SendError> {
        debug_assert!(!line.contains('\n'), "one line");
        let mut inner = lock(&self.inner);
        let pipe = match &inner.pipe {
            Some(pipe) if !inner.closing => Arc::clone(pipe),
            _ => return Err(SendError::Closed),
        };
        let size = line.len() + 1;
        if inner.queue.len() >= MAX_LINES || size > MAX_BYTES - inner.bytes {
            return Err(SendError::Full);
        }
        let mut written = 0;
        if inner.queue.is_empty() {
            written = match retried((&*pipe).write_vectored(&[IoSlice::new(line.as_bytes()), IoSlice::new(b"\n")])) {
                Ok(written) => written,
                Err(_) => {
                    inner.abandon();
                    return Err(SendError::Closed);
                }
            };
            if written == size {
                return Ok(());
            }
            inner.written = written;
        }
        let mut bytes = Vec::with_capacity(size);
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
        inner.queue.push_back(bytes);
        inner.bytes += size;
        if inner.writing {
            return Ok(());
        }
        let this = Arc::clone(self);
        match threads::start_small("child-stdin", super::life::SMALL_STACK, move || this.drain()) {
            Ok(_) => inner.writing = true,
            Err(error) => {
                // Half a line is worse than none: a child that got one can only see the end.
                if written > 0 {
                    inner.abandon();
                } else {
                    inner.queue.pop_back();
                    inner.bytes -= size;
                }
                return Err(SendError::Failed(error));
            }
        }
        Ok(())
    }

    /// Closes once the queue is empty.
    pub(super) fn close(&self) {
        let mut inner = lock(&self.inner);
        inner.closing = true;
        if inner.queue.is_empty() {
            inner.pipe = None;
        }
    }

    /// Closes now and forgets the queue: nobody reads any more.
    pub(super) fn abandon(&self) {
        lock(&self.inner).abandon();
    }

    /// The writer thread: a piece under the lock, then room is waited for without it, so that senders only ever wait for one piece.
    fn drain(&self) {
        loop {
            let pipe = {
                let mut inner = lock(&self.inner);
                inner.write_piece();
                match &inner.pipe {
                    Some(pipe) if !inner.queue.is_empty() => Arc::clone(pipe),
                    _ => {
                        inner.writing = false;
                        if inner.closing {
                            inner.pipe = None;
                        }
                        return;
                    }
                }
            };
            if !self.over.or_ready(&*pipe, PollFlags::POLLOUT) {
                self.abandon();
            }
        }
    }
}

impl Inner {
    fn write_piece(&mut self) {
        let (Some(pipe), Some(line)) = (&self.pipe, self.queue.front()) else { return };
        match retried((&**pipe).write(&line[self.written..])) {
            Err(_) => self.abandon(),
            Ok(written) => {
                self.written += written;
                if self.written == line.len() {
                    self.bytes -= line.len();
                    self.written = 0;
                    self.queue.pop_front();
                }
            }
        }
    }

    fn abandon(&mut self) {
        self.pipe = None;
        self.queue.clear();
        self.bytes = 0;
        self.written = 0;
    }
}

/// No room, and a signal in between, are nothing written.
fn retried(result: io::Result<usize>) -> io::Result<usize> {
    match result {
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
        other => other,
    }
}
