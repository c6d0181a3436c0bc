//! One client: the handshake, then calls of one tool, over any of the three transports. Every answer is checked.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;

use crate::conn::{Conn, Event};
use crate::{Flags, Result};

/// Where and what to call.
pub struct Target {
    pub address: SocketAddr,
    pub transport: Transport,
    tool: String,
    argument: String,
    payload: Vec<u8>,
    /// The end of every call's text: the payload, and what closes the objects.
    tail: Vec<u8>,
    /// How often the whole payload is compared; its length, its first and its last byte are each time.
    every: u64,
    /// Whether each POST gets a connection of its own: for servers that break theirs.
    is_fresh: bool,
}

#[derive(Clone, PartialEq)]
pub enum Transport {
    Sse(String),
    Streamable(String),
    /// A command to start, its words divided by blanks.
    Stdio(String),
}

impl Target {
    pub fn read(flags: &Flags) -> Result<Arc<Target>> {
        let transport = match flags.text("transport").unwrap_or("sse") {
            "sse" => Transport::Sse(flags.or("path", "/sse".to_owned())?),
            "mcp" => Transport::Streamable(flags.or("path", "/mcp".to_owned())?),
            "stdio" => Transport::Stdio(flags.or("command", String::new())?),
            other => return Err(format!("there is no transport {other}").into()),
        };
        let size: usize = flags.or("size", 16)?;
        // Letters that differ from one to the next, so that a shifted or cut payload is seen.
        let payload: Vec<u8> = (0..size).map(|at| b'a' + (at % 26) as u8).collect();
        let tail = [&payload, &b"\"}}}"[..]].concat();
        Ok(Arc::new(Target {
            address: SocketAddr::from(([127, 0, 0, 1], flags.or("port", 0)?)),
            transport,
            tool: flags.or("tool", "echo".to_owned())?,
            argument: flags.or("argument", "message".to_owned())?,
            payload,
            tail,
            every: if size <= 4096 { 1 } else { 64 },
            is_fresh: flags.or("fresh", false)?,
        }))
    }

    /// The text of a call up to its payload.
    fn put_call(&self, out: &mut Vec<u8>, id: u64) {
        let (tool, argument) = (&self.tool, &self.argument);
        out.clear();
        let text = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\"params\":{{\"name\":\"{tool}\",\"arguments\":{{\"{argument}\":\""
        );
        out.extend_from_slice(text.as_bytes());
    }

    /// The answer has the id of its call, and the text that was sent.
    fn check(&self, answer: &[u8], id: u64) -> Result<()> {
        let wrong = |why: &str| {
            let shown = String::from_utf8_lossy(&answer[..answer.len().min(300)]).into_owned();
            Err(format!("call {id}: {why}: {shown}").into())
        };
        let edge = 400.min(answer.len());
        let ends = [&answer[..edge], &answer[answer.len() - edge..]];
        if !ends.iter().any(|part| after(part, b"\"id\":").is_some_and(|at| number(&part[at..]) == Some(id))) {
            return wrong("the answer has another id");
        }
        let Some(start) = after(ends[0], b"\"text\":").and_then(|at| Some(at + after(&ends[0][at..], b"\"")?)) else {
            return wrong("the answer has no text");
        };
        let end = start + self.payload.len();
        match answer.get(start..end) {
            Some(text) if answer.get(end) == Some(&b'"') && text.last() == self.payload.last() && text.first() == self.payload.first() => {
                if id.is_multiple_of(self.every) && text != self.payload {
                    wrong("the text is not what was sent")
                } else {
                    Ok(())
                }
            }
            _ => wrong("the text has another length"),
        }
    }
}

const VERSION: &str = "2025-06-18";

fn initialize() -> String {
    format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{{\"protocolVersion\":\"{VERSION}\",\"capabilities\":{{}},\
         \"clientInfo\":{{\"name\":\"bench\",\"version\":\"1\"}}}}}}"
    )
}

const INITIALIZED: &str = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}";

