//! One client's conversation with the remote server: sends what the client says, holds it while the server is away, and sees to it that every call gets
//! one answer or one error.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;

use crate::connect::abort::{Abort, Woke};
use crate::connect::call::{Call, Calls, Outcome, Refused};
use crate::connect::gate::Gate;
use crate::connect::http::Http;
use crate::connect::session::Session;
use crate::connect::url::Url;
use crate::connect::{Options, Protocol, refusal, sse, streamable};
use crate::connection::{Job, Link, Outlet};
use crate::message::{Kind, Message};
use crate::rpc_error::RpcError;
use crate::version::Version;

/// The pause after the first failure; later ones are twice as long, up to a second.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A message that the server has no session for starts one this often, and is then an error.
const RENEWALS: u32 = 3;
/// How long one of our own requests may take while others wait for it.
const OWN: Duration = Duration::from_secs(10);

pub(super) struct Conversation {
    pub url: Url,
    pub http: Http,
    pub session: Session,
    pub calls: Calls,
    pub stream: sse::Stream,
    /// Ends or wakes the thread `connect-events`.
    pub events: Abort,
    /// How long a message is held while the server is away.
    pub timeout: Duration,
    /// Bytes of one message of the server's.
    pub limit: usize,
    gate: Arc<Gate>,
    outlet: Arc<dyn Outlet>,
    protocol: Mutex<Protocol>,
    restoring: Mutex<()>,
    listens: AtomicBool,
    is_away: AtomicBool,
    has_ended: AtomicBool,
    own_ids: AtomicU64,
}

impl Conversation {
    pub fn new(options: &Options, outlet: Arc<dyn Outlet>) -> Arc<Conversation> {
        Arc::new(Conversation {
            url: options.url.clone(),
            http: Http::new(options.headers.clone()),
            session: Session::default(),
            calls: Calls::default(),
            stream: sse::Stream::new(),
            events: Abort::default(),
            timeout: options.timeout,
            limit: options.limit,
            gate: Arc::default(),
            outlet,
            protocol: Mutex::new(options.protocol),
            restoring: Mutex::default(),
            listens: AtomicBool::new(false),
            is_away: AtomicBool::new(false),
            has_ended: AtomicBool::new(false),
            own_ids: AtomicU64::new(0),
        })
    }

    /// Whether the user gave something to be let in with.
    pub fn has_token(&self) -> bool {
        self.http.sends("authorization")
    }

    /// Whether what the server speaks is not known yet.
    pub fn finds_out(&self) -> bool {
        *self.protocol.lock().unwrap_or_else(PoisonError::into_inner) == Protocol::Auto
    }

    /// The server took a message by POST.
    pub fn speaks_streamable(&self) {
        let mut protocol = self.protocol.lock().unwrap_or_else(PoisonError::into_inner);
        if *protocol == Protocol::Auto {
            log::info!("{} speaks Streamable HTTP", self.url);
            *protocol = Protocol::Http;
        }
    }

    /// A message of the server's.
    pub fn arrived(&self, message: Message) {
        match message.kind() {
            Kind::Result | Kind::Error => match self.calls.take(message.id()) {
                Some(call) => {
                    if message.kind() == Kind::Result {
                        self.session.agreed(&call.message, &message);
                    }
                    self.reached();
                    // A client that is gone needs no answer.
                    drop(call.outlet.send(message));
                    call.abort.set();
                }
                None => log::debug!("an answer that nobody waits for: {}", message.id()),
            },
            Kind::Request if !self.session.asks(message.id()) => {
                log::warn!("the server asks too much, or the same twice: {}", message.method())
            }
            Kind::Request => drop(self.outlet.send(message)),
            Kind::Notification => {
                if message.method() == "notifications/cancelled" {
                    if let Some(id) = message.find(&["requestId"]) {
                        self.session.withdraws(id);
                    }
                }
                drop(self.outlet.send(message));
            }
        }
    }

    /// A stateless subscription was opened again: what may have changed meanwhile counts as changed.
    pub fn listens_again(&self, call: &Call) {
        let meta = format!("{{\"_meta\":{{\"io.modelcontextprotocol/subscriptionId\":{}}}}}", call.message.id());
        for (asked, list) in [("toolsListChanged", "tools"), ("promptsListChanged", "prompts"), ("resourcesListChanged", "resources")] {
            if call.message.find(&["notifications", asked]) == Some("true") {
                let method = format!("notifications/{list}/list_changed");
                drop(self.outlet.send(Message::notification(&method, Some(&meta))));
            }
        }
    }

