//! What is accepted and how it is read, wherever the reads end, whenever they come, and in how much memory.

use std::io;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

use std::sync::Arc;

use super::*;

/// Bytes that arrive in pieces, each read advancing the clock; then the end.
pub(super) struct Script {
    pub(super) bytes: Vec<u8>,
    pub(super) at: usize,
    pub(super) piece: usize,
    /// A place where a read stops, whatever the piece.
    pub(super) split: usize,
    pub(super) tick: Duration,
    pub(super) clock: Instant,
    pub(super) reads: usize,
    /// What comes after the bytes; `None` is a clean end.
    pub(super) end: Option<io::ErrorKind>,
}

impl Script {
    pub(super) fn new(bytes: &[u8]) -> Script {
        let clock = Instant::now();
        Script { bytes: bytes.to_vec(), at: 0, piece: usize::MAX, split: usize::MAX, tick: Duration::ZERO, clock, reads: 0, end: None }
    }
}

impl Source for Script {
    fn now(&self) -> Instant {
        self.clock
    }

    fn read_before(&mut self, buffer: &mut [u8], deadline: Instant) -> io::Result<usize> {
        assert!(!buffer.is_empty(), "a read into nothing looks like the end");
        self.reads += 1;
        if self.at == self.bytes.len() {
            return match self.end {
                Some(io::ErrorKind::TimedOut) => {
                    self.clock = deadline;
                    Err(io::ErrorKind::TimedOut.into())
                }
                Some(kind) => Err(kind.into()),
                None => Ok(0),
            };
        }
        self.clock += self.tick;
        if self.clock >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let stop = if self.at < self.split { self.split.min(self.bytes.len()) } else { self.bytes.len() };
        let count = buffer.len().min(self.piece).min(stop - self.at);
        buffer[..count].copy_from_slice(&self.bytes[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

pub(super) fn limits() -> Limits {
    Limits {
        head_bytes: 1024,
        headers: 100,
        body_bytes: 1000,
        head_deadline: Duration::from_secs(10),
        body_deadline: Duration::from_secs(30),
        idle: Duration::from_secs(60),
    }
}

/// Every request of `script` with its body, and why there is no further one.
pub(super) fn all(script: &mut Script) -> (Vec<(Head, Vec<u8>)>, Refusal) {
    let mut reader = Reader::new();
    let mut requests = Vec::new();
    loop {
        let next = reader.head(script, &limits()).and_then(|head| {
            let body = reader.body(&head, script, &limits(), || Ok(()))?;
            Ok((head, body))
        });
        match next {
            Ok(request) => requests.push(request),
            Err(refusal) => return (requests, refusal),
        }
    }
}

fn one(bytes: &[u8]) -> (Head, Vec<u8>) {
    let (mut requests, refusal) = all(&mut Script::new(bytes));
    assert_eq!(refusal, Refusal::Closed, "{}", String::from_utf8_lossy(bytes));
    assert_eq!(requests.len(), 1);
    requests.remove(0)
}

fn head(bytes: &str) -> Head {
    Reader::new().head(&mut Script::new(bytes.as_bytes()), &limits()).unwrap()
}

const PIPELINE: &[u8] = b"POST /mcp?a=1 HTTP/1.1\r\nHost: localhost:3000\r\nContent-Length: 5\r\n\r\nhello\
    \r\nGET / HTTP/1.1\r\nhost:h\r\nEmpty:\r\nSpaced: \t a b \t\r\n\r\n\
    DELETE /mcp HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0A;x=\"y\"\r\n0123456789\r\n1 ;z\r\n!\r\n000\r\nTrail: er\r\n\r\n\
    \r\n\r\nHEAD http://other/x HTTP/1.0\r\nContent-Length: 005\r\n\r\nworld\r\n";

#[test]
fn pipelined_requests_come_out_one_by_one_wherever_reads_end() {
    let shown = |script: &mut Script| {
        let (requests, refusal) = all(script);
        assert_eq!(refusal, Refusal::Closed);
        requests.iter().map(|(head, body)| format!("{head:?} {body:?}")).collect::<Vec<_>>()
    };
    let (requests, _) = all(&mut Script::new(PIPELINE));
    let bodies: Vec<&[u8]> = requests.iter().map(|(_, body)| body.as_slice()).collect();
    assert_eq!(bodies, [&b"hello"[..], b"", b"abc0123456789!", b"world"]);
    let targets: Vec<String> = requests.iter().map(|(head, _)| format!("{} {}", head.method, head.target())).collect();
    assert_eq!(targets, ["POST /mcp?a=1", "GET /", "DELETE /mcp", "HEAD /x"]);
    let expected = shown(&mut Script::new(PIPELINE));
    for split in 0..PIPELINE.len() {
        assert_eq!(shown(&mut Script { split, ..Script::new(PIPELINE) }), expected, "split at {split}");
    }
    assert_eq!(shown(&mut Script { piece: 1, ..Script::new(PIPELINE) }), expected, "byte by byte");
}

#[test]
fn tells_what_the_head_says() {
    let plain = head("GET /mcp/?session_id=a%20b+c&b&session_id=d%zz HTTP/1.1\r\nHost: h:1\r\nAccept: a\r\naccept: b\r\nX: \u{fc}\r\n\r\n");
    assert_eq!((plain.path(), plain.host(), plain.version), ("/mcp/", Some("h:1"), Version::Http11));
    assert_eq!(plain.query("session_id").as_deref(), Some("a b c"));
    assert_eq!((plain.query("b").as_deref(), plain.query("c")), (Some(""), None));
    assert_eq!(plain.headers("ACCEPT").collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!((plain.header("x"), plain.header("y")), (Some("\u{fc}"), None));
    assert_eq!((plain.framing, plain.keep_alive, plain.expects_continue), (Framing::None, true, false));

    let absolute = head("GET HTTP://real:8/x?q=%e4%b8%80 HTTP/1.1\r\nHost: other\r\n\r\n");
    assert_eq!((absolute.path(), absolute.host(), absolute.header("host")), ("/x", Some("real:8"), Some("other")));
    assert_eq!(absolute.query("q").as_deref(), Some("\u{4e00}"));
    let bare = head("GET https://real?q=1 HTTP/1.1\r\nHost: other\r\n\r\n");
    assert_eq!((bare.path(), bare.query("q").as_deref()), ("/", Some("1")));
    let star = head("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!((star.path(), star.method.as_str()), ("*", "OPTIONS"));
    assert_eq!(head("BREW-COFFEE / HTTP/1.1\r\nHost: h\r\n\r\n").method.as_str(), "BREW-COFFEE");
    assert_eq!(head("GET / HTTP/1.0\r\n\r\n").host(), None);
}

#[test]
fn keeps_alive_as_the_version_and_connection_say() {
    let table = [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: x, CLOSE\r\n", false),
        ("1.1", "Connection: x\r\nConnection: close\r\n", false),
        ("1.1", "Connection: closed\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
    ];
    for (version, headers, expected) in table {
        assert_eq!(head(&format!("GET / HTTP/{version}\r\nHost: h\r\n{headers}\r\n")).keep_alive, expected, "{version} {headers}");
    }
}

#[test]
fn says_continue_only_to_who_waits_for_it() {
    let asks = |version: &str, length: &str, body: &str| {
        let text = format!("POST / HTTP/{version}\r\nHost: h\r\n{length}\r\nExpect: 100-Continue\r\n\r\n");
        let mut script = Script { split: text.len(), ..Script::new(format!("{text}hello").as_bytes()) };
        if !body.is_empty() {
            script.split = usize::MAX;
        }
        let mut reader = Reader::new();
        let head = reader.head(&mut script, &limits()).unwrap();
        let mut said = 0;
        let result = reader.body(&head, &mut script, &limits(), || {
            said += 1;
            Ok(())
        });
        (said, result.is_ok())
    };
    assert_eq!(asks("1.1", "Content-Length: 5", ""), (1, true));
    assert_eq!(asks("1.1", "Content-Length: 5", "is here already"), (0, true));
    assert_eq!(asks("1.1", "Content-Length: 0", ""), (0, true));
    assert_eq!(asks("1.1", "Content-Length: 1001", ""), (0, false));
    assert_eq!(asks("1.0", "Content-Length: 5", ""), (0, true));
}

#[test]
fn tells_a_quiet_end_from_a_cut_from_a_timeout() {
    use io::ErrorKind::{ConnectionReset, TimedOut};
    let end = |bytes: &str, end| all(&mut Script { end, ..Script::new(bytes.as_bytes()) }).1;
    for quiet in ["", "\r\n", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", "GET / HTTP/1.1\r\nHost: h\r\n\r\n\r\n"] {
        for kind in [None, Some(ConnectionReset), Some(TimedOut)] {
            assert_eq!(end(quiet, kind), Refusal::Closed);
        }
    }
    for half in ["G", "GET / HTTP/1.1\r\nHost: h\r\n\r", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhell"] {
        assert_eq!((end(half, None), end(half, Some(ConnectionReset))), (Refusal::Cut, Refusal::Cut), "{half:?}");
        assert_eq!(end(half, Some(TimedOut)), Refusal::TimedOut, "{half:?}");
    }
    for half in ["5", "5\r\nhel", "5\r\nhello", "5\r\nhello\r\n0\r\n", "0\r\nX: y\r\n"] {
        let text = format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{half}");
        assert_eq!((end(&text, None), end(&text, Some(TimedOut))), (Refusal::Cut, Refusal::TimedOut), "{half:?}");
    }
}

#[test]
fn dripping_does_not_stretch_a_deadline() {
    let drip = |bytes: &[u8]| {
        let mut script = Script { piece: 1, tick: Duration::from_secs(1), ..Script::new(bytes) };
        let start = script.clock;
        let refusal = all(&mut script).1;
        (refusal, script.clock - start)
    };
    // One second until the first byte, then the deadline.
    assert_eq!(drip(&[b'A'; 500]), (Refusal::TimedOut, Duration::from_secs(11)));
    for (framing, body) in [("Content-Length: 900", "x".repeat(900)), ("Transfer-Encoding: chunked", "1\r\nx\r\n".repeat(100))] {
        let head = format!("POST / HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n");
        let mut script = Script { split: head.len(), tick: Duration::from_secs(1), ..Script::new(format!("{head}{body}").as_bytes()) };
        let mut reader = Reader::new();
        let head = reader.head(&mut script, &limits()).unwrap();
        let start = script.clock;
        script.piece = 1;
        assert_eq!(reader.body(&head, &mut script, &limits(), || Ok(())), Err(Refusal::TimedOut));
        assert_eq!(script.clock - start, Duration::from_secs(30));
    }
}

#[test]
fn a_small_request_costs_one_read_and_an_idle_connection_no_memory() {
    let mut script = Script::new(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello");
    let mut reader = Reader::new();
    let head = reader.head(&mut script, &limits()).unwrap();
    assert_eq!(reader.body(&head, &mut script, &limits(), || Ok(())).unwrap(), b"hello");
    assert_eq!((script.reads, reader.buffer.capacity()), (1, READ));
    assert!(!reader.has_buffered());

    let wide = Limits { head_bytes: 1 << 20, ..limits() };
    let mut script = Script::new(format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "a".repeat(500_000)).as_bytes());
    reader.head(&mut script, &wide).unwrap();
    assert!(reader.buffer.capacity() > 500_000);
    assert!(reader.head(&mut script, &wide).is_err());
    assert!(reader.buffer.capacity() <= READ);
}

#[test]
fn memory_follows_what_arrives_and_not_what_is_announced() {
    let huge = Limits { body_bytes: usize::MAX / 4, ..limits() };
    let mut script = Script::new(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000000000\r\n\r\nxy");
    let mut reader = Reader::new();
    let head = reader.head(&mut script, &huge).unwrap();
    assert_eq!(reader.body(&head, &mut script, &huge, || Ok(())), Err(Refusal::Cut));

    let body: Vec<u8> = (0..300_000_u32).map(|number| number as u8).collect();
    let mut bytes = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(&body);
    bytes.extend_from_slice(b"GET / HTTP/1.1\r\n");
    let mut script = Script { piece: 5000, ..Script::new(&bytes) };
    let mut reader = Reader::new();
    let head = reader.head(&mut script, &huge).unwrap();
    assert_eq!(reader.body(&head, &mut script, &huge, || Ok(())).unwrap(), body);
    assert_eq!(&script.bytes[script.at..], b"GET / HTTP/1.1\r\n", "a byte of the next request was read with the body");
}

#[test]
fn an_endless_wait_is_a_year() {
    let now = Instant::now();
    assert!(after(now, Duration::MAX) > now);
    assert_eq!(one(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").1, b"");
}

#[test]
fn a_socket_keeps_its_timeout_and_obeys_the_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut socket = Socket::new(Arc::new(listener.accept().unwrap().0));
    let mut buffer = [0; 8];
    let soon = |milliseconds| Instant::now() + Duration::from_millis(milliseconds);
    assert_eq!(socket.read_before(&mut buffer, soon(20)).unwrap_err().kind(), io::ErrorKind::TimedOut);
    let timeout = socket.stream().read_timeout().unwrap();
    client.write_all(b"hello").unwrap();
    assert_eq!(socket.read_before(&mut buffer, soon(60_000)).unwrap(), 5);
    assert_eq!(socket.stream().read_timeout().unwrap(), timeout, "the timeout was set again without need");
    assert_eq!(socket.read_before(&mut buffer, Instant::now()).unwrap_err().kind(), io::ErrorKind::TimedOut);
    client.write_all(&[b'x'; 6000]).unwrap();
    drop(client);
    linger(&mut socket, 1 << 20, soon(10_000));
    assert_eq!(socket.read_before(&mut buffer, soon(10_000)).unwrap(), 0, "linger leaves nothing unread");
}
