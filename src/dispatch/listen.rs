//! `subscriptions/listen` (2026-07-28 basic/patterns/subscriptions): a client asks to hear of changes, and its request stays open for them.
//!
//! To the handler it is one more session, which is told of everything; what was not asked for gets lost on the way.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::connection::{Gone, Outlet};
use crate::handler::{Call, Handler, Peer, Session};
use crate::json::{self, Json};
use crate::message::{Kind, Message};
use crate::rpc_error::RpcError;
use crate::version::Version;

/// What a notification is marked with, so that the client knows which of its requests it belongs to.
pub(crate) const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// Open requests of one client, and resources that one of them can name.
pub(crate) const MOST: usize = 64;
pub(crate) const MOST_RESOURCES: usize = 1024;

const FAMILIES: [&str; 3] = ["tools", "prompts", "resources"];

/// All requests that are open, by their client's number and their id.
#[derive(Default)]
pub(super) struct Listeners(Mutex<HashMap<(u64, Box<str>), Listener>>);

struct Listener {
    handler: Arc<dyn Handler>,
    /// The client, as it is known by its requests.
    client: Arc<Peer>,
    /// The same as one who hears of changes.
    session: Session,
    call: Arc<Call>,
}

impl Listeners {
    /// Opens the request `call` of `client`, as far as the server has what it asks for.
    pub fn open(&self, handler: Arc<dyn Handler>, client: &Arc<Peer>, call: &Arc<Call>, wanted: Wanted) {
        let acknowledged =
            stamp("notifications/subscriptions/acknowledged", &format!("{{\"notifications\":{}}}", wanted.to_json()), &call.id);
        if call.send(acknowledged).is_err() {
            client.end(call);
            return call.outlet.ended(&call.id);
        }
        let filter = Filter { id: call.id.clone(), wanted, outlet: Arc::clone(&call.outlet) };
        let peer = Peer::new(client.id.clone(), Some(Version::V2026_07_28), Arc::new(filter), Arc::clone(&client.slots));
        let listener = Listener { handler, client: Arc::clone(client), session: Session::new(peer, None), call: Arc::clone(call) };
        listener.handler.opened(&listener.session);
        self.lock().insert((client.lane, call.id.clone()), listener);
        // A cancellation that came in between has not found it.
        if call.is_cancelled() {
            self.end(client.lane, Some(&call.id));
        }
    }

    /// Refuses one too many.
    pub fn check_room(&self, lane: u64) -> Result<(), RpcError> {
        if self.lock().keys().filter(|(other, _)| *other == lane).count() < MOST {
            return Ok(());
        }
        Err(RpcError::invalid_request(format_args!("a client may have {MOST} subscriptions")))
    }

    /// The client wants no more of one of its requests, or is gone.
    pub fn end(&self, lane: u64, id: Option<&str>) {
        self.take(|(other, name)| *other == lane && id.is_none_or(|id| **name == *id)).into_iter().for_each(Listener::end);
    }

    /// The server is about to end; its clients are told.
    pub fn say_goodbye(&self) {
        for listener in self.take(|_| true) {
            let (id, outlet) = (&listener.call.id, &listener.call.outlet);
            let why = format!("{{\"requestId\":{id},\"reason\":\"the server shuts down\"}}");
            let result = format!("{{\"resultType\":\"complete\",\"_meta\":{{\"{SUBSCRIPTION}\":{id}}}}}");
            // Clients that are gone need no goodbye.
            if listener.call.takes_answer() {
                drop(outlet.offer(stamp("notifications/cancelled", &why, id)).and_then(|()| outlet.offer(Message::result(id, &result))));
            }
            listener.end();
        }
    }

