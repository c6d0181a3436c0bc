//! The response to one POST: a plain answer when there is nothing else to say, an event stream from the first other message on.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tiny_http::Header;

use crate::connection::{Gone, Link, Outlet};
use crate::handler::stateless::{HEADER_MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION};
use crate::json;
use crate::message::{Kind, Message};
use crate::rpc_error::RpcError;
use crate::transport::reply::{EventBody, Full, Reply};
use crate::transport::stream::{Bounds, EventStream, stream};
use crate::transport::streamable::lines::{Line, Lines};
use crate::version::Version;

/// Writes a stream that begins while its thread is busy with the handler.
pub(crate) type Opener = Box<dyn FnOnce(EventBody) -> io::Result<JoinHandle<()>> + Send>;

/// The response to one POST; where the messages that belong to its requests go.
pub(crate) struct Response {
    era: Era,
    bounds: Bounds,
    keep_alive: Duration,
    headers: Vec<Header>,
    state: Mutex<State>,
    changed: Condvar,
}

/// Whom it goes to.
pub(super) enum Era {
    /// A session, whose client may come back for what it missed.
    Legacy { lines: Arc<Lines>, link: Arc<dyn Link> },
    /// A stateless request, which ends when its client goes.
    Modern { link: Arc<dyn Link> },
}

#[derive(Default)]
struct State {
    /// The raw ids of the requests that are not over.
    open: Vec<Box<str>>,
    /// All requests are in `open`, or have been.
    is_complete: bool,
    is_batch: bool,
    answers: Vec<Message>,
    way: Option<Way>,
    opener: Option<Opener>,
    /// Who runs the call while there is an opener.
    runner: Option<std::thread::ThreadId>,
    /// A stream that begins and waits for its writer.
    body: Option<EventBody>,
    writer: Option<JoinHandle<()>>,
    is_opening: bool,
    /// Runs when the first answer is an error.
    at_failure: Option<Box<dyn FnOnce() + Send>>,
    is_waited_for: bool,
    is_left: bool,
}

/// How messages go out once there is a stream.
#[derive(Clone)]
enum Way {
    Line(Arc<Lines>, Arc<Line>),
    Stream(Arc<EventStream>),
}

/// What became of a response.
pub(crate) enum Ended {
    /// Write this.
    Reply(Reply),
    /// It is a stream, which the opener's thread has written, or is about to; there is none when the client was gone already.
    Streamed(Option<JoinHandle<()>>),
}

impl Response {
    pub(super) fn new(era: Era, bounds: Bounds, keep_alive: Duration, headers: Vec<Header>) -> Arc<Response> {
        Arc::new(Response { era, bounds, keep_alive, headers, state: Mutex::default(), changed: Condvar::new() })
    }

    /// For one stateless request, the id of which is 1.
    #[cfg(test)]
    pub(crate) fn stateless(link: Arc<dyn Link>) -> Arc<Response> {
        let bounds = Bounds { messages: 1, bytes: 1, write_deadline: Duration::ZERO };
        let response = Response::new(Era::Modern { link }, bounds, Duration::from_secs(3600), Vec::new());
        response.expect(std::iter::once("1".into()), false);
        response
    }

    /// The first answer decides whether the session begins; if it does not, `give_up` runs, and the client is not told the session's id.
    pub(super) fn begins_session(&self, give_up: impl FnOnce() + Send + 'static) {
        self.lock().at_failure = Some(Box::new(give_up));
    }

    /// Says which requests it answers; then they may be delivered.
    pub(super) fn expect(&self, ids: impl Iterator<Item = Box<str>>, is_batch: bool) {
        let mut state = self.lock();
        state.open.extend(ids);
        state.is_batch = is_batch;
        state.is_complete = true;
    }

    /// Whether there is anything to answer.
    pub(super) fn wants_answer(&self) -> bool {
        let state = self.lock();
        !state.open.is_empty() || !state.answers.is_empty()
    }

