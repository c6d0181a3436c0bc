//! Driving a handler: each request becomes a call with a slot, each answer finds who asked, and a panic ends nothing but its call.

mod complete;
pub(crate) mod listen;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use crate::config::Limits;
use crate::connection::{Back, Client, Connection, Job, Link, Outlet};
use crate::handler::stateless::{self, Claims, Meta};
use crate::handler::{Call, Handler, Notification, Peer, Request, Rounds, Session};
use crate::json::{self, Json};
use crate::message::{Kind, Message};
use crate::rpc_error::RpcError;
use crate::slots::{Admission, Bounds, Slots};
use crate::threads;
use crate::version::Version;
use crate::workers::Workers;
use listen::{Listeners, Wanted};

/// A handler as a back: in this process, behind bounded slots.
pub(crate) struct Dispatcher {
    handler: Arc<dyn Handler>,
    slots: Arc<Slots>,
    peers: Mutex<Vec<Weak<Peer>>>,
    listeners: Arc<Listeners>,
    is_draining: AtomicBool,
}

impl Dispatcher {
    pub fn new(handler: Arc<dyn Handler>, limits: &Limits, workers: Workers) -> Dispatcher {
        let slots = Slots::new(bounds(limits), workers);
        Dispatcher { handler, slots, peers: Mutex::default(), listeners: Arc::default(), is_draining: AtomicBool::new(false) }
    }

    fn peers(&self) -> Vec<Arc<Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect()
    }
}

fn bounds(limits: &Limits) -> Bounds {
    Bounds {
        calls: limits.calls,
        calls_per_session: limits.calls_per_session,
        waiting_calls: limits.waiting_calls,
        waiting_bytes: limits.waiting_bytes,
        asks: limits.asks,
    }
}

impl Back for Dispatcher {
    fn open(&self, client: Client) -> Result<Arc<dyn Link>, RpcError> {
        let is_lasting = !client.version.is_some_and(Version::is_modern);
        let peer = Peer::new(client.id, client.version, client.outlet, Arc::clone(&self.slots));
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() == peers.capacity() {
            peers.retain(|peer| peer.strong_count() > 0);
        }
        peers.push(Arc::downgrade(&peer));
        drop(peers);
        if self.is_draining.load(Ordering::SeqCst) {
            peer.hang_up();
        }
        if is_lasting {
            self.handler.opened(&Session::new(Arc::clone(&peer), None));
        }
        let (handler, listeners) = (Arc::clone(&self.handler), Arc::clone(&self.listeners));
        Ok(Arc::new(Driver {
            handler,
            peer,
            listeners,
            is_lasting,
            may_be_stateless: client.may_be_stateless,
            was_stateless: AtomicBool::new(false),
            has_listened: AtomicBool::new(false),
        }))
    }

    fn schema_with_headers(&self, name: &str) -> Option<Json> {
        self.handler.schema_with_headers(name)
    }

    fn drain(&self, grace: Duration) {
        self.is_draining.store(true, Ordering::SeqCst);
        self.listeners.say_goodbye();
        self.peers().iter().for_each(|peer| peer.hang_up());
        if !self.slots.wait_until_quiet(grace) {
            log::warn!("calls are still running after {grace:?}: they are cancelled");
            let error = RpcError::internal("the server is shutting down");
            self.peers().iter().for_each(|peer| peer.abandon(&error));
        }
    }
}

/// One client's way to the handler.
struct Driver {
    handler: Arc<dyn Handler>,
    peer: Arc<Peer>,
    listeners: Arc<Listeners>,
    /// Whether the handler knows of the client, because it is more than one request.
    is_lasting: bool,
    may_be_stateless: bool,
    /// There was a stateless request: where there was no `initialize`, that tells the version.
    was_stateless: AtomicBool,
    has_listened: AtomicBool,
}

impl Link for Driver {
    fn deliver(&self, message: Message, outlet: &Arc<dyn Outlet>) -> Option<Job> {
        match message.kind() {
            Kind::Request => self.request(message, outlet),
            Kind::Notification => self.notice(message),
            Kind::Result => {
                self.answered(&message, Ok(Json::trusted(message.letter().unwrap_or("null"))));
                None
            }
            Kind::Error => {
                self.answered(&message, Err(RpcError::from_json(message.letter().unwrap_or("{}"))));
                None
            }
        }
    }

    fn version(&self) -> Option<Version> {
        self.peer.facts().version.or_else(|| self.was_stateless.load(Ordering::Relaxed).then_some(Version::V2026_07_28))
    }

    fn is_busy(&self) -> bool {
        self.peer.is_busy()
    }

    fn close(&self) {
        self.peer.close();
        if self.has_listened.load(Ordering::SeqCst) {
            self.listeners.end(self.peer.lane, None);
        }
        if self.is_lasting {
            self.handler.closed(&Session::new(Arc::clone(&self.peer), None));
        }
    }
}