    fn take(&self, which: impl Fn(&(u64, Box<str>)) -> bool) -> Vec<Listener> {
        let mut listeners = self.lock();
        let keys: Vec<_> = listeners.keys().filter(|key| which(key)).cloned().collect();
        keys.iter().filter_map(|key| listeners.remove(key)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(u64, Box<str>), Listener>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener {
    fn end(self) {
        self.session.peer().close();
        self.handler.closed(&self.session);
        self.client.end(&self.call);
        self.call.outlet.ended(&self.call.id);
    }
}

/// What a client wants to hear of.
#[derive(Default)]
pub(crate) struct Wanted {
    families: Vec<&'static str>,
    resources: BTreeSet<String>,
}

impl Wanted {
    /// What the params of a request ask for.
    pub fn read(request: &Message) -> Result<Wanted, RpcError> {
        let asked = request.find(&["notifications"]).filter(|asked| asked.starts_with('{'));
        let asked = asked.ok_or_else(|| RpcError::invalid_params("notifications must be an object"))?;
        let families = FAMILIES.into_iter().filter(|family| json::member(asked, &format!("{family}ListChanged")) == Some("true")).collect();
        let mut resources = BTreeSet::new();
        if let Some(uris) = json::member(asked, "resourceSubscriptions") {
            let bad = || RpcError::invalid_params("resourceSubscriptions must be an array of strings");
            let too_many = || RpcError::invalid_params(format_args!("resourceSubscriptions may have {MOST_RESOURCES} resources"));
            for uri in json::elements(uris, MOST_RESOURCES).map_err(|_| bad())?.ok_or_else(too_many)? {
                resources.insert(json::unquote(uri).ok_or_else(bad)?.into_owned());
            }
        }
        Ok(Wanted { families, resources })
    }

    /// The part of it that a server with these capabilities can serve.
    pub fn within(mut self, capabilities: &str) -> Wanted {
        self.families.retain(|family| json::path(capabilities, &[family, "listChanged"]) == Some("true"));
        if json::path(capabilities, &["resources", "subscribe"]) != Some("true") {
            self.resources.clear();
        }
        self
    }

    /// What another wants as well.
    #[cfg(all(feature = "run", unix))]
    pub fn add(&mut self, other: &Wanted) {
        self.families = FAMILIES.into_iter().filter(|family| self.families.contains(family) || other.families.contains(family)).collect();
        self.resources.extend(other.resources.iter().cloned());
    }

    /// How many resources it names.
    #[cfg(all(feature = "run", unix))]
    pub fn resources(&self) -> usize {
        self.resources.len()
    }

    /// As a request names it.
    pub fn to_json(&self) -> Json {
        let mut parts: Vec<String> = self.families.iter().map(|family| format!("\"{family}ListChanged\":true")).collect();
        if !self.resources.is_empty() {
            let uris: Vec<String> = self.resources.iter().map(|uri| json::string(uri)).collect();
            parts.push(format!("\"resourceSubscriptions\":[{}]", uris.join(",")));
        }
        Json::trusted(format!("{{{}}}", parts.join(",")))
    }

    /// Whether a notification is about what is wanted.
    pub fn has(&self, message: &Message) -> bool {
        let method = message.method();
        let Some(rest) = method.strip_prefix("notifications/").filter(|_| message.kind() == Kind::Notification) else { return false };
        if rest == "resources/updated" {
            return message.find(&["uri"]).and_then(json::unquote).is_some_and(|uri| self.resources.contains(&*uri));
        }
        rest.strip_suffix("/list_changed").is_some_and(|family| self.families.contains(&family))
    }
}

/// The way to a listening client.
struct Filter {
    id: Box<str>,
    wanted: Wanted,
    outlet: Arc<dyn Outlet>,
}

impl Outlet for Filter {
    fn send(&self, message: Message) -> Result<(), Gone> {
        self.offer(message)
    }

    fn offer(&self, message: Message) -> Result<(), Gone> {
        match message.kind() {
            Kind::Notification if self.wanted.has(&message) => {
                self.outlet.offer(stamp(&message.method(), message.letter().unwrap_or("{}"), &self.id))
            }
            Kind::Notification => Ok(()),
            _ => Err(Gone),
        }
    }
}

/// A notification that belongs to the request `id`, whatever it belonged to before.
pub(crate) fn stamp(method: &str, params: &str, id: &str) -> Message {
    let mark = format!("\"{SUBSCRIPTION}\":{id}");
    let params = match json::member(params, "_meta").filter(|meta| meta.starts_with('{')) {
        Some(meta) => {
            let mut marked = params.to_owned();
            match json::member(meta, SUBSCRIPTION) {
                Some(other) => marked.replace_range(json::span(params, other), id),
                None => marked.replace_range(json::span(params, meta), &with(meta, &mark)),
            }
            marked
        }
        None => with(params, &format!("\"_meta\":{{{mark}}}")),
    };
    Message::notification(method, Some(&params))
}

/// An object with one more member.
fn with(object: &str, member: &str) -> String {
    let inside = object.trim_start_matches('{').trim_start();
    if inside == "}" { format!("{{{member}}}") } else { format!("{{{member},{inside}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for_and_exists_is_heard() {
        let request = r#"{"notifications":{"toolsListChanged":true,"promptsListChanged":true,"resourcesListChanged":false,"resourceSubscriptions":["a:b"]}}"#;
        let wanted = Wanted::read(&Message::request("1", "subscriptions/listen", Some(request))).unwrap();
        let wanted = wanted.within(r#"{"tools":{"listChanged":true},"prompts":{},"resources":{"subscribe":true,"listChanged":true}}"#);
        assert_eq!(wanted.to_json().as_str(), r#"{"toolsListChanged":true,"resourceSubscriptions":["a:b"]}"#);
        let has = |method: &str, params: &str| wanted.has(&Message::notification(method, Some(params)));
        assert!(has("notifications/tools/list_changed", "{}") && has("notifications/resources/updated", r#"{"uri":"a:b"}"#));
        assert!(!has("notifications/prompts/list_changed", "{}") && !has("notifications/resources/list_changed", "{}"));
        assert!(!has("notifications/resources/updated", r#"{"uri":"a:c"}"#) && !has("notifications/progress", "{}"));
    }

    #[test]
    fn a_mark_joins_what_is_there() {
        let params = |params: &str| stamp("m", params, "\"x\"").letter().unwrap().to_owned();
        assert_eq!(params("{ }"), r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":"x"}}"#);
        assert_eq!(params(r#"{"uri":1}"#), r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":"x"},"uri":1}"#);
        assert_eq!(
            params(r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":7 ,"a":1}}"#),
            r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":"x" ,"a":1}}"#
        );
        assert_eq!(params(r#"{"_meta":{"a":1}}"#), r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":"x","a":1}}"#);
    }
}
