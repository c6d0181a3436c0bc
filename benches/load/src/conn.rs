//! One HTTP/1.1 connection to a server: requests out, answers and event streams in, whatever their framing.

use std::io::{self, BufRead, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;
use std::time::Duration;

/// A server that is silent for this long has failed.
const PATIENCE: Duration = Duration::from_secs(20);

const READ: usize = 64 << 10;

pub struct Conn {
    stream: TcpStream,
    raw: Vec<u8>,
    start: usize,
    end: usize,
    framing: Framing,
    /// The body of the answer so far, without its framing.
    body: Vec<u8>,
    /// How much of the body was given out as events, and how much is known to hold no end of line.
    taken: usize,
    searched: usize,
}

/// The head of an answer.
pub struct Head {
    pub status: u16,
    pub is_event_stream: bool,
    pub session_id: Option<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Framing {
    Length(usize),
    /// Bytes left of the current chunk, with the line end behind it; `None` before the first.
    Chunked(Option<usize>),
    UntilClose,
    Done,
}

/// What an event is about.
#[derive(PartialEq)]
pub enum Event {
    Endpoint(String),
    /// Where in the body its data lies.
    Message(Range<usize>),
}

impl Conn {
    pub fn open(address: SocketAddr, buffer: usize) -> io::Result<Conn> {
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let raw = vec![0; buffer.clamp(512, READ)];
        Ok(Conn { stream, raw, start: 0, end: 0, framing: Framing::Done, body: Vec::new(), taken: 0, searched: 0 })
    }

    pub fn send(&mut self, parts: [&[u8]; 2]) -> io::Result<()> {
        let mut slices = parts.map(IoSlice::new);
        let mut left = &mut slices[..];
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            let written = self.stream.write_vectored(left)?;
            IoSlice::advance_slices(&mut left, written);
        }
        Ok(())
    }

    /// Reads the head of the next answer; its body is read by what is called next.
    pub fn head(&mut self) -> io::Result<Head> {
        let (mut from, end) = (
            0,
            loop {
                let ahead = &self.raw[self.start..self.end];
                match ahead.windows(4).position(|four| four == b"\r\n\r\n") {
                    Some(at) => break at + 4,
                    None => self.fill()?,
                }
            },
        );
        let text = str::from_utf8(&self.raw[self.start..self.start + end]).map_err(io::Error::other)?;
        let status = text.get(9..12).and_then(|code| code.parse().ok()).ok_or_else(|| io::Error::other("no HTTP answer"))?;
        let mut head = Head { status, is_event_stream: false, session_id: None };
        self.framing = if status == 204 { Framing::Length(0) } else { Framing::UntilClose };
        while let Some(length) = text[from..].find("\r\n") {
            let line = &text[from..from + length];
            from += length + 2;
            let Some((name, value)) = line.split_once(':') else { continue };
            let value = value.trim();
            if name.eq_ignore_ascii_case("content-length") {
                self.framing = Framing::Length(value.parse().map_err(io::Error::other)?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") {
                self.framing = Framing::Chunked(None);
            } else if name.eq_ignore_ascii_case("content-type") {
                head.is_event_stream = value.starts_with("text/event-stream");
            } else if name.eq_ignore_ascii_case("mcp-session-id") {
                head.session_id = Some(value.to_owned());
            }
        }
        self.start += end;
        self.body.clear();
        (self.taken, self.searched) = (0, 0);
        Ok(head)
    }

    /// Reads what is left of the body, and gives it all.
    pub fn whole_body(&mut self) -> io::Result<&[u8]> {
        while self.more()? {}
        Ok(&self.body)
    }

    pub fn body(&self, range: Range<usize>) -> &[u8] {
        &self.body[range]
    }

    /// The next event that says something. The data of the one before it is gone then.
    pub fn event(&mut self) -> io::Result<Event> {
        if self.taken == self.body.len() {
            self.body.clear();
            (self.taken, self.searched) = (0, 0);
        }
        let (mut name, mut data) = (String::new(), None::<Range<usize>>);
        loop {
            let line = self.line()?;
            let text = &self.body[line.clone()];
            if text.is_empty() {
                match data.take() {
                    Some(range) if name == "endpoint" => {
                        return Ok(Event::Endpoint(String::from_utf8_lossy(&self.body[range]).into_owned()));
                    }
                    Some(range) if !range.is_empty() => return Ok(Event::Message(range)),
                    _ => name.clear(),
                }
            } else if let Some(value) = text.strip_prefix(b"event:") {
                name = String::from_utf8_lossy(value).trim().to_owned();
            } else if text.starts_with(b"data:") {
                let blank = usize::from(text.get(5) == Some(&b' '));
                data = Some(line.start + 5 + blank..line.end);
            }
        }
    }

    /// The next line of the body without its end.
    fn line(&mut self) -> io::Result<Range<usize>> {
        loop {
            // `skip_until` searches with vector instructions.
            let mut rest = &self.body[self.searched..];
            self.searched += rest.skip_until(b'\n')?;
            if self.searched > self.taken && self.body[self.searched - 1] == b'\n' {
                let start = std::mem::replace(&mut self.taken, self.searched);
                let end = self.searched - 1;
                return Ok(start..end - usize::from(end > start && self.body[end - 1] == b'\r'));
            }
            if !self.more()? {
                return Err(io::Error::other("the event stream ended"));
            }
        }
    }

    /// Takes more of the body. False at its end.
    fn more(&mut self) -> io::Result<bool> {
        loop {
            let ahead = self.end - self.start;
            let most = match self.framing {
                Framing::Done | Framing::Length(0) => {
                    self.framing = Framing::Done;
                    return Ok(false);
                }
                Framing::Length(left) => left,
                Framing::UntilClose => usize::MAX,
                Framing::Chunked(Some(left @ 3..)) => left - 2,
                Framing::Chunked(_) => {
                    self.next_chunk()?;
                    continue;
                }
            };
            if ahead == 0 {
                match self.fill() {
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && self.framing == Framing::UntilClose => {
                        self.framing = Framing::Done;
                        return Ok(false);
                    }
                    other => other?,
                }
                continue;
            }
            let count = ahead.min(most);
            self.body.extend_from_slice(&self.raw[self.start..self.start + count]);
            self.start += count;
            match &mut self.framing {
                Framing::Length(left) | Framing::Chunked(Some(left)) => *left -= count,
                _ => {}
            }
            return Ok(true);
        }
    }

    /// Passes over the end of one chunk and reads the size of the next.
    fn next_chunk(&mut self) -> io::Result<()> {
        let behind = if let Framing::Chunked(Some(left)) = self.framing { left } else { 0 };
        loop {
            let ahead = &self.raw[self.start..self.end];
            if let Some(line) = ahead.get(behind..).and_then(|rest| rest.windows(2).position(|two| two == b"\r\n")) {
                let digits = str::from_utf8(&ahead[behind..behind + line]).map_err(io::Error::other)?;
                let size = usize::from_str_radix(digits.trim(), 16).map_err(io::Error::other)?;
                let used = behind + line + 2;
                if size > 0 {
                    self.start += used;
                    self.framing = Framing::Chunked(Some(size + 2));
                    return Ok(());
                }
                if ahead.len() >= used + 2 {
                    self.start += used + 2;
                    self.framing = Framing::Length(0);
                    return Ok(());
                }
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.raw.len() {
            self.raw.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.end == self.raw.len() {
                self.raw.resize(self.end * 2, 0);
            }
        }
        match self.stream.read(&mut self.raw[self.end..])? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                self.end += count;
                Ok(())
            }
        }
    }
}
