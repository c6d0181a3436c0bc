//! HTTP+SSE: one stream for everything the server says, and a POST for each message, to where the stream's first event points (2024-11-05
//! basic/transports, HTTP with SSE).

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::connect::abort::Woke;
use crate::connect::call::{Call, Outcome};
use crate::connect::conversation::Conversation;
use crate::connect::headers::Header;
use crate::connect::http::{Answer, Failure, Request};
use crate::connect::inbox::after;
use crate::connect::refusal;
use crate::connect::url::Url;
use crate::event::Decoder;
use crate::message::Message;

/// The pause before the stream is opened again whose server named none.
const RETRY: Duration = Duration::from_millis(500);
/// The longest pause between two attempts to open the stream.
const LONGEST: Duration = Duration::from_secs(1);
/// How long the POST of a message may take; the answer itself comes on the stream.
const POST: Duration = Duration::from_secs(30);

/// Where the stream stands.
pub(super) struct Stream {
    state: Mutex<State>,
    /// The client is being given a message, which waits for it to read.
    passes_on: AtomicBool,
}

#[derive(Clone)]
enum State {
    /// There is no thread for it.
    Idle,
    Connecting,
    /// Messages go to this place, in this epoch.
    Open(Url, u64),
    /// It broke, or could not be opened.
    Away(String),
    /// The server does not want us.
    Refused(u16, String),
}

impl Stream {
    pub fn new() -> Stream {
        Stream { state: Mutex::new(State::Idle), passes_on: AtomicBool::new(false) }
    }

    /// What the server said instead of opening a stream.
    pub fn refusal(&self) -> Option<(u16, String)> {
        match &*self.lock() {
            State::Refused(status, why) => Some((*status, why.clone())),
            _ => None,
        }
    }

    pub fn is_open(&self) -> bool {
        matches!(*self.lock(), State::Open(..))
    }

    /// Whether nothing new can come before the client reads what is there.
    pub fn passes_on(&self) -> bool {
        self.passes_on.load(Ordering::Relaxed)
    }

    /// Forgets a first attempt that was refused; its thread has ended.
    pub fn reset(&self) {
        let mut state = self.lock();
        if matches!(*state, State::Refused(..)) {
            *state = State::Idle;
        }
    }

    fn is_of(&self, epoch: u64) -> bool {
        matches!(&*self.lock(), State::Open(_, open) if *open == epoch)
    }

