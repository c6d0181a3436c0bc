//! What a child says: answers find their calls, requests and notifications their clients, and from an old child only what its calls need.

use std::sync::Arc;
use std::time::Instant;

use super::core::Core;
use super::from_client::replace;
use super::lists;
use super::parts::{Act, Ask, Call, Kind, Own, Phase, Wait};
use crate::connection::Outlet;
use crate::handler::LogLevel;
use crate::json;
use crate::message::{self, Incoming, Message};
use crate::rpc_error::RpcError;

/// Characters shown of a line that is no message.
const SHOWN: usize = 80;
/// Messages kept of a child that speaks before it is ready.
const MAX_EARLY: usize = 64;
/// Questions of one child that the client has not answered.
const MAX_ASKS: usize = 1024;
/// Tasks whose maker is known.
const MAX_TASKS: usize = 4096;

/// Reads a line of a child's stdout. What is no message is said and dropped: a stray `print` must not end a session.
pub(super) fn read(line: String, mut hear: impl FnMut(Message)) {
    let start: String = line.chars().take(SHOWN).collect();
    match Incoming::parse(line) {
        Ok(Incoming::One(message)) => hear(message),
        Ok(Incoming::Batch(messages)) => {
            for message in messages {
                match message {
                    Ok(message) => hear(message),
                    Err(_) => log::warn!("dropped: the server wrote to its stdout what is no message: {start:?}"),
                }
            }
        }
        Err(_) => log::warn!("dropped: the server wrote to its stdout what is no message: {start:?}"),
    }
}

impl Core {
    /// A line of so many bytes was too long and is lost. If the child has but one call, that was its answer.
    pub(super) fn oversized(&mut self, number: u64, size: usize, now: Instant) {
        log::error!("dropped: a line of {size} bytes from the server is too long");
        let one = self.kid(number).is_some_and(|kid| kid.busy == 1);
        let id = self.waits.iter().find(|(_, wait)| matches!(wait, Wait::Call(call) if one && call.kid == number)).map(|(id, _)| *id);
        if let Some(Wait::Call(call)) = id.and_then(|id| self.waits.remove(&id)) {
            let error = RpcError::internal(format_args!("the server's answer is too long: {size} bytes"));
            self.offer(&call.outlet, Message::error(Some(&call.id), &error));
            self.ended(&call, now);
        }
    }

    /// A message of a child's.
    pub(super) fn hear(&mut self, number: u64, message: Message, now: Instant) {
        let Some(phase) = self.kid(number).map(|kid| kid.phase) else { return };
        match message.kind() {
            message::Kind::Result | message::Kind::Error => self.child_answers(number, message, now),
            // It finds out whether we are there, which we are.
            message::Kind::Request if message.method() == "ping" && (self.is_shared || !self.is_awake(number)) => {
                self.send(number, None, Message::result(message.id(), "{}"));
            }
            _ if phase == Phase::Stopping => {}
            _ if !self.is_awake(number) => match self.kid_mut(number) {
                Some(kid) if kid.early.len() < MAX_EARLY => kid.early.push(message),
                _ => log::warn!("dropped: the server says too much before it answers initialize"),
            },
            message::Kind::Request => self.child_asks(number, message, now),
            message::Kind::Notification => self.child_tells(number, message, now),
        }
    }

    fn child_answers(&mut self, number: u64, message: Message, now: Instant) {
        let id = message.id().parse::<u64>().ok();
        match id.and_then(|id| self.waits.remove(&id)) {
            Some(Wait::Call(call)) if call.kid == number => self.finish(call, message, now),
            Some(Wait::Own { kid, own }) if kid == number => match own {
                Own::Initialize if self.stateless.is_some() => self.discovered(number, &message, now),
                Own::Initialize => self.greeted(number, &message, now),
                // It is over, and not asked again before the next generation or the next change of what is wanted.
                Own::Listen => log::debug!("the server tells of no more changes: {}", message.letter().unwrap_or_default()),
                Own::List(list) => self.listed(number, list, &message, now),
                Own::Status { id, outlet } => self.answer_status(&id, &outlet, &message),
                Own::Subscribe(uri) => self.subscribed_again(uri, &message),
                Own::SetLevel | Own::Unsubscribe if message.kind() == message::Kind::Error => {
                    log::debug!("the server refuses: {}", message.letter().unwrap_or_default());
                }
                Own::SetLevel | Own::Unsubscribe => {}
            },
            other => {
                // Another child's: put back what was taken.
                if let (Some(id), Some(other)) = (id, other) {
                    self.waits.insert(id, other);
                }
                log::debug!("dropped: an answer to a call that is over: id {}", message.id());
            }
        }
    }

