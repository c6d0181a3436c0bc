//! The generations of a child: ordered, starting, ready, draining; and what a failed start does to calls.
//!
//! 1. [`settle`](Core::settle) orders a start when the child lacks a save that it should have, or when there is none and somebody waits.
//! 2. [`spawned`](Core::spawned), then `initialize` answered: [`ready`](Core::ready), or [`start_failed`](Core::start_failed).
//! 3. The new one is current, the old one [`drain`](Core::drain)s: it finishes its calls, or runs out of time.
//! 4. [`stop`](Core::stop), and what else ends a child, are in `endings`.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::core::Core;
use super::parts::{Act, Families, Kid, Own, Phase, Report};
use super::process::{Permit, Process};

/// How long a third generation with calls waits for the first to finish its own.
const THIRD_WAITS: Duration = Duration::from_secs(2);
/// Between starts that fail: doubled from the first to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));

impl Core {
    /// New code is to be had: `save` and all before it.
    pub(super) fn swap(&mut self, save: u64, now: Instant) {
        if self.is_closed {
            // Its clients left before anybody waited for the report.
            return self.acts.push(Act::Report(Report::Gone));
        }
        if let Some(has) = self.current().map(|kid| kid.save).filter(|has| *has >= save) {
            return self.acts.push(Act::Report(Report::Ready { save: has }));
        }
        self.wanted = self.wanted.max(save);
        self.gave_up = self.gave_up.min(save.saturating_sub(1));
        (self.failures, self.retry_at) = (0, None);
        self.revive |= self.current.is_none();
        self.is_barred = false;
        self.settle(now);
        self.pump(now);
    }

    /// Orders a start if there is reason and room for one. At most one is under way, and it is never aborted: it finishes, then the next begins.
    pub(super) fn settle(&mut self, now: Instant) {
        self.mind_unasked(now);
        self.crowded_since = self.is_crowded().then(|| self.crowded_since.unwrap_or(now));
        if self.is_closed || self.coming.is_some() {
            return;
        }
        match self.current().map(|kid| (kid.number, kid.save)) {
            Some((_, save)) if save >= self.wanted || self.gave_up >= self.wanted => return,
            Some((number, _)) if self.stop_first => {
                self.current = None;
                self.revive = true;
                log::info!("the old server is stopped before the new one starts: calls wait meanwhile");
                return self.drain(number, now);
            }
            Some(_) => {}
            None if self.is_barred || (self.held.is_empty() && !self.revive) => return,
            None if self.retry_at.is_some_and(|at| now < at) => return,
            None => {}
        }
        if self.stop_first && !self.kids.is_empty() {
            return;
        }
        if self.current.is_some() && self.crowded_since.is_some() {
            return;
        }
        let number = self.number();
        self.kids.push(Kid {
            number,
            save: self.wanted,
            phase: Phase::Ordered,
            process: None,
            outbox: Default::default(),
            is_flushing: false,
            families: Families::default(),
            busy: 0,
            asking: 0,
            early: Vec::new(),
            ready_at: None,
            has_answered: false,
            quick: 0,
            brisk_until: None,
            live_since: SystemTime::UNIX_EPOCH,
            permit: None,
        });
        self.coming = Some(number);
        self.acts.push(Act::Start(number));
    }

    /// It is the turn of an ordered start; false when it is not wanted any more. `save` is what the files hold now.
    pub(super) fn turn(&mut self, number: u64, save: u64) -> bool {
        let wanted = self.coming == Some(number) && !self.is_closed;
        match self.kid_mut(number).filter(|_| wanted) {
            Some(kid) => kid.save = kid.save.max(save),
            None => self.kids.retain(|kid| kid.number != number),
        }
        self.mind_over();
        wanted
    }

    /// The process runs: its first word is `initialize`.
    pub(super) fn spawned(&mut self, number: u64, process: Arc<dyn Process>, permit: Option<Permit>, now: Instant) {
        let closed = self.is_closed;
        // One that has ended already is not there any more, and the process goes as it came.
        let Some(kid) = self.kid_mut(number) else { return };
        (kid.process, kid.permit) = (Some(process), permit);
        if closed || kid.phase != Phase::Ordered {
            return self.stop(number, "reloaded", now);
        }
        self.greet(number, now);
    }

