//! Lines to stdout: a bounded queue with one writer, and a short cut past both while they have nothing to do.
//!
//! The order of lines is the order of [`send`](Lines::send). `load.count` is what was put into the queue and is not written yet; a sender that finds it 0,
//! stdout free and room in it writes by itself and spares two hand-overs between threads. Nobody overtakes, for the reasons given in
//! [`stream`](crate::transport::stream): the count is read and stdout taken in one step under the lock of `load`, and the writer counts down only after it
//! has written.

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::{End, spawn};
use crate::clock;
use crate::config::Limits;
use crate::connection::{Gone, Outlet, waits_for_nobody};
use crate::error::Result;
use crate::line;
use crate::message::{Kind, Message};

/// What is put aside at most: more than one thread ever owes a client at once, the answers to all its open calls and an end to all it was asked.
const ASIDE: usize = 8192;

/// The way to stdout.
pub(crate) struct Lines {
    queue: Sender<Piece>,
    load: Mutex<Load>,
    has_room: Condvar,
    /// Taken while `load` is held, or by the writer, which then has nothing else.
    /// None any more when the client takes nothing: it is to see the end.
    output: Mutex<Option<File>>,
    messages: usize,
    bytes: usize,
    patience: Duration,
    ending: Sender<End>,
}

enum Piece {
    Message(Message),
    /// Everything before this is written.
    Mark(Sender<()>),
}

#[derive(Default)]
struct Load {
    count: usize,
    bytes: usize,
    /// How many were written.
    written: u64,
    is_broken: bool,
    /// Nobody waits for room longer than that.
    end: Option<Instant>,
    /// What found no room and came from threads that wait for nobody; it goes before those who wait. There is some only while something is queued.
    aside: VecDeque<Message>,
    aside_bytes: usize,
}

impl Lines {
    pub fn start(output: File, limits: &Limits, end: Sender<End>) -> Result<Arc<Lines>> {
        // Two more than messages: a mark finds room.
        let (queue, pieces) = bounded(limits.queue_messages + 2);
        let lines = Arc::new(Lines {
            queue,
            load: Mutex::default(),
            has_room: Condvar::new(),
            output: Mutex::new(Some(output)),
            messages: limits.queue_messages,
            bytes: limits.queue_bytes,
            patience: limits.write_deadline,
            ending: end,
        });
        let writer = Arc::clone(&lines);
        spawn("stdout", move || {
            if let Err(error) = writer.write_all(&pieces) {
                writer.give_up(writer.lock(), error);
            }
            *writer.output.lock().unwrap_or_else(PoisonError::into_inner) = None;
        })?;
        Ok(lines)
    }

    /// Writes until nobody wants anything written any more.
    fn write_all(&self, pieces: &Receiver<Piece>) -> io::Result<()> {
        while let Ok(piece) = pieces.recv() {
            let mut output = self.output.lock().unwrap_or_else(PoisonError::into_inner);
            match piece {
                Piece::Message(message) => {
                    let size = message.as_str().len();
                    let Some(file) = output.as_mut() else { return Ok(()) };
                    line::write(file, message.into_text())?;
                    drop(output);
                    let mut load = self.lock();
                    if load.is_broken {
                        return Ok(());
                    }
                    load.count -= 1;
                    load.bytes -= size;
                    load.written += 1;
                    self.take_up(&mut load);
                    drop(load);
                    self.has_room.notify_all();
                }
                // What had been put aside is queued behind it.
                Piece::Mark(written) if self.lock().count > 0 => drop(self.queue.try_send(Piece::Mark(written))),
                Piece::Mark(written) => drop(written.try_send(())),
            }
        }
        Ok(())
    }