    /// A call has its answer.
    fn finish(&mut self, call: Call, message: Message, now: Instant) {
        if let Some(kid) = self.kid_mut(call.kid).filter(|kid| !kid.has_answered) {
            kid.has_answered = true;
            let save = kid.save;
            self.acts.push(Act::Answered { save });
        }
        self.mind_pace(&call, now);
        let is_good = message.kind() == message::Kind::Result;
        let mut answer = message.with_id(&call.id);
        match &call.kind {
            Kind::Plain if is_good => {}
            Kind::Tool if is_good => {
                if answer.letter().is_some_and(|letter| letter.contains("\"taskId\"")) {
                    let task = answer.find(&["task", "taskId"]).map(Box::<str>::from);
                    if let Some(task) = task.filter(|_| self.tasks.len() < MAX_TASKS) {
                        self.tasks.insert(task, call.kid);
                    }
                }
                self.add_note(&call, &mut answer);
            }
            Kind::List(list, is_start) if is_good => {
                let seat = self.stateless.as_ref().map_or(call.seat, |stateless| stateless.everybody);
                let result = answer.letter().unwrap_or_default();
                if let Some(seat) = self.seats.get_mut(&seat) {
                    seat.seen.pass(*list, *is_start, result);
                }
                self.note_headers(*list, result);
                if self.rules.dev_tools && *list == lists::List::Tools {
                    super::dev::add_tools(&mut answer);
                }
            }
            Kind::Discover if is_good => super::stateless::edit(&mut answer),
            Kind::Initialize => answer = self.greeted_again(call.seat, call.kid, answer),
            Kind::Subscribe(uri) if !is_good => {
                if let Some(seat) = self.seats.get_mut(&call.seat) {
                    seat.subscriptions.remove(uri);
                }
            }
            _ => {}
        }
        self.offer(&call.outlet, answer);
        self.ended(&call, now);
    }

    /// A call is over, however it ended.
    pub(super) fn ended(&mut self, call: &Call, now: Instant) {
        if let Some(seat) = self.seats.get_mut(&call.seat) {
            seat.calls = seat.calls.saturating_sub(1);
        }
        let Some(kid) = self.kid_mut(call.kid) else { return };
        kid.busy = kid.busy.saturating_sub(1);
        if kid.busy == 0 && matches!(kid.phase, Phase::Draining { .. }) {
            self.stop(call.kid, "reloaded", now);
            self.settle(now);
        } else if self.crowded_since.is_some() {
            self.settle(now);
        }
        self.mind_quiet();
    }

    fn subscribed_again(&mut self, uri: Box<str>, answer: &Message) {
        let is_good = answer.kind() == message::Kind::Result;
        if !is_good {
            log::info!("the new server refuses the subscription to {uri}: it is forgotten");
        }
        let updated = Message::notification("notifications/resources/updated", Some(&format!("{{\"uri\":{uri}}}")));
        for seat in self.seats.values_mut().filter(|seat| seat.subscriptions.contains(&uri)) {
            if is_good {
                self.acts.push(Act::Offer { outlet: Arc::clone(&seat.outlet), message: updated.clone(), otherwise: None });
            } else {
                seat.subscriptions.remove(&uri);
            }
        }
    }

    fn child_asks(&mut self, number: u64, mut message: Message, now: Instant) {
        let Some((_, seat)) = self.seats.first_key_value().filter(|_| !self.is_shared) else {
            let error = RpcError::method_not_found(&message.method());
            return self.send(number, None, Message::error(Some(message.id()), &error));
        };
        if self.asks.len() >= MAX_ASKS {
            let error = RpcError::internal("too many questions to the client are open already");
            return self.send(number, None, Message::error(Some(message.id()), &error));
        }
        let (seat, call) = (Arc::clone(&seat.outlet), self.only_call(number));
        let id = self.number();
        let token = self.swap_token(&mut message, id);
        self.asks.insert(id, Ask { kid: number, id: message.id().into(), token });
        self.ask_begun(number, now);
        self.relate(call, seat, message.with_id(&id.to_string()));
    }

