//! The HTTP endpoints without any socket: who may come in, which path and method is whose, and one answer to each request.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tiny_http::{Header, Method};

use crate::config::Config;
use crate::connection::{Back, Job};
use crate::dispatch::Dispatcher;
use crate::error::Result;
use crate::guard::{Guard, Refused};
use crate::handler::Handler;
use crate::http1::{self, Head, Reader, Refusal};
use crate::identity::Key;
use crate::transport::reply::{Full, Reply, header};
use crate::transport::room::{Room, Seat};
use crate::transport::sse::Sse;
use crate::transport::streamable::response::{Ended, Response};
use crate::transport::streamable::{Door, Posted, Streamable};
use crate::workers::Workers;

/// The paths that exist, as an error names them.
const PATHS: &str = "POST /mcp, GET /sse, POST /messages/, GET /healthz, GET /readyz";

/// How often room is made for a session: a newcomer may take what was freed.
const SEAT_ATTEMPTS: usize = 8;

/// The endpoints of an MCP server over HTTP, without a socket: one call for each request.
///
/// Mount them into any blocking HTTP server: hand each request to [`answer`](Endpoints::answer) and write what comes back. For a `tiny_http::Server`
/// there is [`take`](Endpoints::take).
///
/// ```
/// use mcp_http_transport::{Config, Endpoints, Reply, Server};
///
/// let endpoints = Endpoints::new(Server::new("clock", "1.0.0"), &Config::new())?;
/// let Reply::Full(answer) = endpoints.answer(&"GET".parse().unwrap(), "/healthz", &[], Vec::new()) else { unreachable!() };
/// assert_eq!(answer.status.0, 200);
/// # Ok::<(), mcp_http_transport::Error>(())
/// ```
#[derive(Clone)]
pub struct Endpoints {
    shared: Arc<Shared>,
}

struct Shared {
    back: Arc<dyn Back>,
    guard: Guard,
    sse: Sse,
    streamable: Streamable,
    room: Arc<Room>,
    making_room: Mutex<()>,
    base_path: String,
    max_body: usize,
    workers: Workers,
    is_draining: AtomicBool,
}

/// How far a request has got.
pub(crate) enum Exchange {
    /// Answered. The jobs are calls; whoever writes the answer runs them, best after it.
    Done(Reply, Vec<Job>),
    /// The answer depends on these jobs, or on what runs already.
    Open(Arc<Response>, Vec<Job>),
}

/// What a path stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    Mcp,
    Sse,
    Messages,
    Health,
    Ready,
}

impl Route {
    fn allowed(self) -> &'static [Method] {
        match self {
            Route::Mcp => &[Method::Get, Method::Post, Method::Delete, Method::Options],
            Route::Sse | Route::Health | Route::Ready => &[Method::Get, Method::Head, Method::Options],
            Route::Messages => &[Method::Post, Method::Options],
        }
    }

    fn allows(self, method: &Method) -> bool {
        self.allowed().contains(method)
    }

    /// As the header `Allow` names them.
    fn methods(self) -> String {
        self.allowed().iter().map(Method::as_str).collect::<Vec<_>>().join(", ")
    }
}

impl Endpoints {
    /// The endpoints of `handler`. Of `config` counts what concerns HTTP, except for what belongs to a listener; the address in `host` decides whether
    /// `Host` headers must name loopback.
    ///
    /// # Errors
    /// When the settings make no sense, as [`serve`](crate::serve).
    pub fn new(handler: impl Handler, config: &Config) -> Result<Endpoints> {
        let config = config.clone().check()?;
        let workers = Workers::of(&config.limits);
        let back = Dispatcher::new(Arc::new(handler), &config.limits, workers.clone());
        Ok(Endpoints::over(Arc::new(back), &config, workers))
    }

