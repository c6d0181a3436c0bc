//! What the client and the server have agreed on, so that it can be agreed on again with a server that has forgotten it.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::connect::headers::{self, Header};
use crate::json;
use crate::message::{Kind, Message};

/// Subscriptions and questions that are remembered.
const MOST: usize = 1024;

/// One client's session with the server.
#[derive(Default)]
pub(super) struct Session(Mutex<State>);

#[derive(Default)]
struct State {
    /// Raised whenever the server has lost what was agreed on.
    epoch: u64,
    /// The epoch of the last handshake.
    agreed_in: Option<u64>,
    /// `Mcp-Session-Id`.
    id: Option<String>,
    /// What the server settled on.
    version: Option<String>,
    /// The client's own.
    initialize: Option<Message>,
    initialized: Option<Message>,
    /// The lists whose changes the client was promised to hear of.
    lists: Vec<&'static str>,
    log_level: Option<Message>,
    subscriptions: BTreeSet<String>,
    /// Requests of the server's that the client has not answered.
    asked: BTreeSet<String>,
}

/// What has to be said to a server that has forgotten the session, in this order.
pub(super) struct Handshake {
    pub initialize: Message,
    pub initialized: Option<Message>,
    /// Requests whose ids are still to be set.
    pub requests: Vec<Message>,
    /// What the client hears afterwards.
    pub news: Vec<Message>,
}

impl Session {
    /// The epoch, and the headers that a message of it needs. When the session was lost a moment ago, the error is the epoch that is over: without the
    /// session the message would only be refused.
    pub fn headers(&self, message: &Message, modern: Option<&String>) -> Result<(u64, Vec<Header>), u64> {
        let state = self.lock();
        if let Some(version) = modern {
            return Ok((state.epoch, headers::modern(message, version.clone())));
        }
        if message.kind() == Kind::Request && message.method() == "initialize" {
            return Ok((state.epoch, Vec::new()));
        }
        match state.agreed_in {
            Some(over) if over != state.epoch => Err(over),
            _ => Ok((state.epoch, state.headers())),
        }
    }

    /// The epoch and the headers of what is no message; no headers when there is no session.
    pub fn stream_headers(&self) -> (u64, Vec<Header>) {
        let state = self.lock();
        (state.epoch, state.headers())
    }

    pub fn epoch(&self) -> u64 {
        self.lock().epoch
    }

    /// What was agreed on in `epoch` is void.
    pub fn lost(&self, epoch: u64) {
        let mut state = self.lock();
        if state.epoch == epoch {
            state.epoch += 1;
        }
    }

    /// Whether the handshake is done, in this epoch.
    pub fn is_open(&self) -> bool {
        let state = self.lock();
        state.agreed_in == Some(state.epoch) && state.initialized.is_some()
    }

    /// Whether there was a handshake, and the server does not know of it.
    pub fn is_forgotten(&self) -> bool {
        let state = self.lock();
        state.initialize.is_some() && state.agreed_in != Some(state.epoch)
    }

    pub fn version(&self) -> Option<String> {
        self.lock().version.clone()
    }

    /// The id of the session, when the server gave one.
    pub fn has_id(&self) -> bool {
        self.lock().id.is_some()
    }

