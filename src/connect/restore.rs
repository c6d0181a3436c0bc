//! Agreeing again with a server that has forgotten the session.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crossbeam_channel::bounded;

use crate::connect::Protocol;
use crate::connect::call::{Call, Outcome};
use crate::connect::conversation::Conversation;
use crate::message::{Kind, Message};
use crate::rpc_error::RpcError;

/// How long one of our own requests may take while others wait for it.
const OWN: Duration = Duration::from_secs(10);

impl Conversation {
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
        if self.protocol() == Protocol::Http {
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
}
