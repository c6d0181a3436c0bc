//! `initialize`: the client's own goes to its first child sealed, and to every later one again; what is edited in the result so that lists can
//! change and levels can be set under any child.

use std::time::{Instant, SystemTime};

use super::core::Core;
use super::from_client::replace;
use super::parts::{Act, Families, Own, Phase};
use crate::connection::Outlet;
use crate::json;
use crate::message::Message;
use crate::version::Version;

/// Members of a result that the front adds to: what a client must know to be told of changes.
const LISTS: [&str; 3] = ["tools", "prompts", "resources"];

impl Core {
    /// What a child hears first.
    pub(super) fn hello(&self) -> Message {
        if self.stateless.is_some() {
            return Message::request("0", "server/discover", Some(&self.own_params("{}")));
        }
        let own = self.seats.values().find_map(|seat| seat.initialize.as_ref());
        if let Some(own) = own.filter(|_| !self.is_shared) {
            return own.clone();
        }
        // The client came back after we, or it, were restarted, and goes on as if nothing had been; or the child is for all, and nobody's.
        let asked = own.and_then(|own| own.find(&["protocolVersion"]).map(str::to_owned));
        let known = self.seats.values().find_map(|seat| seat.version.as_deref()).map(json::string);
        let version = asked.or(known).unwrap_or_else(|| json::string(Version::NEWEST_HANDSHAKE.as_str()));
        let client = format!("{{\"name\":\"{}\",\"version\":\"{}\"}}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        let params = format!("{{\"protocolVersion\":{version},\"capabilities\":{{}},\"clientInfo\":{client}}}");
        Message::request("0", "initialize", Some(&params))
    }

    /// The child has answered `initialize`.
    pub(super) fn greeted(&mut self, number: u64, answer: &Message, now: Instant) {
        let result = match (answer.kind(), answer.letter()) {
            (crate::message::Kind::Result, Some(result)) => result,
            (_, error) => {
                let why = format!("it refused initialize: {}", error.unwrap_or_default());
                return self.fail(number, why, now);
            }
        };
        let version = json::member(result, "protocolVersion").and_then(json::unquote).unwrap_or_default().into_owned();
        let shared = self.result.as_deref().filter(|_| self.is_shared).and_then(|result| json::member(result, "protocolVersion"));
        let own = self.seats.values().find_map(|seat| seat.version.as_deref()).filter(|_| !self.is_shared);
        if let Some(has) = shared.and_then(json::unquote).as_deref().or(own).filter(|has| *has != version) {
            let why = format!("it speaks version {version:?} of the protocol, and the client has {has:?} already");
            return self.fail(number, why, now);
        }
        let families = Families::of(result);
        self.result = Some(edited(result).into());
        self.promote(number, families, now, SystemTime::now());
        let is_synthetic = self.is_shared || self.seats.values().all(|seat| seat.initialize.is_none());
        if is_synthetic {
            for seat in self.seats.values_mut().filter(|seat| seat.initialize.is_none()) {
                seat.version.get_or_insert_with(|| version.as_str().into());
            }
        }
        if is_synthetic || self.seats.values().any(|seat| seat.initialized) {
            self.send(number, None, Message::notification("notifications/initialized", None));
        }
        self.adjust_level();
        let uris: std::collections::BTreeSet<Box<str>> = self.seats.values().flat_map(|seat| seat.subscriptions.iter().cloned()).collect();
        for uri in uris {
            let params = format!("{{\"uri\":{uri}}}");
            self.ask_child(number, Own::Subscribe(uri), Message::request("0", "resources/subscribe", Some(&params)));
        }
        self.pump(now);
        for message in self.kid_mut(number).map(|kid| std::mem::take(&mut kid.early)).unwrap_or_default() {
            self.hear(number, message, now);
        }
        let was_blind = self.seats.values_mut().filter_map(|seat| std::mem::take(&mut seat.is_blind).then_some(())).count() > 0;
        if was_blind {
            (0..LISTS.len()).for_each(|which| self.changed(which, now));
        }
        self.compare(number, now);
        self.settle(now);
    }

    pub(super) fn fail(&mut self, number: u64, why: String, now: Instant) {
        let output = self.kid(number).and_then(|kid| kid.process.as_ref().map(|process| process.stderr_tail())).unwrap_or_default();
        self.start_failed(number, why, output, false, now);
    }

    /// Answers a client's `initialize` with what the child answered to it, or to the front's.
    pub(super) fn answer_initialize(&mut self, seat: u64, message: &Message, outlet: &std::sync::Arc<dyn Outlet>) {
        let Some(result) = self.result.clone() else { return };
        self.note_version(seat, &result);
        self.offer(outlet, Message::result(message.id(), &result));
    }

    pub(super) fn note_version(&mut self, seat: u64, result: &str) {
        let version = json::member(result, "protocolVersion").and_then(json::unquote);
        if let (Some(seat), Some(version)) = (self.seats.get_mut(&seat), version) {
            seat.version = Some(version.as_ref().into());
        }
    }

    /// A child's answer to a client that initialises itself again.
    pub(super) fn greeted_again(&mut self, seat: u64, kid: u64, answer: Message) -> Message {
        let Some(result) = answer.letter().filter(|_| answer.kind() == crate::message::Kind::Result) else { return answer };
        let (families, result) = (Families::of(result), edited(result));
        self.note_version(seat, &result);
        if let Some(kid) = self.kid_mut(kid) {
            kid.families = families;
        }
        let part = answer.letter().map(|letter| json::span(answer.as_str(), letter)).unwrap_or_default();
        let mut answer = answer;
        replace(&mut answer, part, &result);
        self.result = Some(result.into());
        answer
    }

    /// Whether a child is far enough to be listened to.
    pub(super) fn is_awake(&self, number: u64) -> bool {
        self.kid(number).is_some_and(|kid| matches!(kid.phase, Phase::Ready | Phase::Draining { .. }))
    }

    /// One message for every client.
    pub(super) fn tell_all(&mut self, message: &Message) {
        let acts = self.seats.values().map(|seat| Act::Offer { outlet: seat.outlet.clone(), message: message.clone(), otherwise: None });
        self.acts.extend(acts);
    }
}

impl Families {
    pub(super) fn of(result: &str) -> Families {
        let capabilities = json::member(result, "capabilities").unwrap_or("{}");
        let [tools, prompts, resources, logging] = json::members(capabilities, ["tools", "prompts", "resources", "logging"])
            .unwrap_or_default()
            .map(|found| found.is_some_and(|found| found.starts_with('{')));
        Families { tools, prompts, resources, logging }
    }
}

/// A result of `initialize` in which lists may change and levels be set; nothing else in it is touched.
pub(super) fn edited(result: &str) -> String {
    let mut capabilities = with_changing_lists(json::member(result, "capabilities"));
    if !json::member(&capabilities, "logging").is_some_and(|found| found.starts_with('{')) {
        capabilities = with_member(&capabilities, "logging", "{}");
    }
    with_member(result, "capabilities", &capabilities)
}

/// Capabilities with those of a server whose lists may change.
pub(super) fn with_changing_lists(capabilities: Option<&str>) -> String {
    let mut capabilities = capabilities.filter(|found| found.starts_with('{')).unwrap_or("{}").to_owned();
    for name in LISTS {
        let family = json::member(&capabilities, name).filter(|found| found.starts_with('{')).unwrap_or("{}");
        let family = with_member(family, "listChanged", "true");
        capabilities = with_member(&capabilities, name, &family);
    }
    capabilities
}

/// The object with this member, in its old place or at the end.
pub(super) fn with_member(object: &str, name: &str, value: &str) -> String {
    let mut object = object.trim_end().to_owned();
    if let Some(part) = json::member(&object, name).map(|found| json::span(&object, found)) {
        object.replace_range(part, value);
        return object;
    }
    let Some(body) = object.strip_suffix('}') else { return object };
    let comma = if body.trim_end().ends_with('{') { "" } else { "," };
    format!("{body}{comma}{}:{value}}}", json::string(name))
}

/// The result of `initialize` when no child could be started in time, and the version in it.
pub(super) fn without_child(initialize: &Message, why: &str, output: &str) -> (Box<str>, String) {
    let asked = initialize.find(&["protocolVersion"]).and_then(json::unquote).unwrap_or_default();
    let version = Version::negotiate(&asked).as_str();
    let instructions = format!(
        "The server behind this front does not run: {why}. It is started again as soon as its files change; its tools appear then.\n{}",
        super::note::end_of(output)
    );
    let result = format!(
        "{{\"protocolVersion\":\"{version}\",\"capabilities\":{{}},\"serverInfo\":{{\"name\":\"{}\",\"version\":\"{}\"}},\"instructions\":{}}}",
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_VERSION"),
        json::string(&instructions)
    );
    (version.into(), edited(&result))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_is_edited_in_place_and_nowhere_else() {
        let result = r#"{"z":1, "capabilities": {"tools":{"listChanged": false,"x":2},"prompts":{ },"completions":{}} ,"serverInfo":{"n":12345678901234567890}}"#;
        let wanted = r#"{"z":1, "capabilities": {"tools":{"listChanged": true,"x":2},"prompts":{ "listChanged":true},"completions":{},"resources":{"listChanged":true},"logging":{}} ,"serverInfo":{"n":12345678901234567890}}"#;
        assert_eq!(edited(result), wanted);
        assert_eq!(edited(wanted), wanted, "once is enough");
        let bare = edited("{}");
        assert_eq!(json::path(&bare, &["capabilities", "tools", "listChanged"]), Some("true"));
    }

    #[test]
    fn without_a_child_the_client_reads_why() {
        let asked = Message::request("1", "initialize", Some(r#"{"protocolVersion":"2026-07-28"}"#));
        let (version, result) = without_child(&asked, "it ended", "Traceback \"x\"");
        assert_eq!(&*version, "2025-11-25");
        assert!(json::member(&result, "instructions").and_then(json::unquote).unwrap().contains("Traceback \"x\""));
    }
}