/// A session that has been initialized.
pub enum Session {
    Sse { target: Arc<Target>, events: Conn, posts: Conn, path: String, out: Vec<u8> },
    Streamable { target: Arc<Target>, posts: Conn, headers: String, id: Option<String>, out: Vec<u8> },
    Stdio { target: Arc<Target>, child: Child, stdin: ChildStdin, stdout: BufReader<ChildStdout>, out: Vec<u8>, line: Vec<u8> },
}

/// Opens an event stream: the connection, and where to POST.
pub fn open_stream(address: SocketAddr, path: &str, buffer: usize) -> Result<(Conn, String)> {
    let mut events = Conn::open(address, buffer)?;
    let get = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n");
    events.send([get.as_bytes(), b""])?;
    let head = events.head()?;
    if head.status != 200 {
        return Err(format!("GET {path}: {}", head.status).into());
    }
    match events.event()? {
        Event::Endpoint(path) => Ok((events, path)),
        Event::Message(_) => Err("the first event is no endpoint".into()),
    }
}

/// Whether a session of HTTP+SSE is served: a ping, and its answer on the stream.
pub fn ping(events: &mut Conn, posts: &mut Conn, address: SocketAddr, path: &str) -> Result<()> {
    post(posts, address, path, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}")?;
    let Event::Message(data) = events.event()? else { return Err("an endpoint once more".into()) };
    if after(events.body(data), b"\"result\":").is_some() { Ok(()) } else { Err("a ping was answered with an error".into()) }
}

/// Opens an event stream whose client has said that it is initialized: only those are told of changes. The way to POST is closed again.
pub fn open_listener(address: SocketAddr, path: &str, buffer: usize) -> Result<Conn> {
    let (mut events, path) = open_stream(address, path, buffer)?;
    let mut posts = Conn::open(address, buffer)?;
    post(&mut posts, address, &path, &initialize())?;
    events.event()?;
    post(&mut posts, address, &path, INITIALIZED)?;
    Ok(events)
}

