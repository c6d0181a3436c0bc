//! HTTP+SSE (2024-11-05 basic/transports, HTTP with SSE):
//!
//! 1. `GET /sse` opens a session, whose first event, `endpoint`, says where to POST;
//! 2. each message of the client's is a POST there, answered 202 at once;
//! 3. each message of the server's is an event on the stream;
//! 4. the session ends with its stream.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::connection::{Back, Client, Job, Link, Outlet};
use crate::event;
use crate::http1::Head;
use crate::identity::{self, Key};
use crate::transport::incoming;
use crate::transport::reply::{EventBody, Full, Reply};
use crate::transport::room::Seat;
use crate::transport::stream::{Bounds, EventStream, stream};
use crate::version::Version;

/// All sessions of this kind.
pub(crate) struct Sse {
    key: Key,
    bounds: Bounds,
    keep_alive: Duration,
    stray_after: Duration,
    sessions: Arc<Mutex<HashMap<String, Arc<Session>>>>,
}

struct Session {
    id: String,
    _seat: Seat,
    link: Arc<dyn Link>,
    stream: Arc<EventStream>,
    /// The stream again, as what the back knows it as.
    outlet: Arc<dyn Outlet>,
    opened: Instant,
    /// Whether the client ever sent something. Some open streams that they never use.
    is_used: Arc<AtomicBool>,
}

impl Sse {
    pub fn new(config: &Config, key: Key) -> Sse {
        let limits = &config.limits;
        let bounds = Bounds { messages: limits.queue_messages, bytes: limits.queue_bytes, write_deadline: limits.write_deadline };
        Sse { key, bounds, keep_alive: config.keep_alive, stray_after: limits.stray_stream, sessions: Arc::default() }
    }

    /// `GET /sse`.
    pub fn open(&self, back: &dyn Back, base_path: &str, head: &Head, seat: Option<Seat>) -> Reply {
        let Some(seat) = seat else {
            return Full::text(503, "too many sessions: --max-sessions sets how many there may be").with("Retry-After", "5").into();
        };
        let id = self.key.new_session_id();
        let (stream, feed) = stream(self.bounds, self.keep_alive);
        let outlet: Arc<dyn Outlet> = Arc::clone(&stream) as Arc<dyn Outlet>;
        // A client that reconnects does not initialize again, and may tell the version in this header.
        let version = head.header("mcp-protocol-version").and_then(Version::parse).filter(|version| !version.is_modern());
        let link = match back.open(Client { id: id.clone(), outlet: Arc::clone(&outlet), version, may_be_stateless: false }) {
            Ok(link) => link,
            Err(error) => return Full::text(503, error.message()).with("Retry-After", "5").into(),
        };
        let is_used = Arc::new(AtomicBool::new(false));
        let session = Session {
            id: id.clone(),
            _seat: seat,
            link: Arc::clone(&link),
            stream: Arc::clone(&stream),
            outlet,
            opened: Instant::now(),
            is_used: Arc::clone(&is_used),
        };
        lock(&self.sessions).insert(id.clone(), Arc::new(session));
        let endpoint = event::named("endpoint", &format!("{base_path}/messages/?session_id={id}"));
        // A new queue has room.
        drop(stream.open_with(format!("{}{endpoint}", event::RETRY)));
        let sessions = Arc::clone(&self.sessions);
        let at_end = move || {
            lock(&sessions).remove(&id);
            link.close();
        };
        Reply::Stream(EventBody::new(feed, is_used, Box::new(at_end)))
    }

    /// `POST /messages/`.
    pub fn post(&self, head: &Head, body: Vec<u8>) -> (Full, Vec<Job>) {
        let done = |full| (full, Vec::new());
        let Some(id) = head.query("session_id").or_else(|| head.query("sessionId")) else {
            return done(Full::text(400, "session_id is missing: GET /sse opens a session and says where to POST"));
        };
        if !identity::is_well_formed(&id) {
            return done(Full::text(400, "session_id is malformed: GET /sse opens a session and says where to POST"));
        }
        let Some(session) = lock(&self.sessions).get(id.as_ref()).cloned() else {
            return done(Full::text(404, "no session has this id: its stream has ended; GET /sse opens a new one"));
        };
        if !is_json(head.header("content-type")) {
            return done(Full::text(415, "the Content-Type must be application/json"));
        }
        session.is_used.store(true, Ordering::Relaxed);
        let messages = match incoming::read(body, &*session.link, &session.outlet) {
            Ok(messages) => messages,
            Err(malformed) => return done(Full::json(400, incoming::answer(&malformed, session.link.version()).into_text())),
        };
        let jobs = messages.into_iter().filter_map(|message| session.link.deliver(message, &session.outlet)).collect();
        (Full::text(202, "Accepted"), jobs)
    }

    /// All streams end once what is queued is written.
    pub fn finish(&self) {
        lock(&self.sessions).values().for_each(|session| session.stream.finish());
    }

    /// All streams end now.
    pub fn cut(&self) {
        lock(&self.sessions).values().for_each(|session| session.stream.cut());
    }

    /// Ends the sessions whose clients have closed their streams: the streams themselves notice when they next write. False when there is none.
    pub fn end_left(&self) -> bool {
        let mut sessions = lock(&self.sessions);
        let left: Vec<_> = sessions.values().filter(|session| !session.stream.is_open()).cloned().collect();
        left.iter().for_each(|session| drop(sessions.remove(&session.id)));
        drop(sessions);
        left.iter().for_each(|session| session.stream.cut());
        !left.is_empty()
    }

    /// Makes room for another session, if need be: the oldest one goes whose client never said anything. False when there is none.
    pub fn make_room(&self) -> bool {
        let mut sessions = lock(&self.sessions);
        let strays =
            sessions.values().filter(|session| !session.is_used.load(Ordering::Relaxed) && session.opened.elapsed() >= self.stray_after);
        let Some(stray) = strays.min_by_key(|session| session.opened).cloned() else { return false };
        sessions.remove(&stray.id);
        drop(sessions);
        stray.stream.cut();
        true
    }
}

/// Whether a body is declared as JSON, with whatever parameters.
pub(crate) fn is_json(content_type: Option<&str>) -> bool {
    let media_type = content_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
