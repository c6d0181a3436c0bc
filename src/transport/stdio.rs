//! stdio (2025-11-25 basic/transports, stdio): one message a line, on descriptors that nobody else can write to.

mod lines;

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufReader};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};

use crate::config::Limits;
use crate::connection::{Back, Client, Link, Outlet};
use crate::error::{Error, Result};
use crate::line::{self, Line};
use crate::message::{Malformed, Message};
use crate::rpc_error::RpcError;
use crate::threads;
use crate::transport::incoming;
use crate::workers::Workers;
use lines::Lines;

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
