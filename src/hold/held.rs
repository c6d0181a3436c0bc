//! Calls that wait, in order: for a child that is ready, and for a save to be live.

use std::time::{Duration, Instant};

use super::core::Core;
use super::handshake;
use super::note::end_of;
use super::parts::{Held, unavailable};
use super::stateless::{PROBE, not_spoken};
use crate::message::Message;

/// Bounds for each client.
const MAX_CALLS: usize = 256;
const MAX_BYTES: usize = 8 << 20;

impl Core {
    /// Whether a call can go to the current child. It waits for its save, or the verdict on that, as long as --hold says; and for what is live
    /// elsewhere until that has been started here, or has failed to.
    pub(super) fn may_go(&self, held: &Held, now: Instant) -> bool {
        let Some(kid) = self.current() else { return false };
        if self.is_undecided(held) {
            return held.need <= kid.save || now >= held.since + self.rules.hold;
        }
        held.need.min(self.live) <= kid.save.max(self.gave_up) || self.is_late(held, now)
    }

    /// Nobody knows yet what becomes of the save that the call needs.
    fn is_undecided(&self, held: &Held) -> bool {
        held.need > self.settled.max(self.live)
    }

    fn is_late(&self, held: &Held, now: Instant) -> bool {
        self.patience().is_some_and(|patience| now >= held.since + patience)
    }

    /// How long a call waits for a child to be there.
    fn patience(&self) -> Option<Duration> {
        // Who asks whether there is anything to talk to must not be kept waiting.
        if self.is_probing() {
            Some(self.rules.start_timeout.map_or(PROBE, |timeout| timeout.min(PROBE)))
        } else {
            self.rules.start_timeout
        }
    }

    /// Has a call wait, or refuses it.
    pub(super) fn hold(&mut self, held: Held) {
        // Stateless requests are nobody's: all of them together are bounded, by more.
        let (factor, is_mine) = if self.stateless.is_some() { (8, None) } else { (1, Some(held.seat)) };
        let mine = self.held.iter().filter(|other| is_mine.is_none_or(|seat| other.seat == seat));
        let (calls, bytes) = mine.fold((0, 0), |(calls, bytes), other| (calls + 1, bytes + other.message.as_str().len()));
        if calls >= factor * MAX_CALLS || (bytes + held.message.as_str().len() > factor * MAX_BYTES && calls > 0) {
            let error = unavailable("too many calls wait for the server to be there again");
            return self.offer(&held.outlet, Message::error(Some(held.message.id()), &error));
        }
        self.held.push_back(held);
    }

    /// Lets go whatever can go, and refuses what has waited too long.
    pub(super) fn pump(&mut self, now: Instant) {
        while let Some(first) = self.held.front() {
            let is_late = self.is_late(first, now) && self.current.is_none();
            let is_first_word = first.message.method() == "initialize";
            if self.may_go(first, now) {
                let Some(held) = self.held.pop_front() else { return };
                self.forward(held);
            } else if is_late && is_first_word && !self.is_shared {
                let Some(held) = self.held.pop_front() else { return };
                self.answer_blindly(held);
            } else if is_late && self.is_probing() {
                let Some(held) = self.held.pop_front() else { return };
                self.offer(&held.outlet, Message::error(Some(held.message.id()), &not_spoken()));
            } else if is_late {
                let Some(held) = self.held.pop_front() else { return };
                let (why, output) = self.why_none();
                let text = format!("no server could be started in time: {why}\n{}", end_of(output));
                let error = unavailable(text.trim_end());
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
        if self.current.is_some() && self.is_undecided(first) {
            return Some(first.since + self.rules.hold);
        }
        self.patience().map(|patience| first.since + patience)
    }

    /// Why there is no child, and the end of what it, or the build, said.
    fn why_none(&self) -> (&str, &str) {
        let unbuilt = self.not_live.as_ref().and_then(|not_live| not_live.output.as_deref());
        match (&self.last_failure, unbuilt) {
            (Some((why, output)), _) => (why, output),
            (None, Some(output)) => ("what was saved last does not build", output),
            (None, None) => ("it is still starting", ""),
        }
    }

    /// The front answers `initialize` without a child: the client stays, and sees why there is nothing to see.
    fn answer_blindly(&mut self, held: Held) {
        let (why, output) = self.why_none();
        let (version, result) = handshake::without_child(&held.message, why, output);
        if let Some(seat) = self.seats.get_mut(&held.seat) {
            (seat.version, seat.is_blind) = (Some(version), true);
        }
        self.offer(&held.outlet, Message::result(held.message.id(), &result));
    }
}