impl Session {
    pub fn open(target: &Arc<Target>) -> Result<Session> {
        let target = Arc::clone(target);
        match target.transport.clone() {
            Transport::Sse(path) => {
                let (mut events, path) = open_stream(target.address, &path, usize::MAX)?;
                let mut posts = Conn::open(target.address, 4096)?;
                post(&mut posts, target.address, &path, &initialize())?;
                events.event()?;
                if target.is_fresh {
                    posts = Conn::open(target.address, 4096)?;
                }
                post(&mut posts, target.address, &path, INITIALIZED)?;
                Ok(Session::Sse { target, events, posts, path, out: Vec::new() })
            }
            Transport::Streamable(path) => {
                let mut posts = Conn::open(target.address, usize::MAX)?;
                let accept = "Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n";
                let address = target.address;
                let mut headers = format!("POST {path} HTTP/1.1\r\nHost: {address}\r\n{accept}");
                send_post(&mut posts, &headers, initialize().as_bytes(), b"")?;
                let head = posts.head()?;
                posts.whole_body()?;
                if let Some(id) = &head.session_id {
                    headers.push_str(&format!("Mcp-Session-Id: {id}\r\n"));
                }
                headers.push_str(&format!("MCP-Protocol-Version: {VERSION}\r\n"));
                send_post(&mut posts, &headers, INITIALIZED.as_bytes(), b"")?;
                posts.head()?;
                posts.whole_body()?;
                Ok(Session::Streamable { target, posts, headers, id: head.session_id, out: Vec::new() })
            }
            Transport::Stdio(command) => {
                let mut words = command.split_ascii_whitespace();
                let mut child = Command::new(words.next().ok_or("--command is missing")?)
                    .args(words)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::null())
                    .spawn()?;
                let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else { return Err("no pipes".into()) };
                let mut stdout = BufReader::with_capacity(64 << 10, stdout);
                stdin.write_all(format!("{}\n", initialize()).as_bytes())?;
                stdout.read_until(b'\n', &mut Vec::new())?;
                stdin.write_all(format!("{INITIALIZED}\n").as_bytes())?;
                Ok(Session::Stdio { target, child, stdin, stdout, out: Vec::new(), line: Vec::new() })
            }
        }
    }

    /// The process behind it, when it has one of its own.
    pub fn pid(&self) -> Option<u32> {
        if let Session::Stdio { child, .. } = self { Some(child.id()) } else { None }
    }

    /// Its id on streamable HTTP.
    pub fn id(&self) -> Option<&str> {
        if let Session::Streamable { id, .. } = self { id.as_deref() } else { None }
    }

    /// One call, answered and checked.
    pub fn call(&mut self, id: u64) -> Result<()> {
        match self {
            Session::Sse { target, events, posts, path, out } => {
                target.put_call(out, id);
                let length = out.len() + target.tail.len();
                let head = format!(
                    "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n",
                    target.address
                );
                out.splice(..0, head.bytes());
                if target.is_fresh {
                    *posts = Conn::open(target.address, 4096)?;
                }
                posts.send([out, &target.tail])?;
                let Event::Message(data) = events.event()? else { return Err("an endpoint once more".into()) };
                target.check(events.body(data), id)?;
                accepted(posts)
            }
            Session::Streamable { target, posts, headers, out, .. } => {
                target.put_call(out, id);
                send_post(posts, headers, out, &target.tail)?;
                let head = posts.head()?;
                if head.status != 200 {
                    return Err(format!("a call was answered {}", head.status).into());
                }
                if head.is_event_stream {
                    let Event::Message(data) = posts.event()? else { return Err("an endpoint on /mcp".into()) };
                    target.check(posts.body(data), id)?;
                    posts.whole_body()?;
                    return Ok(());
                }
                target.check(posts.whole_body()?, id)
            }
            Session::Stdio { target, stdin, stdout, out, line, .. } => {
                target.put_call(out, id);
                out.extend_from_slice(&target.tail);
                out.push(b'\n');
                stdin.write_all(out)?;
                line.clear();
                stdout.read_until(b'\n', line)?;
                target.check(line, id)
            }
        }
    }

    /// A call that changes something for everybody: done when its answer and the notification are here, in whatever order. `meanwhile` runs in between.
    pub fn change(&mut self, id: u64, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
        let Session::Sse { target, events, posts, path, .. } = self else { return Err("only an SSE session is told of changes".into()) };
        let call =
            format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\"params\":{{\"name\":\"change\",\"arguments\":{{}}}}}}");
        post(posts, target.address, path, &call)?;
        meanwhile()?;
        events.event()?;
        events.event()?;
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Session::Stdio { child, .. } = self {
            // A child that does not go by itself is killed; it may be gone already.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// POSTs to the place an event stream named.
fn post(posts: &mut Conn, address: SocketAddr, path: &str, body: &str) -> Result<()> {
    let headers = format!("POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n");
    send_post(posts, &headers, body.as_bytes(), b"")?;
    accepted(posts)
}

fn accepted(posts: &mut Conn) -> Result<()> {
    let head = posts.head()?;
    posts.whole_body()?;
    if head.status == 202 { Ok(()) } else { Err(format!("a POST was answered {}", head.status).into()) }
}

fn send_post(posts: &mut Conn, headers: &str, body: &[u8], tail: &[u8]) -> Result<()> {
    let mut head = format!("{headers}Content-Length: {}\r\n\r\n", body.len() + tail.len()).into_bytes();
    head.extend_from_slice(body);
    Ok(posts.send([&head, tail])?)
}

/// The place behind the first `part` in `whole`.
fn after(whole: &[u8], part: &[u8]) -> Option<usize> {
    whole.windows(part.len()).position(|window| window == part).map(|at| at + part.len())
}

fn number(text: &[u8]) -> Option<u64> {
    let text = text.trim_ascii_start();
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    str::from_utf8(&text[..digits]).ok()?.parse().ok()
}
