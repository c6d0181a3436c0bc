//! A small HTTP client, which sees everything: status, headers, and events as they come.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// How long a test waits for what should be there at once.
pub const SOON: Duration = Duration::from_secs(10);

pub struct Client {
    pub address: SocketAddr,
}

/// The answer to one request, whose body has not been read yet.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    reader: BufReader<TcpStream>,
    is_chunked: bool,
    /// Of a stream, what has come and was not used.
    text: String,
}

#[derive(Debug, Default, PartialEq)]
pub struct Event {
    pub id: Option<String>,
    pub retry: Option<String>,
    pub data: Option<String>,
}

impl Client {
    /// Sends a request on a connection of its own.
    pub fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        Answer::read(BufReader::new(self.begin(method, path, headers, body)))
    }

    /// Sends a request and closes the connection.
    pub fn send_and_leave(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) {
        drop(self.begin(method, path, headers, body));
    }

    fn begin(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> TcpStream {
        let mut socket = TcpStream::connect(self.address).unwrap();
        socket.set_read_timeout(Some(SOON)).unwrap();
        let mut text = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
        socket.write_all(text.as_bytes()).unwrap();
        socket
    }
}

impl Answer {
    fn read(mut reader: BufReader<TcpStream>) -> Answer {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            assert!(reader.read_line(&mut line).unwrap() > 0, "the server closed: {lines:?}");
            let line = line.trim_end().to_owned();
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        let status = lines[0].split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines[1..]
            .iter()
            .map(|line| line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).unwrap())
            .collect();
        let is_chunked = headers.iter().any(|(name, value)| name == "transfer-encoding" && value == "chunked");
        Answer { status, headers, reader, is_chunked, text: String::new() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| &**value)
    }

    pub fn is_stream(&self) -> bool {
        self.header("content-type") == Some("text/event-stream")
    }

    /// The body of an answer that is no stream.
    pub fn body(mut self) -> String {
        assert!(!self.is_stream(), "an event stream");
        let length = self.header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }

    pub fn json(self) -> Value {
        let body = self.body();
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body:?}"))
    }

    /// The next event of a stream; none at its end. Comments are passed over.
    pub fn event(&mut self) -> Option<Event> {
        assert!(self.is_stream(), "{} is no event stream", self.status);
        loop {
            while let Some(end) = self.text.find("\n\n") {
                let block: String = self.text.drain(..end + 2).collect();
                let mut event = Event::default();
                for line in block.lines() {
                    match line.split_once(": ") {
                        Some(("id", id)) => event.id = Some(id.to_owned()),
                        Some(("retry", retry)) => event.retry = Some(retry.to_owned()),
                        Some(("data", data)) => event.data = Some(data.to_owned()),
                        _ => {}
                    }
                }
                if event != Event::default() {
                    return Some(event);
                }
            }
            let chunk = self.chunk()?;
            self.text.push_str(&chunk);
        }
    }

    /// The next event that has a message.
    pub fn message(&mut self) -> Option<Value> {
        loop {
            if let Some(data) = self.event()?.data.filter(|data| !data.is_empty()) {
                return Some(serde_json::from_str(&data).unwrap());
            }
        }
    }

    /// All messages until the end.
    pub fn messages(mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.message()).collect()
    }

    fn chunk(&mut self) -> Option<String> {
        assert!(self.is_chunked);
        let mut size = String::new();
        self.reader.read_line(&mut size).unwrap();
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap_or(0);
        if size == 0 {
            return None;
        }
        let mut chunk = vec![0; size + 2];
        self.reader.read_exact(&mut chunk).unwrap();
        chunk.truncate(size);
        Some(String::from_utf8(chunk).unwrap())
    }
}
