//! A small blocking HTTP/1.1 client: connections that are kept for the next call, redirects within one server, nothing that is waited for for ever.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::connect::abort::Abort;
use crate::connect::headers::Header;
use crate::connect::inbox::{Body, Head, Inbox, after};
use crate::connect::url::Url;
use crate::connect::wire::Wire;

/// Idle connections that are kept.
const KEPT: usize = 8;
/// Many servers close an idle connection after five seconds: one that is about to be closed must not carry a call.
const FRESH: Duration = Duration::from_secs(4);
/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(10);
/// Redirects that are followed.
const REDIRECTS: usize = 4;

/// The client of one server.
pub(super) struct Http {
    own: Vec<Header>,
    idle: Mutex<Vec<Idle>>,
    /// The server has answered something.
    is_known: AtomicBool,
}

struct Idle {
    inbox: Inbox<Wire>,
    origin: Url,
    since: Instant,
}

/// One request; what it needs is borrowed, since it may be sent again.
pub(super) struct Request<'a> {
    pub method: &'static str,
    pub url: &'a Url,
    pub headers: &'a [Header],
    pub body: Option<&'a str>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server did not get the whole request: sending it again does nothing twice.
    Away(io::Error),
    /// It may have got it, and what became of it cannot be known.
    Broken(io::Error),
    /// It got it and answered something that is of no use; the text says what.
    Useless(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Away(error) | Failure::Broken(error) => error.fmt(f),
            Failure::Useless(why) => f.write_str(why),
        }
    }
}

impl Http {
    /// A client that sends the headers `own` with every request.
    pub fn new(own: Vec<Header>) -> Http {
        Http { own, idle: Mutex::default(), is_known: AtomicBool::new(false) }
    }

    /// Whether a header of the user's is called `name`.
    pub fn sends(&self, name: &str) -> bool {
        self.own.iter().any(|header| header.is(name))
    }

    /// Sends `request` and waits for the head of the answer, for ever when there is no `deadline`, or until `abort` is set. `written` is called when
    /// the request is on its way.
    pub fn send<'a>(
        &'a self,
        request: &Request<'_>,
        abort: &'a Abort,
        deadline: Option<Instant>,
        written: &mut dyn FnMut(),
    ) -> Result<Answer<'a>, Failure> {
        let mut url = request.url.clone();
        for _ in 0..REDIRECTS {
            let answer = self.send_once(request, &url, abort, deadline, written)?;
            let follows = match answer.status() {
                307 | 308 => true,
                301 | 302 => request.method == "GET",
                _ => false,
            };
            if !follows {
                return Ok(answer);
            }
            let target = answer.head.header("location").and_then(|location| url.join(location));
            let target = target.ok_or_else(|| Failure::Useless("the server redirects to nowhere".to_owned()))?;
            if !target.has_origin_of(&url) {
                // The headers may hold secrets, which are for this server only.
                return Err(Failure::Useless(format!("the server redirects to {target}: if you trust that server, connect to it")));
            }
            answer.finish();
            url = target;
        }
        Err(Failure::Useless("the server redirects in circles".to_owned()))
    }

    fn send_once<'a>(
        &'a self,
        request: &Request<'_>,
        url: &Url,
        abort: &'a Abort,
        deadline: Option<Instant>,
        written: &mut dyn FnMut(),
    ) -> Result<Answer<'a>, Failure> {
        let far = after(None);
        let mut inbox = match self.kept(url, abort).map_err(Failure::Away)? {
            Some(inbox) => inbox,
            None => {
                let connected_by = deadline.unwrap_or(far).min(after(Some(CONNECT)));
                let opened = Wire::open(url, abort, connected_by).map_err(|error| match error.kind() {
                    // A certificate that is not trusted, or no TLS at all: waiting changes nothing.
                    io::ErrorKind::InvalidData => Failure::Useless(error.to_string()),
                    _ => Failure::Away(error),
                });
                Inbox::new(opened?)
            }
        };
        inbox.source.write_all(&self.text(request, url)).map_err(Failure::Away)?;
        written();
        match inbox.head(deadline.unwrap_or(far)) {
            Ok((head, body)) => {
                self.is_known.store(true, Ordering::Relaxed);
                Ok(Answer { http: self, abort, origin: url.clone(), inbox, head, body })
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(Failure::Useless(error.to_string())),
            // As many that speak TLS do.
            Err(error) if is_hang_up(&error) && !url.is_https && !self.is_known.load(Ordering::Relaxed) => {
                let words = "the server closed the connection without an answer: is it an https:// server?";
                Err(Failure::Broken(io::Error::new(error.kind(), words)))
            }
            Err(error) => Err(Failure::Broken(plain(error))),
        }
    }

    fn text(&self, request: &Request<'_>, url: &Url) -> Vec<u8> {
        let body = request.body.unwrap_or_default();
        let mut text = String::with_capacity(512 + body.len());
        for part in [request.method, " ", &url.target(), " HTTP/1.1\r\nHost: ", &url.authority(), "\r\n"] {
            text.push_str(part);
        }
        for header in request.headers.iter().chain(&self.own) {
            header.write(&mut text);
        }
        if request.body.is_some() {
            text.push_str("Content-Type: application/json\r\nContent-Length: ");
            text.push_str(&body.len().to_string());
            text.push_str("\r\n");
        }
        text.push_str(concat!("User-Agent: ", env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"), "\r\n\r\n"));
        text.push_str(body);
        text.into_bytes()
    }

    /// A connection that an earlier call left, if one is still good.
    fn kept(&self, url: &Url, abort: &Abort) -> io::Result<Option<Inbox<Wire>>> {
        loop {
            let Some(idle) = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop() else { return Ok(None) };
            if idle.since.elapsed() < FRESH && idle.origin.has_origin_of(url) && idle.inbox.source.is_quiet() {
                abort.watch(idle.inbox.source.stream())?;
                return Ok(Some(idle.inbox));
            }
        }
    }

    fn keep(&self, inbox: Inbox<Wire>, origin: Url) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|kept| kept.since.elapsed() < FRESH);
        if idle.len() < KEPT {
            idle.push(Idle { inbox, origin, since: Instant::now() });
        }
    }
}

