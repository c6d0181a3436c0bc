//! What a client says: calls are forwarded or held, everything else goes to the child that it is about.

use std::sync::Arc;
use std::time::Instant;

use super::core::Core;
use super::dev;
use super::lists::List;
use super::parts::{Call, Families, Held, Kind, Own, Phase, Wait, unavailable};
use super::stateless::is_loud;
use crate::connection::Outlet;
use crate::handler::LogLevel;
use crate::json;
use crate::message::{self, Message};
use crate::rpc_error::RpcError;

/// Calls of one client that may be open at once.
pub(super) const MAX_CALLS: usize = 4096;
/// Subscriptions remembered for one client.
const MAX_SUBSCRIPTIONS: usize = 4096;

impl Core {
    /// One message of the client `seat`. `need`: the save that the answer to a call is to come from, if it is on its way.
    pub(super) fn deliver(&mut self, seat: u64, message: Message, outlet: &Arc<dyn Outlet>, need: u64, now: Instant) {
        if !self.seats.contains_key(&seat) {
            // Ended between the message's arrival and now.
            if message.kind() == message::Kind::Request {
                self.offer(outlet, Message::error(Some(message.id()), &unavailable("the session has ended")));
            }
            return;
        }
        match message.kind() {
            message::Kind::Request => self.request(seat, message, outlet, need, now),
            message::Kind::Notification => self.notice(seat, message, now),
            message::Kind::Result | message::Kind::Error => self.answered(message, now),
        }
    }

    fn request(&mut self, seat: u64, message: Message, outlet: &Arc<dyn Outlet>, need: u64, now: Instant) {
        let need = match message.method().as_ref() {
            "ping" => return self.offer(outlet, Message::result(message.id(), "{}")),
            _ if self.is_closed => {
                return self.offer(outlet, Message::error(Some(message.id()), &unavailable("the server is being stopped")));
            }
            _ if self.seats[&seat].calls >= MAX_CALLS => {
                let error = RpcError::internal("too many calls are open already: try again when one of them has been answered");
                return self.offer(outlet, Message::error(Some(message.id()), &error));
            }
            "logging/setLevel" => return self.set_level(seat, &message, outlet),
            // A client that looks for the modern era must not wait for a child to learn that this is not it.
            "server/discover" if self.seats[&seat].initialize.is_none() => {
                let error = RpcError::method_not_found("server/discover");
                return self.offer(outlet, Message::error(Some(message.id()), &error));
            }
            "initialize" => {
                let first = self.current.is_none() || self.is_shared;
                if let Some(sender) = self.seats.get_mut(&seat) {
                    (sender.initialize, sender.initialized, sender.version) = (Some(message.clone()), false, None);
                }
                match self.current.filter(|_| !first && self.held.is_empty()) {
                    Some(kid) => return self.place(kid, seat, message, Arc::clone(outlet), Kind::Initialize, 0),
                    None => 0,
                }
            }
            _ => need,
        };
        self.admit(seat, message, outlet, need, now);
    }

    /// Forwards a call, or has it wait.
    pub(super) fn admit(&mut self, seat: u64, message: Message, outlet: &Arc<dyn Outlet>, need: u64, now: Instant) {
        self.wanted = self.wanted.max(need.min(self.live));
        if let Some(sender) = self.seats.get_mut(&seat) {
            sender.last = now;
        }
        let held = Held { seat, message, outlet: Arc::clone(outlet), need, since: now };
        if self.held.is_empty() && self.may_go(&held, now) {
            return self.forward(held);
        }
        self.hold(held);
        self.settle(now);
        self.pump(now);
    }

