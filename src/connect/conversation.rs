//! One client's conversation with the remote server: sends what the client says, holds it while the server is away, and sees to it that every call gets
//! one answer or one error.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::connect::abort::{Abort, Woke};
use crate::connect::call::{Call, Calls, Outcome, Refused};
use crate::connect::gate::Gate;
use crate::connect::http::Http;
use crate::connect::params::Params;
use crate::connect::session::Session;
use crate::connect::url::Url;
use crate::connect::{Options, Protocol, refusal, sse, streamable};
use crate::connection::Outlet;
use crate::message::{Kind, Message};
use crate::rpc_error::RpcError;
use crate::threads;

/// The pause after the first failure; later ones are twice as long, up to a second.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// A message that the server has no session for starts one this often, and is then an error.
const RENEWALS: u32 = 3;

pub(super) struct Conversation {
    pub url: Url,
    pub http: Http,
    pub session: Session,
    pub params: Params,
    pub calls: Calls,
    pub stream: sse::Stream,
    /// Ends or wakes the thread `connect-events`.
    pub events: Abort,
    /// How long a message is held while the server is away.
    pub timeout: Duration,
    /// Bytes of one message of the server's.
    pub limit: usize,
    /// The order of messages.
    pub gate: Arc<Gate>,
    /// The way to the client.
    pub outlet: Arc<dyn Outlet>,
    protocol: Mutex<Protocol>,
    /// Held by whoever starts the session again.
    pub restoring: Mutex<()>,
    listens: AtomicBool,
    is_away: AtomicBool,
    has_ended: AtomicBool,
    /// Our own requests are counted, for their ids.
    pub own_ids: AtomicU64,
}

impl Conversation {
    pub fn new(options: &Options, outlet: Arc<dyn Outlet>) -> Arc<Conversation> {
        Arc::new(Conversation {
            url: options.url.clone(),
            http: Http::new(options.headers.clone()),
            session: Session::default(),
            params: Params::default(),
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
        self.protocol() == Protocol::Auto
    }

    pub fn protocol(&self) -> Protocol {
        *self.protocol.lock().unwrap_or_else(PoisonError::into_inner)
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
                        if call.modern.is_some() && call.message.method() == "tools/list" {
                            self.params.listed(&message);
                        }
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
    pub fn carry(self: &Arc<Conversation>, call: &Call) {
        let held_until = Instant::now() + self.timeout;
        if let Some(ticket) = &call.ticket {
            if !ticket.wait(held_until, &|| call.abort.is_set()) {
                if !call.abort.is_set() {
                    self.fail(call, &format!("{} could not be reached for {:?}", self.url, self.timeout));
                }
                return;
            }
        }
        if call.message.method() == "notifications/initialized" {
            self.session.ready(&call.message);
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
                    if matches!(call.message.kind(), Kind::Result | Kind::Error) {
                        // An answer to a question of a session that is over: nobody waits for it.
                        return;
                    }
                    if renewals > RENEWALS {
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
                return self.fail(call, &self.out_of_reach(why));
            }
            if call.abort.wait(wait) == Woke::Set {
                return;
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// What to say of a message that could not be sent.
    fn out_of_reach(&self, why: Option<String>) -> String {
        let (url, time) = (&self.url, self.timeout);
        match why {
            Some(why) => format!("cannot reach {url} ({why}), tried for {time:?}: is the server running?"),
            None if self.stream.passes_on() => format!(
                "the event stream of {url} ended, and what came on it waits for the client, which has not read it for {time:?}: until then no other can be opened"
            ),
            None => format!("cannot reach {url} (no event stream), tried for {time:?}: is the server running?"),
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

    /// One attempt, in whatever the server speaks.
    pub fn send(self: &Arc<Conversation>, call: &Call) -> Outcome {
        match self.protocol() {
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

    fn refuse(&self, call: &Call, refused: Refused) {
        if !call.is_request() {
            let why = refused.answer.letter().map(RpcError::from_json);
            log::warn!("{} was not taken: {}", name(call), why.as_ref().map_or("", RpcError::message));
        } else if self.calls.claim(call) {
            drop(call.outlet.send(refused.answer));
        }
    }

    /// Answers a call with an error of ours, unless it was answered.
    pub fn fail(&self, call: &Call, why: &str) {
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
    pub fn begin_to_listen(self: &Arc<Conversation>) {
        if self.protocol() != Protocol::Http {
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
        let started = threads::start(name, work);
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
}

fn name(call: &Call) -> String {
    match call.message.kind() {
        Kind::Result | Kind::Error => "an answer of the client's".to_owned(),
        Kind::Request | Kind::Notification => call.message.method().into_owned(),
    }
}