    fn child_tells(&mut self, number: u64, mut message: Message, now: Instant) {
        let is_current = self.current == Some(number);
        let is_busy = self.kid(number).is_some_and(|kid| kid.busy > 0);
        match message.method().as_ref() {
            "notifications/progress" => return self.progress(number, message),
            "notifications/cancelled" => {
                let Some(own) = message.find(&["requestId"]) else { return };
                let ask = self.asks.iter().find(|(_, ask)| ask.kid == number && *ask.id == *own).map(|(id, _)| *id);
                let part = json::span(message.as_str(), own);
                let Some(ask) = ask else { return };
                self.asks.remove(&ask);
                self.ask_over(number, now);
                replace(&mut message, part, &ask.to_string());
            }
            "notifications/message" if self.stateless.is_some() => return self.stateless_log(number, message),
            "notifications/message" if self.is_shared => return self.shared_log(message),
            // The front has confirmed the level already, and the child may not have come to it yet.
            "notifications/message" if self.is_too_verbose(&message) => return,
            "notifications/message" if is_current || is_busy => {}
            _ if !is_current => return log::debug!("dropped: {} from an old server", message.method()),
            "notifications/resources/updated" if self.stateless.is_some() => return self.tell_all(&message),
            "notifications/resources/updated" if self.is_shared => {
                let uri = message.find(&["uri"]).unwrap_or_default();
                for seat in self.seats.values().filter(|seat| seat.subscriptions.contains(uri)) {
                    self.acts.push(Act::Offer { outlet: Arc::clone(&seat.outlet), message: message.clone(), otherwise: None });
                }
                return;
            }
            method => {
                if let Some(which) = lists::changed_by(method) {
                    return self.changed_by_child(which, now);
                }
                if self.is_shared {
                    return log::debug!("dropped: whom {method} of a shared server is for, nobody knows");
                }
            }
        }
        let Some(seat) = self.seats.values().next().map(|seat| Arc::clone(&seat.outlet)) else { return };
        let call = self.only_call(number);
        self.relate(call, seat, message);
    }

    /// Whether a log message of a child of one client is less severe than what that client asked for.
    fn is_too_verbose(&self, message: &Message) -> bool {
        let asked = self.seats.values().next().and_then(|seat| seat.level);
        let level = message.find(&["level"]).and_then(json::unquote).and_then(|level| LogLevel::parse(&level));
        level.zip(asked).is_some_and(|(level, asked)| level < asked)
    }

    /// Progress goes where the call came from, under the token that the client chose.
    fn progress(&mut self, number: u64, mut message: Message) {
        let token = message.find(&["progressToken"]);
        let wait = token.and_then(|token| token.parse().ok()).and_then(|id: u64| self.waits.get(&id));
        let (Some(token), Some(Wait::Call(call))) = (token, wait) else { return log::debug!("dropped: progress of a call that is over") };
        let Some(own) = call.token.clone().filter(|_| call.kid == number) else { return };
        let (part, outlet, seat) = (json::span(message.as_str(), token), Arc::clone(&call.outlet), call.seat);
        replace(&mut message, part, &own);
        let Some(seat) = self.seats.get(&seat).map(|seat| Arc::clone(&seat.outlet)) else { return };
        self.relate(Some(outlet), seat, message);
    }

    /// A log message of a child that many share goes to a session only while it alone has calls there.
    fn shared_log(&mut self, message: Message) {
        let mut busy = self.seats.values().filter(|seat| seat.calls > 0);
        let (Some(seat), None) = (busy.next(), busy.next()) else {
            return log::info!(target: "server", "{}", message.letter().unwrap_or_default());
        };
        let level = message.find(&["level"]).and_then(json::unquote).and_then(|level| LogLevel::parse(&level));
        if level.zip(seat.level).is_none_or(|(level, wanted)| level >= wanted) {
            let outlet = Arc::clone(&seat.outlet);
            self.offer(&outlet, message);
        }
    }

    /// The way of the one call that a child has, where what the child says must belong to it.
    fn only_call(&self, number: u64) -> Option<Arc<dyn Outlet>> {
        self.kid(number).filter(|kid| kid.busy == 1)?;
        self.waits.values().find_map(|wait| match wait {
            Wait::Call(call) if call.kid == number => Some(Arc::clone(&call.outlet)),
            _ => None,
        })
    }

    /// Sends by the way of a call, and when that is closed or there is none, by the session's.
    fn relate(&mut self, call: Option<Arc<dyn Outlet>>, seat: Arc<dyn Outlet>, message: Message) {
        self.acts.push(match call {
            Some(outlet) => Act::Offer { outlet, message, otherwise: Some(seat) },
            None => Act::Offer { outlet: seat, message, otherwise: None },
        });
    }
}