    /// Sees to it that the stream is being opened; false when a thread was needed and could not be had.
    pub fn start(&self, conversation: &Arc<Conversation>) -> bool {
        let mut state = self.lock();
        if !matches!(*state, State::Idle) {
            return true;
        }
        *state = State::Connecting;
        drop(state);
        let own = Arc::clone(conversation);
        let started = conversation.spawn("connect-events", move || listen(&own));
        if !started {
            *self.lock() = State::Idle;
        }
        started
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends a message once; a call waits for its answer on the stream.
pub(super) fn call(conversation: &Arc<Conversation>, call: &Call) -> Outcome {
    if !conversation.stream.start(conversation) {
        return refusal::refuse(call, "there is no thread for the event stream".to_owned());
    }
    let state = conversation.stream.lock().clone();
    let (url, epoch) = match state {
        // A server may take what is sent after the stream was cut, and have nowhere to answer. What was not sent can wait for the next stream.
        State::Open(..) if conversation.events.is_hung_up() => return Outcome::Away(None, Duration::ZERO),
        State::Open(url, epoch) => (url, epoch),
        State::Idle | State::Connecting => return Outcome::Away(None, Duration::ZERO),
        State::Away(why) => return Outcome::Away(Some(why), Duration::ZERO),
        State::Refused(_, why) => return refusal::refuse(call, why),
    };
    let mut headers: Vec<Header> =
        conversation.session.version().map(|version| Header::new("MCP-Protocol-Version", version)).into_iter().collect();
    headers.push(Header::new("Accept", "application/json, text/event-stream"));
    let request = Request { method: "POST", url: &url, headers: &headers, body: Some(call.message.as_str()) };
    let answer = match conversation.http.send(&request, &call.abort, Some(after(Some(POST))), &mut || call.written()) {
        Ok(answer) => answer,
        Err(_) if call.abort.is_set() => return Outcome::Ended,
        Err(Failure::Away(error)) => return Outcome::Away(Some(error.to_string()), Duration::ZERO),
        Err(Failure::Broken(error)) => return Outcome::Broken(error.to_string()),
        Err(failure) => return refusal::useless(call, &url, &failure),
    };
    match answer.status() {
        200..=299 => answer.finish(),
        // Nothing but an unknown session is 410, or 404 where a moment ago there was an endpoint.
        404 | 410 => {
            conversation.events.kick();
            return Outcome::Lost(epoch);
        }
        _ => match refusal::judge(call, &url, answer, Some(epoch), conversation.has_token()) {
            Outcome::Lost(epoch) => {
                conversation.events.kick();
                return Outcome::Lost(epoch);
            }
            outcome => return outcome,
        },
    }
    if !call.is_request() {
        return Outcome::Ended;
    }
    if call.message.method() != "initialize" {
        call.pass();
    }
    loop {
        match call.abort.wait(call.patience.unwrap_or(Duration::from_secs(3600))) {
            Woke::Set => return Outcome::Ended,
            Woke::Time if call.patience.is_some() => return Outcome::Broken("the server did not answer in time".to_owned()),
            Woke::Nudged if !conversation.stream.is_of(epoch) => {
                return Outcome::Broken("the event stream broke".to_owned());
            }
            Woke::Nudged | Woke::Time => {}
        }
    }
}

/// Keeps the stream open as long as the conversation lasts, or until a first attempt is refused. The thread `connect-events`.
fn listen(conversation: &Arc<Conversation>) {
    let abort = &conversation.events;
    let mut pause = Duration::from_millis(50);
    let mut was_open = false;
    while !abort.is_set() {
        let mut decoder = Decoder::new(conversation.limit);
        let end = match open(conversation, &mut decoder) {
            Ok((mut answer, target, early)) => {
                was_open = true;
                pause = decoder.retry().unwrap_or(RETRY);
                begin(conversation, target);
                for text in early {
                    take(conversation, text);
                }
                let end = pass_on(conversation, &mut answer, &mut decoder);
                pause = decoder.retry().unwrap_or(pause);
                State::Away(end.to_string())
            }
            // Where there was a stream it may come back, unless we are not let in.
            Err(State::Refused(status, why)) if was_open && !matches!(status, 401 | 403) => State::Away(why),
            Err(state) => state,
        };
        log::debug!("the event stream of {} is not open", conversation.url);
        let is_over = matches!(end, State::Refused(..)) && conversation.finds_out();
        *conversation.stream.lock() = end;
        conversation.calls.all().iter().for_each(|call| call.abort.nudge());
        if is_over {
            return;
        }
        abort.wait(pause);
        pause = (pause * 2).min(LONGEST.max(pause));
    }
}

/// The stream is open, and messages go to `target`.
fn begin(conversation: &Arc<Conversation>, target: Url) {
    let session = &conversation.session;
    session.lost(session.epoch());
    *conversation.stream.lock() = State::Open(target, session.epoch());
    conversation.calls.all().iter().for_each(|call| call.abort.nudge());
    if session.is_forgotten() {
        // It cannot be done here: the answers come through this thread.
        let own = Arc::clone(conversation);
        conversation.spawn("connect-restore", move || drop(own.restore()));
    }
}

/// An open stream, where its messages go to, and the messages that came along with that.
type Opened<'a> = (Answer<'a>, Url, Vec<String>);

/// Opens the stream and waits for the event that says where to send messages to.
fn open<'a>(conversation: &'a Conversation, decoder: &mut Decoder) -> Result<Opened<'a>, State> {
    let url = &conversation.url;
    let deadline = after(Some(conversation.timeout));
    let headers = [Header::new("Accept", "text/event-stream"), Header::new("Cache-Control", "no-cache")];
    let request = Request { method: "GET", url, headers: &headers, body: None };
    let away = |error: io::Error| State::Away(error.to_string());
    let mut answer = match conversation.http.send(&request, &conversation.events, Some(deadline), &mut || {}) {
        Ok(answer) => answer,
        Err(Failure::Away(error) | Failure::Broken(error)) => return Err(away(error)),
        Err(Failure::Useless(why)) => return Err(State::Refused(0, format!("{url} cannot be used: {why}"))),
    };
    let status = answer.status();
    if status != 200 {
        let body = answer.text(64 << 10, Some(Duration::from_secs(5))).unwrap_or_default();
        let why = refusal::sentence(url, status, &body, conversation.has_token());
        return Err(if matches!(status, 429 | 500..) { State::Away(why) } else { State::Refused(status, why) });
    }
    if !answer.head.is("text/event-stream") {
        return Err(State::Refused(status, format!("{url} is no event stream: common paths are /sse and /mcp")));
    }
    let (mut bytes, mut events) = (Vec::new(), Vec::new());
    loop {
        if !answer.read_before(&mut bytes, deadline).map_err(away)? {
            return Err(State::Away("the server closed the event stream".to_owned()));
        }
        decoder.feed(&bytes, &mut events).map_err(|_| State::Refused(status, format!("{url} sent an event that is too long")))?;
        bytes.clear();
        let Some(at) = events.iter().position(|event| event.name == "endpoint") else { continue };
        let behind = events.split_off(at + 1);
        let reference = events.pop().map(|event| event.data).unwrap_or_default();
        let target = url.join(reference.trim());
        let target = target.ok_or_else(|| State::Refused(0, format!("{url} wants messages sent to a place that is no URL")))?;
        // The token and the messages are for this server only.
        if !target.has_origin_of(url) {
            return Err(State::Refused(0, format!("{url} wants messages sent to {target}, which is another server: refused")));
        }
        let early = behind.into_iter().filter(|event| event.name == "message").map(|event| event.data).collect();
        return Ok((answer, target, early));
    }
}

