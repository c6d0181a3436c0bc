//! Reading one HTTP/1.1 request head and body, strictly and bounded.
//!
//! A [`Reader`] takes one request after another off a [`Source`], keep-alive and pipelined:
//!
//! 1. wait up to `idle` for the first byte, or for the client to go;
//! 2. read the head, at most `head_bytes` and within `head_deadline` of its first byte; whatever two parsers could read in two ways
//!    is refused, since a proxy in front of us would read it the other way (request smuggling);
//! 3. read the body by the one framing that the head announces, at most `body_bytes` and within `body_deadline`.
//!
//! Deadlines are totals, so dripping bytes do not stretch them. Memory grows with what has arrived, never with what was announced.
//! After any [`Refusal`] the place of the next request is unknown: answer with [`Writer::closing`], [`linger`], and close.

mod decided;
mod head;
mod source;
mod write;

#[cfg(test)]
mod random;
#[cfg(test)]
mod refused;
#[cfg(test)]
mod tests;

use std::io;
use std::time::{Duration, Instant};

pub(crate) use decided::{Framing, Version};
pub(crate) use head::{Head, IS_TLS};
pub(crate) use source::{Socket, Source, linger};
pub(crate) use write::{CONTINUE, LAST_CHUNK, Writer, push_chunk_size};

use crate::clock::after;
use head::{Line, Scan, is_token, line_end};

/// How much one read asks for, and the most memory that an idle connection keeps.
const READ: usize = 4096;
/// How far a body grows at first; later it doubles what has arrived.
const STEP: usize = 64 * 1024;
/// Up to this size a body gets its room at once, which costs nothing before something arrives there, and spares it being moved.
const AT_ONCE: usize = 1 << 20;
/// A chunk size has at most 16 digits; the rest of its line is extensions.
const CHUNK_LINE: usize = 16 + 256 + 2;
/// All chunk extensions of one body together: they are dropped, so they must not be a way to send without end.
const EXTENSIONS: usize = 16 * 1024;

/// What one client may ask us to hold and to wait for.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    /// Request line and headers together.
    pub(crate) head_bytes: usize,
    /// Headers, and trailers behind a chunked body.
    pub(crate) headers: usize,
    /// The body, after removal of chunk framing.
    pub(crate) body_bytes: usize,
    /// From the first byte of a head to its end.
    pub(crate) head_deadline: Duration,
    /// From the first look at a body to its end.
    pub(crate) body_deadline: Duration,
    /// From the end of one request to the first byte of the next.
    pub(crate) idle: Duration,
}

/// Why there is no request. Each of them ends the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The client left, or had nothing to say, between two requests.
    Closed,
    /// The client left in the middle of a request.
    Cut,
    /// The head or the body was not there by its deadline.
    TimedOut,
    /// The request is malformed or too large. `why` is a text of ours and quotes nothing of the client's.
    Bad {
        /// 400, 413, 414, 417, 431 or 505.
        status: u16,
        /// What is wrong, for the body of the answer.
        why: &'static str,
    },
}

/// Why a body is refused: the limit has a setting.
pub(crate) const TOO_LARGE: &str = "the body is over the limit, which --max-body (MCP_MAX_BODY) sets";

impl Refusal {
    /// The status to answer with, or `None` when nobody is there to read an answer.
    pub(crate) fn status(self) -> Option<u16> {
        match self {
            Refusal::Closed | Refusal::Cut => None,
            Refusal::TimedOut => Some(408),
            Refusal::Bad { status, .. } => Some(status),
        }
    }

    fn bad(why: &'static str) -> Refusal {
        Refusal::Bad { status: 400, why }
    }

    pub(crate) fn too_large() -> Refusal {
        Refusal::Bad { status: 413, why: TOO_LARGE }
    }

    fn lost(error: &io::Error) -> Refusal {
        match error.kind() {
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => Refusal::TimedOut,
            _ => Refusal::Cut,
        }
    }
}

