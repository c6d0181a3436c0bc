//! The ways of stateless requests to the groups that serve them: one request over HTTP, or a connection that may have a session as well.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::value::RawValue;

use super::super::Hold;
use super::super::from_client::replace;
use super::super::group::{Group, Seated};
use super::{LOG_LEVEL, is_loud, not_spoken};
use crate::connection::{Client, Job, Link, Outlet};
use crate::handler::stateless::Meta;
use crate::json;
use crate::message::{Kind, Message};
use crate::rpc_error::RpcError;
use crate::version::Version;

/// What a handler may log in.
const LOGGING: [&str; 3] = ["tools/call", "prompts/get", "resources/read"];

/// One client's way, for as many requests as it likes.
pub(in crate::hold) struct Requests {
    hold: Arc<Hold>,
    seats: Mutex<Seats>,
}

#[derive(Default)]
struct Seats {
    taken: Vec<(Arc<Group>, u64)>,
    is_closed: bool,
}

impl Requests {
    pub(in crate::hold) fn new(hold: Arc<Hold>) -> Requests {
        Requests { hold, seats: Mutex::default() }
    }

    fn request(&self, mut message: Message, outlet: &Arc<dyn Outlet>) -> Option<Job> {
        let method = message.method().into_owned();
        let need = if matches!(method.as_str(), "server/discover" | "subscriptions/listen") { 0 } else { self.hold.need() };
        if is_loud(&message) {
            if LOGGING.contains(&method.as_str()) {
                match self.loud(message, outlet, need) {
                    None => return None,
                    Some(left) => message = left,
                }
            }
            strip_log_level(&mut message);
        }
        let group = self.hold.stateless_group();
        match group.and_then(|group| self.seat(&group).map(|seat| (group, seat)).ok_or_else(not_spoken)) {
            Ok((group, seat)) => group.call(|core, now| core.stateless_request(seat, message, outlet, need, now)),
            Err(refusal) => {
                // A client that is gone needs no answer.
                drop(outlet.offer(Message::error(Some(message.id()), &refusal)));
                None
            }
        }
    }

    /// A request that wants log messages goes where no other such is: to the child that all share, or to one of its own. Where there is none the
    /// request comes back.
    fn loud(&self, message: Message, outlet: &Arc<dyn Outlet>, need: u64) -> Option<Message> {
        let mut message = Some(message);
        let further = self.hold.further_groups().into_iter().chain(std::iter::once_with(|| self.hold.new_further_group()).flatten());
        for group in self.hold.stateless_group().ok().into_iter().chain(further) {
            let Some(seat) = self.seat(&group) else { continue };
            group.with(|core, now| {
                if !core.has_loud_call() {
                    message.take().into_iter().for_each(|message| core.stateless_request(seat, message, outlet, need, now));
                }
            });
            if message.is_none() {
                break;
            }
        }
        message
    }

    fn seat(&self, group: &Arc<Group>) -> Option<u64> {
        let mut seats = self.lock();
        if let Some((_, seat)) = seats.taken.iter().find(|(other, _)| Arc::ptr_eq(other, group)) {
            return Some(*seat);
        }
        if seats.is_closed {
            return None;
        }
        let seat = group.with(|core, now| core.sit_stateless(now))?;
        seats.taken.push((Arc::clone(group), seat));
        Some(seat)
    }

