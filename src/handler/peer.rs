//! What is known about one client, and about each of its running calls. Behind `Session`, which is all that a handler sees.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::connection::{Gone, Outlet};
use crate::handler::stateless::{Claims, Meta};
use crate::handler::{LogLevel, Rounds};
use crate::json::Json;
use crate::message::Message;
use crate::rpc_error::RpcError;
use crate::slots::Slots;
use crate::version::Version;

/// Numbers sessions and calls within this process.
static NEXT: AtomicU64 = AtomicU64::new(1);

pub(crate) fn next_number() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// One client.
pub(crate) struct Peer {
    pub id: String,
    /// Its line in [`Slots`].
    pub lane: u64,
    pub slots: Arc<Slots>,
    pub outlet: Arc<dyn Outlet>,
    facts: Mutex<Facts>,
    log_level: AtomicU8,
    /// Its calls that are running or waiting.
    calls: Mutex<Calls>,
    /// What the handlers asked the client, by the number used as the id.
    asks: Mutex<HashMap<u64, Sender<Result<Json, RpcError>>>>,
    pub is_closed: AtomicBool,
}

#[derive(Default)]
struct Calls {
    /// Few at a time, so that looking through them is quicker than a table.
    open: Vec<Arc<Call>>,
    /// The client is gone: what it sent just before is cancelled before it begins.
    is_over: bool,
}

/// What the client said of itself in `initialize`, and what came of it.
#[derive(Clone, Default)]
pub(crate) struct Facts {
    pub version: Option<Version>,
    pub client_info: Option<Json>,
    pub capabilities: Option<Json>,
}

impl Peer {
    pub fn new(id: String, version: Option<Version>, outlet: Arc<dyn Outlet>, slots: Arc<Slots>) -> Arc<Peer> {
        Arc::new(Peer {
            id,
            lane: next_number(),
            slots,
            outlet,
            facts: Mutex::new(Facts { version, ..Facts::default() }),
            log_level: AtomicU8::new(LogLevel::Debug as u8),
            calls: Mutex::default(),
            asks: Mutex::default(),
            is_closed: AtomicBool::new(false),
        })
    }

    pub fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn log_level(&self) -> LogLevel {
        LogLevel::from_number(self.log_level.load(Ordering::Relaxed))
    }

    pub fn set_log_level(&self, level: LogLevel) {
        self.log_level.store(level as u8, Ordering::Relaxed);
    }

    /// Notes a call that begins. Fails when one with this id is under way already.
    pub fn begin(&self, call: Arc<Call>) -> Result<(), RpcError> {
        let mut calls = lock(&self.calls);
        if calls.is_over {
            call.cancel();
        }
        if calls.open.iter().any(|open| open.id == call.id) {
            return Err(RpcError::invalid_request(format_args!("the id {} belongs to a request that is still being worked on", call.id)));
        }
        calls.open.push(call);
        Ok(())
    }

    /// Forgets a call that ended. Its id may belong to the next one already.
    pub fn end(&self, call: &Call) {
        let mut calls = lock(&self.calls);
        if let Some(at) = calls.open.iter().position(|open| open.number == call.number) {
            calls.open.swap_remove(at);
        }
    }

    pub fn is_busy(&self) -> bool {
        !lock(&self.calls).open.is_empty()
    }

    /// Cancels the call with this raw id, if it is still under way.
    pub fn cancel(&self, id: &str) {
        let call = lock(&self.calls).open.iter().find(|call| *call.id == *id).cloned();
        if let Some(call) = call {
            call.cancel();
            self.slots.withdraw(self.lane, call.number);
        }
    }

    /// Notes a question to the client; its answer comes through the channel, which hangs up when there can be none any more.
    pub fn asked(&self) -> (u64, Receiver<Result<Json, RpcError>>) {
        let number = next_number();
        let (answer, answered) = bounded(1);
        let mut asks = lock(&self.asks);
        if !self.is_closed.load(Ordering::SeqCst) {
            asks.insert(number, answer);
        }
        (number, answered)
    }