/// An answer whose body is still to be read.
pub(super) struct Answer<'a> {
    http: &'a Http,
    abort: &'a Abort,
    origin: Url,
    inbox: Inbox<Wire>,
    pub head: Head,
    body: Body,
}

impl Answer<'_> {
    pub fn status(&self) -> u16 {
        self.head.status
    }

    /// Appends what there is of the body, and waits when there is nothing; false at its end.
    pub fn read(&mut self, into: &mut Vec<u8>) -> io::Result<bool> {
        self.read_before(into, after(None))
    }

    /// As [`read`](Answer::read), with an end to the wait.
    pub fn read_before(&mut self, into: &mut Vec<u8>, deadline: Instant) -> io::Result<bool> {
        self.inbox.body(&mut self.body, into, deadline).map_err(plain)
    }

    /// The whole body, of at most `limit` bytes, within `time`; the connection is kept when it can be.
    pub fn text(mut self, limit: usize, time: Option<Duration>) -> io::Result<String> {
        let deadline = after(time);
        let mut bytes = Vec::new();
        while self.read_before(&mut bytes, deadline)? {
            if bytes.len() > limit {
                return Err(io::Error::new(io::ErrorKind::InvalidData, format!("the answer has more than {limit} bytes")));
            }
        }
        self.keep();
        String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "the answer is not UTF-8"))
    }

    /// Reads what little may be left, so that the connection can be kept; a body that goes on is cut off.
    pub fn finish(mut self) {
        let deadline = after(Some(Duration::from_millis(100)));
        let mut rest = Vec::new();
        while let Ok(true) = self.read_before(&mut rest, deadline) {
            if rest.len() > 64 << 10 {
                return;
            }
        }
        self.keep();
    }

    fn keep(self) {
        // From here on it is somebody else's connection.
        self.abort.let_go();
        if self.body == Body::Ended && self.head.keeps_alive && self.inbox.is_empty() {
            self.http.keep(self.inbox, self.origin);
        }
    }
}

fn is_hang_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset)
}

/// Errors of the system in words for people.
fn plain(error: io::Error) -> io::Error {
    let words = match error.kind() {
        io::ErrorKind::UnexpectedEof => "the server closed the connection",
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "the server did not answer in time",
        _ => return error,
    };
    io::Error::new(error.kind(), words)
}
