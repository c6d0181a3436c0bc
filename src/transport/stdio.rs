//! stdio (2025-11-25 basic/transports, stdio): one message a line, on descriptors that nobody else can write to.

mod lines;

use std::fs::File;
use std::io::{self, BufReader};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use self::lines::Lines;
use crate::config::Limits;
use crate::connection::{Back, Client, Job, Link, Outlet};
use crate::error::{Error, Result};
use crate::line::{self, Line};
use crate::message::{Malformed, Message};
use crate::rpc_error::RpcError;
use crate::threads;
use crate::transport::incoming;
use crate::transport::relay::{Baton, Lane, Pace, Relay};
use crate::workers::{self, Workers};

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
    /// Reading failed.
    Broken(io::Error),
    /// The client takes nothing more from stdout. It may be there still, and close stdin some time.
    Deaf(io::Error),
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
    link: Arc<OnceLock<Arc<dyn Link>>>,
}

impl Stdio {
    /// Serves the client that started this process; how that ends comes through the channel.
    pub fn start(back: Arc<dyn Back>, limits: &Limits, workers: Workers, begin: Begin) -> Result<(Stdio, Receiver<End>)> {
        let (input, output) = take_descriptors().map_err(|error| Error::io("cannot take over stdin and stdout", error))?;
        let (end, ended) = bounded(2);
        let lines = Lines::start(output, limits, end.clone())?;
        let link = Arc::default();
        let reader = Box::new(Reader {
            input: BufReader::with_capacity(64 * 1024, input),
            lines: Arc::clone(&lines),
            outlet: Arc::clone(&lines) as Arc<dyn Outlet>,
            back,
            link: Arc::clone(&link),
            workers,
            relay: None,
            pace: Pace::default(),
            limit: limits.max_line,
            begin,
            was_told: false,
            has_ended: false,
            end,
        });
        spawn("stdin", move || reader.read())?;
        Ok((Stdio { lines, link }, ended))
    }

    /// Ends the session of a client that takes nothing more. What it still says is read and ignored, up to the end of stdin.
    pub fn leave(&self) {
        self.link.get().into_iter().for_each(|link| link.close());
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

/// The client's lines, in the thread that reads them.
struct Reader {
    input: BufReader<File>,
    lines: Arc<Lines>,
    /// The same, as what the back knows it as.
    outlet: Arc<dyn Outlet>,
    back: Arc<dyn Back>,
    link: Arc<OnceLock<Arc<dyn Link>>>,
    workers: Workers,
    /// There from the first call on that this thread runs.
    relay: Option<Arc<Relay<Reader>>>,
    pace: Pace,
    limit: usize,
    begin: Begin,
    /// Whoever reads the log was told that stdin carries something else; once is enough.
    was_told: bool,
    /// It has read to the end.
    has_ended: bool,
    end: Sender<End>,
}

impl Baton for Reader {
    fn go_on(self: Box<Self>) {
        self.read();
    }
}

/// Whatever ends the thread that reads stdin, a mistake of ours as well, ends the session: nobody else reads.
impl Drop for Reader {
    fn drop(&mut self) {
        if !self.has_ended && self.link.get().is_some() {
            drop(self.end.try_send(End::Broken(io::Error::other("the thread that reads stdin has failed"))));
        }
    }
}

impl Reader {
    /// Reads to the end, or until another thread has taken over.
    fn read(mut self: Box<Self>) {
        if self.begin == Begin::AtOnce {
            self.open();
        }
        let mut lane = None;
        let end = loop {
            match line::read(&mut self.input, self.limit) {
                Ok(None) => break End::Eof,
                Err(error) => break End::Broken(error),
                Ok(Some(Line::TooLong)) => {
                    self.refuse(RpcError::invalid_request(format_args!("a line has at most {} bytes", self.limit)));
                }
                Ok(Some(Line::NotText)) => self.refuse(RpcError::parse_error("the line is not UTF-8")),
                Ok(Some(_)) if self.is_left() => {}
                Ok(Some(Line::Text(text))) if text.trim_ascii().is_empty() => {}
                Ok(Some(Line::Text(text))) => {
                    let jobs = self.deliver(text);
                    match self.run(jobs, &mut lane) {
                        Some(reader) => self = reader,
                        None => return,
                    }
                }
            }
        };
        // Without a session there never was a client.
        let Some(link) = self.link.get() else { return };
        // Calls that are not done by then are told so, which a client that does not read must not hold up either.
        self.lines.end_by(Instant::now() + AFTER_EOF + LAST_WORDS);
        self.back.drain(AFTER_EOF);
        if !self.is_left() {
            link.close();
        }
        drop(self.end.try_send(end));
        self.has_ended = true;
    }

    /// Others go on without the client, whose session [was ended](Stdio::leave).
    fn is_left(&self) -> bool {
        self.begin == Begin::WithMessage && self.lines.is_broken()
    }

    /// Runs what a line led to. A single call runs on this thread, unless it is likely to take long, or more has come meanwhile.
    fn run(mut self: Box<Self>, mut jobs: Vec<Job>, lane: &mut Option<Arc<Lane<Reader>>>) -> Option<Box<Self>> {
        let Some(last) = jobs.pop() else { return Some(self) };
        if jobs.is_empty() && self.input.buffer().is_empty() && self.pace.is_quick() {
            let relay = Arc::clone(self.relay.get_or_insert_with(|| Relay::new("stdin", workers::STACK)));
            let last = self.pace.timed(last);
            if relay.can_relieve() {
                return relay.run(lane.get_or_insert_with(|| relay.lane()), self, last);
            }
            self.workers.run(last);
            return Some(self);
        }
        jobs.into_iter().for_each(|job| self.workers.run(job));
        self.workers.run(self.pace.timed(last));
        Some(self)
    }

    /// Begins the session, unless it has begun.
    fn open(&self) {
        if self.link.get().is_some() {
            return;
        }
        let client = Client { id: "stdio".to_owned(), outlet: Arc::clone(&self.outlet), version: None, may_be_stateless: true };
        match self.back.open(client) {
            Ok(link) => drop(self.link.set(link)),
            Err(error) => log::error!("cannot serve stdio: {error}"),
        }
    }

    fn deliver(&mut self, text: String) -> Vec<Job> {
        if self.link.get().is_none() {
            if Message::parse(text.clone()).is_err() {
                log::debug!("stdin carries something that is no message: ignored");
                return Vec::new();
            }
            self.open();
        }
        let Some(link) = self.link.get() else { return Vec::new() };
        match incoming::read_text(text, &**link, &self.outlet) {
            Ok(messages) => messages.into_iter().filter_map(|message| link.deliver(message, &self.outlet)).collect(),
            Err(Malformed { id, error }) => {
                if !std::mem::replace(&mut self.was_told, true) {
                    log::warn!(
                        "stdin carries no message of MCP: {}; JSON is expected, one message a line, and HTTP only with --http",
                        error.message()
                    );
                }
                drop(self.outlet.offer(incoming::answer(&Malformed { id, error }, link.version())));
                Vec::new()
            }
        }
    }

    /// Answers a line that could not be read, once there is a session.
    fn refuse(&self, error: RpcError) {
        if let Some(link) = self.link.get() {
            drop(self.outlet.offer(incoming::answer(&Malformed { id: None, error }, link.version())));
        }
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
