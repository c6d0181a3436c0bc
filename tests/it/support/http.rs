//! An HTTP/1.1 client that does what it is told, also when that is wrong.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Instant;

use super::SOON;

/// One connection.
pub(crate) struct Http {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
}

/// One answer.
#[derive(Clone, Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) version: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

impl Http {
    pub(crate) fn connect(address: SocketAddr) -> Http {
        let stream = TcpStream::connect_timeout(&address, SOON).expect("the port is open");
        stream.set_nodelay(true).unwrap();
        Http { stream, buffer: Vec::new() }
    }

    /// Connects and sends; a server that closes early is no error here.
    pub(crate) fn sending(address: SocketAddr, bytes: impl AsRef<[u8]>) -> Http {
        let mut http = Http::connect(address);
        http.send(bytes);
        http
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Http {
        self.stream.write_all(bytes.as_ref()).ok();
        self
    }

    /// Sends FIN: there will be no more.
    pub(crate) fn end(&mut self) -> &mut Http {
        self.stream.shutdown(Shutdown::Write).ok();
        self
    }

    /// Closes with RST.
    #[cfg(unix)]
    pub(crate) fn reset(self) {
        use nix::libc::linger;
        use nix::sys::socket::{setsockopt, sockopt};
        setsockopt(&self.stream, sockopt::Linger, &linger { l_onoff: 1, l_linger: 0 }).expect("SO_LINGER");
    }

    /// More bytes; false at the end of the stream.
    fn fill(&mut self, deadline: Instant) -> bool {
        let mut part = [0; 16 * 1024];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no more came in {SOON:?}, after {:?}", String::from_utf8_lossy(&self.buffer));
            self.stream.set_read_timeout(Some(left)).unwrap();
            match self.stream.read(&mut part) {
                Ok(count) => {
                    self.buffer.extend_from_slice(&part[..count]);
                    return count > 0;
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
                Err(_) => return false,
            }
        }
    }

    /// The bytes up to and with `end`; none when the connection closes before.
    pub(crate) fn until(&mut self, end: &[u8]) -> Option<Vec<u8>> {
        let deadline = Instant::now() + SOON;
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                return Some(self.buffer.drain(..at + end.len()).collect());
            }
            if !self.fill(deadline) {
                return None;
            }
        }
    }

    pub(crate) fn exactly(&mut self, count: usize) -> Option<Vec<u8>> {
        let deadline = Instant::now() + SOON;
        while self.buffer.len() < count {
            if !self.fill(deadline) {
                return None;
            }
        }
        Some(self.buffer.drain(..count).collect())
    }

    /// The head of the next answer; none when the connection closes instead.
    pub(crate) fn head(&mut self) -> Option<Response> {
        let text = String::from_utf8(self.until(b"\r\n\r\n")?).expect("a head is text");
        let mut lines = text.trim_end().split("\r\n");
        let status_line = lines.next().unwrap();
        let (version, rest) = status_line.split_once(' ').unwrap_or_else(|| panic!("no status line: {text:?}"));
        let status = rest.split(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("no status: {text:?}"));
        let field = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("no header: {line:?}"));
            (name.to_owned(), value.to_owned())
        };
        Some(Response { status, version: version.to_owned(), headers: lines.map(field).collect(), body: String::new() })
    }

    /// The next answer; none when the connection closes instead.
    pub(crate) fn try_response(&mut self) -> Option<Response> {
        let mut response = self.head()?;
        assert!(response.header("transfer-encoding").is_none(), "not a complete answer: {response:?}");
        let length = match (response.header("content-length"), response.status) {
            (Some(length), _) => length.parse().unwrap(),
            (None, 100 | 204 | 304) => 0,
            (None, _) => panic!("an answer without a length: {response:?}"),
        };
        response.body = String::from_utf8(self.exactly(length).expect("the whole body")).expect("a body is text");
        Some(response)
    }

    pub(crate) fn response(&mut self) -> Response {
        self.try_response().expect("an answer before the end")
    }

    /// Sends one request and takes its answer.
    pub(crate) fn exchange(&mut self, bytes: impl AsRef<[u8]>) -> Response {
        self.send(bytes).response()
    }

    /// What comes until the server closes, which it must.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let deadline = Instant::now() + SOON;
        while self.fill(deadline) {}
        std::mem::take(&mut self.buffer)
    }

    /// Whether the server closes the connection without another byte.
    pub(crate) fn is_closed(&mut self) -> bool {
        self.rest().is_empty()
    }
}

/// The text of a request; `headers` are lines with CRLF.
pub(crate) fn request(method: &str, target: &str, headers: &str, body: &str) -> String {
    let length = if body.is_empty() && method != "POST" { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n{headers}{length}\r\n{body}")
}

/// One request on a connection of its own.
pub(crate) fn get(address: SocketAddr, target: &str) -> Response {
    Http::connect(address).exchange(request("GET", target, "", ""))
}

/// One JSON body on a connection of its own.
pub(crate) fn post(address: SocketAddr, target: &str, body: &str) -> Response {
    Http::connect(address).exchange(request("POST", target, "Content-Type: application/json\r\n", body))
}