/// Passes on messages until the stream ends, and says why it did.
fn pass_on(conversation: &Conversation, answer: &mut Answer<'_>, decoder: &mut Decoder) -> io::Error {
    let (mut bytes, mut events) = (Vec::new(), Vec::new());
    loop {
        bytes.clear();
        match answer.read(&mut bytes) {
            Ok(true) => {}
            Ok(false) => return io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the event stream"),
            Err(error) => return error,
        }
        if decoder.feed(&bytes, &mut events).is_err() {
            return io::Error::new(io::ErrorKind::InvalidData, "an event of the stream is too long");
        }
        for event in events.drain(..).filter(|event| event.name == "message") {
            take(conversation, event.data);
        }
    }
}

fn take(conversation: &Conversation, text: String) {
    // Without data it is a sign of life.
    if text.is_empty() {
        return;
    }
    match Message::parse(text) {
        Ok(message) => {
            conversation.stream.passes_on.store(true, Ordering::Relaxed);
            conversation.arrived(message);
            conversation.stream.passes_on.store(false, Ordering::Relaxed);
        }
        Err(malformed) => log::warn!("{} sent something that is no message: {}", conversation.url, malformed.error),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::time::Instant;

    use crossbeam_channel::bounded;

    use super::*;
    use crate::connect::{Options, Protocol};

    #[test]
    fn a_client_that_does_not_read_is_not_told_that_the_server_is_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = Url::parse(&format!("http://{}/sse", listener.local_addr().unwrap())).unwrap();
        let timeout = Duration::from_millis(200);
        let options = Options { url, protocol: Protocol::Sse, headers: Vec::new(), timeout, limit: 1 << 20 };
        let (news, unread) = bounded(1);
        let conversation = Conversation::new(&options, Arc::new(news));
        assert!(conversation.stream.start(&conversation));
        let mut socket = listener.accept().unwrap().0;
        assert!(socket.read(&mut [0; 1024]).unwrap() > 0);
        let message = Message::notification("notifications/message", None);
        let said = format!("event: endpoint\ndata: /x\n\n{}", format!("data: {}\n\n", message.as_str()).repeat(3));
        write!(socket, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n{said}").unwrap();
        drop(socket);
        let deadline = Instant::now() + Duration::from_secs(10);
        while !(conversation.stream.passes_on() && unread.is_full() && conversation.events.is_hung_up()) {
            assert!(Instant::now() < deadline, "the client's queue is full, and the server gone");
            std::thread::yield_now();
        }
        let (answer, answered) = bounded(1);
        let call = Arc::new(Call::new(Message::request("1", "tools/call", None), Arc::new(answer), None, None));
        assert!(conversation.calls.insert(&call));
        conversation.carry(&call);
        let told = answered.try_recv().unwrap();
        assert!(told.as_str().contains("has not read"), "{told:?}");
        conversation.end(Duration::ZERO);
    }
}