    /// Sends one message, again and again while the server is away, and answers it when that does not help.
    fn carry(self: &Arc<Conversation>, call: &Call) {
        let held_until = Instant::now() + self.timeout;
        if let Some(ticket) = &call.ticket {
            if !ticket.wait(held_until, &|| call.abort.is_set()) {
                if !call.abort.is_set() {
                    self.fail(call, &format!("{} could not be reached for {:?}", self.url, self.timeout));
                }
                return;
            }
        }
        let mut deadline = call.patience.map(|_| held_until);
        let (mut pause, mut renewals) = (PAUSE, 0);
        while !call.abort.is_set() {
            let began = Instant::now();
            let outcome = self.attempt(call);
            if began.elapsed() > self.timeout && call.patience.is_none() {
                // It had worked for long: this is a new trouble.
                (deadline, pause) = (None, PAUSE);
            }
            let (why, at_least) = match outcome {
                Outcome::Ended => return self.reached(),
                Outcome::Refused(refused) => return self.refuse(call, refused),
                Outcome::Broken(why) if !call.may_be_repeated() => {
                    let text = format!(
                        "the connection to {} broke before the answer came ({why}): the call may have been carried out, so it was not repeated",
                        self.url
                    );
                    return self.fail(call, &text);
                }
                Outcome::Lost(epoch) => {
                    self.session.lost(epoch);
                    renewals += 1;
                    // An answer to a question of a session that is over.
                    if renewals > RENEWALS || matches!(call.message.kind(), Kind::Result | Kind::Error) {
                        return self.fail(call, &format!("{} does not know the session that it has just begun", self.url));
                    }
                    if renewals == 1 {
                        continue;
                    }
                    (Some("the session is not known".to_owned()), Duration::ZERO)
                }
                Outcome::Broken(why) => (Some(why), Duration::ZERO),
                Outcome::Away(why, at_least) => (why, at_least),
            };
            if let Some(why) = &why {
                self.unreachable(why);
            }
            let until = *deadline.get_or_insert_with(|| Instant::now() + self.timeout);
            let wait = pause.max(at_least);
            if Instant::now() + wait > until {
                let why = why.unwrap_or_else(|| "no event stream".to_owned());
                return self
                    .fail(call, &format!("cannot reach {} ({why}), tried for {:?}: is the server running?", self.url, self.timeout));
            }
            if call.abort.wait(wait) == Woke::Set {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// One attempt, after whatever has to be agreed on first.
    fn attempt(self: &Arc<Conversation>, call: &Call) -> Outcome {
        let is_first = call.is_request() && call.message.method() == "initialize";
        if !is_first && call.modern.is_none() && self.session.is_forgotten() {
            if let Err(outcome) = self.restore() {
                return outcome;
            }
            if call.message.method() == "notifications/initialized" || matches!(call.message.kind(), Kind::Result | Kind::Error) {
                return Outcome::Ended;
            }
        }
        self.send(call)
    }

    fn send(self: &Arc<Conversation>, call: &Call) -> Outcome {
        let protocol = *self.protocol.lock().unwrap_or_else(PoisonError::into_inner);
        match protocol {
            Protocol::Http => streamable::call(self, call),
            Protocol::Sse => sse::call(self, call),
            Protocol::Auto => self.probe(call),
        }
    }

    /// The first message finds out what the server speaks (2025-11-25 basic/transports, Backwards Compatibility).
    fn probe(self: &Arc<Conversation>, call: &Call) -> Outcome {
        let refused = match streamable::call(self, call) {
            Outcome::Refused(refused) if matches!(refused.status, 400..=499) => refused,
            outcome => return outcome,
        };
        let is_modern_error =
            matches!(refused.code, Some(-32022..=-32020)) || (refused.status, refused.code) == (404, Some(RpcError::METHOD_NOT_FOUND));
        if is_modern_error {
            self.speaks_streamable();
            return Outcome::Refused(refused);
        }
        if matches!(refused.status, 401 | 403 | 407 | 408 | 413) || !call.is_request() {
            return Outcome::Refused(refused);
        }
        if call.message.method() == "server/discover" {
            // The client goes on with `initialize`, which shows what the server speaks.
            let answer = match refused.code {
                Some(_) => refused.answer,
                None => Message::error(Some(call.message.id()), &RpcError::method_not_found("server/discover")),
            };
            return Outcome::Refused(Refused { answer, ..refused });
        }
        self.stream.reset();
        let deadline = Instant::now() + self.timeout;
        loop {
            if !self.stream.start(self) || Instant::now() >= deadline {
                return Outcome::Refused(refused);
            }
            if self.stream.is_open() {
                log::info!("{} speaks HTTP+SSE", self.url);
                *self.protocol.lock().unwrap_or_else(PoisonError::into_inner) = Protocol::Sse;
                return sse::call(self, call);
            }
            if let Some((_, why)) = self.stream.refusal() {
                log::debug!("no HTTP+SSE either: {why}");
                return Outcome::Refused(refused);
            }
            if call.abort.wait(LONGEST_PAUSE) == Woke::Set {
                return Outcome::Ended;
            }
        }
    }

    /// Says to a server that has forgotten the session what was agreed on. One does it, the others wait for that.
    pub fn restore(self: &Arc<Conversation>) -> Result<(), Outcome> {
        let _one = self.restoring.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(handshake) = self.session.handshake() else { return Ok(()) };
        let version = self.session.version();
        self.ask(handshake.initialize)?;
        if self.session.version() != version {
            log::warn!("the server speaks another version than before: {}", self.session.version().unwrap_or_default());
        }
        if let Some(initialized) = handshake.initialized {
            let note = Call::new(initialized, Arc::clone(&self.outlet), None, Some(OWN));
            match self.send(&note) {
                Outcome::Ended => {}
                outcome => return Err(outcome),
            }
        }
        for request in handshake.requests {
            let method = request.method().into_owned();
            if self.ask(request).is_err() {
                log::warn!("{method} could not be said again");
            }
        }
        for news in handshake.news {
            drop(self.outlet.send(news));
        }
        log::info!("{} was restarted: the session goes on", self.url);
        // The old stream belongs to the old session.
        if *self.protocol.lock().unwrap_or_else(PoisonError::into_inner) == Protocol::Http {
            self.events.kick();
        }
        Ok(())
    }

    /// A request of our own.
    fn ask(self: &Arc<Conversation>, request: Message) -> Result<(), Outcome> {
        let number = self.own_ids.fetch_add(1, Ordering::Relaxed);
        let request = request.with_id(&format!("\"mcp-http-transport-{number}\""));
        let (answers, answer) = bounded::<Message>(1);
        let call = Arc::new(Call::new(request, Arc::new(answers), None, Some(OWN)));
        self.calls.insert(&call);
        let outcome = self.send(&call);
        self.calls.claim(&call);
        match (outcome, answer.try_recv().map(|answer| answer.kind())) {
            (_, Ok(Kind::Result)) => Ok(()),
            (Outcome::Ended, _) => Err(Outcome::Away(Some(format!("{} was refused", call.message.method())), Duration::ZERO)),
            // It was ours, so the client's message may be tried again.
            (Outcome::Broken(why), _) => Err(Outcome::Away(Some(why), Duration::ZERO)),
            (Outcome::Refused(refused), _) => {
                Err(Outcome::Away(refused.answer.letter().map(|error| RpcError::from_json(error).to_string()), Duration::ZERO))
            }
            (outcome, _) => Err(outcome),
        }
    }

    fn refuse(&self, call: &Call, refused: Refused) {
        if !call.is_request() {
            let why = refused.answer.letter().map(RpcError::from_json);
            log::warn!("{} was not taken: {}", name(call), why.as_ref().map_or("", RpcError::message));
        } else if self.calls.claim(call) {
            drop(call.outlet.send(refused.answer));
        }
    }

    fn fail(&self, call: &Call, why: &str) {
        if let Outcome::Refused(refused) = refusal::refuse(call, why.to_owned()) {
            self.refuse(call, refused);
        }
    }

    fn unreachable(&self, why: &str) {
        if !self.is_away.swap(true, Ordering::Relaxed) {
            log::warn!("cannot reach {} ({why}): messages are held for up to {:?}", self.url, self.timeout);
        }
    }

    fn reached(&self) {
        if self.is_away.load(Ordering::Relaxed) && self.is_away.swap(false, Ordering::Relaxed) {
            log::info!("{} is there again", self.url);
        }
    }

    /// The thread that listens to what the server says by itself; over HTTP+SSE there is one from the start.
    fn begin_to_listen(self: &Arc<Conversation>) {
        let is_streamable = *self.protocol.lock().unwrap_or_else(PoisonError::into_inner) == Protocol::Http;
        if !is_streamable {
            return;
        }
        if !self.listens.swap(true, Ordering::SeqCst) {
            let own = Arc::clone(self);
            self.spawn("connect-events", move || streamable::listen(&own));
        }
        self.events.nudge();
    }

    /// Starts a thread; false when there is none to be had.
    pub fn spawn(&self, name: &str, work: impl FnOnce() + Send + 'static) -> bool {
        let started = thread::Builder::new().name(name.to_owned()).spawn(work);
        started.map_err(|error| log::error!("cannot start the thread {name}: {error}")).is_ok()
    }

    /// Lets what runs go on for `grace`, then answers what is left, and says good-bye.
    pub fn end(&self, grace: Duration) {
        if self.has_ended.swap(true, Ordering::SeqCst) {
            return;
        }
        // Subscriptions have no end of their own.
        for call in self.calls.all() {
            if call.message.method() == "subscriptions/listen" {
                self.cancel(&call);
            }
        }
        self.gate.wait_until_empty(grace);
        for call in self.calls.all() {
            self.fail(&call, "the connection to the server is being closed");
            call.abort.set();
        }
        self.gate.stir();
        self.events.set();
        streamable::farewell(self);
    }

    fn cancel(&self, call: &Call) {
        self.calls.claim(call);
        call.abort.set();
        self.gate.stir();
    }

    /// The client does not want the answer any more. None when that is all there is to it.
    fn cancelled(self: &Arc<Conversation>, message: Message) -> Option<Job> {
        let call = message.find(&["requestId"]).and_then(|id| self.calls.take(id))?;
        let was_sent = call.attempts.load(Ordering::Relaxed) > 0;
        // For a stateless call closing its stream says it all (2026-07-28 basic/patterns, Cancellation).
        if !was_sent || call.modern.is_some() {
            call.abort.set();
            self.gate.stir();
            return None;
        }
        let own = Arc::clone(self);
        let note = Call::new(message, Arc::clone(&self.outlet), Some(self.gate.ticket(true)), None);
        Some(Box::new(move || {
            own.carry(&note);
            call.abort.set();
        }))
    }
}

fn name(call: &Call) -> String {
    match call.message.kind() {
        Kind::Result | Kind::Error => "an answer of the client's".to_owned(),
        Kind::Request | Kind::Notification => call.message.method().into_owned(),
    }
}

/// The client's end of a conversation.
pub(super) struct Line(pub Arc<Conversation>);

impl Link for Line {
    fn deliver(&self, message: Message, outlet: &Arc<dyn Outlet>) -> Option<Job> {
        let own = Arc::clone(&self.0);
        match message.kind() {
            Kind::Request => {}
            Kind::Notification if message.method() == "notifications/cancelled" => return own.cancelled(message),
            Kind::Result | Kind::Error if !own.session.answers(message.id()) => {
                log::debug!("the client answers a question that nobody waits for");
                return None;
            }
            Kind::Notification | Kind::Result | Kind::Error => {
                let call = Call::new(message, Arc::clone(outlet), Some(own.gate.ticket(true)), None);
                return Some(Box::new(move || {
                    let is_initialized = call.message.method() == "notifications/initialized";
                    if is_initialized {
                        own.session.ready(&call.message);
                    }
                    own.carry(&call);
                    if is_initialized {
                        own.begin_to_listen();
                    }
                }));
            }
        }
        let is_first = message.method() == "initialize";
        let finds_out = own.finds_out();
        let patience = (is_first || message.method() == "server/discover").then_some(own.timeout);
        let ticket = own.gate.ticket(is_first || finds_out);
        let call = Arc::new(Call::new(message, Arc::clone(outlet), Some(ticket), patience));
        if !own.calls.insert(&call) {
            let error = RpcError::invalid_request(format!("the id {} belongs to a call that has no answer yet", call.message.id()));
            drop(outlet.offer(Message::error(Some(call.message.id()), &error)));
            return None;
        }
        let open = OpenCall { conversation: own, call };
        Some(Box::new(move || open.run()))
    }

    fn version(&self) -> Option<Version> {
        self.0.session.version().as_deref().and_then(Version::parse)
    }

    fn is_busy(&self) -> bool {
        !self.0.calls.is_empty()
    }

    fn close(&self) {
        self.0.end(Duration::ZERO);
    }
}

/// A call that answers for itself when there is no thread to run it.
struct OpenCall {
    conversation: Arc<Conversation>,
    call: Arc<Call>,
}

impl OpenCall {
    fn run(self) {
        if self.call.message.method() == "initialize" {
            self.conversation.session.begin();
        }
        self.conversation.carry(&self.call);
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.conversation.fail(&self.call, "too many calls at once");
        self.call.pass();
    }
}