    /// The server answered an `initialize` that was sent in `epoch`, under this session id.
    pub fn began(&self, epoch: u64, id: Option<&str>) {
        let mut state = self.lock();
        if state.epoch == epoch {
            // Anything else could not be sent back in a header.
            state.id = id.filter(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic())).map(str::to_owned);
        }
    }

    /// Takes down what a good answer to `request` changes.
    pub fn agreed(&self, request: &Message, answer: &Message) {
        let mut state = self.lock();
        let uri = || request.find(&["uri"]).map(str::to_owned);
        match request.method().as_ref() {
            "initialize" => {
                state.version = answer.find(&["protocolVersion"]).and_then(json::unquote).map(|version| version.into_owned());
                state.agreed_in = Some(state.epoch);
                if state.initialize.is_none() {
                    state.lists = ["tools", "prompts", "resources"]
                        .into_iter()
                        .filter(|list| answer.find(&["capabilities", list, "listChanged"]) == Some("true"))
                        .collect();
                    state.initialize = Some(request.clone());
                }
            }
            "logging/setLevel" => state.log_level = Some(request.clone()),
            "resources/subscribe" if state.subscriptions.len() < MOST => state.subscriptions.extend(uri()),
            "resources/unsubscribe" => {
                if let Some(uri) = uri() {
                    state.subscriptions.remove(&uri);
                }
            }
            _ => {}
        }
    }

    /// A client that begins anew forgets as well.
    pub fn begin(&self) {
        let mut state = self.lock();
        let epoch = state.epoch + u64::from(state.initialize.is_some());
        *state = State { epoch, ..State::default() };
    }

    /// The client said that it is ready.
    pub fn ready(&self, initialized: &Message) {
        self.lock().initialized = Some(initialized.clone());
    }

    /// The server asks the client something; false when it asks too much.
    pub fn asks(&self, id: &str) -> bool {
        let mut state = self.lock();
        state.asked.len() < MOST && state.asked.insert(id.to_owned())
    }

    /// The client answers; false when nobody waits for it any more.
    pub fn answers(&self, id: &str) -> bool {
        self.lock().asked.remove(id)
    }

    /// The server does not wait for the client's answer any more.
    pub fn withdraws(&self, id: &str) {
        self.lock().asked.remove(id);
    }

    /// What is to be said again; none when the server knows it.
    pub fn handshake(&self) -> Option<Handshake> {
        let mut state = self.lock();
        let initialize = state.initialize.clone().filter(|_| state.agreed_in != Some(state.epoch))?;
        let subscribe = |uri: &String| Message::request("0", "resources/subscribe", Some(&format!("{{\"uri\":{uri}}}")));
        let requests = state.log_level.iter().cloned().chain(state.subscriptions.iter().map(subscribe)).collect();
        let withdrawn = std::mem::take(&mut state.asked);
        let withdraw = |id: &String| {
            let params = format!("{{\"requestId\":{id},\"reason\":\"the server was restarted\"}}");
            Message::notification("notifications/cancelled", Some(&params))
        };
        let changed = |list: &&str| Message::notification(&format!("notifications/{list}/list_changed"), None);
        let news = withdrawn.iter().map(withdraw).chain(state.lists.iter().map(changed)).collect();
        Some(Handshake { initialize, initialized: state.initialized.clone(), requests, news })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn headers(&self) -> Vec<Header> {
        // An id of a session that is over would only be refused.
        let is_agreed = self.agreed_in == Some(self.epoch);
        let id = self.id.as_ref().filter(|_| is_agreed).map(|id| Header::new("Mcp-Session-Id", id.clone()));
        let version = self.version.as_ref().map(|version| Header::new("MCP-Protocol-Version", headers::sendable(version)));
        id.into_iter().chain(version).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Message {
        Message::parse(text.to_owned()).unwrap()
    }

    #[test]
    fn what_was_agreed_on_is_said_again_to_a_server_that_forgot_it() {
        let session = Session::default();
        let initialize = message(r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"x":1}}"#);
        session.began(0, Some("abc"));
        session.agreed(
            &initialize,
            &message(
                r#"{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25","capabilities":{"tools":{"listChanged":true},"prompts":{}}}}"#,
            ),
        );
        session.ready(&message(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#));
        let empty = message(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
        for (method, params) in [
            ("logging/setLevel", r#"{"level":"debug"}"#),
            ("resources/subscribe", r#"{"uri":"a"}"#),
            ("resources/subscribe", r#"{"uri":"b"}"#),
            ("resources/unsubscribe", r#"{"uri":"a"}"#),
        ] {
            session.agreed(&Message::request("1", method, Some(params)), &empty);
        }
        assert!(session.asks("7"));
        assert!(session.is_open() && session.handshake().is_none());
        assert_eq!(session.stream_headers().1.len(), 2);

        session.lost(5);
        assert!(session.is_open(), "that epoch is none of ours");
        session.lost(0);
        assert!(session.is_forgotten() && !session.is_open());
        assert_eq!(session.stream_headers().1.len(), 1, "the old id is not sent");
        assert_eq!(session.headers(&Message::request("2", "tools/list", None), None).err(), Some(0), "nor anything without one");
        assert!(session.headers(&initialize, None).is_ok_and(|(epoch, headers)| epoch == 1 && headers.is_empty()));
        let handshake = session.handshake().unwrap();
        assert_eq!(handshake.initialize, initialize);
        assert!(handshake.initialized.is_some());
        let methods: Vec<_> = handshake.requests.iter().map(|request| (request.method().into_owned(), request.letter())).collect();
        assert_eq!(
            methods,
            [("logging/setLevel".to_owned(), Some(r#"{"level":"debug"}"#)), ("resources/subscribe".to_owned(), Some(r#"{"uri":"b"}"#))]
        );
        let news: Vec<_> = handshake.news.iter().map(|news| news.method().into_owned()).collect();
        assert_eq!(news, ["notifications/cancelled", "notifications/tools/list_changed"]);
        assert!(!session.answers("7"), "who asked is gone");
    }

    #[test]
    fn an_id_that_no_header_can_carry_is_not_taken() {
        let session = Session::default();
        session.began(0, Some("a b"));
        assert!(!session.has_id());
    }
}