/// Takes requests off a connection. It owns only the bytes read ahead, not the socket, so both can move to another thread together.
#[derive(Default)]
pub(crate) struct Reader {
    /// Longer than what is in it: to write zeros before each read would cost as much as the read.
    buffer: Vec<u8>,
    /// Everything before this index of `buffer` has been used.
    start: usize,
    /// Everything from this one on is room.
    end: usize,
}

impl Reader {
    /// A reader with nothing read ahead.
    pub(crate) fn new() -> Reader {
        Reader::default()
    }

    /// True when bytes of a further, pipelined request are here already.
    pub(crate) fn has_buffered(&self) -> bool {
        !self.ahead().is_empty()
    }

    /// The next request's head. The body, if any, must be taken by [`Reader::body`] before the next call, or the connection closed.
    pub(crate) fn head(&mut self, source: &mut impl Source, limits: &Limits) -> Result<Head, Refusal> {
        self.rest();
        if !self.has_buffered() {
            // Nobody waits for an answer yet, so every failure here is a quiet end.
            let idle = after(source.now(), limits.idle);
            if !matches!(self.fill(source, idle), Ok(1..)) {
                return Err(Refusal::Closed);
            }
        }
        let mut deadline = None;
        let mut scan = Scan::default();
        loop {
            if let Some(end) = scan.advance(self.ahead(), limits.head_bytes)? {
                let head = scan.head(&self.ahead()[..end], limits.headers)?;
                self.start += end;
                return Ok(head);
            }
            let deadline = *deadline.get_or_insert_with(|| after(source.now(), limits.head_deadline));
            match self.fill(source, deadline) {
                Ok(0) | Err(_) if scan.only_blank(self.ahead()) => return Err(Refusal::Closed),
                Ok(0) => return Err(Refusal::Cut),
                Ok(_) => {}
                Err(error) => return Err(Refusal::lost(&error)),
            }
        }
    }

    /// The body that `head` announces. `before_reading` sends [`CONTINUE`]; it is called at most once, and only when the client
    /// asked for it, the announced length is acceptable and nothing of the body is here yet.
    pub(crate) fn body(
        &mut self,
        head: &Head,
        source: &mut impl Source,
        limits: &Limits,
        before_reading: impl FnOnce() -> io::Result<()>,
    ) -> Result<Vec<u8>, Refusal> {
        let mut body = Vec::new();
        let length = match head.framing {
            Framing::None | Framing::Length(0) => return Ok(body),
            Framing::Length(length) => match usize::try_from(length) {
                Ok(length) if length <= self.ahead().len().min(limits.body_bytes) => {
                    // It came with its head, as most do.
                    body.extend_from_slice(&self.ahead()[..length]);
                    self.start += length;
                    return Ok(body);
                }
                Ok(length) if length <= limits.body_bytes => Some(length),
                _ => return Err(Refusal::too_large()),
            },
            Framing::Chunked => None,
        };
        if head.expects_continue && !self.has_buffered() {
            before_reading().map_err(|_| Refusal::Cut)?;
        }
        let deadline = after(source.now(), limits.body_deadline);
        match length {
            Some(length) => self.take(length, &mut body, source, deadline)?,
            None => self.chunks(&mut body, source, limits, deadline)?,
        }
        Ok(body)
    }