    /// Waits until it is known what the response is. A stream that begins meanwhile is written by whoever gets it from here.
    pub(crate) fn wait(&self) -> Ended {
        let mut state = self.lock();
        state.is_waited_for = true;
        loop {
            if let Some(body) = state.body.take() {
                return Ended::Reply(Reply::Stream(body));
            }
            // Requests end one way or another: see the back.
            if state.is_over() && !state.is_opening {
                break;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.way.is_some() {
            return Ended::Streamed(state.writer.take());
        }
        let is_failure = state.answers.first().is_some_and(|answer| answer.kind() == Kind::Error);
        let give_up = state.at_failure.take().filter(|_| is_failure);
        let mut full = self.plain(&mut state);
        drop(state);
        if let Some(give_up) = give_up {
            full.headers.retain(|header| !header.field.equiv("Mcp-Session-Id"));
            give_up();
        }
        if let Era::Modern { link } = &self.era {
            link.close();
        }
        Ended::Reply(Reply::Full(full))
    }

    /// Runs `job`, which is the call itself, on this thread; a stream that begins meanwhile is written by `opener`.
    pub(crate) fn run(&self, job: impl FnOnce(), opener: Opener) -> Ended {
        {
            let mut state = self.lock();
            (state.opener, state.runner) = (Some(opener), Some(std::thread::current().id()));
        }
        job();
        self.lock().opener = None;
        self.wait()
    }

    /// The client has gone. What it asked for without a session is not wanted any more.
    pub(crate) fn left(&self) {
        let mut state = self.lock();
        if state.is_left || state.is_over() {
            return;
        }
        state.is_left = true;
        drop(state);
        if let Era::Modern { link } = &self.era {
            link.close();
        }
    }

    /// Whether it matters that the client has gone.
    pub(crate) fn ends_with_client(&self) -> bool {
        matches!(self.era, Era::Modern { .. })
    }

    fn put(&self, message: Message, may_wait: bool) -> Result<(), Gone> {
        let mut state = self.lock();
        if state.is_over() {
            return Err(Gone);
        }
        let is_answer = matches!(message.kind(), Kind::Result | Kind::Error);
        // The thread that would write a plain answer is busy with the call while there is an opener. What is answered past it, since the server ends and
        // the handler does not, goes out as a stream.
        let is_past_call =
            !may_wait && message.kind() == Kind::Error && state.opener.is_some() && state.runner != Some(std::thread::current().id());
        if state.way.is_none() && is_answer && !is_past_call {
            let which = state.position(message.id());
            state.answers.push(message);
            self.over(&mut state, which);
            return Ok(());
        }
        let answered: Option<Box<str>> = is_answer.then(|| message.id().into());
        let (way, begins) = match &state.way {
            Some(way) => (way.clone(), false),
            None => (self.begin(&mut state), true),
        };
        // A client that reads slowly may only delay its own messages.
        drop(state);
        if begins {
            self.open();
        }
        let sent = match &way {
            Way::Line(lines, line) => {
                lines.send(line, message, may_wait);
                Ok(())
            }
            Way::Stream(stream) if may_wait => stream.send(message),
            Way::Stream(stream) => stream.offer(message),
        };
        if let Some(id) = answered {
            self.ended(&id);
        }
        sent
    }

    /// One of the requests is over.
    fn over(&self, state: &mut State, which: Option<usize>) {
        let Some(which) = which else { return };
        state.open.swap_remove(which);
        if !state.is_over() {
            return;
        }
        match state.way.as_ref() {
            Some(Way::Line(lines, line)) => lines.end_call(line),
            Some(Way::Stream(stream)) => stream.finish(),
            None => {}
        }
        if state.is_waited_for {
            self.changed.notify_all();
        }
    }

    /// Begins the stream, with the answers that are there.
    fn begin(&self, state: &mut State) -> Way {
        let (stream, feed) = stream(self.bounds, self.keep_alive);
        // With the stream ends all that a stateless request was about, whoever ended it.
        let link = match &self.era {
            Era::Modern { link } => Some(Arc::clone(link)),
            Era::Legacy { .. } => None,
        };
        let at_end = move || link.iter().for_each(|link| link.close());
        let mut body = EventBody::new(feed, Arc::new(true.into()), Box::new(at_end));
        self.headers.iter().for_each(|header| body.add(header.field.as_str().as_str(), header.value.as_str()));
        state.body = Some(body);
        let way = match &self.era {
            Era::Legacy { lines, link } => {
                let primes = link.version().is_some_and(|version| version >= Version::V2025_11_25);
                let line = lines.open_call(stream, primes);
                state.answers.drain(..).for_each(|answer| lines.send(&line, answer, false));
                Way::Line(Arc::clone(lines), line)
            }
            Era::Modern { .. } => Way::Stream(stream),
        };
        state.way = Some(way.clone());
        way
    }

    /// Gives a stream that has begun to its writer. Not under the lock, which whoever sends needs.
    fn open(&self) {
        let mut state = self.lock();
        if state.body.is_some() && state.is_waited_for {
            self.changed.notify_all();
        }
        let Some(opener) = state.opener.take() else { return };
        let Some(body) = state.body.take() else { return };
        state.is_opening = true;
        drop(state);
        let opened = opener(body);
        let mut state = self.lock();
        match opened {
            Ok(writer) => state.writer = Some(writer),
            Err(error) => log::debug!("an event stream finds its client gone: {error}"),
        }
        state.is_opening = false;
        if state.is_waited_for {
            self.changed.notify_all();
        }
    }

    /// All of it in one answer.
    fn plain(&self, state: &mut State) -> Full {
        let answers = std::mem::take(&mut state.answers);
        let status = match answers.first() {
            // The client has cancelled all it asked for; or there was nothing that wants an answer.
            None => return self.with_headers(Full::empty(202)),
            Some(answer) if self.ends_with_client() => status(answer),
            Some(_) => 200,
        };
        let is_array = state.is_batch;
        let mut texts = answers.into_iter().map(Message::into_text);
        let body = if is_array { format!("[{}]", texts.collect::<Vec<_>>().join(",")) } else { texts.next().unwrap_or_default() };
        self.with_headers(Full::json(status, body))
    }

    fn with_headers(&self, mut full: Full) -> Full {
        full.headers.extend(self.headers.iter().cloned());
        full
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn position(&self, id: &str) -> Option<usize> {
        self.open.iter().position(|open| **open == *id)
    }

    fn is_over(&self) -> bool {
        self.is_complete && self.open.is_empty()
    }
}

/// The status that goes with an answer to a stateless request (2026-07-28 basic/transports/streamable-http).
fn status(answer: &Message) -> u16 {
    if answer.kind() != Kind::Error {
        return 200;
    }
    match answer.letter().and_then(|error| json::member(error, "code")).and_then(|code| code.parse().ok()) {
        Some(RpcError::METHOD_NOT_FOUND) => 404,
        Some(HEADER_MISMATCH | MISSING_CAPABILITY | UNSUPPORTED_VERSION) => 400,
        _ => 200,
    }
}

impl Outlet for Response {
    fn send(&self, message: Message) -> Result<(), Gone> {
        self.put(message, true)
    }

    fn offer(&self, message: Message) -> Result<(), Gone> {
        self.put(message, false)
    }

    fn close_stream(&self) {
        let Era::Legacy { link, .. } = &self.era else { return };
        if link.version().is_none_or(|version| version < Version::V2025_11_25) {
            return;
        }
        let mut state = self.lock();
        let way = match &state.way {
            Some(way) => way.clone(),
            None if state.is_over() => return,
            None => self.begin(&mut state),
        };
        drop(state);
        self.open();
        if let Way::Line(lines, line) = way {
            lines.close_stream(&line);
        }
    }

    fn ended(&self, id: &str) {
        let mut state = self.lock();
        let which = state.position(id);
        self.over(&mut state, which);
    }
}
