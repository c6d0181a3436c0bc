//! A client of HTTP+SSE.

use std::collections::VecDeque;
use std::net::SocketAddr;

use serde_json::Value;

use super::{Http, Response, post, request};

/// A session.
pub(crate) struct Sse {
    pub(crate) address: SocketAddr,
    pub(crate) http: Http,
    pub(crate) head: Response,
    /// Where to POST, with the session's id.
    pub(crate) path: String,
    /// The stream without its chunks, as far as it is not an event yet.
    text: String,
    /// Messages that came while another was waited for.
    passed: VecDeque<Value>,
    /// The last chunk has come.
    has_ended: bool,
}

/// One event, or one comment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) data: String,
    /// All its lines.
    pub(crate) raw: String,
}

impl Sse {
    pub(crate) fn open(address: SocketAddr) -> Sse {
        Sse::open_with(address, &request("GET", "/sse", "Accept: text/event-stream\r\n", ""))
    }

    pub(crate) fn open_with(address: SocketAddr, request: &str) -> Sse {
        Sse::on(Http::sending(address, request), address)
    }

    /// Goes on with a connection on which the stream has been asked for.
    pub(crate) fn on(mut http: Http, address: SocketAddr) -> Sse {
        let head = http.head().expect("the head of a stream");
        assert_eq!(head.status, 200, "{head:?}");
        let mut sse = Sse { address, http, head, path: String::new(), text: String::new(), passed: VecDeque::new(), has_ended: false };
        loop {
            let event = sse.event().expect("the endpoint event");
            if event.name == "endpoint" {
                sse.path = event.data;
                return sse;
            }
            assert!(event.data.is_empty(), "{event:?} before the endpoint");
        }
    }

    pub(crate) fn id(&self) -> &str {
        self.path.split_once("session_id=").expect("an id").1
    }

    /// The next event or comment; none at the end of the stream.
    pub(crate) fn event(&mut self) -> Option<Event> {
        while !self.text.contains("\n\n") {
            let part = self.part()?;
            self.text.push_str(&part);
        }
        let end = self.text.find("\n\n").unwrap() + 2;
        let raw: String = self.text.drain(..end).collect();
        let mut event = Event { raw: raw.clone(), ..Event::default() };
        for line in raw.lines() {
            match line.split_once(": ") {
                Some(("event", name)) => event.name = name.to_owned(),
                Some(("data", data)) => {
                    assert!(event.data.is_empty(), "our data is on one line: {raw:?}");
                    event.data = data.to_owned();
                }
                _ => {}
            }
        }
        Some(event)
    }

    fn part(&mut self) -> Option<String> {
        if self.head.header("transfer-encoding") != Some("chunked") {
            let line = self.http.until(b"\n")?;
            return Some(String::from_utf8(line).unwrap());
        }
        let size = String::from_utf8(self.http.until(b"\r\n")?).unwrap();
        let size = usize::from_str_radix(size.trim_end(), 16).unwrap_or_else(|_| panic!("no chunk size: {size:?}"));
        let chunk = self.http.exactly(size + 2)?;
        assert!(chunk.ends_with(b"\r\n"), "a chunk ends with CRLF");
        if size == 0 {
            self.has_ended = true;
            return None;
        }
        Some(String::from_utf8(chunk[..size].to_vec()).unwrap())
    }

    /// The text of the next message.
    pub(crate) fn message(&mut self) -> String {
        loop {
            let event = self.event().expect("a message before the end of the stream");
            if event.name == "message" {
                return event.data;
            }
        }
    }

    /// POSTs on a connection of its own.
    pub(crate) fn post(&self, body: &str) -> Response {
        post(self.address, &self.path, body)
    }

    /// POSTs on this connection.
    pub(crate) fn post_on(&self, http: &mut Http, body: &str) {
        let answer = http.exchange(request("POST", &self.path, "Content-Type: application/json\r\n", body));
        assert_eq!(answer.status, 202, "{answer:?}");
    }

    /// POSTs something that is taken.
    pub(crate) fn send(&self, body: &str) {
        let response = self.post(body);
        assert_eq!((response.status, response.body.trim_end()), (202, "Accepted"), "{response:?} to {body}");
    }

    pub(crate) fn request(&self, id: &str, method: &str, params: &str) {
        self.send(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#));
    }

    /// The first message, of those that came and those to come, that `fits`.
    pub(crate) fn find(&mut self, fits: impl Fn(&Value) -> bool) -> Value {
        if let Some(at) = self.passed.iter().position(&fits) {
            return self.passed.remove(at).unwrap();
        }
        loop {
            let message: Value = serde_json::from_str(&self.message()).unwrap();
            if fits(&message) {
                return message;
            }
            self.passed.push_back(message);
        }
    }

    /// What came before the answer to a ping that is sent now, or `nothing`.
    pub(crate) fn message_after_ping(&mut self) -> String {
        self.request("\"last\"", "ping", "{}");
        let message = self.message();
        if message.contains("\"last\"") { "nothing".to_owned() } else { message }
    }

    /// Whether the stream ends with its last chunk; what comes before is passed over.
    pub(crate) fn find_end(&mut self) -> bool {
        while self.event().is_some() {}
        self.has_ended
    }

    /// The answer to the request with this raw id.
    pub(crate) fn answer(&mut self, id: &str) -> Value {
        let id: Value = serde_json::from_str(id).unwrap();
        self.find(|message| message.get("method").is_none() && message["id"] == id)
    }

    pub(crate) fn call(&mut self, id: &str, method: &str, params: &str) -> Value {
        self.request(id, method, params);
        self.answer(id)
    }

    pub(crate) fn initialize(&mut self, version: &str, capabilities: &str) -> Value {
        let params =
            format!(r#"{{"protocolVersion":"{version}","capabilities":{capabilities},"clientInfo":{{"name":"tester","version":"1"}}}}"#);
        self.call("\"init\"", "initialize", &params)
    }
}
