//! Reading one HTTP/1.1 answer, strictly and bounded: the counterpart of `http1`, which reads requests.

use std::io;
use std::time::{Duration, Instant};

use crate::http1::Source;

/// Status line and headers together.
const HEAD: usize = 64 << 10;
/// Headers of an answer.
const HEADERS: usize = 100;
/// A chunk size line: 16 digits, extensions, CRLF.
const CHUNK_LINE: usize = 16 + 256 + 2;
/// Trailers behind a chunked body together.
const TRAILERS: usize = 16 << 10;
/// Answers of the kind 1xx before the real one.
const INTERIM: usize = 8;
/// How much one read asks for.
const READ: usize = 16 << 10;
/// How an alert of TLS begins, which is what its servers answer to a request in the clear.
const TLS_ALERT: u8 = 0x15;
/// What to do about one of those.
pub(super) const WANTS_TLS: &str = if cfg!(feature = "tls") {
    "it speaks TLS: connect to https:// instead"
} else {
    "it speaks TLS: connect to https:// instead, with a build that has the feature tls"
};

/// A source, and what was read ahead of it.
pub(super) struct Inbox<S> {
    pub source: S,
    buffer: Vec<u8>,
    start: usize,
}

/// An answer without its body.
#[derive(Debug)]
pub(super) struct Head {
    pub status: u16,
    fields: Vec<(String, String)>,
    /// The server lets the connection be used again.
    pub keeps_alive: bool,
}

/// What of the body is still to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// Nothing.
    Ended,
    /// So many bytes.
    Length(u64),
    /// So many bytes of this chunk, then CRLF and further chunks.
    Chunk(u64),
    /// A chunk size line.
    ChunkSize,
    /// Everything until the server closes.
    UntilClose,
}

impl Head {
    /// The first header called `name`, in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Whether the content type is `wanted`, whatever its parameters.
    pub fn is(&self, wanted: &str) -> bool {
        let kind = self.header("content-type").and_then(|kind| kind.split(';').next()).unwrap_or_default();
        kind.trim().eq_ignore_ascii_case(wanted)
    }
}

impl<S: Source> Inbox<S> {
    pub fn new(source: S) -> Inbox<S> {
        Inbox { source, buffer: Vec::new(), start: 0 }
    }

    /// Nothing of a further answer is here, which nobody asked for.
    pub fn is_empty(&self) -> bool {
        self.start == self.buffer.len()
    }

    /// The next answer's head, and how its body is framed.
    pub fn head(&mut self, deadline: Instant) -> io::Result<(Head, Body)> {
        for _ in 0..INTERIM {
            let end = self.head_end(deadline)?;
            let text = self.buffer[self.start..self.start + end].to_vec();
            self.start += end;
            let (head, body) = read_head(&text)?;
            if !(100..200).contains(&head.status) {
                return Ok((head, body));
            }
            if head.status == 101 {
                return Err(malformed("it switches protocols"));
            }
        }
        Err(malformed("it goes on saying that an answer will come"))
    }

    /// Appends what there is of the body, and waits for something when there is nothing. False at its end.
    pub fn body(&mut self, body: &mut Body, into: &mut Vec<u8>, deadline: Instant) -> io::Result<bool> {
        loop {
            match *body {
                Body::Ended => return Ok(false),
                Body::Length(0) => *body = Body::Ended,
                Body::ChunkSize => match self.chunk_size(deadline)? {
                    0 => {
                        self.trailers(deadline)?;
                        *body = Body::Ended;
                    }
                    size => *body = Body::Chunk(size),
                },
                Body::Chunk(0) => {
                    if !self.line(2, deadline)?.is_empty() {
                        return Err(malformed("a chunk is longer than its size"));
                    }
                    *body = Body::ChunkSize;
                }
                Body::Length(left) => {
                    let taken = self.take(left, into, deadline)?;
                    *body = Body::Length(left - taken);
                    return Ok(true);
                }
                Body::Chunk(left) => {
                    let taken = self.take(left, into, deadline)?;
                    *body = Body::Chunk(left - taken);
                    return Ok(true);
                }
                Body::UntilClose => {
                    if self.is_empty() && self.fill(deadline)? == 0 {
                        *body = Body::Ended;
                        return Ok(false);
                    }
                    into.extend_from_slice(&self.buffer[self.start..]);
                    self.start = self.buffer.len();
                    return Ok(true);
                }
            }
        }
    }

    fn take(&mut self, most: u64, into: &mut Vec<u8>, deadline: Instant) -> io::Result<u64> {
        if self.is_empty() && self.fill(deadline)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let ready = self.buffer.len() - self.start;
        let count = usize::try_from(most).map_or(ready, |most| most.min(ready));
        into.extend_from_slice(&self.buffer[self.start..self.start + count]);
        self.start += count;
        Ok(count as u64)
    }

    fn chunk_size(&mut self, deadline: Instant) -> io::Result<u64> {
        let line = self.line(CHUNK_LINE, deadline)?;
        let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
        let behind = line[digits..].iter().find(|byte| !matches!(byte, b' ' | b'\t'));
        let size = std::str::from_utf8(&line[..digits]).ok().and_then(|digits| u64::from_str_radix(digits, 16).ok());
        match size {
            // Blanks behind the size come from servers that pad it.
            Some(size) if digits <= 16 && behind.is_none_or(|byte| *byte == b';') => Ok(size),
            _ => Err(malformed("a chunk size is malformed")),
        }
    }

    fn trailers(&mut self, deadline: Instant) -> io::Result<()> {
        let mut left = TRAILERS;
        loop {
            let length = self.line(left, deadline)?.len();
            if length == 0 {
                return Ok(());
            }
            left = left.saturating_sub(length + 2);
        }
    }