    pub(crate) fn over(back: Arc<dyn Back>, config: &Config, workers: Workers) -> Endpoints {
        let shared = Shared {
            guard: Guard::new(config, config.is_loopback()),
            sse: Sse::new(config, Key::shared().clone()),
            streamable: Streamable::new(config, Key::shared().clone()),
            room: Room::new(config.max_sessions),
            making_room: Mutex::default(),
            base_path: config.base_path.clone(),
            max_body: config.max_body,
            workers,
            back,
            is_draining: AtomicBool::new(false),
        };
        Endpoints { shared: Arc::new(shared) }
    }

    /// Answers one HTTP request. Blocks for as long as it takes to decide the answer: a request to `/mcp` may wait for its handler. The body of a stream is
    /// read from the reply.
    pub fn answer(&self, method: &Method, target: &str, headers: &[Header], body: Vec<u8>) -> Reply {
        self.finish(self.begin(method, target, headers, body))
    }

    /// Takes a request as far as it gets without waiting.
    pub(crate) fn begin(&self, method: &Method, target: &str, headers: &[Header], body: Vec<u8>) -> Exchange {
        let full = match assemble(method, target, headers) {
            Err(refusal) => refused(refusal),
            Ok(_) if body.len() > self.shared.max_body => refused(Refusal::too_large()),
            Ok(head) => match self.screen(&head) {
                Ok(route) => return self.exchange(route, &head, body),
                Err(full) => full,
            },
        };
        Exchange::Done(full.into(), Vec::new())
    }

    /// Runs what a request led to, and waits until its answer is decided.
    pub(crate) fn finish(&self, exchange: Exchange) -> Reply {
        let (jobs, open) = match exchange {
            Exchange::Done(reply, jobs) => (jobs, Ok(reply)),
            Exchange::Open(response, jobs) => (jobs, Err(response)),
        };
        jobs.into_iter().for_each(|job| self.run(job));
        open.unwrap_or_else(|response| match response.wait() {
            Ended::Reply(reply) => reply,
            // Nobody but an opener writes a stream elsewhere, and there is none.
            Ended::Streamed(_) => Full::empty(202).into(),
        })
    }

    /// Whether the path of `target` is one of ours.
    pub(crate) fn knows(&self, target: &str) -> bool {
        self.route(target.split('?').next().unwrap_or_default()).is_some()
    }

    /// The paths, with the prefix that a proxy puts before them.
    pub(crate) fn paths(&self) -> String {
        let base = &self.shared.base_path;
        format!("{base}/mcp, {base}/sse, {base}/messages/, {base}/healthz, {base}/readyz")
    }

    pub(crate) fn max_body(&self) -> usize {
        self.shared.max_body
    }

    /// Judges a request by its head: where it belongs, or why it goes no further.
    pub(crate) fn screen(&self, head: &Head) -> std::result::Result<Route, Full> {
        let route = self.route(head.path());
        if let Some(route @ (Route::Health | Route::Ready)) = route {
            return if route.allows(&head.method) { Ok(route) } else { Err(not_allowed(route)) };
        }
        self.admit(route, head).map_err(|full| self.with_cors(head, full))
    }

    fn admit(&self, route: Option<Route>, head: &Head) -> std::result::Result<Route, Full> {
        let guard = &self.shared.guard;
        let mut origins = head.headers("origin");
        let place = guard
            .check_place(head.host(), origins.next())
            .and_then(|()| origins.try_for_each(|origin| guard.check_place(None, Some(origin))));
        if let Err(Refused::Forbidden(why)) = place {
            log::warn!("refused a request: {why}");
            return Err(Full::text(403, why));
        }
        if self.shared.is_draining.load(Ordering::SeqCst) {
            return Err(Full::text(503, "the server is shutting down").with("Retry-After", "1"));
        }
        if head.method == Method::Options && head.path() == "*" {
            return Err(Full::empty(204).with("Allow", "GET, HEAD, POST, OPTIONS"));
        }
        if head.method == Method::Options {
            let Some(route) = route else { return Err(unknown_path()) };
            return Err(self.preflight(route, head));
        }
        // Clients look for documents of OAuth in places that do not exist, and take only 404 for a no.
        let route = route.ok_or_else(unknown_path)?;
        if guard.check_token(head.header("authorization")).is_err() {
            let why = "a token is needed: Authorization: Bearer, with the value of MCP_HTTP_TOKEN on the server";
            return Err(Full::text(401, why).with("WWW-Authenticate", "Bearer"));
        }
        if route.allows(&head.method) { Ok(route) } else { Err(not_allowed(route)) }
    }

