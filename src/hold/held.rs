//! Calls that wait, in order: for a child that is ready, and for a save to be live.

use std::time::Instant;

use super::core::Core;
use super::handshake;
use super::parts::{Held, unavailable};
use crate::message::Message;

/// Bounds for each client.
const MAX_CALLS: usize = 256;
const MAX_BYTES: usize = 8 << 20;

impl Core {
    /// Whether a call can go to the current child: it has the save; or nobody will ever have it; or the wait for it is over. A save that is live
    /// elsewhere is not waited for so long: it is being started here.
    pub(super) fn may_go(&self, held: &Held, now: Instant) -> bool {
        let Some(kid) = self.current() else { return false };
        let known = kid.save.max(self.settled).max(self.gave_up);
        held.need <= known || (held.need > self.live && now >= held.since + self.rules.hold) || self.is_late(held, now)
    }

    fn is_late(&self, held: &Held, now: Instant) -> bool {
        self.rules.start_timeout.is_some_and(|timeout| now >= held.since + timeout)
    }

    /// Has a call wait, or refuses it.
    pub(super) fn hold(&mut self, held: Held) {
        let mine = self.held.iter().filter(|other| other.seat == held.seat);
        let (calls, bytes) = mine.fold((0, 0), |(calls, bytes), other| (calls + 1, bytes + other.message.as_str().len()));
        if calls >= MAX_CALLS || (bytes + held.message.as_str().len() > MAX_BYTES && calls > 0) {
            let error = unavailable("too many calls wait for the server to be there again");
            return self.offer(&held.outlet, Message::error(Some(held.message.id()), &error));
        }
        self.held.push_back(held);
    }

    /// Lets go whatever can go, and refuses what has waited too long.
    pub(super) fn pump(&mut self, now: Instant) {
        while let Some(first) = self.held.front() {
            let is_late = self.is_late(first, now);
            let is_first_word = first.message.method() == "initialize";
            if self.may_go(first, now) {
                let Some(held) = self.held.pop_front() else { return };
                self.forward(held);
            } else if is_late && is_first_word && !self.is_shared {
                let Some(held) = self.held.pop_front() else { return };
                self.answer_blindly(held);
            } else if is_late {
                let Some(held) = self.held.pop_front() else { return };
                let why = self.last_failure.as_ref().map_or("it is still starting", |(why, _)| why.as_str());
                let error = unavailable(format_args!("no server could be started in time: {why}"));
                self.offer(&held.outlet, Message::error(Some(held.message.id()), &error));
            } else {
                break;
            }
        }
        self.mind_quiet();
    }

    /// Refuses everything that waits.
    pub(super) fn refuse_all(&mut self, error: &crate::rpc_error::RpcError) {
        for held in std::mem::take(&mut self.held) {
            self.offer(&held.outlet, Message::error(Some(held.message.id()), error));
        }
        self.mind_quiet();
    }

    pub(super) fn held_deadline(&self) -> Option<Instant> {
        let first = self.held.front()?;
        let too_late = self.rules.start_timeout.map(|timeout| first.since + timeout);
        let to_the_old = self.current.filter(|_| first.need > self.live).map(|_| first.since + self.rules.hold);
        [too_late, to_the_old].into_iter().flatten().min()
    }

    /// The front answers `initialize` without a child: the client stays, and sees why there is nothing to see.
    fn answer_blindly(&mut self, held: Held) {
        let Some(seat) = self.seats.get_mut(&held.seat) else { return };
        let (why, output) = self.last_failure.clone().unwrap_or(("it is still starting".to_owned(), String::new()));
        let (version, result) = handshake::without_child(&held.message, &why, &output);
        seat.version = Some(version);
        seat.is_blind = true;
        self.offer(&held.outlet, Message::result(held.message.id(), &result));
    }
}