    fn taken(&self) -> Vec<(Arc<Group>, u64)> {
        self.lock().taken.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link for Requests {
    fn deliver(&self, message: Message, outlet: &Arc<dyn Outlet>) -> Option<Job> {
        match message.kind() {
            Kind::Request => return self.request(message, outlet),
            Kind::Notification if message.method() == "notifications/cancelled" => {
                for (group, seat) in self.taken() {
                    group.with(|core, now| core.cancel(seat, message.clone(), now));
                }
            }
            Kind::Notification | Kind::Result | Kind::Error => {}
        }
        None
    }

    fn version(&self) -> Option<Version> {
        Some(Version::V2026_07_28)
    }

    fn is_busy(&self) -> bool {
        self.taken().iter().any(|(group, seat)| group.with(|core, _| core.is_seat_busy(*seat)))
    }

    fn close(&self) {
        let mut seats = self.lock();
        seats.is_closed = true;
        let taken = std::mem::take(&mut seats.taken);
        drop(seats);
        for (group, seat) in taken {
            group.with(|core, now| core.leave(seat, now));
        }
    }
}

/// A connection, as on stdio: what says in `_meta` that it is stateless is, and anything else belongs to its session, which begins with that.
pub(in crate::hold) struct BothEras {
    hold: Arc<Hold>,
    requests: Requests,
    was_stateless: AtomicBool,
    session: Mutex<Session>,
}

enum Session {
    ToCome(Option<Client>),
    Open(Arc<Seated>),
    Refused(RpcError),
}

impl BothEras {
    pub(in crate::hold) fn new(hold: Arc<Hold>, client: Client) -> BothEras {
        let requests = Requests::new(Arc::clone(&hold));
        BothEras { hold, requests, was_stateless: AtomicBool::new(false), session: Mutex::new(Session::ToCome(Some(client))) }
    }

    /// The session; with `begins`, it begins if need be.
    fn session(&self, begins: bool) -> Option<Result<Arc<Seated>, RpcError>> {
        let mut session = self.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Session::ToCome(client) = &mut *session {
            let client = client.take_if(|_| begins)?;
            *session = match self.hold.sit(client) {
                Ok(seated) => Session::Open(Arc::new(seated)),
                Err(refusal) => Session::Refused(refusal),
            };
        }
        match &*session {
            Session::Open(seated) => Some(Ok(Arc::clone(seated))),
            Session::Refused(refusal) => Some(Err(refusal.clone())),
            Session::ToCome(_) => None,
        }
    }

    fn open_session(&self) -> Option<Arc<Seated>> {
        self.session(false).and_then(Result::ok)
    }
}

impl Link for BothEras {
    fn deliver(&self, message: Message, outlet: &Arc<dyn Outlet>) -> Option<Job> {
        let is_request = message.kind() == Kind::Request;
        if is_request && is_stateless(&message) {
            self.was_stateless.store(true, Ordering::Relaxed);
            return self.requests.deliver(message, outlet);
        }
        let was_stateless = self.was_stateless.load(Ordering::Relaxed);
        if was_stateless && message.method() == "notifications/cancelled" {
            self.requests.deliver(message.clone(), outlet);
        }
        match self.session(is_request || !was_stateless) {
            Some(Ok(session)) => session.deliver(message, outlet),
            Some(Err(refusal)) if is_request => {
                drop(outlet.offer(Message::error(Some(message.id()), &refusal)));
                None
            }
            Some(Err(_)) | None => None,
        }
    }

    fn version(&self) -> Option<Version> {
        let known = self.open_session().and_then(|session| session.version());
        known.or_else(|| self.was_stateless.load(Ordering::Relaxed).then_some(Version::V2026_07_28))
    }

    fn is_busy(&self) -> bool {
        self.requests.is_busy() || self.open_session().is_some_and(|session| session.is_busy())
    }

    fn close(&self) {
        self.requests.close();
        self.open_session().iter().for_each(|session| session.close());
    }
}

fn is_stateless(message: &Message) -> bool {
    // Reading the letter is for those few that may be.
    message.letter().is_some_and(|letter| letter.contains("io.modelcontextprotocol/protocolVersion")) && Meta::of(message).is_stateless()
}

fn strip_log_level(message: &mut Message) {
    let Some(meta) = message.find(&["_meta"]) else { return };
    let Ok(mut members) = serde_json::from_str::<BTreeMap<String, &RawValue>>(meta) else { return };
    if members.remove(LOG_LEVEL).is_none() {
        return;
    }
    let members: Vec<String> = members.iter().map(|(name, value)| format!("{}:{}", json::string(name), value.get())).collect();
    let (part, stripped) = (json::span(message.as_str(), meta), format!("{{{}}}", members.join(",")));
    replace(message, part, &stripped);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_log_level_is_taken_out() {
        let strip = |params: &str| {
            let mut message = Message::request("1", "tools/list", Some(params));
            strip_log_level(&mut message);
            message.letter().unwrap().to_owned()
        };
        let before = r#"{"a":1,"_meta":{"progressToken":12345678901234567890,"io.modelcontextprotocol/logLevel":"info","b":{ }},"z":2}"#;
        assert_eq!(strip(before), r#"{"a":1,"_meta":{"b":{ },"progressToken":12345678901234567890},"z":2}"#);
        assert_eq!(strip(r#"{"x":"io.modelcontextprotocol/logLevel"}"#), r#"{"x":"io.modelcontextprotocol/logLevel"}"#);
    }
}
