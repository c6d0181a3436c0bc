//! stdio (2025-11-25 basic/transports, stdio): one message a line, on descriptors that nobody else can write to.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::clock;
use crate::config::Limits;
use crate::connection::{Back, Client, Gone, Link, Outlet};
use crate::error::{Error, Result};
use crate::line::{self, Line};
use crate::message::{Kind, Malformed, Message};
use crate::rpc_error::RpcError;
use crate::threads;
use crate::transport::incoming;
use crate::workers::Workers;

/// Calls that are still running when the client has closed stdin get this long; clients send SIGTERM after two seconds.
const AFTER_EOF: Duration = Duration::from_secs(1);

/// What calls are told that are cut off then finds room in this time, or not at all.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// What is queued for stdout at the end gets this long to be written.
const FLUSH: Duration = Duration::from_millis(500);

/// How the one session on stdio ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The client closed stdin.
    Eof,
    /// Reading or writing failed.
    Broken(io::Error),
}

/// When a session begins.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Begin {
    /// At once.
    AtOnce,
    /// With the first message; until then the end of stdin means nothing.
    WithMessage,
}

/// The session on stdio.
pub(crate) struct Stdio {
    lines: Arc<Lines>,
}

impl Stdio {
    /// Serves the client that started this process; how that ends comes through the channel.
    pub fn start(back: Arc<dyn Back>, limits: &Limits, workers: Workers, begin: Begin) -> Result<(Stdio, Receiver<End>)> {
        let (input, output) = take_descriptors().map_err(|error| Error::io("cannot take over stdin and stdout", error))?;
        let (end, ended) = bounded(2);
        let lines = Lines::start(output, limits, end.clone())?;
        let reader = Reader { back, lines: Arc::clone(&lines), workers, limit: limits.max_line, begin, told: Cell::new(false) };
        spawn("stdin", move || {
            let outcome = reader.run(input);
            if let Some(outcome) = outcome {
                drop(end.try_send(outcome));
            }
        })?;
        Ok((Stdio { lines }, ended))
    }

    /// The process ends: from then on nobody waits for a client that does not read.
    pub fn end_by(&self, end: Instant) {
        self.lines.end_by(end);
    }

    /// Writes what is still queued.
    pub fn flush(&self) {
        self.lines.flush(FLUSH);
    }
}

struct Reader {
    back: Arc<dyn Back>,
    lines: Arc<Lines>,
    workers: Workers,
    limit: usize,
    begin: Begin,
    /// Whoever reads the log was told that stdin carries something else; once is enough.
    told: Cell<bool>,
}

impl Reader {
    /// Reads to the end. None when there never was a session.
    fn run(&self, input: File) -> Option<End> {
        let outlet: Arc<dyn Outlet> = Arc::clone(&self.lines) as Arc<dyn Outlet>;
        let mut link: Option<Arc<dyn Link>> = None;
        if self.begin == Begin::AtOnce {
            link = self.open(&outlet);
        }
        let mut input = BufReader::with_capacity(64 * 1024, input);
        let end = loop {
            let text = match line::read(&mut input, self.limit) {
                Ok(None) => break End::Eof,
                Err(error) => break End::Broken(error),
                Ok(Some(Line::Text(text))) if text.trim_ascii().is_empty() => continue,
                Ok(Some(Line::Text(text))) => text,
                Ok(Some(Line::TooLong)) => {
                    self.refuse(link.as_deref(), RpcError::invalid_request(format_args!("a line has at most {} bytes", self.limit)));
                    continue;
                }
                Ok(Some(Line::NotText)) => {
                    self.refuse(link.as_deref(), RpcError::parse_error("the line is not UTF-8"));
                    continue;
                }
            };
            if link.is_none() {
                if Message::parse(text.clone()).is_err() {
                    log::debug!("stdin carries something that is no message: ignored");
                    continue;
                }
                link = self.open(&outlet);
            }
            if let Some(link) = &link {
                self.deliver(&**link, &outlet, text);
            }
        };
        let link = link?;
        // Calls that are not done by then are told so, which a client that does not read must not hold up either.
        self.lines.end_by(Instant::now() + AFTER_EOF + LAST_WORDS);
        self.back.drain(AFTER_EOF);
        link.close();
        Some(end)
    }

    fn open(&self, outlet: &Arc<dyn Outlet>) -> Option<Arc<dyn Link>> {
        let client = Client { id: "stdio".to_owned(), outlet: Arc::clone(outlet), version: None, may_be_stateless: true };
        self.back.open(client).map_err(|error| log::error!("cannot serve stdio: {error}")).ok()
    }

    fn deliver(&self, link: &dyn Link, outlet: &Arc<dyn Outlet>, text: String) {
        match incoming::read(text.into_bytes(), link, outlet) {
            Ok(messages) => {
                for job in messages.into_iter().filter_map(|message| link.deliver(message, outlet)) {
                    self.workers.run(job);
                }
            }
            Err(Malformed { id, error }) => {
                if !self.told.replace(true) {
                    log::warn!(
                        "stdin carries no message of MCP: {}; JSON is expected, one message a line, and HTTP only with --http",
                        error.message()
                    );
                }
                let answer = incoming::answer(&Malformed { id, error }, link.version());
                drop(outlet.offer(answer));
            }
        }
    }

