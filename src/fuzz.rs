//! Properties that every parser of foreign bytes keeps, whatever the bytes. `make fuzz` feeds them with libFuzzer (`fuzz/`, which is why they
//! are public under `cfg(fuzzing)` and nowhere else); the tests here feed the same ones from a fixed seed. A property fails by panicking.

#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::io::{self, BufReader};
use std::time::{Duration, Instant};

use serde_json::value::RawValue;

use crate::base64;
use crate::config::{Dotenv, Sources};
#[cfg(feature = "run")]
use crate::event;
use crate::http1::{Framing, Head, Limits, Reader, Refusal, Source};
use crate::line::{self, Line};
use crate::message::{Incoming, Malformed, Message};
use crate::rpc_error::RpcError;

/// Small, so that a short input reaches every one of them.
const LIMITS: Limits = Limits {
    head_bytes: 256,
    headers: 8,
    body_bytes: 64,
    head_deadline: Duration::from_secs(3600),
    body_deadline: Duration::from_secs(3600),
    idle: Duration::from_secs(3600),
};

/// Splits a size, 1 to 256, off the front of an input.
fn size(data: &[u8]) -> (usize, &[u8]) {
    data.split_first().map_or((1, data), |(first, rest)| (usize::from(*first) + 1, rest))
}

/// Bytes that arrive in pieces.
struct Pieces<'a> {
    bytes: &'a [u8],
    piece: usize,
    reads: usize,
}

impl Source for Pieces<'_> {
    fn read_before(&mut self, buffer: &mut [u8], _: Instant) -> io::Result<usize> {
        assert!(!buffer.is_empty(), "a read into nothing looks like the end");
        self.reads += 1;
        let count = buffer.len().min(self.piece).min(self.bytes.len());
        let (now, later) = self.bytes.split_at(count);
        buffer[..count].copy_from_slice(now);
        self.bytes = later;
        Ok(count)
    }
}

/// All requests in `bytes`, and why there is no further one.
fn requests(bytes: &[u8], piece: usize) -> (Vec<(Head, Vec<u8>)>, Refusal) {
    let mut source = Pieces { bytes, piece, reads: 0 };
    let mut reader = Reader::new();
    let mut found = Vec::new();
    let refusal = loop {
        let next = reader.head(&mut source, &LIMITS).and_then(|head| {
            let body = reader.body(&head, &mut source, &LIMITS, || Ok(()))?;
            Ok((head, body))
        });
        match next {
            Ok(request) => found.push(request),
            Err(refusal) => break refusal,
        }
    };
    assert!(source.reads <= bytes.len() + 8, "reads without end");
    (found, refusal)
}

/// HTTP/1.1: wherever reads end the same requests come out; they are within the limits, and nothing in them can be taken for a line end.
pub fn http1(data: &[u8]) {
    let (piece, bytes) = size(data);
    let (found, refusal) = requests(bytes, usize::MAX);
    let (again, refused) = requests(bytes, piece);
    assert_eq!(format!("{found:?} {refusal:?}"), format!("{again:?} {refused:?}"), "in pieces of {piece}");
    assert!(found.len() <= bytes.len() / "A / HTTP/1.0\r\n\r\n".len(), "a request out of nothing");
    for (head, body) in &found {
        assert!(body.len() <= LIMITS.body_bytes);
        match head.framing {
            Framing::None => assert!(body.is_empty()),
            Framing::Length(length) => assert_eq!(length, body.len() as u64),
            Framing::Chunked => {}
        }
        assert!(head.target().bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(head.fields().count() <= LIMITS.headers);
        for (name, value) in head.fields() {
            assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':'));
            assert!(value.chars().all(|c| c == '\t' || !c.is_ascii_control()) && value.trim_matches([' ', '\t']) == value);
        }
        let _ = (head.path(), head.host(), head.query("session_id"));
    }
}

/// A message comes out byte for byte but for line breaks, says the same when it is read again, and keeps all but its id under another one.
pub fn message(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let check = |read: Result<Message, Malformed>| match read {
        Ok(message) => one(&message),
        Err(malformed) => assert!(malformed.id.is_none_or(|id| is_json(&id))),
    };
    match Incoming::parse(text.to_owned()) {
        Ok(Incoming::One(message)) => {
            let same = |(a, b): (char, char)| a == b || (matches!(a, '\n' | '\r') && b == ' ');
            assert!(text.len() == message.as_str().len() && text.chars().zip(message.as_str().chars()).all(same));
            one(&message);
        }
        Ok(Incoming::Batch(parts)) => {
            assert!(!parts.is_empty());
            parts.into_iter().for_each(check);
        }
        Err(malformed) => {
            assert_eq!(malformed.error.code() == RpcError::PARSE_ERROR, !is_json(text));
            check(Err(malformed));
        }
    }
}