    /// Sends a call to the current child, or answers it where there is nothing to ask.
    pub(super) fn forward(&mut self, held: Held) {
        let Held { seat, mut message, outlet, need, .. } = held;
        let Some(kid) = self.current() else { return };
        let (mut number, families) = (kid.number, kid.families);
        let stale = Some(need.max(self.pending())).filter(|need| *need > kid.save).unwrap_or(0);
        let method = message.method().into_owned();
        let mut kind = Kind::Plain;
        match method.as_str() {
            "server/discover" if self.stateless.is_some() => kind = Kind::Discover,
            "subscriptions/listen" if self.stateless.is_some() => return self.listen(seat, &message, &outlet),
            "initialize" => return self.answer_initialize(seat, &message, &outlet),
            "tools/call" => {
                kind = Kind::Tool;
                if self.rules.dev_tools {
                    match dev::called(&message) {
                        Some(dev::Called::Status) => return self.dev_status(&message, outlet),
                        Some(dev::Called::Call(Ok(inner))) => message = inner,
                        Some(dev::Called::Call(Err(error))) => return self.offer(&outlet, Message::error(Some(message.id()), &error)),
                        None => {}
                    }
                }
            }
            "resources/subscribe" | "resources/unsubscribe" => match self.subscribe(seat, &method, &message, &outlet) {
                Some(asked) => kind = asked,
                None => return,
            },
            "tasks/get" | "tasks/result" | "tasks/cancel" => {
                let maker = message.find(&["taskId"]).and_then(|task| self.tasks.get(task)).copied();
                number = maker.filter(|maker| self.kid(*maker).is_some_and(|kid| kid.phase != Phase::Stopping)).unwrap_or(number);
            }
            method => {
                if let Some(list) = List::asked_by(method) {
                    if !families.has(list) {
                        let answer = self.completed(list.empty(self.rules.dev_tools));
                        return self.offer(&outlet, Message::result(message.id(), &answer));
                    }
                    kind = Kind::List(list, message.find(&["cursor"]).is_none_or(|cursor| cursor == "null"));
                }
            }
        }
        self.place(number, seat, message, outlet, kind, stale);
    }

    fn place(&mut self, kid: u64, seat: u64, mut message: Message, outlet: Arc<dyn Outlet>, kind: Kind, stale: u64) {
        let id = self.number();
        let token = self.swap_token(&mut message, id);
        let is_loud = self.stateless.is_some() && is_loud(&message);
        let call = Call { kid, seat, id: message.id().into(), outlet, token, kind, stale, is_loud, since: None };
        self.waits.insert(id, Wait::Call(call));
        self.placed = Some(id);
        if let Some(seat) = self.seats.get_mut(&seat) {
            seat.calls += 1;
        }
        if let Some(kid) = self.kid_mut(kid) {
            kid.busy += 1;
        }
        self.send(kid, Some(id), message.with_id(&id.to_string()));
    }

    /// Puts `id` in place of the progress token, if there is one, so that no two sessions and no two children can mean different things by it.
    pub(super) fn swap_token(&mut self, message: &mut Message, id: u64) -> Option<Box<str>> {
        // Reading the letter is for those few that have one.
        let letter = message.letter().filter(|letter| letter.contains("\"progressToken\""))?;
        let token = json::path(letter, &["_meta", "progressToken"])?;
        let (part, token) = (json::span(message.as_str(), token), token.into());
        replace(message, part, &id.to_string());
        Some(token)
    }

    /// Records a subscription. None when it has been answered here: another client of the same child has it already, or still has it.
    fn subscribe(&mut self, seat: u64, method: &str, message: &Message, outlet: &Arc<dyn Outlet>) -> Option<Kind> {
        let Some(uri) = message.find(&["uri"]).map(Box::<str>::from) else { return Some(Kind::Plain) };
        let others = self.seats.iter().any(|(number, other)| *number != seat && other.subscriptions.contains(&uri));
        let sender = self.seats.get_mut(&seat)?;
        let kind = if method == "resources/unsubscribe" {
            sender.subscriptions.remove(&uri);
            Kind::Plain
        } else {
            if sender.subscriptions.len() < MAX_SUBSCRIPTIONS {
                sender.subscriptions.insert(uri.clone());
            } else {
                log::warn!("a client has {MAX_SUBSCRIPTIONS} subscriptions: a further one will not survive a reload");
            }
            Kind::Subscribe(uri)
        };
        if others {
            self.offer(outlet, Message::result(message.id(), "{}"));
            return None;
        }
        Some(kind)
    }

    /// Of several clients of one child the last one's leave is the child's.
    pub(super) fn unsubscribe_if_unused(&mut self, uri: &str) {
        if self.seats.values().any(|seat| seat.subscriptions.contains(uri)) {
            return;
        }
        if let Some(kid) = self.current.filter(|_| !self.is_closed && self.is_shared) {
            let params = format!("{{\"uri\":{uri}}}");
            self.ask_child(kid, Own::Unsubscribe, Message::request("0", "resources/unsubscribe", Some(&params)));
        }
    }

    /// The front answers itself: the level has to outlive the child.
    fn set_level(&mut self, seat: u64, message: &Message, outlet: &Arc<dyn Outlet>) {
        let level = message.find(&["level"]).and_then(json::unquote).and_then(|level| LogLevel::parse(&level));
        let Some(level) = level else {
            let error = RpcError::invalid_params("level must be one of debug, info, notice, warning, error, critical, alert, emergency");
            return self.offer(outlet, Message::error(Some(message.id()), &error));
        };
        if let Some(seat) = self.seats.get_mut(&seat) {
            seat.level = Some(level);
        }
        self.adjust_level();
        self.offer(outlet, Message::result(message.id(), "{}"));
    }