    fn put(&self, message: Message, patience: Duration) -> std::result::Result<(), Gone> {
        let size = message.as_str().len();
        let mut deadline = clock::from_now(patience);
        let mut load = self.lock();
        let mut written = load.written;
        // What was put aside goes first.
        while !load.aside.is_empty() || !self.has_room_for(&load, size) {
            let until = load.end.map_or(deadline, |end| end.min(deadline));
            let left = until.saturating_duration_since(Instant::now());
            if load.is_broken {
                return Err(Gone);
            }
            if left.is_zero() {
                if !patience.is_zero() && load.end.is_none() {
                    if load.written != written {
                        // It reads, and others were quicker to take the room.
                        (written, deadline) = (load.written, clock::from_now(patience));
                        continue;
                    }
                    // To leave out an answer would have its client wait for ever.
                    log::warn!("the client did not read stdout for {patience:?}: the session ends");
                    self.give_up(load, io::ErrorKind::TimedOut.into());
                }
                return Err(Gone);
            }
            load = self.has_room.wait_timeout(load, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        self.put_at_once(load, message)
    }

    /// For threads that wait for nobody.
    fn put_aside(&self, message: Message) -> std::result::Result<(), Gone> {
        let size = message.as_str().len();
        let mut load = self.lock();
        if load.is_broken || (load.aside.is_empty() && self.has_room_for(&load, size)) {
            return self.put_at_once(load, message);
        }
        if load.aside.len() >= ASIDE || load.aside_bytes + size > self.bytes {
            log::warn!("the client does not read stdout, and too much waits for it: the session ends");
            self.give_up(load, io::ErrorKind::TimedOut.into());
            return Err(Gone);
        }
        load.aside_bytes += size;
        load.aside.push_back(message);
        Ok(())
    }

    /// There is room.
    fn put_at_once(&self, mut load: MutexGuard<'_, Load>, message: Message) -> std::result::Result<(), Gone> {
        if load.is_broken {
            return Err(Gone);
        }
        if load.count == 0 {
            if let Some(output) = self.free_output(message.as_str().len()) {
                drop(load);
                return self.write_past_queue(output, message);
            }
        }
        self.enqueue(&mut load, message)
    }

    /// Queues of what was put aside as much as there is room for.
    fn take_up(&self, load: &mut Load) {
        while load.aside.front().is_some_and(|next| self.has_room_for(load, next.as_str().len())) {
            let Some(next) = load.aside.pop_front() else { return };
            load.aside_bytes -= next.as_str().len();
            // Its other end is with whoever calls this.
            drop(self.enqueue(load, next));
        }
    }

    fn has_room_for(&self, load: &Load, size: usize) -> bool {
        load.count == 0 || (load.count < self.messages && load.bytes + size <= self.bytes)
    }

    fn enqueue(&self, load: &mut Load, message: Message) -> std::result::Result<(), Gone> {
        load.count += 1;
        load.bytes += message.as_str().len();
        self.queue.try_send(Piece::Message(message)).map_err(|_| Gone)
    }

    /// Stdout, when nobody writes to it and it surely takes a line of this size at once.
    fn free_output(&self, size: usize) -> Option<MutexGuard<'_, Option<File>>> {
        let output = match self.output.try_lock() {
            Ok(output) => output,
            Err(TryLockError::Poisoned(output)) => output.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        takes_at_once(output.as_ref()?, size + 1).then_some(output)
    }

    fn write_past_queue(&self, mut output: MutexGuard<'_, Option<File>>, message: Message) -> std::result::Result<(), Gone> {
        let file = output.as_mut().ok_or(Gone)?;
        let written = line::write(file, message.into_text());
        drop(output);
        written.map_err(|error| {
            self.give_up(self.lock(), error);
            Gone
        })
    }

    /// Nothing more is written, and whoever serves is told why, once.
    fn give_up(&self, mut load: MutexGuard<'_, Load>, why: io::Error) {
        if std::mem::replace(&mut load.is_broken, true) {
            return;
        }
        load.aside = VecDeque::new();
        drop(load);
        self.has_room.notify_all();
        drop(self.ending.try_send(End::Deaf(why)));
    }

    pub fn is_broken(&self) -> bool {
        self.lock().is_broken
    }

    /// Nobody waits for room any longer than that; of two ends the earlier one counts.
    pub fn end_by(&self, end: Instant) {
        let mut load = self.lock();
        load.end = Some(load.end.map_or(end, |other| other.min(end)));
        drop(load);
        self.has_room.notify_all();
    }

    pub fn flush(&self, patience: Duration) {
        let (mark, written) = bounded(1);
        if self.queue.send_timeout(Piece::Mark(mark), patience).is_ok() {
            written.recv_timeout(patience).ok();
        }
    }

    #[cfg(test)]
    pub fn ending(&self) -> &Sender<End> {
        &self.ending
    }

    #[cfg(test)]
    pub fn count(&self) -> usize {
        self.lock().count
    }

    fn lock(&self) -> MutexGuard<'_, Load> {
        self.load.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outlet for Lines {
    fn send(&self, message: Message) -> std::result::Result<(), Gone> {
        self.put(message, self.patience)
    }

    /// There is one client, and it stopped reading: progress is left out, as more will come; a `list_changed` is put aside, unless the same waits there
    /// already. Anything else is an answer, and its reader may wait, as nobody else depends on it; but for threads that work for others as well.
    fn offer(&self, message: Message) -> std::result::Result<(), Gone> {
        if message.kind() == Kind::Notification {
            let method = message.method();
            if method == "notifications/progress" {
                drop(method);
                drop(self.put(message, Duration::ZERO));
                return Ok(());
            }
            if method.ends_with("/list_changed") {
                let waits_already = self.lock().aside.iter().any(|other| other.method() == method);
                drop(method);
                return if waits_already { Ok(()) } else { self.put_aside(message) };
            }
        }
        if waits_for_nobody() { self.put_aside(message) } else { self.put(message, self.patience) }
    }
}

/// Whether writing so much does not wait: what is ready takes `PIPE_BUF` bytes, whether it is a pipe or a socket.
#[cfg(unix)]
fn takes_at_once(output: &File, size: usize) -> bool {
    use std::os::fd::AsFd;

    use nix::libc::PIPE_BUF;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    let mut pipe = [PollFd::new(output.as_fd(), PollFlags::POLLOUT)];
    // One that has no reader any more is the writer's to find out about.
    size <= PIPE_BUF && poll(&mut pipe, PollTimeout::ZERO).is_ok() && pipe[0].revents() == Some(PollFlags::POLLOUT)
}

/// Elsewhere everything is left to the writer.
#[cfg(not(unix))]
fn takes_at_once(_: &File, _: usize) -> bool {
    false
}