    fn chunks(&mut self, body: &mut Vec<u8>, source: &mut impl Source, limits: &Limits, deadline: Instant) -> Result<(), Refusal> {
        let mut extensions = 0;
        loop {
            let line = self.line(CHUNK_LINE, Refusal::bad("a chunk size line is too long"), source, deadline)?;
            let (size, extension) = chunk_size(line)?;
            extensions += extension;
            if extensions > EXTENSIONS {
                return Err(Refusal::bad("too many chunk extensions"));
            }
            if size == 0 {
                break;
            }
            // The sum cannot overflow: the body so far is within the limit.
            let room = limits.body_bytes - body.len();
            match usize::try_from(size) {
                Ok(size) if size <= room => self.take(size, body, source, deadline)?,
                _ => return Err(Refusal::too_large()),
            }
            self.line(2, Refusal::bad("a chunk is longer than its size"), source, deadline)?;
        }
        let too_large = Refusal::Bad { status: 431, why: "the trailers are over the limit" };
        let mut left = limits.head_bytes;
        for _ in 0..=limits.headers {
            let line = self.line(left, too_large, source, deadline)?;
            if line.is_empty() {
                return Ok(());
            }
            left -= line.len() + 2;
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            if name.len() == line.len() || !is_token(name) {
                return Err(Refusal::bad("a trailer is malformed"));
            }
        }
        Err(too_large)
    }

    /// Moves exactly `length` bytes into `body`: first those read ahead, then straight from the source and not one byte further.
    fn take(&mut self, length: usize, body: &mut Vec<u8>, source: &mut impl Source, deadline: Instant) -> Result<(), Refusal> {
        let ready = length.min(self.ahead().len());
        body.extend_from_slice(&self.ahead()[..ready]);
        self.start += ready;
        let end = body.len() + length - ready;
        body.reserve_exact((end - body.len()).min(AT_ONCE));
        let mut filled = body.len();
        while filled < end {
            if filled == body.len() {
                body.resize(end.min(filled + filled.max(STEP)), 0);
            }
            match source.read_before(&mut body[filled..], deadline) {
                Ok(0) => return Err(Refusal::Cut),
                Ok(count) => filled += count,
                Err(error) => return Err(Refusal::lost(&error)),
            }
        }
        Ok(())
    }

    /// The next line without its CRLF; `too_long` when it would take more than `limit` bytes with it.
    fn line(&mut self, limit: usize, too_long: Refusal, source: &mut impl Source, deadline: Instant) -> Result<&[u8], Refusal> {
        let mut from = 0;
        loop {
            match line_end(self.ahead(), from, limit)? {
                Line::Ends(end) => {
                    let start = self.start;
                    self.start += end + 2;
                    return Ok(&self.buffer[start..start + end]);
                }
                Line::Open(seen) => from = seen,
                Line::TooLong => return Err(too_long),
            }
            match self.fill(source, deadline) {
                Ok(0) => return Err(Refusal::Cut),
                Ok(_) => {}
                Err(error) => return Err(Refusal::lost(&error)),
            }
        }
    }

    fn ahead(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Between requests: forget what was used, and do not hold a large buffer while the client is idle.
    fn rest(&mut self) {
        if self.has_buffered() {
            return;
        }
        (self.start, self.end) = (0, 0);
        if self.buffer.len() > READ {
            self.buffer = Vec::new();
        }
    }

    /// One read, appended to what is ahead.
    fn fill(&mut self, source: &mut impl Source, deadline: Instant) -> io::Result<usize> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        // A small head that comes in two pieces fits the room that is there.
        if self.buffer.len() - self.end < READ / 4 {
            self.buffer.resize(self.end + READ, 0);
        }
        let room = READ.min(self.buffer.len() - self.end);
        let got = source.read_before(&mut self.buffer[self.end..self.end + room], deadline)?;
        self.end += got;
        Ok(got)
    }
}

/// The size in a chunk size line, and the length of the extensions behind it.
fn chunk_size(line: &[u8]) -> Result<(u64, usize), Refusal> {
    let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    let (number, extension) = line.split_at(digits);
    // Blanks before the semicolon are "bad whitespace" that RFC 9112 lets a recipient remove.
    let opens = extension.iter().find(|byte| !matches!(byte, b' ' | b'\t'));
    if !(1..=16).contains(&digits) || (!extension.is_empty() && opens != Some(&b';')) {
        return Err(Refusal::bad("a chunk size is malformed"));
    }
    let size = number.iter().fold(0, |size, digit| size << 4 | u64::from((*digit as char).to_digit(16).unwrap_or(0)));
    Ok((size, extension.len()))
}