    /// Answers a request that was let in, or begins to.
    pub(crate) fn exchange(&self, route: Route, head: &Head, body: Vec<u8>) -> Exchange {
        let shared = &self.shared;
        let (reply, jobs) = match route {
            Route::Mcp => {
                let seat = || self.seat();
                let door = Door::new(&*shared.back, &seat, head);
                match self.streamable(&door, body) {
                    Posted::Answer(reply, jobs) => (reply, jobs),
                    Posted::Open(response, jobs) => return Exchange::Open(response, jobs),
                }
            }
            Route::Health => (self.health(true), Vec::new()),
            Route::Ready => (self.health(shared.back.is_ready() && !shared.is_draining.load(Ordering::SeqCst)), Vec::new()),
            Route::Sse if head.method == Method::Head => (Full::new(200, "text/event-stream", Vec::new()).into(), Vec::new()),
            Route::Sse => (shared.sse.open(&*shared.back, &shared.base_path, head, self.seat()), Vec::new()),
            Route::Messages => {
                let (full, jobs) = shared.sse.post(head, body);
                (full.into(), jobs)
            }
        };
        let reply = match reply {
            Reply::Full(full) => Reply::Full(self.with_cors(head, full)),
            Reply::Stream(mut body) => {
                shared.guard.cors(head.header("origin")).iter().for_each(|(name, value)| body.add(name, value));
                Reply::Stream(body)
            }
        };
        Exchange::Done(reply, jobs)
    }

    fn streamable(&self, door: &Door<'_>, body: Vec<u8>) -> Posted {
        let streamable = &self.shared.streamable;
        match door.head.method {
            Method::Post => {
                let cors = self.shared.guard.cors(door.head.header("origin"));
                streamable.post(door, body, cors.iter().filter_map(|(name, value)| header(name, value)).collect())
            }
            // Without sessions there is nothing to open or to end.
            _ if door.is_modern() => {
                let full = Full::text(405, "with this MCP-Protocol-Version only POST is allowed here").with("Allow", "POST, OPTIONS");
                Posted::Answer(full.into(), Vec::new())
            }
            Method::Delete => Posted::Answer(streamable.delete(door).into(), Vec::new()),
            _ => Posted::Answer(streamable.get(door).unwrap_or_else(|full| (*full).into()), Vec::new()),
        }
    }

    /// A place for another session. If there is none, those go whose clients have left, else one that nobody would miss.
    fn seat(&self) -> Option<Seat> {
        let shared = &self.shared;
        let seat = shared.room.enter();
        if seat.is_some() {
            return seat;
        }
        // One after the other: what one is about to free another would neither find taken nor free.
        let _turn = shared.making_room.lock().unwrap_or_else(PoisonError::into_inner);
        for _ in 0..SEAT_ATTEMPTS {
            let seat = shared.room.enter();
            if seat.is_some() {
                return seat;
            }
            if !(shared.sse.end_left() || shared.streamable.make_room() || shared.sse.make_room()) {
                break;
            }
        }
        shared.room.enter()
    }

    /// Runs a call on a worker.
    pub(crate) fn run(&self, job: Job) {
        self.shared.workers.run(job);
    }

