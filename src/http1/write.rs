//! Writing answers: each is one piece of memory, so that it goes out in one write.
//!
//! No text of the client's gets into a head: reason phrases come from a table, and a header whose value holds a control character is left out, since it
//! could end the line.

use std::time::{SystemTime, UNIX_EPOCH};

use tiny_http::{Header, Method, StatusCode};

use super::decided::Version;
use super::head::{Head, is_token};
use crate::scan::{self, first};

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
    pub(crate) fn complete(&self, status: u16, headers: &[Header], body: &[u8]) -> Vec<u8> {
        let mut out = self.before(status, headers, body.len());
        if self.has_body(status) {
            out.extend_from_slice(body);
        }
        out
    }

    /// Whether a body goes out behind the head of a whole answer.
    pub(crate) fn has_body(&self, status: u16) -> bool {
        !self.head_only && !matches!(status, 204 | 304)
    }

    /// The head of a whole answer whose body has `length` bytes.
    pub(crate) fn before(&self, status: u16, headers: &[Header], length: usize) -> Vec<u8> {
        self.head(status, headers, if status == 204 { Length::None } else { Length::Exactly(length) })
    }

    /// The head of a body without a known end: chunked in HTTP/1.1, ended by closing in 1.0. The parts follow through [`Writer::chunk`].
    pub(crate) fn stream(&self, status: u16, headers: &[Header]) -> Vec<u8> {
        let writer = if self.version == Version::Http10 { self.close() } else { *self };
        writer.head(status, headers, Length::Stream)
    }

    /// Appends one part of a stream to `out`. In HTTP/1.1 the stream ends with [`LAST_CHUNK`].
    pub(crate) fn chunk(&self, out: &mut Vec<u8>, part: &[u8]) {
        match self.version {
            Version::Http10 => out.extend_from_slice(part),
            // A chunk of size zero would end the stream.
            Version::Http11 if part.is_empty() => {}
            Version::Http11 => {
                push_chunk_size(out, part.len());
                out.extend_from_slice(part);
                out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// In pieces rather than formatted: it is written for every answer.
    fn head(&self, status: u16, headers: &[Header], length: Length) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        let version = if self.version == Version::Http10 { "HTTP/1.0 " } else { "HTTP/1.1 " };
        push(&mut out, &[version]);
        push_number(&mut out, status.into());
        push(&mut out, &[" ", StatusCode(status).default_reason_phrase(), "\r\nServer: ", SERVER, "\r\nDate: "]);
        push_date(&mut out, SystemTime::now());
        push(&mut out, &["\r\n"]);
        for header in headers.iter().filter(|header| is_harmless(header)) {
            push(&mut out, &[header.field.as_str().as_str(), ": ", header.value.as_str(), "\r\n"]);
        }
        match length {
            Length::Exactly(length) => {
                push(&mut out, &["Content-Length: "]);
                push_number(&mut out, length as u64);
                push(&mut out, &["\r\n"]);
            }
            Length::Stream if self.version == Version::Http11 => push(&mut out, &["Transfer-Encoding: chunked\r\n"]),
            Length::None | Length::Stream => {}
        }
        match (self.keep_alive, self.version) {
            (false, _) => push(&mut out, &["Connection: close\r\n"]),
            (true, Version::Http10) => push(&mut out, &["Connection: keep-alive\r\n"]),
            (true, Version::Http11) => {}
        }
        push(&mut out, &["\r\n"]);
        out
    }
}

/// False for a header that would break the head or contradict it.
fn is_harmless(header: &Header) -> bool {
    let name = header.field.as_str().as_str();
    let clean = is_token(name.as_bytes()) && first::<scan::Control>(header.value.as_str().as_bytes()).is_none();
    if !clean {
        log::error!("a header was left out of an answer: its name or value cannot be sent");
    }
    clean && !OURS.iter().any(|ours| ours.eq_ignore_ascii_case(name))
}

/// The line before a chunk. In digits of its own rather than formatted: it is written before every event.
pub(crate) fn push_chunk_size(out: &mut Vec<u8>, size: usize) {
    let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1);
    out.extend((0..digits).rev().map(|digit| b"0123456789abcdef"[size >> (4 * digit) & 15]));
    out.extend_from_slice(b"\r\n");
}

fn push(out: &mut Vec<u8>, parts: &[&str]) {
    parts.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
}

fn push_number(out: &mut Vec<u8>, number: u64) {
    if number >= 10 {
        push_number(out, number / 10);
    }
    out.push(b'0' + (number % 10) as u8);
}

/// The date as HTTP writes it: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn push_date(out: &mut Vec<u8>, time: SystemTime) {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    // The year begins in March here, so that its leap day is its last.
    const MONTHS: [&str; 12] = ["Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb"];
    // A clock set before 1970 is not worth an error.
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days since March of the year 0, in cycles of 400 years.
    let (cycles, day) = ((days + 719_468) / 146_097, (days + 719_468) % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Five months from March on have 153 days, always.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let year = cycles * 400 + year + u64::from(month >= 10);
    push(out, &[DAYS[(days % 7) as usize], ", "]);
    push_two_digits(out, day);
    push(out, &[" ", MONTHS[month as usize], " "]);
    push_two_digits(out, year / 100);
    push_two_digits(out, year % 100);
    for (before, number) in [(b' ', second / 3600), (b':', second / 60 % 60), (b':', second % 60)] {
        out.push(before);
        push_two_digits(out, number);
    }
    push(out, &[" GMT"]);
}

fn push_two_digits(out: &mut Vec<u8>, number: u64) {
    out.extend([number / 10 % 10, number % 10].map(|digit| b'0' + digit as u8));
}

#[cfg(test)]
mod tests;
