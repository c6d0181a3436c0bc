//! Writing answers: each is one piece of memory, so that it goes out in one write.
//!
//! tiny_http writes the complete answers of a connection that stays open. What it cannot write is written here: it drops `Connection`,
//! gives 204 a length, and cannot begin a stream. No text of the client's gets into a head: reason phrases come from a table, and a
//! header whose value holds a control character is left out, since tiny_http would let it end the line.

use std::io::{self, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use tiny_http::{HTTPVersion, Header, Method, Response, StatusCode};

use super::head::{Head, Version, is_token};

/// Tells a client that waits before sending its body to go on. Only HTTP/1.1 knows it.
pub(crate) const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
/// Ends a chunked stream.
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

const SERVER: &str = "mcp-http-transport";
/// The writer alone decides about these.
const OURS: [&str; 8] = ["connection", "content-length", "transfer-encoding", "trailer", "upgrade", "keep-alive", "date", "server"];

/// How to answer one request: what the client speaks, whether the connection stays open, whether the body is wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Writer {
    version: Version,
    keep_alive: bool,
    head_only: bool,
}

enum Length {
    None,
    Exactly(usize),
    Stream,
}

impl Writer {
    /// For the answer to `head`.
    pub(crate) fn of(head: &Head) -> Writer {
        Writer { version: head.version, keep_alive: head.keep_alive, head_only: head.method == Method::Head }
    }

    /// For the last answer on a connection whose request could not be read.
    pub(crate) fn closing() -> Writer {
        Writer { version: Version::Http11, keep_alive: false, head_only: false }
    }

    /// For a stream after which the connection closes.
    pub(crate) fn streaming(version: Version) -> Writer {
        Writer { version, keep_alive: false, head_only: false }
    }

    /// Whether the parts of a stream are chunks.
    pub(crate) fn is_chunked(&self) -> bool {
        self.version == Version::Http11
    }

    /// The same, and the connection closes after it.
    pub(crate) fn close(self) -> Writer {
        Writer { keep_alive: false, ..self }
    }

    /// Whether the connection stays open after a complete answer.
    pub(crate) fn keeps_alive(&self) -> bool {
        self.keep_alive
    }

    /// A whole answer. For HEAD the body is left out and its length told; 204 and 304 have no body.
    pub(crate) fn complete(&self, status: u16, headers: Vec<Header>, body: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = self.before(status, headers, body.len())?;
        if self.has_body(status) {
            out.extend_from_slice(body);
        }
        Ok(out)
    }

    /// Whether a body goes out behind the head of a whole answer.
    pub(crate) fn has_body(&self, status: u16) -> bool {
        !self.head_only && !matches!(status, 204 | 304)
    }

    /// The head of a whole answer whose body has `length` bytes.
    pub(crate) fn before(&self, status: u16, mut headers: Vec<Header>, length: usize) -> io::Result<Vec<u8>> {
        headers.retain(is_harmless);
        let mut out = Vec::with_capacity(512);
        if self.keep_alive && self.version == Version::Http11 && status != 204 {
            headers.extend(Header::from_bytes("Server", SERVER));
            // As for HEAD: the body would be copied, in small pieces.
            Response::new(StatusCode(status), headers, io::empty(), Some(length), None).with_chunked_threshold(usize::MAX).raw_print(
                &mut out,
                HTTPVersion(1, 1),
                &[],
                true,
                None,
            )?;
            return Ok(out);
        }
        let length = if status == 204 { Length::None } else { Length::Exactly(length) };
        self.head(&mut out, status, &headers, length)?;
        Ok(out)
    }

    /// The head of a body without a known end: chunked in HTTP/1.1, ended by closing in 1.0. The parts follow through [`Writer::chunk`].
    pub(crate) fn stream(&self, status: u16, mut headers: Vec<Header>) -> io::Result<Vec<u8>> {
        headers.retain(is_harmless);
        let mut out = Vec::with_capacity(512);
        let writer = if self.version == Version::Http10 { self.close() } else { *self };
        writer.head(&mut out, status, &headers, Length::Stream)?;
        Ok(out)
    }

    /// Appends one part of a stream to `out`. In HTTP/1.1 the stream ends with [`LAST_CHUNK`].
    pub(crate) fn chunk(&self, out: &mut Vec<u8>, part: &[u8]) -> io::Result<()> {
        match self.version {
            Version::Http10 => out.extend_from_slice(part),
            // A chunk of size zero would end the stream.
            Version::Http11 if part.is_empty() => {}
            Version::Http11 => {
                write!(out, "{:x}\r\n", part.len())?;
                out.extend_from_slice(part);
                out.extend_from_slice(b"\r\n");
            }
        }
        Ok(())
    }

    fn head(&self, out: &mut Vec<u8>, status: u16, headers: &[Header], length: Length) -> io::Result<()> {
        let minor = if self.version == Version::Http10 { 0 } else { 1 };
        let reason = StatusCode(status).default_reason_phrase();
        write!(out, "HTTP/1.{minor} {status} {reason}\r\nServer: {SERVER}\r\nDate: {}\r\n", date(SystemTime::now()))?;
        for header in headers {
            write!(out, "{}: {}\r\n", header.field, header.value)?;
        }
        match length {
            Length::Exactly(length) => write!(out, "Content-Length: {length}\r\n")?,
            Length::Stream if self.version == Version::Http11 => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
            Length::None | Length::Stream => {}
        }
        match (self.keep_alive, self.version) {
            (false, _) => out.extend_from_slice(b"Connection: close\r\n"),
            (true, Version::Http10) => out.extend_from_slice(b"Connection: keep-alive\r\n"),
            (true, Version::Http11) => {}
        }
        out.extend_from_slice(b"\r\n");
        Ok(())
    }
}

/// False for a header that would break the head or contradict it.
fn is_harmless(header: &Header) -> bool {
    let name = header.field.as_str().as_str();
    let value = header.value.as_str().bytes();
    let clean = is_token(name.as_bytes()) && value.into_iter().all(|byte| byte == b'\t' || (b' '..0x7f).contains(&byte));
    if !clean {
        log::error!("a header was left out of an answer: its name or value cannot be sent");
    }
    clean && !OURS.iter().any(|ours| ours.eq_ignore_ascii_case(name))
}

/// The date as HTTP writes it: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn date(time: SystemTime) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    // A clock set before 1970 is not worth an error.
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let leap = |year: u64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    // Skip whole cycles of 400 years, then years, then months: a short walk that is plain to check.
    let (mut year, mut day) = (1970 + days / 146_097 * 400, days % 146_097);
    while day >= 365 + u64::from(leap(year)) {
        day -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while day >= lengths[month] {
        day -= lengths[month];
        month += 1;
    }
    let weekday = DAYS[(days % 7) as usize];
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{weekday}, {:02} {} {year} {hour:02}:{minute:02}:{second:02} GMT", day + 1, MONTHS[month])
}

#[cfg(test)]
mod tests;
