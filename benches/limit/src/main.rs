//! The limit: an HTTP server that does as little as one can and still echo over HTTP+SSE and Streamable HTTP. One thread per connection, std only, no
//! JSON: it finds the id and the text of a call and copies them. What it does wrong (it trusts its client) is what makes it the limit.
//!
//! `bench-limit PORT [channel]`: with `channel` each event goes through a channel to the thread of its stream.

use std::collections::HashMap;
use std::io::{self, IoSlice, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;

const STACK: usize = 64 << 10;
const READ: usize = 4096;
const QUEUE: usize = 16;

/// The way to one client.
enum Way {
    Socket(Mutex<Arc<TcpStream>>),
    Channel(SyncSender<Vec<u8>>),
}

type Ways = Arc<RwLock<HashMap<u64, Arc<Way>>>>;

static NEXT: AtomicU64 = AtomicU64::new(1);

fn main() -> io::Result<()> {
    let mut words = std::env::args().skip(1);
    let port = words.next().and_then(|port| port.parse().ok()).unwrap_or(0);
    let has_channel = words.next().is_some_and(|word| word == "channel");
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    let ways = Ways::default();
    for stream in listener.incoming() {
        let (stream, ways) = (stream?, Arc::clone(&ways));
        // A client that breaks off ends its thread.
        thread::Builder::new().stack_size(STACK).spawn(move || drop(serve(stream, &ways, has_channel)))?;
    }
    Ok(())
}

fn serve(mut stream: TcpStream, ways: &Ways, has_channel: bool) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; READ];
    let mut have = 0;
    loop {
        let head = loop {
            if let Some(at) = find(&buffer[..have], b"\r\n\r\n") {
                break at + 4;
            }
            have += some(stream.read(&mut buffer[have..])?)?;
        };
        if buffer.starts_with(b"GET /sse") {
            return events(stream, ways, has_channel);
        }
        let length = find(&buffer[..head], b"Content-Length: ").map_or(0, |at| number(&buffer[at + 16..]));
        let whole = head + length as usize;
        if buffer.len() < whole {
            buffer.resize(whole, 0);
        }
        while have < whole {
            have += some(stream.read(&mut buffer[have..whole])?)?;
        }
        let body = &buffer[head..whole];
        if buffer.starts_with(b"POST /mcp") {
            match Answer::to(body) {
                None => stream.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")?,
                Some(answer) => {
                    let length: usize = answer.parts().iter().map(|part| part.len()).sum();
                    let head = format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nMcp-Session-Id: 1\r\nContent-Length: {length}\r\n\r\n"
                    );
                    let [first, text, last] = answer.parts();
                    write(&stream, [head.as_bytes(), first, text, last])?;
                }
            }
        } else {
            stream.write_all(b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n")?;
            let id = find(&buffer[..head], b"session_id=").map_or(0, |at| number(&buffer[at + 11..]));
            if let (Some(answer), Some(way)) = (Answer::to(body), lock(ways, id)) {
                way.send(&answer)?;
            }
            if find(&body[..body.len().min(128)], b"\"name\":\"change\"").is_some() {
                let all: Vec<_> = ways.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
                // One that is gone misses nothing.
                all.iter().for_each(|way| drop(way.send(&Answer::CHANGED)));
            }
        }
        have = 0;
    }
}

fn events(stream: TcpStream, ways: &Ways, has_channel: bool) -> io::Result<()> {
    // One descriptor for both ways.
    let stream = Arc::new(stream);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let head =
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\nevent: endpoint\ndata: /messages/?session_id=";
    let endpoint = format!("{head}{id}\n\n");
    // A client that knows its id may use it at once.
    let insert = |way| ways.write().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::new(way));
    if has_channel {
        let (sender, receiver) = sync_channel::<Vec<u8>>(QUEUE);
        insert(Way::Channel(sender));
        (&*stream).write_all(endpoint.as_bytes())?;
        while let Ok(event) = receiver.recv() {
            if (&*stream).write_all(&event).is_err() {
                break;
            }
        }
    } else {
        insert(Way::Socket(Mutex::new(Arc::clone(&stream))));
        (&*stream).write_all(endpoint.as_bytes())?;
        while (&*stream).read(&mut [0; 16])? > 0 {}
    }
    ways.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
    Ok(())
}

/// What answers a message: text before, the text of the call, text behind.
struct Answer<'a> {
    before: String,
    text: &'a [u8],
    after: &'static str,
}

impl Answer<'_> {
    const CHANGED: Answer<'static> =
        Answer { before: String::new(), text: b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}", after: "" };

    fn to(body: &[u8]) -> Option<Answer<'_>> {
        let start = &body[..body.len().min(256)];
        let id = number(&start[find(start, b"\"id\":")? + 5..]);
        let before = format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":");
        let Some(at) = find(start, b"\"message\":\"") else {
            let result = "{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{},\"serverInfo\":{\"name\":\"limit\",\"version\":\"1\"}}}";
            return Some(Answer { before: before + result, text: b"", after: "" });
        };
        let before = before + "{\"content\":[{\"type\":\"text\",\"text\":\"";
        Some(Answer { before, text: &body[at + 11..body.len() - 4], after: "\"}]}}" })
    }

    fn parts(&self) -> [&[u8]; 3] {
        [self.before.as_bytes(), self.text, self.after.as_bytes()]
    }
}

impl Way {
    fn send(&self, answer: &Answer) -> io::Result<()> {
        let event: &[u8] = b"event: message\ndata: ";
        let [first, text, last] = answer.parts();
        match self {
            Way::Socket(stream) => {
                let stream = stream.lock().unwrap_or_else(PoisonError::into_inner);
                write(&stream, [event, first, text, last, b"\n\n"])
            }
            Way::Channel(sender) => sender.send([event, first, text, last, b"\n\n"].concat()).map_err(|_| io::ErrorKind::BrokenPipe.into()),
        }
    }
}

fn write<const N: usize>(mut stream: &TcpStream, parts: [&[u8]; N]) -> io::Result<()> {
    let mut slices = parts.map(IoSlice::new);
    let mut left = &mut slices[..];
    IoSlice::advance_slices(&mut left, 0);
    while !left.is_empty() {
        let written = stream.write_vectored(left)?;
        IoSlice::advance_slices(&mut left, written);
    }
    Ok(())
}

fn lock(ways: &Ways, id: u64) -> Option<Arc<Way>> {
    ways.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
}

fn find(whole: &[u8], part: &[u8]) -> Option<usize> {
    whole.windows(part.len()).position(|window| window == part)
}

fn number(text: &[u8]) -> u64 {
    text.iter().take_while(|byte| byte.is_ascii_digit()).fold(0, |number, digit| number * 10 + u64::from(digit - b'0'))
}

fn some(count: usize) -> io::Result<usize> {
    if count > 0 { Ok(count) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
