//! The messages that are on their way to the server, and who answers them: whoever takes a call out of the table, and nobody else.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::connect::abort::Abort;
use crate::connect::gate::Ticket;
use crate::connect::headers;
use crate::connection::Outlet;
use crate::message::{Kind, Message};

/// A message of the client's, or one of ours.
pub(super) struct Call {
    pub message: Message,
    pub outlet: Arc<dyn Outlet>,
    pub abort: Abort,
    /// Our own have none: they are sent while others wait.
    pub ticket: Option<Ticket>,
    /// How long an answer may take; none for calls, which may run for hours.
    pub patience: Option<Duration>,
    /// The version in the message itself, when it is stateless.
    pub modern: Option<String>,
    /// How often it was sent.
    pub attempts: AtomicUsize,
}

impl Call {
    pub fn new(message: Message, outlet: Arc<dyn Outlet>, ticket: Option<Ticket>, patience: Option<Duration>) -> Call {
        let modern = headers::modern_version(&message);
        Call { message, outlet, abort: Abort::default(), ticket, patience, modern, attempts: AtomicUsize::new(0) }
    }

    pub fn is_request(&self) -> bool {
        self.message.kind() == Kind::Request
    }

    /// It is on its way: what may cancel it can follow.
    pub fn written(&self) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
        if let Some(ticket) = &self.ticket {
            ticket.written();
        }
    }

    /// What stands behind it may go.
    pub fn pass(&self) {
        if let Some(ticket) = &self.ticket {
            ticket.pass();
        }
    }

    /// Whether doing it twice does no harm. A tool may do anything.
    pub fn may_be_repeated(&self) -> bool {
        let method = self.message.method();
        let is_harmless = matches!(
            method.as_ref(),
            "initialize"
                | "ping"
                | "server/discover"
                | "subscriptions/listen"
                | "completion/complete"
                | "logging/setLevel"
                | "prompts/get"
                | "resources/read"
                | "resources/templates/list"
                | "resources/subscribe"
                | "resources/unsubscribe"
                | "tasks/get"
                | "tasks/result"
        );
        is_harmless || method.ends_with("/list") || method.starts_with("notifications/")
    }
}

/// The requests that have no answer yet.
#[derive(Default)]
pub(super) struct Calls(Mutex<HashMap<String, Arc<Call>>>);

impl Calls {
    /// False when a request with this id is under way.
    pub fn insert(&self, call: &Arc<Call>) -> bool {
        match self.lock().entry(call.message.id().to_owned()) {
            Entry::Occupied(_) => false,
            Entry::Vacant(place) => {
                place.insert(Arc::clone(call));
                true
            }
        }
    }

    /// Takes out the request with this id; whoever gets it answers it.
    pub fn take(&self, id: &str) -> Option<Arc<Call>> {
        self.lock().remove(id)
    }

    /// Takes out this very request; false when somebody else did.
    pub fn claim(&self, call: &Call) -> bool {
        let mut table = self.lock();
        let is_there = table.get(call.message.id()).is_some_and(|known| std::ptr::eq(&**known, call));
        if is_there {
            table.remove(call.message.id());
        }
        is_there
    }

    pub fn all(&self) -> Vec<Arc<Call>> {
        self.lock().values().cloned().collect()
    }

    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Call>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What became of one attempt to send a message.
pub(super) enum Outcome {
    /// It arrived and, if it is a call, was answered; or nobody waits for it any more.
    Ended,
    /// The server did not get it. None: it is about to be there.
    Away(Option<String>, Duration),
    /// The server may have got it, and there is no answer.
    Broken(String),
    /// The server does not know the session of this epoch, and did nothing.
    Lost(u64),
    /// The server does not want it.
    Refused(Refused),
}

/// What a server answered instead.
pub(super) struct Refused {
    /// 0 when it was no answer of HTTP.
    pub status: u16,
    /// For the client; it has the id of the request.
    pub answer: Message,
    /// The code, when the body was a JSON-RPC error.
    pub code: Option<i64>,
}
