//! Stateless requests (2026-07-28): they share a child whose first word is `server/discover` in place of `initialize`.
//!
//! 1. Such a core is one as `--shared` has it: many clients, none of which the child may ask anything. Each connection is a seat, and one more seat
//!    stands for everybody: what lists were seen, and the way to those that listen.
//! 2. Until a child has answered `server/discover` the core is *probing*. If the child refuses, nobody's request waits: the core becomes one for a
//!    session, and its child waits for the client that falls back to `initialize`.
//! 3. Whatever may survive a reload does: the requests `subscriptions/listen` are the front's, which asks each new child anew (`audience`).
//! 4. `link`: the clients' ways to these cores; `groups`: which cores there are.

mod audience;
mod groups;
mod link;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde_json::value::RawValue;

use self::audience::{Audience, Opening};
use super::core::Core;
use super::from_client::{MAX_CALLS, replace};
use super::handshake::{with_changing_lists, with_member};
use super::lists::List;
use super::parts::{Act, Families, Own, Phase, Wait, unavailable};
use crate::child::CommandLine;
use crate::connection::{Client, Outlet};
use crate::dispatch::listen::{MOST, MOST_RESOURCES, SUBSCRIPTION, Wanted, stamp};
use crate::handler::stateless::check_method;
use crate::identity::{Key, hex};
use crate::json::{self, Json};
use crate::message::{self, Message};
use crate::rpc_error::RpcError;
use crate::version::Version;

pub(super) use groups::Groups;
pub(super) use link::{BothEras, Requests};

/// How long a request waits for a child of which nobody knows yet whether it serves such requests. Clients give up their probe after ten seconds.
pub(super) const PROBE: Duration = Duration::from_secs(5);
/// Tools whose annotations are remembered.
const MAX_ANNOTATED: usize = 4096;
/// What our own requests say of us.
const META: &str = concat!(
    r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"#,
    r#""io.modelcontextprotocol/clientInfo":{"name":""#,
    env!("CARGO_PKG_NAME"),
    r#"","version":""#,
    env!("CARGO_PKG_VERSION"),
    r#""}}"#
);
const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
const STATE_KEY: &str = "MCP_STATE_KEY";

/// What a core that serves stateless requests has besides.
pub(super) struct Service {
    /// The seat of nobody in particular.
    pub everybody: u64,
    audience: Arc<Audience>,
    /// A child has answered `server/discover`.
    is_modern: bool,
    /// Our own request to be told of changes: the child's number, the id, and what it asks for.
    listens: Option<(u64, u64, String)>,
    /// Schemas of the tools some of whose arguments are repeated in HTTP headers.
    pub annotated: HashMap<String, Json>,
}

/// Whether a request wants to hear log messages.
pub(super) fn is_loud(message: &Message) -> bool {
    message.letter().is_some_and(|letter| letter.contains(LOG_LEVEL))
}

/// The answer where the child serves no stateless requests: the client begins again, with `initialize`.
pub(super) fn not_spoken() -> RpcError {
    let why = format!("Method not found: the server does not serve requests of {}; begin with initialize", Version::V2026_07_28.as_str());
    RpcError::new(RpcError::METHOD_NOT_FOUND, why)
}

/// The result of `server/discover` as clients get it: its lists may change, whatever the child of today says.
pub(super) fn edit(answer: &mut Message) {
    let Some(part) = answer.letter().map(|result| json::span(answer.as_str(), result)) else { return };
    let result = edited(answer.letter().unwrap_or_default());
    replace(answer, part, &result);
}

fn edited(result: &str) -> String {
    with_member(result, "capabilities", &with_changing_lists(json::member(result, "capabilities")))
}

/// Whether a result of `server/discover` names a version that we serve.
fn is_spoken(result: &str) -> bool {
    let versions: Vec<&RawValue> =
        json::member(result, "supportedVersions").and_then(|list| serde_json::from_str(list).ok()).unwrap_or_default();
    versions
        .iter()
        .filter_map(|version| json::unquote(version.get()))
        .any(|version| Version::parse(&version).is_some_and(Version::is_modern))
}

/// One key for all children, so that what one has signed (`requestState`) the next one knows: the exception to the rule that no MCP_* variable of
/// ours reaches a child. It is made from the front's own, which a child cannot tell from it.
pub(super) fn give_key(command: &mut CommandLine) {
    if !command.env.iter().any(|(name, _)| name == STATE_KEY) {
        let key = std::env::var_os(STATE_KEY).filter(|key| !key.is_empty());
        let key = key.unwrap_or_else(|| hex(&Key::shared().sign("children", &[])).into());
        command.env.push((STATE_KEY.into(), key));
    }
}

impl Core {
    /// Makes a new core one for stateless requests.
    pub(super) fn serve_stateless(&mut self, now: Instant) {
        let audience = Arc::<Audience>::default();
        let everybody = self.sit(Arc::clone(&audience) as _, None, now);
        self.is_shared = true;
        self.stateless = Some(Box::new(Service { everybody, audience, is_modern: false, listens: None, annotated: HashMap::new() }));
    }