impl Driver {
    fn request(&self, message: Message, outlet: &Arc<dyn Outlet>) -> Option<Job> {
        self.call(message, outlet).unwrap_or_else(|refused| {
            let (message, refusal) = *refused;
            self.answer_at_once(outlet, Message::error(Some(message.id()), &refusal));
            outlet.ended(message.id());
            None
        })
    }

    fn call(&self, message: Message, outlet: &Arc<dyn Outlet>) -> Result<Option<Job>, Box<(Message, RpcError)>> {
        let meta = Meta::of(&message);
        let stateless = match self.claims(&message, &meta) {
            Ok(stateless) => stateless,
            Err(refusal) => return Err(Box::new((message, refusal))),
        };
        let is_stateless = stateless.is_some();
        let method = message.method();
        let (is_ping, listens) = (method == "ping" && !is_stateless, method == "subscriptions/listen" && is_stateless);
        // Answered before whatever was sent behind it, which may be of the version that is yet to be agreed on.
        let is_handshake = method == "initialize";
        if is_ping {
            self.answer_at_once(outlet, Message::result(message.id(), "{}"));
            outlet.ended(message.id());
            return Ok(None);
        }
        let call = Call::new(&message, &meta, stateless, Arc::clone(outlet));
        if let Err(refusal) = self.peer.begin(Arc::clone(&call)) {
            return Err(Box::new((message, refusal)));
        }
        let (number, size) = (call.number, message.as_str().len());
        let mut open = OpenCall { handler: Arc::clone(&self.handler), peer: Arc::clone(&self.peer), call, stays_open: false };
        let (slots, lane) = (&self.peer.slots, self.peer.lane);
        let admission = if listens {
            let listeners = Arc::clone(&self.listeners);
            slots.admit(lane, number, size, move || open.listen(message, &listeners))
        } else {
            slots.admit(lane, number, size, move || open.run(Request::new(message)))
        };
        if is_handshake {
            slots.reserve(lane);
        }
        Ok(match admission {
            // A request that stays open must not keep the thread that brought it.
            Admission::Run(job) if listens => {
                slots.run(job);
                None
            }
            Admission::Run(job) => Some(job),
            Admission::Waits | Admission::Full => None,
        })
    }

    /// What a stateless request says of its client; nothing where the request is not one.
    fn claims(&self, message: &Message, meta: &Meta<'_>) -> Result<Option<(Claims, Rounds)>, RpcError> {
        if !self.may_be_stateless || !meta.is_stateless() {
            return Ok(None);
        }
        let claims = meta.claims()?;
        meta.check_version()?;
        self.was_stateless.store(true, Ordering::Relaxed);
        stateless::check_method(&message.method())?;
        if message.method() == "subscriptions/listen" {
            self.listeners.check_room(self.peer.lane)?;
            self.has_listened.store(true, Ordering::SeqCst);
        }
        Ok(Some((claims, Rounds::read(message, SystemTime::now())?)))
    }

    fn notice(&self, message: Message) -> Option<Job> {
        match message.method().as_ref() {
            "notifications/cancelled" => {
                if let Some(id) = message.find(&["requestId"]) {
                    self.peer.cancel(id);
                    self.listeners.end(self.peer.lane, Some(id));
                }
                return None;
            }
            "notifications/progress" => return None,
            method if !method.starts_with("notifications/") => log::debug!("a notification with the unknown method {method:?}"),
            _ => {}
        }
        let (handler, session) = (Arc::clone(&self.handler), Session::new(Arc::clone(&self.peer), None));
        let size = message.as_str().len();
        let job = move || {
            let notification = Notification::new(message);
            if catch_unwind(AssertUnwindSafe(|| handler.notified(&notification, &session))).is_err() {
                log::error!("the handler panicked at the notification {:?}", notification.method());
            }
        };
        match self.peer.slots.admit(self.peer.lane, 0, size, job) {
            Admission::Run(job) => Some(job),
            Admission::Waits => None,
            Admission::Full => {
                log::warn!("a notification is dropped: too many calls of its session are waiting");
                None
            }
        }
    }

    fn answered(&self, message: &Message, answer: Result<Json, RpcError>) {
        if !self.peer.answer(message.id(), answer) {
            log::debug!("an answer to a request that nobody made, or that is over: id {:?}", message.id());
        }
    }

    /// Answers from the thread that reads, which must not wait for its client.
    fn answer_at_once(&self, outlet: &Arc<dyn Outlet>, answer: Message) {
        if outlet.offer(answer).is_err() {
            log::debug!("an answer finds its client gone");
        }
    }
}

/// A call that has not been answered yet. However it ends, it is answered: also when it is dropped because there was no room or no thread for it.
struct OpenCall {
    handler: Arc<dyn Handler>,
    peer: Arc<Peer>,
    call: Arc<Call>,
    /// It is in other hands, and goes on.
    stays_open: bool,
}