    /// Tells the child the most verbose level that is asked for.
    pub(super) fn adjust_level(&mut self) {
        let level = self.seats.values().filter_map(|seat| seat.level).min();
        let kid = self.current().filter(|kid| kid.families.logging).map(|kid| kid.number);
        if let (Some(level), Some(kid)) = (level, kid) {
            let params = format!("{{\"level\":\"{}\"}}", level.as_str());
            self.ask_child(kid, Own::SetLevel, Message::request("0", "logging/setLevel", Some(&params)));
        }
    }

    fn notice(&mut self, seat: u64, message: Message, now: Instant) {
        match message.method().as_ref() {
            "notifications/initialized" => {
                let Some(sender) = self.seats.get_mut(&seat) else { return };
                // A shared child is initialised once, by the front.
                let first = !std::mem::replace(&mut sender.initialized, true);
                if let Some(kid) = self.current.filter(|_| first && !self.is_shared) {
                    self.send(kid, None, message);
                }
            }
            "notifications/cancelled" => self.cancel(seat, message, now),
            "notifications/progress" => {
                let token = message.find(&["progressToken"]);
                let ask = token.and_then(|token| token.parse().ok()).and_then(|id| self.asks.get(&id));
                let (Some(token), Some(ask)) = (token, ask) else { return };
                let (kid, part, own) = (ask.kid, json::span(message.as_str(), token), ask.token.clone());
                if let Some(own) = own {
                    self.send(kid, None, message.replace(part, &own));
                }
            }
            "notifications/roots/list_changed" => {
                let is_awake = |phase| matches!(phase, Phase::Ready | Phase::Draining { .. });
                let awake: Vec<u64> = self.kids.iter().filter(|kid| is_awake(kid.phase)).map(|kid| kid.number).collect();
                let is_shared = self.is_shared;
                awake.into_iter().filter(|_| !is_shared).for_each(|kid| self.send(kid, None, message.clone()));
            }
            _ => {
                if let Some(kid) = self.current {
                    self.send(kid, None, message);
                }
            }
        }
    }

    /// A call is not wanted any more. It gets no answer: the client has stopped waiting.
    pub(super) fn cancel(&mut self, seat: u64, message: Message, now: Instant) {
        let Some(id) = message.find(&["requestId"]).map(Box::<str>::from) else { return };
        self.unlisten(seat, Some(&id));
        let waiting =
            self.held.iter().position(|held| held.seat == seat && held.message.id() == &*id && held.message.method() != "initialize");
        if let Some(at) = waiting {
            self.held.remove(at).into_iter().for_each(|held| self.is_over(&held.outlet, &id));
            return self.mind_quiet();
        }
        let open = self.waits.iter().find(|(_, wait)| matches!(wait, Wait::Call(call) if call.seat == seat && call.id == id));
        if let Some((&open, _)) = open {
            self.cancel_at_child(open, Some(message), now);
        }
    }

    /// Forgets a call and tells its child. What the child answers all the same finds nobody.
    pub(super) fn cancel_at_child(&mut self, id: u64, message: Option<Message>, now: Instant) {
        let Some(Wait::Call(call)) = self.waits.remove(&id) else { return };
        self.is_over(&call.outlet, &call.id);
        let number = id.to_string();
        let message = match message {
            Some(message) => match message.find(&["requestId"]).map(|part| json::span(message.as_str(), part)) {
                Some(part) => message.replace(part, &number),
                None => return,
            },
            None => Message::notification("notifications/cancelled", Some(&format!("{{\"requestId\":{number}}}"))),
        };
        self.send(call.kid, None, message);
        self.ended(&call, now);
    }

    /// The client answers a child's request: the child that asked gets it.
    fn answered(&mut self, message: Message, now: Instant) {
        let ask = message.id().parse().ok().and_then(|id: u64| self.asks.remove(&id));
        let Some(ask) = ask else { return log::debug!("an answer to a request that nobody made, or that is over: id {}", message.id()) };
        self.send(ask.kid, None, message.with_id(&ask.id));
        self.ask_over(ask.kid, now);
    }
}

impl Families {
    pub(super) fn has(self, list: List) -> bool {
        match list {
            List::Tools => self.tools,
            List::Prompts => self.prompts,
            List::Resources | List::Templates => self.resources,
        }
    }
}

/// `message.replace` in place.
pub(super) fn replace(message: &mut Message, part: std::ops::Range<usize>, with: &str) {
    let whole = std::mem::replace(message, Message::notification("", None));
    *message = whole.replace(part, with);
}