    /// Nobody knows yet whether the child serves stateless requests.
    pub(super) fn is_probing(&self) -> bool {
        self.stateless.as_ref().is_some_and(|service| !service.is_modern)
    }

    /// Clients with a session.
    pub(super) fn sessions(&self) -> usize {
        if self.stateless.is_some() { 0 } else { self.seats.len() }
    }

    /// Lets a client in, if such are served here.
    pub(super) fn sit_stateless(&mut self, now: Instant) -> Option<u64> {
        self.stateless.is_some().then(|| self.sit(Client::stateless().outlet, None, now))
    }

    /// A stateless request.
    pub(super) fn stateless_request(&mut self, seat: u64, message: Message, outlet: &Arc<dyn Outlet>, need: u64, now: Instant) {
        let refusal = match (&self.stateless, self.seats.get(&seat)) {
            _ if self.is_closed => Some(unavailable("the server is being stopped")),
            (None, _) | (_, None) => Some(not_spoken()),
            // The last child did not live long enough to say.
            _ if self.is_probing() && self.retry_at.is_some_and(|at| now < at) => Some(not_spoken()),
            (_, Some(seat)) if seat.calls >= MAX_CALLS => Some(RpcError::internal("too many calls are open already")),
            _ => check_method(&message.method()).err(),
        };
        if let Some(refusal) = refusal {
            return self.offer(outlet, Message::error(Some(message.id()), &refusal));
        }
        let everybody = self.stateless.as_ref().and_then(|service| self.seats.get_mut(&service.everybody));
        everybody.into_iter().for_each(|seat| seat.last = now);
        self.admit(seat, message, outlet, need, now);
    }

    /// The child has answered `server/discover`.
    pub(super) fn discovered(&mut self, number: u64, answer: &Message, now: Instant) {
        let letter = answer.letter().unwrap_or_default();
        if answer.kind() != message::Kind::Result || !is_spoken(letter) {
            if self.is_probing() {
                return self.is_legacy(number, true, now);
            }
            return self.fail(number, format!("it does not serve stateless requests any more: {letter}"), now);
        }
        let Some(service) = &mut self.stateless else { return };
        service.is_modern = true;
        service.annotated.clear();
        self.result = Some(edited(letter).into());
        self.promote(number, Families::of(letter), now, SystemTime::now());
        self.listen_at_child();
        self.pump(now);
        for message in self.kid_mut(number).map(|kid| std::mem::take(&mut kid.early)).unwrap_or_default() {
            self.hear(number, message, now);
        }
        self.compare(number, now);
        self.settle(now);
    }

    /// The child serves no stateless requests: this core is one for a session now, which `is_there` to be used by the child.
    pub(super) fn is_legacy(&mut self, number: u64, is_there: bool, now: Instant) {
        log::debug!("the server serves no stateless requests: clients begin with initialize");
        let save = self.kid(number).map_or(self.wanted, |kid| kid.save);
        // Before anybody hears of it and comes back for a session.
        self.acts.push(Act::Legacy { save, is_there });
        self.refuse_all(&not_spoken());
        self.say_goodbye("the server serves no stateless requests any more");
        self.stateless = None;
        self.is_shared = self.rules.shared;
        self.seats.clear();
        self.unasked = Some(number);
        match self.kid_mut(number) {
            Some(kid) if is_there => (kid.phase, kid.permit) = (Phase::Starting(None), None),
            _ => self.drop_unasked(now),
        }
    }

    /// A child that waits for a session is there for the first who says something, unless there is newer code by then.
    pub(super) fn mind_unasked(&mut self, now: Instant) {
        let Some(number) = self.unasked.filter(|_| !self.held.is_empty() && !self.is_closed) else { return };
        if self.kid(number).is_none_or(|kid| kid.save < self.wanted.max(self.live)) {
            return self.drop_unasked(now);
        }
        self.unasked = None;
        self.greet(number, now);
    }

    pub(super) fn is_idle_unasked(&self) -> bool {
        self.unasked.is_some() && !self.is_busy()
    }

    pub(super) fn drop_unasked(&mut self, now: Instant) {
        let Some(number) = self.unasked.take() else { return };
        self.coming = None;
        self.stop(number, "reloaded", now);
    }

    /// A client wants to be told of changes. The request is answered here and stays open, whatever becomes of children.
    pub(super) fn listen(&mut self, seat: u64, message: &Message, outlet: &Arc<dyn Outlet>) {
        let Some(service) = &self.stateless else { return };
        let capabilities = self.result.as_deref().and_then(|result| json::member(result, "capabilities")).unwrap_or("{}");
        let audience = Arc::clone(&service.audience);
        let wanted = Wanted::read(message).map(|wanted| wanted.within(capabilities)).and_then(|wanted| {
            if audience.count(seat) >= MOST || audience.resources() + wanted.resources() > MOST_RESOURCES {
                return Err(RpcError::invalid_request("too many subscriptions, or resources in them, are open already"));
            }
            Ok(wanted)
        });
        let wanted = match wanted {
            Ok(wanted) => wanted,
            Err(refusal) => return self.offer(outlet, Message::error(Some(message.id()), &refusal)),
        };
        let acknowledged =
            stamp("notifications/subscriptions/acknowledged", &format!("{{\"notifications\":{}}}", wanted.to_json()), message.id());
        let listener = audience.add(seat, message.id().into(), wanted, Arc::clone(outlet));
        let opening: Arc<dyn Outlet> = Arc::new(Opening(listener));
        self.offer(&opening, acknowledged);
        self.listen_at_child();
    }