    /// Hands on the client's answer. False when nobody asked.
    pub fn answer(&self, id: &str, answer: Result<Json, RpcError>) -> bool {
        let asker = id.parse().ok().and_then(|number| lock(&self.asks).remove(&number));
        asker.is_some_and(|asker| asker.try_send(answer).is_ok())
    }

    /// Forgets a question nobody waits for any more.
    pub fn forget(&self, number: u64) {
        lock(&self.asks).remove(&number);
    }

    /// Ends all waiting for the client's answers.
    pub fn hang_up(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        lock(&self.asks).clear();
    }

    /// The server ends: what is still under way is answered with an error, and then as good as gone.
    pub fn abandon(&self, error: &RpcError) {
        let calls: Vec<_> = lock(&self.calls).open.clone();
        for call in calls.iter().filter(|call| call.takes_answer()) {
            // A client that is gone needs no answer.
            drop(call.outlet.offer(Message::error(Some(&call.id), error)));
        }
        self.close();
    }

    /// The client is gone: its calls are cancelled, those that have not begun never begin, and nobody waits for its answers.
    pub fn close(&self) {
        self.hang_up();
        let mut calls = lock(&self.calls);
        calls.is_over = true;
        let open = calls.open.clone();
        drop(calls);
        for call in open {
            call.cancel();
        }
        self.slots.clear(self.lane);
    }
}

/// One call of a client's, from its arrival until its end.
pub(crate) struct Call {
    /// The raw id of the request.
    pub id: Box<str>,
    pub number: u64,
    /// On a stateless request, what it says of its client, and what was asked and answered in its earlier rounds.
    pub stateless: Option<(Claims, Rounds)>,
    /// The raw progress token, if the request has one.
    pub progress_token: Option<Box<str>>,
    /// Where what belongs to this call goes.
    pub outlet: Arc<dyn Outlet>,
    is_cancelled: AtomicBool,
    is_answered: AtomicBool,
    /// Hangs up when the call is cancelled. Made when somebody first wants to select on it.
    cancellation: Mutex<Cancellation>,
    /// How many of its threads wait for the client; the first gives the slot back, the last takes one again.
    pub asking: Mutex<usize>,
}

#[derive(Default)]
struct Cancellation {
    is_over: bool,
    channel: Option<(Option<Sender<()>>, Receiver<()>)>,
}

impl Call {
    pub fn new(message: &Message, meta: &Meta<'_>, stateless: Option<(Claims, Rounds)>, outlet: Arc<dyn Outlet>) -> Arc<Call> {
        Arc::new(Call {
            id: message.id().into(),
            number: next_number(),
            stateless,
            progress_token: meta.progress_token.map(Into::into),
            outlet,
            is_cancelled: AtomicBool::new(false),
            is_answered: AtomicBool::new(false),
            cancellation: Mutex::default(),
            asking: Mutex::new(0),
        })
    }

    pub fn is_cancelled(&self) -> bool {
        self.is_cancelled.load(Ordering::SeqCst)
    }

    pub fn cancel(&self) {
        let mut cancellation = lock(&self.cancellation);
        self.is_cancelled.store(true, Ordering::SeqCst);
        cancellation.is_over = true;
        if let Some((sender, _)) = &mut cancellation.channel {
            *sender = None;
        }
    }

    /// A channel that hangs up when the call is cancelled.
    pub fn cancelled(&self) -> Receiver<()> {
        let mut cancellation = lock(&self.cancellation);
        let is_over = cancellation.is_over;
        let (_, receiver) = cancellation.channel.get_or_insert_with(|| {
            let (sender, receiver) = bounded(0);
            (Some(sender).filter(|_| !is_over), receiver)
        });
        receiver.clone()
    }

    /// True once: for the one who answers it. Never for a call that was cancelled.
    pub fn takes_answer(&self) -> bool {
        !self.is_cancelled() && !self.is_answered.swap(true, Ordering::SeqCst)
    }

    pub fn is_answered(&self) -> bool {
        self.is_answered.load(Ordering::SeqCst)
    }

    /// Sends what belongs to this call; after its cancellation nothing does.
    pub fn send(&self, message: Message) -> Result<(), Gone> {
        if self.is_cancelled() { Err(Gone) } else { self.outlet.send(message) }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
