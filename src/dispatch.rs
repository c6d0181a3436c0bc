//! Driving a handler: each request becomes a call with a slot, each answer finds who asked, and a panic ends nothing but its call.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crate::config::Limits;
use crate::connection::{Back, Client, Connection, Job, Link, Outlet};
use crate::handler::{Call, Handler, Notification, Peer, Request, Session};
use crate::json::{self, Json};
use crate::message::{Kind, Message};
use crate::rpc_error::RpcError;
use crate::slots::{Admission, Bounds, Slots};
use crate::version::Version;
use crate::workers::Workers;

/// A handler as a back: in this process, behind bounded slots.
pub(crate) struct Dispatcher {
    handler: Arc<dyn Handler>,
    slots: Arc<Slots>,
    peers: Mutex<Vec<Weak<Peer>>>,
    is_draining: AtomicBool,
}

impl Dispatcher {
    pub fn new(handler: Arc<dyn Handler>, limits: &Limits, workers: Workers) -> Dispatcher {
        let bounds = Bounds {
            calls: limits.calls,
            calls_per_session: limits.calls_per_session,
            waiting_calls: limits.waiting_calls,
            waiting_bytes: limits.waiting_bytes,
            asks: limits.asks,
        };
        let slots = Slots::new(bounds, workers);
        Dispatcher { handler, slots, peers: Mutex::default(), is_draining: AtomicBool::new(false) }
    }

    fn peers(&self) -> Vec<Arc<Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect()
    }
}

impl Back for Dispatcher {
    fn open(&self, client: Client) -> Result<Arc<dyn Link>, RpcError> {
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
        self.handler.opened(&Session::new(Arc::clone(&peer), None));
        Ok(Arc::new(Driver { handler: Arc::clone(&self.handler), peer }))
    }

    fn drain(&self, grace: Duration) {
        self.is_draining.store(true, Ordering::SeqCst);
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
}

impl Link for Driver {
    fn deliver(&self, message: Message, outlet: &Arc<dyn Outlet>) -> Option<Job> {
        match message.kind() {
            Kind::Request if message.method() == "ping" => {
                self.answer_at_once(outlet, Message::result(message.id(), "{}"));
                None
            }
            Kind::Request => self.call(message, outlet),
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
        self.peer.facts().version
    }

    fn is_busy(&self) -> bool {
        self.peer.is_busy()
    }

    fn close(&self) {
        self.peer.close();
        self.handler.closed(&Session::new(Arc::clone(&self.peer), None));
    }
}

impl Driver {
    fn call(&self, message: Message, outlet: &Arc<dyn Outlet>) -> Option<Job> {
        let call = Call::new(&message, Arc::clone(outlet));
        if let Err(refusal) = self.peer.begin(Arc::clone(&call)) {
            self.answer_at_once(outlet, Message::error(Some(message.id()), &refusal));
            return None;
        }
        let (number, size) = (call.number, message.as_str().len());
        let open = OpenCall { handler: Arc::clone(&self.handler), peer: Arc::clone(&self.peer), call };
        let job = Box::new(move || open.run(Request::new(message)));
        match self.peer.slots.admit(self.peer.lane, number, size, job) {
            Admission::Run(job) => Some(job),
            Admission::Waits | Admission::Full => None,
        }
    }

    fn notice(&self, message: Message) -> Option<Job> {
        match message.method().as_ref() {
            "notifications/cancelled" => {
                if let Some(id) = message.find(&["requestId"]) {
                    self.peer.cancel(id);
                }
                return None;
            }
            "notifications/progress" => return None,
            method if !method.starts_with("notifications/") => log::debug!("a notification with the unknown method {method:?}"),
            _ => {}
        }
        let (handler, session) = (Arc::clone(&self.handler), Session::new(Arc::clone(&self.peer), None));
        let size = message.as_str().len();
        let job = Box::new(move || {
            let notification = Notification::new(message);
            if catch_unwind(AssertUnwindSafe(|| handler.notified(&notification, &session))).is_err() {
                log::error!("the handler panicked at the notification {:?}", notification.method());
            }
        });
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
}

impl OpenCall {
    fn run(self, request: Request) {
        if self.call.is_cancelled() {
            return;
        }
        let session = Session::new(Arc::clone(&self.peer), Some(Arc::clone(&self.call)));
        let outcome = catch_unwind(AssertUnwindSafe(|| self.handler.handle(&request, &session))).unwrap_or_else(|_| {
            log::error!("the handler panicked at {:?}", request.method());
            Err(RpcError::internal(format_args!("the handler of {} panicked", request.method())))
        });
        if request.method() == "initialize" {
            if let Ok(result) = &outcome {
                self.note_handshake(&request, result);
            }
        }
        drop(request);
        let answer = match outcome {
            Ok(result) => Message::result(&self.call.id, result.as_str()),
            Err(error) => Message::error(Some(&self.call.id), &error),
        };
        self.peer.end(&self.call);
        if self.call.takes_answer() && self.call.outlet.send(answer).is_err() {
            log::debug!("the answer to {} finds its client gone", self.call.id);
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
        self.peer.end(&self.call);
        if self.call.takes_answer() {
            let error = RpcError::internal("too many calls are waiting already: try again when one of them has been answered");
            drop(self.call.outlet.offer(Message::error(Some(&self.call.id), &error)));
        }
    }
}

/// Serves one connection, in a thread of its own, until its other end is gone.
pub(crate) fn drive(back: Arc<dyn Back>, workers: Workers, connection: Connection) -> std::io::Result<()> {
    let (sender, receiver) = connection.into_parts();
    let outlet: Arc<dyn Outlet> = Arc::new(sender);
    let client = Client { id: "memory".to_owned(), outlet: Arc::clone(&outlet), version: None };
    let Ok(link) = back.open(client) else { return Ok(()) };
    let read = move || {
        while let Ok(message) = receiver.recv() {
            if let Some(job) = link.deliver(message, &outlet) {
                workers.run(job);
            }
        }
        link.close();
    };
    std::thread::Builder::new().name("memory".to_owned()).spawn(read).map(drop)
}

/// A handler at the other end of a connection in memory: for tests of a handler without any transport.
///
/// See [`Handler`] for an example.
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