    /// Says the first word to a child.
    pub(super) fn greet(&mut self, number: u64, now: Instant) {
        let deadline = self.rules.start_timeout.map(|timeout| now + timeout);
        if let Some(kid) = self.kid_mut(number) {
            kid.phase = Phase::Starting(deadline);
        }
        let hello = self.hello();
        self.ask_child(number, Own::Initialize, hello);
    }

    /// A start came to nothing. The current child, if there is one, keeps serving.
    pub(super) fn start_failed(&mut self, number: u64, why: String, output: String, is_text_busy: bool, now: Instant) {
        if self.coming != Some(number) {
            return;
        }
        (self.coming, self.unasked) = (None, None);
        let save = self.kid(number).map_or(self.wanted, |kid| kid.save);
        self.stop(number, "unavailable", now);
        if self.current.is_some() && !self.stop_first && says_address_in_use(&output) {
            log::warn!("the address is in use, by its predecessor: from now on the old server is stopped before the new one starts");
            self.stop_first = true;
            return self.settle(now);
        }
        self.last_failure = Some((why.clone(), output.clone()));
        self.gave_up = self.gave_up.max(save);
        if self.current.is_none() {
            self.back_off(now);
        }
        self.acts.push(Act::Report(Report::Failed { save, why, output, is_text_busy }));
        if self.is_probing() {
            self.refuse_all(&super::stateless::not_spoken());
        }
        // A newer save may have come meanwhile.
        self.settle(now);
        self.pump(now);
    }

    pub(super) fn back_off(&mut self, now: Instant) {
        let delay = BACKOFF.0.saturating_mul(1 << self.failures.min(10)).min(BACKOFF.1);
        self.failures += 1;
        self.retry_at = Some(now + delay);
    }

    /// The new child has answered `initialize`: it is the current one, and the old one drains.
    pub(super) fn promote(&mut self, number: u64, families: Families, now: Instant, clock: SystemTime) {
        self.coming = None;
        (self.revive, self.retry_at, self.last_failure) = (false, None, None);
        let old = self.current.replace(number);
        let before = old.and_then(|old| self.kid(old)).map(|kid| kid.families);
        let Some(kid) = self.kid_mut(number) else { return };
        kid.permit = None;
        (kid.phase, kid.families, kid.ready_at, kid.live_since) = (Phase::Ready, families, Some(now), clock);
        let save = kid.save;
        self.park_at = Some(now + self.rules.park_after);
        if let Some(before) = before.filter(|before| *before != families) {
            log::info!("the new server has other capabilities: {families:?}; before: {before:?}");
        }
        if let Some(old) = old {
            self.drain(old, now);
        }
        self.acts.push(Act::Report(Report::Ready { save }));
    }

    /// Lets a child finish its calls.
    pub(super) fn drain(&mut self, number: u64, now: Instant) {
        let left = self.rules.drain;
        let Some(kid) = self.kid_mut(number) else { return };
        let since = if kid.asking == 0 { Some(now) } else { None };
        kid.phase = Phase::Draining { left, since };
        if kid.busy == 0 {
            self.stop(number, "reloaded", now);
        }
    }

    /// Whether too many generations have calls: two that drain, or one and the current one when another is to come.
    fn is_crowded(&self) -> bool {
        let drain = self.kids.iter().filter(|kid| matches!(kid.phase, Phase::Draining { .. })).count();
        let is_next_due = |kid: &&Kid| self.coming.is_none() && kid.save < self.wanted && self.gave_up < self.wanted;
        drain > 1 || (drain == 1 && self.current().filter(is_next_due).is_some_and(|kid| kid.busy > 0))
    }

    /// The oldest generation had its time while others waited.
    fn mind_crowd(&mut self, now: Instant) {
        if self.crowded_since.is_none_or(|since| now < since + THIRD_WAITS) {
            return;
        }
        self.crowded_since = None;
        if !self.is_crowded() {
            return;
        }
        let oldest = self.kids.iter().find(|kid| matches!(kid.phase, Phase::Draining { .. })).map(|kid| kid.number);
        if let Some(oldest) = oldest {
            log::warn!("calls at the oldest of three versions are lost: the newest has waited for them for {THIRD_WAITS:?}");
            self.stop(oldest, "reloaded", now);
        }
    }

