//! The client's end of a conversation: what comes in, in order, and becomes a job for a thread.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::connect::call::Call;
use crate::connect::conversation::Conversation;
use crate::connection::{Job, Link, Outlet};
use crate::message::{Kind, Message};
use crate::rpc_error::RpcError;
use crate::version::Version;

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
                    own.carry(&call);
                    if is_initialized {
                        own.begin_to_listen();
                    }
                }));
            }
        }
        let is_first = message.method() == "initialize";
        if is_first {
            own.session.begin();
        }
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
        self.conversation.carry(&self.call);
    }
}

impl Drop for OpenCall {
    fn drop(&mut self) {
        self.conversation.fail(&self.call, "too many calls at once");
        self.call.pass();
    }
}

impl Conversation {
    /// Forgets a call.
    pub fn cancel(&self, call: &Call) {
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