    /// The next line without its CRLF.
    fn line(&mut self, limit: usize, deadline: Instant) -> io::Result<&[u8]> {
        let mut seen = 0;
        loop {
            let ahead = &self.buffer[self.start..];
            if let Some(at) = ahead[seen..].windows(2).position(|pair| pair == b"\r\n") {
                let (start, end) = (self.start, self.start + seen + at);
                if end - start + 2 > limit {
                    return Err(malformed("a line is too long"));
                }
                self.start = end + 2;
                return Ok(&self.buffer[start..end]);
            }
            if ahead.len() >= limit {
                return Err(malformed("a line is too long"));
            }
            seen = ahead.len().saturating_sub(1);
            if self.fill(deadline)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// How long the head is that begins here, with the empty line behind it.
    fn head_end(&mut self, deadline: Instant) -> io::Result<usize> {
        let mut seen = 0;
        loop {
            let ahead = &self.buffer[self.start..];
            // What does not begin like an answer must not be waited for until the limit, and httparse would pass over line ends before it.
            if !b"HTTP/".starts_with(&ahead[..ahead.len().min(5)]) {
                return Err(malformed(if ahead[0] == TLS_ALERT { WANTS_TLS } else { "it does not speak HTTP/1.1" }));
            }
            if let Some(at) = ahead[seen..].windows(4).position(|four| four == b"\r\n\r\n") {
                return Ok(seen + at + 4);
            }
            if ahead.len() >= HEAD {
                return Err(malformed("its headers are too long"));
            }
            seen = ahead.len().saturating_sub(3);
            if self.fill(deadline)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    fn fill(&mut self, deadline: Instant) -> io::Result<usize> {
        self.buffer.drain(..self.start);
        self.start = 0;
        let have = self.buffer.len();
        self.buffer.resize(have + READ, 0);
        let got = self.source.read_before(&mut self.buffer[have..], deadline);
        self.buffer.truncate(have + got.as_ref().map_or(0, |count| *count));
        got
    }
}

fn read_head(text: &[u8]) -> io::Result<(Head, Body)> {
    // Other parsers take a lone CR or LF for a line end.
    let breaks = text.iter().enumerate().filter(|(_, byte)| matches!(byte, b'\r' | b'\n'));
    for (at, byte) in breaks {
        let paired = if *byte == b'\r' { text.get(at + 1) == Some(&b'\n') } else { at > 0 && text[at - 1] == b'\r' };
        if !paired {
            return Err(malformed("its headers have a lone line break"));
        }
    }
    let mut slots = [httparse::EMPTY_HEADER; HEADERS];
    let mut answer = httparse::Response::new(&mut slots);
    match answer.parse(text) {
        Ok(httparse::Status::Complete(length)) if length == text.len() => {}
        Err(httparse::Error::Version) => return Err(malformed("it does not speak HTTP/1.1")),
        _ => return Err(malformed("its headers are malformed")),
    }
    let status = answer.code.unwrap_or_default();
    let is_old = answer.version == Some(0);
    let fields: Vec<(String, String)> =
        answer.headers.iter().map(|header| (header.name.to_owned(), String::from_utf8_lossy(header.value).into_owned())).collect();
    let head = Head { status, fields, keeps_alive: false };
    let mut lengths = head.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("content-length")).map(|(_, value)| value);
    let mut codings = head.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("transfer-encoding")).map(|(_, value)| value);
    let body = match (lengths.next(), codings.next()) {
        _ if (100..200).contains(&status) || matches!(status, 204 | 304) => Body::Ended,
        (Some(_), Some(_)) => return Err(malformed("it gives a length and chunks at once")),
        (None, None) => Body::UntilClose,
        (Some(length), None) => {
            let is_number = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit()) && lengths.all(|other| other == length);
            let length = if is_number { length.parse().ok() } else { None };
            Body::Length(length.ok_or_else(|| malformed("its Content-Length is no number"))?)
        }
        (None, Some(coding)) if coding.eq_ignore_ascii_case("chunked") && codings.next().is_none() => Body::ChunkSize,
        (None, Some(_)) => return Err(malformed("its Transfer-Encoding is not chunked")),
    };
    let connection = || head.fields.iter().filter(|(name, _)| name.eq_ignore_ascii_case("connection"));
    let says = |word: &str| connection().flat_map(|(_, value)| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(word));
    let keeps_alive = body != Body::UntilClose && !says("close") && (!is_old || says("keep-alive"));
    Ok((Head { keeps_alive, ..head }, body))
}

fn malformed(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// `now + time`; none stands for a time that never comes.
pub(super) fn after(time: Option<Duration>) -> Instant {
    Instant::now() + time.unwrap_or(Duration::from_secs(365 * 24 * 3600))
}

/// Asserts that the answers in what `source` gives are framed in one way: wherever reads end, the same come out. Says which.
#[cfg(any(test, fuzzing))]
pub(crate) fn check(source: impl Source) -> String {
    let mut inbox = Inbox::new(source);
    let mut found = String::new();
    loop {
        let read = inbox.head(after(None)).and_then(|(head, mut body)| {
            let mut bytes = Vec::new();
            while inbox.body(&mut body, &mut bytes, after(None))? {}
            assert!(body == Body::Ended && (100..1000).contains(&head.status));
            Ok((head, bytes))
        });
        match read {
            Ok((head, bytes)) => found += &format!("{head:?} {bytes:?}\n"),
            // Which of several faults is seen first depends on what is there.
            Err(why) => return format!("{found}{:?}", why.kind()),
        }
    }
}

#[cfg(test)]
mod tests;