fn one(message: &Message) {
    assert!(!message.as_str().contains(['\n', '\r']) && is_json(message.as_str()));
    assert!(message.letter().is_none_or(is_json));
    assert_eq!(Some(message), Message::parse(message.as_str().to_owned()).ok().as_ref());
    if message.id().is_empty() {
        return;
    }
    assert!(is_json(message.id()));
    for id in ["7", r#""a longer one than most""#] {
        let other = message.clone().with_id(id);
        assert_eq!((other.id(), other.kind()), (id, message.kind()));
        assert_eq!((other.method(), other.letter()), (message.method(), message.letter()));
        assert_eq!(Some(&other), Message::parse(other.as_str().to_owned()).ok().as_ref());
        assert_eq!(&other.with_id(message.id()), message);
    }
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

/// Lines: what a simple reading of the whole finds, in whatever pieces it comes.
pub fn lines(data: &[u8]) {
    const LIMIT: usize = 16;
    let (piece, bytes) = size(data);
    let whole = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let mut expected = Vec::new();
    if !bytes.is_empty() {
        for line in whole.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            expected.push(match std::str::from_utf8(line) {
                _ if line.len() > LIMIT => Line::TooLong,
                Ok(text) => Line::Text(text.to_owned()),
                Err(_) => Line::NotText,
            });
        }
    }
    let mut input = BufReader::with_capacity(piece, bytes);
    let mut read = Vec::new();
    while let Ok(Some(line)) = line::read(&mut input, LIMIT) {
        read.push(line);
    }
    assert_eq!(read, expected);
}

/// `.env`: nothing counts but the names that may, and what was written in quotes is read back as it was.
pub fn dotenv(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let nothing = |_: &str| -> Option<OsString> { None };
    let sources = Sources::new(&nothing, Dotenv::parse(text));
    for name in ["MCP_BUILD", "MCP_HTTP_TOKEN_FILE", "MCP_INSECURE", "MCP_ALLOW_HOST", "MCP_STATE_KEY", "PATH"] {
        assert!(matches!(sources.find(name), Ok(None)), "{name} is not for .env");
    }
    let _ = (sources.find("MCP_HTTP_TOKEN"), sources.notes());

    let escaped: String = text.chars().flat_map(|c| matches!(c, '"' | '\\' | '$').then_some('\\').into_iter().chain([c])).collect();
    let quoted = format!("MCP_BUILD=make\nexport MCP_LOG=\"{escaped}\" # a comment\n");
    let sources = Sources::new(&nothing, Dotenv::parse(&quoted));
    let Ok(Some(found)) = sources.find("MCP_LOG") else { panic!("{quoted:?} says nothing") };
    assert_eq!(found.value, text.trim());
}

/// Globs: the matcher, which never looks back further than it must, and a slow one that tries everything are of one opinion.
#[cfg(feature = "run")]
pub fn glob(data: &[u8]) {
    let at = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let (line, path) = data.split_at(at);
    let Ok(line) = std::str::from_utf8(line) else { return };
    let path = &path[path.len().min(1)..];
    // The slow one takes a table of line x path.
    if line.len() <= 200 && path.len() <= 200 {
        crate::watch::check_glob(line, path);
    }
}

/// An event stream: however it is cut, the same events come out, none longer than the limit, and all end in what came.
#[cfg(feature = "run")]
pub fn events(data: &[u8]) {
    const LIMIT: usize = 64;
    let (piece, bytes) = size(data);
    let decode = |piece: usize| {
        let mut decoder = event::Decoder::new(LIMIT);
        let mut events = Vec::new();
        let end = bytes.chunks(piece).try_for_each(|part| decoder.feed(part, &mut events));
        (events, end, decoder.last_id().to_owned(), decoder.retry())
    };
    let whole = decode(bytes.len().max(1));
    assert_eq!(whole, decode(piece), "in pieces of {piece}");
    for event in &whole.0 {
        // A byte that is no UTF-8 becomes a character of three.
        assert!(!event.name.is_empty() && event.name.len() <= 3 * LIMIT && event.data.len() <= 3 * LIMIT);
        assert!(!event.data.contains('\r') && !event.name.contains(['\r', '\n']));
    }
}

/// Answers of a server to `connect`: wherever reads end the same come out.
#[cfg(feature = "run")]
pub fn answers(data: &[u8]) {
    let (piece, bytes) = size(data);
    let read = |piece| crate::connect::check_answers(Pieces { bytes, piece, reads: 0 });
    assert_eq!(read(usize::MAX), read(piece), "in pieces of {piece}");
}

/// URLs: a base and, on the next line, a reference of the server's.
#[cfg(feature = "run")]
pub fn url(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (base, reference) = text.split_once('\n').unwrap_or((text, ""));
    crate::connect::check_url(base, reference);
    crate::connect::check_url("http://localhost:3000/base/mcp?key=1", text);
}

/// Base64: no two texts stand for the same bytes.
pub fn base64(data: &[u8]) {
    assert_eq!(base64::decode(&base64::encode(data)).as_deref(), Some(data));
    if let Some((text, bytes)) = std::str::from_utf8(data).ok().and_then(|text| Some((text, base64::decode(text)?))) {
        assert_eq!(base64::encode(&bytes), text);
    }
}
