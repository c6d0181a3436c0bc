//! Streamable HTTP, both eras on one path (2025-11-25 and 2026-07-28 basic/transports, Streamable HTTP).
//!
//! With a session, up to 2025-11-25:
//!
//! 1. `initialize` is a POST, and its answer has the session's id, which every further request names;
//! 2. each message of the client's is a POST: 202, or for a request an answer, which becomes an event stream if something else comes first;
//! 3. GET opens a stream for what belongs to no request, or goes on with one that broke;
//! 4. DELETE ends the session.
//!
//! Without, from 2026-07-28 on: each request is a POST that says in `_meta` and in headers what a session would know, and ends with its response.

mod headers;
mod lines;
mod replay;
pub(crate) mod response;
mod sessions;

use std::sync::Arc;
use std::time::Duration;

use tiny_http::Header;

use crate::config::Config;
use crate::connection::{Back, Client, Job, Outlet};
use crate::handler::stateless::Meta;
use crate::http1::Head;
use crate::identity::Key;
use crate::message::{Incoming, Kind, Malformed, Message};
use crate::rpc_error::RpcError;
use crate::transport::incoming;
use crate::transport::reply::{EventBody, Full, Reply, header};
use crate::transport::room::Seat;
use crate::transport::sse::is_json;
use crate::transport::stream::{Bounds, stream};
use crate::version::Version;
use lines::Refused;
use response::{Era, Response};
use sessions::{Missing, Session, Sessions};

/// All there is behind the path.
pub(crate) struct Streamable {
    sessions: Arc<Sessions>,
    bounds: Bounds,
    keep_alive: Duration,
}

/// What a POST led to.
pub(crate) enum Posted {
    /// An answer, and what else there is to run.
    Answer(Reply, Vec<Job>),
    /// A response that depends on these jobs, or on what runs already.
    Open(Arc<Response>, Vec<Job>),
}

/// What a request is let in with.
pub(crate) struct Door<'d> {
    pub back: &'d dyn Back,
    pub seat: &'d dyn Fn() -> Option<Seat>,
    pub head: &'d Head,
    /// What the header says.
    version: Option<&'d str>,
}

impl<'d> Door<'d> {
    pub fn new(back: &'d dyn Back, seat: &'d dyn Fn() -> Option<Seat>, head: &'d Head) -> Door<'d> {
        Door { back, seat, head, version: head.header("mcp-protocol-version") }
    }

    pub fn is_modern(&self) -> bool {
        self.version.and_then(Version::parse).is_some_and(Version::is_modern)
    }
}

impl Streamable {
    pub fn new(config: &Config, key: Key) -> Streamable {
        let limits = &config.limits;
        let bounds = Bounds { messages: limits.queue_messages, bytes: limits.queue_bytes, write_deadline: limits.write_deadline };
        Streamable { sessions: Sessions::new(config, key), bounds, keep_alive: config.keep_alive }
    }

    /// `POST`. The response has `headers`, too.
    pub fn post(&self, door: &Door<'_>, body: Vec<u8>, headers: Vec<Header>) -> Posted {
        self.posted(door, body, headers).unwrap_or_else(|full| Posted::Answer((*full).into(), Vec::new()))
    }

    fn posted(&self, door: &Door<'_>, body: Vec<u8>, mut headers: Vec<Header>) -> Result<Posted, Box<Full>> {
        if !is_json(door.head.header("content-type")) {
            return Err(Box::new(Full::text(415, "the Content-Type must be application/json")));
        }
        let said = door.version.and_then(Version::parse);
        let malformed = |malformed: Malformed, version| Box::new(Full::json(400, incoming::answer(&malformed, version).into_text()));
        let body = incoming::parse(body).map_err(|error| malformed(error, said))?;
        let single = match &body {
            Incoming::One(message) => Some(message),
            Incoming::Batch(_) => None,
        };
        let is_initialize = single.is_some_and(|message| message.kind() == Kind::Request && message.method() == "initialize");
        let is_stateless = match single {
            Some(message) if !message.method().is_empty() => Meta::of(message).is_stateless() || (door.is_modern() && !is_initialize),
            _ => door.is_modern(),
        };
        if is_stateless {
            return match body {
                Incoming::One(message) if message.kind() == Kind::Request => self.stateless(door, message, headers),
                // None that means anything is defined.
                Incoming::One(message) if message.kind() == Kind::Notification => Ok(Posted::Answer(Full::empty(202).into(), Vec::new())),
                _ => Err(error(400, None, &RpcError::invalid_request("a body has one request or one notification"))),
            };
        }
        let session = if is_initialize {
            let session = self.sessions.begin(door.back, door.seat).map_err(|missing| lost(missing, single))?;
            headers.extend(header("Mcp-Session-Id", &session.id));
            session
        } else {
            self.session(door, single)?
        };
        let era = Era::Legacy { lines: Arc::clone(&session.lines), link: Arc::clone(&session.link) };
        let response = Response::new(era, self.bounds, self.keep_alive, headers);
        if is_initialize {
            let sessions = Arc::clone(&self.sessions);
            let id = session.id.clone();
            response.begins_session(move || {
                sessions.end(&id);
            });
        }
        let outlet: Arc<dyn Outlet> = Arc::clone(&response) as Arc<dyn Outlet>;
        let is_batch = single.is_none();
        let messages = incoming::accept(body, session.link.version(), &outlet).map_err(|error| malformed(error, session.link.version()))?;
        let requests = messages.iter().filter(|message| message.kind() == Kind::Request).map(|message| message.id().into());
        response.expect(requests, is_batch);
        let wants_answer = response.wants_answer();
        let jobs = messages.into_iter().filter_map(|message| session.link.deliver(message, &outlet)).collect();
        // What a notification leads to happens behind the answer.
        Ok(if wants_answer { Posted::Open(response, jobs) } else { Posted::Answer(Full::empty(202).into(), jobs) })
    }