    /// A client wants no more of one of its requests to listen, or of all.
    pub(super) fn unlisten(&mut self, seat: u64, id: Option<&str>) {
        let Some(service) = &self.stateless else { return };
        let gone = service.audience.remove(|listener| listener.seat == seat && id.is_none_or(|id| *listener.id == *id));
        if !gone.is_empty() {
            gone.iter().for_each(|listener| self.is_over(&listener.outlet, &listener.id));
            self.listen_at_child();
        }
    }

    /// Those who listen are told that there is nothing more to hear.
    pub(super) fn say_goodbye(&mut self, why: &str) {
        let Some(service) = &self.stateless else { return };
        for listener in service.audience.remove(|_| true) {
            let (id, why) = (&listener.id, json::string(why));
            let cancelled = stamp("notifications/cancelled", &format!("{{\"requestId\":{id},\"reason\":{why}}}"), id);
            let result = format!("{{\"resultType\":\"complete\",\"_meta\":{{\"{SUBSCRIPTION}\":{id}}}}}");
            self.offer(&listener.outlet, cancelled);
            self.offer(&listener.outlet, Message::result(id, &result));
        }
    }

    /// Has the current child tell of what anybody wants to hear.
    fn listen_at_child(&mut self) {
        let Some(number) = self.current else { return };
        let Some(service) = &mut self.stateless else { return };
        let wanted = service.audience.wanted();
        let is_known = service.listens.as_ref().is_some_and(|(kid, _, known)| *kid == number && wanted.as_ref() == Some(known));
        if is_known {
            return;
        }
        let old = service.listens.take();
        if let Some(wanted) = wanted {
            let params = self.own_params(&format!("{{\"notifications\":{wanted}}}"));
            let id = self.ask_child(number, Own::Listen, Message::request("0", "subscriptions/listen", Some(&params)));
            self.stateless.iter_mut().for_each(|service| service.listens = Some((number, id, wanted.clone())));
        }
        // Only now: between the two nothing is missed.
        if let Some((kid, id, _)) = old {
            self.waits.remove(&id);
            self.send(kid, None, Message::notification("notifications/cancelled", Some(&format!("{{\"requestId\":{id}}}"))));
        }
    }

    /// Whether a request that wants log messages is here already. Of two nobody could tell whose a message is.
    pub(super) fn has_loud_call(&self) -> bool {
        self.held.iter().any(|held| is_loud(&held.message))
            || self.waits.values().any(|wait| matches!(wait, Wait::Call(call) if call.is_loud))
    }

    /// What a child logs is for the one request that wants to hear it.
    pub(super) fn stateless_log(&mut self, number: u64, message: Message) {
        let call = self.waits.values().find_map(|wait| match wait {
            Wait::Call(call) if call.is_loud && call.kid == number => Some(Arc::clone(&call.outlet)),
            _ => None,
        });
        match call {
            Some(outlet) => self.offer(&outlet, message),
            None => log::info!(target: "server", "{}", message.letter().unwrap_or_default()),
        }
    }

    /// Remembers which tools on a page of the list have arguments that are repeated in HTTP headers.
    pub(super) fn note_headers(&mut self, list: List, result: &str) {
        let Some(service) = self.stateless.as_mut().filter(|_| list == List::Tools) else { return };
        if service.annotated.is_empty() && !result.contains("x-mcp-header") {
            return;
        }
        let tools: Vec<&RawValue> = json::member(result, "tools").and_then(|tools| serde_json::from_str(tools).ok()).unwrap_or_default();
        for tool in tools {
            let Some(name) = json::member(tool.get(), "name").and_then(json::unquote) else { continue };
            match json::member(tool.get(), "inputSchema").filter(|schema| schema.contains("x-mcp-header")) {
                Some(schema) if service.annotated.len() < MAX_ANNOTATED => {
                    service.annotated.insert(name.into_owned(), Json::trusted(schema));
                }
                _ => drop(service.annotated.remove(&*name)),
            }
        }
    }

    /// The params of a request of our own, in which a stateless one says who we are.
    pub(super) fn own_params(&self, params: &str) -> String {
        if self.stateless.is_some() { with_member(params, "_meta", META) } else { params.to_owned() }
    }

    /// A result of our own with what a stateless client wants in it.
    pub(super) fn completed(&self, result: String) -> String {
        if self.stateless.is_none() {
            return result;
        }
        [("resultType", "\"complete\""), ("ttlMs", "0"), ("cacheScope", "\"private\"")]
            .into_iter()
            .fold(result, |result, (name, value)| with_member(&result, name, value))
    }
}
