//! The clients of a server: who may be told that something changed, and who asked to hear of which resource.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::handler::Session;
use crate::json::Json;
use crate::rpc_error::RpcError;
use crate::server::modern;
use crate::server::object::object;

/// Resources one client may subscribe to.
const MOST_SUBSCRIPTIONS: usize = 1024;

/// Every open session, by its number.
#[derive(Default)]
pub(super) struct Clients(Mutex<HashMap<u64, Client>>);

struct Client {
    session: Session,
    /// Between `initialize` and `notifications/initialized` a client is left alone; so is one that has said nothing yet. One that goes on with another
    /// request without them is served, and told, all the same.
    is_ready: bool,
    subscriptions: HashSet<String>,
}

impl Clients {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Client>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn opened(&self, session: &Session) {
        // Only in a stateless request, or after a restart, is the version known without a handshake; then none is to come.
        let is_ready = session.version().is_some();
        let client = Client { session: session.clone(), is_ready, subscriptions: HashSet::new() };
        self.lock().insert(session.peer().lane, client);
    }

    pub(super) fn closed(&self, session: &Session) {
        self.lock().remove(&session.peer().lane);
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.lock().len()
    }

    /// Notes what a client says, because it shows how far its handshake is.
    pub(super) fn heard(&self, session: &Session, method: &str) {
        // A client that probes for the stateless era says `server/discover` before it begins.
        if method == "server/discover" || modern::is_modern(session) {
            return;
        }
        if let Some(client) = self.lock().get_mut(&session.peer().lane) {
            client.is_ready = method != "initialize";
        }
    }

    pub(super) fn subscribe(&self, session: &Session, uri: &str) -> Result<(), RpcError> {
        let mut clients = self.lock();
        let Some(client) = clients.get_mut(&session.peer().lane) else { return Ok(()) };
        if client.subscriptions.len() >= MOST_SUBSCRIPTIONS && !client.subscriptions.contains(uri) {
            return Err(RpcError::invalid_request(format_args!("a session may have {MOST_SUBSCRIPTIONS} subscriptions")));
        }
        client.subscriptions.insert(uri.to_owned());
        Ok(())
    }

    pub(super) fn unsubscribe(&self, session: &Session, uri: &str) {
        if let Some(client) = self.lock().get_mut(&session.peer().lane) {
            client.subscriptions.remove(uri);
        }
    }

    /// Tells everybody who may hear it that a list changed; `family` is tools, prompts or resources.
    pub(super) fn list_changed(&self, family: &str) {
        self.tell(&format!("notifications/{family}/list_changed"), &Json::empty(), |_| true);
    }

    /// Tells those who subscribed to it that the resource `uri` is another one now.
    pub(super) fn updated(&self, uri: &str) {
        let params = Json::trusted(object(|params| params.string("uri", uri)));
        self.tell("notifications/resources/updated", &params, |client| client.subscriptions.contains(uri));
    }

    /// Nothing in here waits for a client. A client of the stateless era has a session when it listens, and the way to it knows what it listens to.
    fn tell(&self, method: &str, params: &Json, whom: impl Fn(&Client) -> bool) {
        let clients = self.lock();
        let told = clients.values().filter(|client| client.is_ready && (whom(client) || modern::is_modern(&client.session)));
        let sessions: Vec<Session> = told.map(|client| client.session.clone()).collect();
        drop(clients);
        for session in sessions {
            if session.notify(method, params.clone()).is_err() {
                log::debug!("{method} finds its client gone");
            }
        }
    }
}