    /// A child asked the client, or got its answer: the time it has left stands still, or runs again.
    pub(super) fn ask_begun(&mut self, number: u64, now: Instant) {
        let Some(kid) = self.kid_mut(number) else { return };
        kid.asking += 1;
        if let Phase::Draining { left, since: Some(since) } = kid.phase {
            kid.phase = Phase::Draining { left: left.saturating_sub(now - since), since: None };
        }
    }

    pub(super) fn ask_over(&mut self, number: u64, now: Instant) {
        let Some(kid) = self.kid_mut(number) else { return };
        kid.asking = kid.asking.saturating_sub(1);
        if let Phase::Draining { left, since: None } = kid.phase {
            if kid.asking == 0 {
                kid.phase = Phase::Draining { left, since: Some(now) };
            }
        }
    }

    /// Stops a child that nobody needs at the moment; it comes back with the next message. False when it is needed.
    pub(super) fn park(&mut self, now: Instant) -> bool {
        if self.is_idle_unasked() {
            self.drop_unasked(now);
            return true;
        }
        if self.is_busy() || !self.asks.is_empty() || (self.current.is_none() && self.coming.is_none()) {
            return false;
        }
        log::info!("an idle session's server is parked: it starts again at the session's next message");
        // One that is starting, for a session that waits for nothing, is no more in use. Whoever waits for what becomes of it tries another session.
        if let Some(coming) = self.coming.take() {
            self.stop(coming, "reloaded", now);
            self.acts.push(Act::Report(Report::Gone));
        }
        self.revive = false;
        if let Some(current) = self.current {
            self.stop(current, "reloaded", now);
        }
        true
    }

    pub(super) fn mind_generations(&mut self, now: Instant) {
        for number in self.kid_numbers() {
            match self.kid(number).map(|kid| kid.phase) {
                Some(Phase::Starting(Some(deadline))) if now >= deadline && self.is_probing() => self.is_legacy(number, false, now),
                Some(Phase::Starting(Some(deadline))) if now >= deadline => {
                    let output =
                        self.kid(number).and_then(|kid| kid.process.as_ref().map(|process| process.stderr_tail())).unwrap_or_default();
                    let timeout = self.rules.start_timeout.unwrap_or_default();
                    let why = format!("it did not answer initialize within {timeout:?} (--start-timeout)");
                    self.start_failed(number, why, output, false, now);
                }
                Some(Phase::Draining { left, since: Some(since) }) if now >= since + left => {
                    log::warn!("calls at the old server are lost: it had {:?} to finish them (--drain)", self.rules.drain);
                    self.stop(number, "reloaded", now);
                }
                _ => {}
            }
        }
        self.mind_crowd(now);
        // What was stopped may have been in somebody's way.
        if self.retry_at.is_some_and(|at| now >= at) {
            self.retry_at = None;
        }
        self.settle(now);
        if self.park_at.is_some_and(|at| now >= at) {
            self.mind_parking(now);
        }
    }

    /// Looks whether the clients have been silent for so long, and when to look again.
    fn mind_parking(&mut self, now: Instant) {
        let due = self.last().map_or(now, |last| last + self.rules.park_after);
        let is_silent = due <= now && !self.seats.values().any(|seat| seat.outlet.is_listening());
        self.park_at = match is_silent && self.park(now) {
            true => None,
            false => Some(if due > now { due } else { now + self.rules.park_after }),
        };
    }

    pub(super) fn generations_deadline(&self) -> Option<Instant> {
        let of_kids = self.kids.iter().filter_map(|kid| match kid.phase {
            Phase::Starting(deadline) => deadline,
            Phase::Draining { left, since: Some(since) } => Some(since + left),
            _ => None,
        });
        let of_crowd = self.crowded_since.map(|since| since + THIRD_WAITS);
        of_kids.chain(of_crowd).chain(self.retry_at).chain(self.park_at).min()
    }
}

/// D5: nothing else is guessed from text.
pub(super) fn says_address_in_use(output: &str) -> bool {
    output.contains("EADDRINUSE") || output.to_ascii_lowercase().contains("address already in use")
}