    /// Answers a line that could not be read, once there is a session.
    fn refuse(&self, link: Option<&dyn Link>, error: RpcError) {
        if let Some(link) = link {
            drop(self.lines.offer(incoming::answer(&Malformed { id: None, error }, link.version())));
        }
    }
}

/// The bounded queue to stdout, with one writer.
pub(crate) struct Lines {
    queue: Sender<Piece>,
    load: Mutex<Load>,
    has_room: Condvar,
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
}

impl Lines {
    fn start(output: File, limits: &Limits, end: Sender<End>) -> Result<Arc<Lines>> {
        // Two more than messages: a mark finds room.
        let (queue, pieces) = bounded(limits.queue_messages + 2);
        let lines = Arc::new(Lines {
            queue,
            load: Mutex::default(),
            has_room: Condvar::new(),
            messages: limits.queue_messages,
            bytes: limits.queue_bytes,
            patience: limits.write_deadline,
            ending: end,
        });
        let writer = Arc::clone(&lines);
        spawn("stdout", move || {
            if let Err(error) = writer.write_all(output, &pieces) {
                writer.give_up(writer.lock(), error);
            }
        })?;
        Ok(lines)
    }

    fn write_all(&self, mut output: File, pieces: &Receiver<Piece>) -> io::Result<()> {
        while let Ok(piece) = pieces.recv() {
            match piece {
                Piece::Message(message) => {
                    let size = message.as_str().len();
                    line::write(&mut output, message.into_text())?;
                    let mut load = self.lock();
                    load.count -= 1;
                    load.bytes -= size;
                    load.written += 1;
                    drop(load);
                    self.has_room.notify_all();
                }
                Piece::Mark(written) => {
                    written.try_send(()).ok();
                }
            }
        }
        Ok(())
    }

    fn put(&self, message: Message, patience: Duration) -> std::result::Result<(), Gone> {
        let size = message.as_str().len();
        let mut deadline = clock::from_now(patience);
        let mut load = self.lock();
        let mut written = load.written;
        while load.count > 0 && (load.count >= self.messages || load.bytes + size > self.bytes) {
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
        if load.is_broken {
            return Err(Gone);
        }
        load.count += 1;
        load.bytes += size;
        self.queue.try_send(Piece::Message(message)).map_err(|_| Gone)
    }

    /// Nothing more is written, and whoever serves is told why.
    fn give_up(&self, mut load: MutexGuard<'_, Load>, why: io::Error) {
        load.is_broken = true;
        drop(load);
        self.has_room.notify_all();
        drop(self.ending.try_send(End::Broken(why)));
    }

    /// Nobody waits for room any longer than that; of two ends the earlier one counts.
    fn end_by(&self, end: Instant) {
        let mut load = self.lock();
        load.end = Some(load.end.map_or(end, |other| other.min(end)));
        drop(load);
        self.has_room.notify_all();
    }

    fn flush(&self, patience: Duration) {
        let (mark, written) = bounded(1);
        if self.queue.send_timeout(Piece::Mark(mark), patience).is_ok() {
            written.recv_timeout(patience).ok();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Load> {
        self.load.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outlet for Lines {
    fn send(&self, message: Message) -> std::result::Result<(), Gone> {
        self.put(message, self.patience)
    }

    /// There is one client, and it stopped reading: what a later message replaces is left out. Anything else is an answer, and its reader may wait, as
    /// nobody else depends on it.
    fn offer(&self, message: Message) -> std::result::Result<(), Gone> {
        let may_be_lost = message.kind() == Kind::Notification && {
            let method = message.method();
            method == "notifications/progress" || method.ends_with("/list_changed")
        };
        if may_be_lost {
            drop(self.put(message, Duration::ZERO));
            return Ok(());
        }
        self.put(message, self.patience)
    }
}

/// Moves stdin and stdout to descriptors of our own, so that a handler that prints, or whose child does, cannot break the protocol: 0 becomes /dev/null
/// and 1 becomes stderr.
#[cfg(unix)]
fn take_descriptors() -> io::Result<(File, File)> {
    use std::os::fd::AsFd;
    let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    nix::unistd::dup2_stdin(File::open("/dev/null")?)?;
    nix::unistd::dup2_stdout(io::stderr())?;
    Ok((input, output))
}

/// Without descriptors, handlers must not print.
#[cfg(windows)]
fn take_descriptors() -> io::Result<(File, File)> {
    use std::os::windows::io::AsHandle;
    let input = File::from(io::stdin().as_handle().try_clone_to_owned()?);
    let output = File::from(io::stdout().as_handle().try_clone_to_owned()?);
    Ok((input, output))
}

/// Whether a client may be at the other end of stdin: it is a pipe or a socket.
#[cfg(unix)]
pub(crate) fn may_have_client() -> bool {
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileTypeExt;
    let kind = io::stdin().as_fd().try_clone_to_owned().and_then(|input| File::from(input).metadata()).map(|stat| stat.file_type());
    kind.is_ok_and(|kind| kind.is_fifo() || kind.is_socket())
}

/// Elsewhere stdin is left alone.
#[cfg(not(unix))]
pub(crate) fn may_have_client() -> bool {
    false
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<()> {
    threads::start(name, work).map(drop).map_err(|error| Error::io("cannot start a thread", error))
}

#[cfg(unix)]
#[cfg(test)]
mod tests;