impl OpenCall {
    fn run(self, request: Request) {
        if self.call.is_cancelled() {
            return;
        }
        let session = Session::new(Arc::clone(&self.peer), Some(Arc::clone(&self.call)));
        let mut outcome = catch_unwind(AssertUnwindSafe(|| match &self.call.stateless {
            Some(_) if request.method() == "server/discover" => complete::discover(&*self.handler, &request, &session),
            _ => self.handler.handle(&request, &session),
        }))
        .unwrap_or_else(|_| {
            log::error!("the handler panicked at {:?}", request.method());
            Err(RpcError::internal(format_args!("the handler of {} panicked", request.method())))
        });
        if let Some((_, rounds)) = &self.call.stateless {
            outcome =
                rounds.settle(request.message(), outcome, SystemTime::now()).map(|result| complete::complete(&request.method(), result));
        } else if request.method() == "initialize" {
            if let Ok(result) = &outcome {
                self.note_handshake(&request, result);
            }
        }
        drop(request);
        let answer = match outcome {
            Ok(result) => Message::answer(&self.call.id, result),
            Err(error) => Message::error(Some(&self.call.id), &error),
        };
        self.peer.end(&self.call);
        if self.call.takes_answer() && self.call.outlet.send(answer).is_err() {
            log::debug!("the answer to {} finds its client gone", self.call.id);
        }
    }

    /// Acknowledges a request that stays open, and opens it.
    fn listen(&mut self, message: Message, listeners: &Listeners) {
        let session = Session::new(Arc::clone(&self.peer), Some(Arc::clone(&self.call)));
        let meta = format!("{{\"_meta\":{}}}", message.meta().unwrap_or("{}"));
        let request = Request::new(Message::request(message.id(), "server/discover", Some(&meta)));
        let said = catch_unwind(AssertUnwindSafe(|| complete::discover(&*self.handler, &request, &session)));
        let capabilities = said.ok().and_then(Result::ok).and_then(|said| said.get("capabilities").map(str::to_owned)).unwrap_or_default();
        match Wanted::read(&message) {
            Ok(wanted) => {
                self.stays_open = true;
                listeners.open(Arc::clone(&self.handler), &self.peer, &self.call, wanted.within(&capabilities));
            }
            Err(refusal) if self.call.takes_answer() => drop(self.call.send(Message::error(Some(&self.call.id), &refusal))),
            Err(_) => {}
        }
    }

    fn note_handshake(&self, request: &Request, result: &Json) {
        let mut facts = self.peer.facts();
        facts.version = result.get("protocolVersion").and_then(json::unquote).and_then(|version| Version::parse(&version));
        facts.client_info = request.param("clientInfo").map(Json::trusted);
        facts.capabilities = request.param("capabilities").map(Json::trusted);
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        if self.stays_open {
            return;
        }
        self.peer.end(&self.call);
        if self.call.takes_answer() {
            let error = RpcError::internal("too many calls are waiting already: try again when one of them has been answered");
            drop(self.call.outlet.offer(Message::error(Some(&self.call.id), &error)));
        }
        self.call.outlet.ended(&self.call.id);
    }
}

/// Serves one connection, in a thread of its own, until its other end is gone.
pub(crate) fn drive(back: Arc<dyn Back>, workers: Workers, connection: Connection) -> std::io::Result<()> {
    let (sender, receiver) = connection.into_parts();
    let outlet: Arc<dyn Outlet> = Arc::new(sender);
    let client = Client { id: "memory".to_owned(), outlet: Arc::clone(&outlet), version: None, may_be_stateless: true };
    let Ok(link) = back.open(client) else { return Ok(()) };
    let read = move || {
        while let Ok(message) = receiver.recv() {
            if let Some(job) = link.deliver(message, &outlet) {
                workers.run(job);
            }
        }
        link.close();
    };
    threads::start("memory", read).map(drop)
}

/// A handler at the other end of a connection in memory: for tests of a handler without any transport.
///
/// ```
/// use std::time::Duration;
///
/// use mcp_http_transport::{Server, Tool, Type, memory};
///
/// let double = Tool::new("double", "Twice as much").param("n", Type::Integer, "of this");
/// let client = memory(Server::new("maths", "1.0.0").tool(double, |args, _session| Ok(args.integer("n")? * 2)));
/// let result = client.call(1, "tools/call", r#"{"name": "double", "arguments": {"n": 21}}"#, Duration::from_secs(5)).unwrap();
/// assert_eq!(result.as_str(), r#"{"content":[{"type":"text","text":"42"}]}"#);
/// ```
pub fn memory(handler: impl Handler) -> Connection {
    let (ours, theirs) = Connection::memory();
    let limits = Limits::default();
    let workers = Workers::of(&limits);
    let dispatcher = Dispatcher::new(Arc::new(handler), &limits, workers.clone());
    if let Err(error) = drive(Arc::new(dispatcher), workers, theirs) {
        log::error!("cannot start a thread for a connection in memory: {error}");
    }
    ours
}

#[cfg(test)]
mod tests;