    /// From now on everything new is refused; what runs may go on for `grace`. Then the streams end.
    pub(crate) fn drain(&self, grace: Duration) {
        self.shared.is_draining.store(true, Ordering::SeqCst);
        self.shared.back.drain(grace);
        self.shared.sse.finish();
        self.shared.streamable.finish();
    }

    /// Ends what is left.
    pub(crate) fn cut(&self) {
        self.shared.sse.cut();
        self.shared.streamable.cut();
    }

    fn health(&self, is_fine: bool) -> Reply {
        if is_fine { Full::text(200, "ok").into() } else { Full::text(503, "not ready").into() }
    }

    fn route(&self, path: &str) -> Option<Route> {
        let base = &self.shared.base_path;
        let below = path.strip_prefix(base.as_str()).filter(|rest| !base.is_empty() && rest.starts_with('/'));
        match below.unwrap_or(path) {
            "/mcp" => Some(Route::Mcp),
            "/sse" => Some(Route::Sse),
            "/messages" | "/messages/" => Some(Route::Messages),
            "/healthz" => Some(Route::Health),
            "/readyz" => Some(Route::Ready),
            _ => None,
        }
    }

    fn preflight(&self, route: Route, head: &Head) -> Full {
        let mut full = Full::empty(204).with("Allow", &route.methods());
        let further = self.shared.guard.preflight(head.header("origin"), &route.methods());
        full.headers.extend(further.iter().filter_map(|(name, value)| header(name, value)));
        full
    }

    fn with_cors(&self, head: &Head, mut full: Full) -> Full {
        full.headers.extend(self.shared.guard.cors(head.header("origin")).iter().filter_map(|(name, value)| header(name, value)));
        full
    }
}

/// The answer to what is no request, or is too much.
pub(crate) fn refused(refusal: Refusal) -> Full {
    let why = match refusal {
        Refusal::Bad { why, .. } => why,
        Refusal::TimedOut => "the request was not complete in time",
        Refusal::Closed | Refusal::Cut => "the request was not complete",
    };
    Full::text(refusal.status().unwrap_or(400), why)
}

fn unknown_path() -> Full {
    Full::text(404, format!("there is nothing here; what there is: {PATHS}"))
}

fn not_allowed(route: Route) -> Full {
    Full::text(405, format!("this method is not allowed here: use one of {}", route.methods())).with("Allow", &route.methods())
}

/// A head from its parts, read as strictly as one from a socket. One without `Host` counts as HTTP/1.0.
fn assemble(method: &Method, target: &str, headers: &[Header]) -> std::result::Result<Head, Refusal> {
    // A line end in a value would begin another header, which nobody has checked.
    if headers.iter().any(|header| header.value.as_str().contains(['\r', '\n'])) {
        return Err(Refusal::Bad { status: 400, why: "a header value holds a line end" });
    }
    let has_host = headers.iter().any(|header| header.field.equiv("Host"));
    let mut text = format!("{method} {target} HTTP/1.{}\r\n", u8::from(has_host));
    for header in headers.iter().filter(|header| !is_about_framing(header)) {
        text.push_str(&format!("{}: {}\r\n", header.field, header.value));
    }
    text.push_str("\r\n");
    let limits = http1::Limits {
        head_bytes: text.len(),
        headers: headers.len(),
        body_bytes: 0,
        head_deadline: Duration::from_secs(1),
        body_deadline: Duration::ZERO,
        idle: Duration::from_secs(1),
    };
    Reader::new().head(&mut Text(text.as_bytes()), &limits)
}

/// The body is here already, however it came.
fn is_about_framing(header: &Header) -> bool {
    ["Content-Length", "Transfer-Encoding", "Expect"].iter().any(|name| header.field.equiv(name))
}

struct Text<'t>(&'t [u8]);

impl http1::Source for Text<'_> {
    fn read_before(&mut self, buffer: &mut [u8], _: Instant) -> std::io::Result<usize> {
        std::io::Read::read(&mut self.0, buffer)
    }
}