    /// A request that brings all there is to know.
    fn stateless(&self, door: &Door<'_>, message: Message, headers: Vec<Header>) -> Result<Posted, Box<Full>> {
        let meta = Meta::of(&message);
        let checked = meta.claims().and_then(|_| {
            headers::check(door.head, &message, &meta.version().unwrap_or_default())?;
            meta.check_version()?;
            if message.method() != "tools/call" {
                return Ok(());
            }
            let name = message.find(&["name"]).and_then(crate::json::unquote).unwrap_or_default();
            door.back.schema_with_headers(&name).map_or(Ok(()), |schema| headers::check_arguments(door.head, &message, &schema))
        });
        checked.map_err(|refusal| error(400, Some(&message), &refusal))?;
        let link = door.back.open(Client::stateless()).map_err(|refusal| {
            let status = if refusal.code() == RpcError::METHOD_NOT_FOUND { 404 } else { 400 };
            error(status, Some(&message), &refusal)
        })?;
        let response = Response::new(Era::Modern { link: Arc::clone(&link) }, self.bounds, self.keep_alive, headers);
        response.expect(std::iter::once(message.id().into()), false);
        let outlet: Arc<dyn Outlet> = Arc::clone(&response) as Arc<dyn Outlet>;
        let job = link.deliver(message, &outlet);
        Ok(Posted::Open(response, job.into_iter().collect()))
    }

    /// `GET`.
    pub fn get(&self, door: &Door<'_>) -> Result<Reply, Box<Full>> {
        let session = self.session(door, None)?;
        let (events, feed) = stream(self.bounds, self.keep_alive);
        let primes = session.link.version().is_some_and(|version| version >= Version::V2025_11_25);
        match session.lines.open(&events, door.head.header("last-event-id"), primes) {
            Ok(()) => {}
            Err(Refused::TooMany) => {
                return Err(error(409, None, &RpcError::invalid_request("the session has as many streams open as it may have")));
            }
            Err(Refused::Over) => return Err(lost(Missing::Unknown, None)),
        }
        let at_end = move || session.touch();
        Ok(Reply::Stream(EventBody::new(feed, Arc::new(true.into()), Box::new(at_end))))
    }

    /// `DELETE`.
    pub fn delete(&self, door: &Door<'_>) -> Full {
        match session_id(door, None).and_then(|id| version(door, None).map(|_| id)) {
            Err(full) => *full,
            Ok(id) if self.sessions.end(id) => Full::empty(204),
            Ok(_) => *lost(Missing::Unknown, None),
        }
    }

    /// Ends the session that has been idle for longest. False when none is idle.
    pub fn make_room(&self) -> bool {
        self.sessions.end_most_idle()
    }

    /// The streams that no call needs end once what is queued is written.
    pub fn finish(&self) {
        self.sessions.finish();
    }

    /// All streams end now.
    pub fn cut(&self) {
        self.sessions.cut();
    }

    /// The session that a request names.
    fn session(&self, door: &Door<'_>, message: Option<&Message>) -> Result<Arc<Session>, Box<Full>> {
        let id = session_id(door, message)?;
        let version = version(door, message)?;
        self.sessions.find(id, version, door.back, door.seat).map_err(|missing| lost(missing, message))
    }
}

fn session_id<'d>(door: &Door<'d>, message: Option<&Message>) -> Result<&'d str, Box<Full>> {
    let why = "Mcp-Session-Id is missing: POST an initialize request first, and name the session that its answer names";
    door.head.header("mcp-session-id").ok_or_else(|| error(400, message, &RpcError::invalid_request(why)))
}

/// The version that a request of a session says it is of.
fn version(door: &Door<'_>, message: Option<&Message>) -> Result<Option<Version>, Box<Full>> {
    let Some(text) = door.version else { return Ok(None) };
    Version::parse(text).map(Some).ok_or_else(|| {
        let why = format!("MCP-Protocol-Version must be one of {}", Version::ALL.map(Version::as_str).join(", "));
        error(400, message, &RpcError::invalid_request(why))
    })
}

/// The answer where there is no session.
fn lost(missing: Missing, message: Option<&Message>) -> Box<Full> {
    match missing {
        Missing::Unknown => error(404, message, &RpcError::invalid_request("the session has ended: begin a new one with initialize")),
        Missing::NoRoom(why) => Box::new(Full::text(503, why).with("Retry-After", "5")),
    }
}

/// A refusal: with the id of the request, if there is one.
fn error(status: u16, message: Option<&Message>, error: &RpcError) -> Box<Full> {
    let answer = match message.filter(|message| message.kind() == Kind::Request) {
        Some(request) => Message::error(Some(request.id()), error),
        None => Message::error_without_id(error),
    };
    Box::new(Full::json(status, answer.into_text()))
}
