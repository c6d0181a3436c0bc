//! A server that answers what a test tells it to, for clients that have to put up with anything.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use crossbeam_channel::{Receiver, Sender, bounded};
use serde_json::Value;

use super::{SOON, spawn};

/// The server. What arrives waits here until the test takes it, by method.
pub(crate) struct Raw {
    pub(crate) address: SocketAddr,
    posts: Receiver<Received>,
    gets: Receiver<Received>,
    deletes: Receiver<Received>,
}

/// A request that waits for its answer.
pub(crate) struct Received {
    pub(crate) path: String,
    pub(crate) head: String,
    pub(crate) body: String,
    stream: TcpStream,
}

impl Raw {
    pub(crate) fn start() -> Raw {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ((post, posts), (get, gets), (delete, deletes)) = (bounded(100), bounded(100), bounded(100));
        spawn(move || {
            for stream in listener.incoming() {
                let ways = [post.clone(), get.clone(), delete.clone()];
                spawn(move || serve(&stream.unwrap(), &ways));
            }
        });
        Raw { address, posts, gets, deletes }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn post(&self) -> Received {
        self.posts.recv_timeout(SOON).expect("a POST")
    }

    pub(crate) fn get(&self) -> Received {
        self.gets.recv_timeout(SOON).expect("a GET")
    }

    pub(crate) fn delete(&self) -> Received {
        self.deletes.recv_timeout(SOON).expect("a DELETE")
    }

    /// Takes a POST, accepts it, and gives its body.
    pub(crate) fn post_and_accept(&self) -> Value {
        let post = self.post();
        let message = post.json();
        post.answer("202 Accepted", "", "");
        message
    }

    /// Whether a POST is here that nobody took.
    pub(crate) fn has_post(&self) -> bool {
        !self.posts.is_empty()
    }

    /// Takes the handshake of a client, under this session id.
    pub(crate) fn handshake(&self, session: &str) {
        let initialize = self.post();
        assert_eq!(initialize.json()["method"], "initialize");
        assert_eq!(initialize.header("mcp-session-id"), None);
        let result =
            r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true}},"serverInfo":{"name":"raw","version":"1"}}"#;
        let body = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, initialize.json()["id"]);
        initialize.answer("200 OK", &format!("Content-Type: application/json\r\nMcp-Session-Id: {session}\r\n"), &body);
        let initialized = self.post();
        assert_eq!(initialized.json()["method"], "notifications/initialized");
        assert_eq!(initialized.header("mcp-session-id"), Some(session));
        initialized.answer("202 Accepted", "", "");
    }
}

fn serve(stream: &TcpStream, ways: &[Sender<Received>; 3]) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match reader.read_line(&mut head) {
                Ok(1..) => {}
                _ => return,
            }
        }
        let mut words = head.split(' ');
        let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
        let way = match method.as_str() {
            "POST" => &ways[0],
            "GET" => &ways[1],
            _ => &ways[2],
        };
        let mut received = Received { path, head, body: String::new(), stream: stream.try_clone().unwrap() };
        let length = received.header("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        received.body = String::from_utf8(body).unwrap();
        if way.send(received).is_err() {
            return;
        }
    }
}

impl Received {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut pairs = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        pairs.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Sends these bytes; the connection stays open.
    pub(crate) fn raw(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// As [`raw`](Received::raw), to a client that may be gone.
    pub(crate) fn try_raw(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        self.stream.write_all(bytes.as_ref())
    }

    pub(crate) fn answer(mut self, status: &str, headers: &str, body: &str) {
        let text = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len());
        self.raw(text);
    }

    /// A good answer to the request in the body.
    pub(crate) fn result(self, result: &str) {
        let body = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, self.json()["id"]);
        self.answer("200 OK", "Content-Type: application/json\r\n", &body);
    }

    /// Begins an event stream that ends when the connection does.
    pub(crate) fn stream(&mut self, events: &str) {
        self.raw(format!("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n{events}"));
    }

    /// Closes the connection.
    pub(crate) fn close(self) {
        self.stream.shutdown(std::net::Shutdown::Both).ok();
    }
}
