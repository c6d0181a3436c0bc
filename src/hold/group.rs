//! The clients of one child and the child itself: the state machine under its lock, and what carries out what it decides, without the lock.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::core::Core;
use super::from_child;
use super::parts::{Act, Own, Wait, unavailable};
use super::{Hold, HoldSettings};
use crate::child::{ChildEvent, Ladder, SendError};
use crate::connection::{Gone, Job, Link, Outlet, waiting_for_nobody};
use crate::message::{Kind, Message};
use crate::version::Version;

/// From closing a server's stdin to SIGTERM.
pub(super) const CLOSE_STDIN_WAIT: Duration = Duration::from_secs(1);

/// How servers are stopped in the end, when their calls have had `spent`: with the default grace period all of it takes less than eight seconds, even
/// when clients have to be waited for as well.
pub(super) fn last_ladder(stop_timeout: Duration, spent: Duration) -> Ladder {
    let left = Duration::from_millis(5500).saturating_sub(spent).max(Duration::from_millis(500));
    Ladder { close_stdin_wait: CLOSE_STDIN_WAIT.min(left), term_wait: stop_timeout.min(left) }
}

pub(super) struct Group {
    pub id: u64,
    /// Its client does not exist: it is there to find out whether the code starts.
    pub is_trial: bool,
    hold: Weak<Hold>,
    rules: Arc<HoldSettings>,
    core: Mutex<Core>,
}

impl Group {
    pub(super) fn new(id: u64, is_trial: bool, hold: Weak<Hold>, rules: Arc<HoldSettings>) -> Arc<Group> {
        Arc::new(Group { id, is_trial, hold, core: Mutex::new(Core::new(Arc::clone(&rules))), rules })
    }

    /// Lets something happen, and does what follows from it.
    pub(super) fn with<T>(self: &Arc<Group>, happen: impl FnOnce(&mut Core, Instant) -> T) -> T {
        let mut core = self.lock();
        let result = happen(&mut core, Instant::now());
        self.follow(core);
        result
    }

    /// Does what follows from what happened, without the lock.
    fn follow(self: &Arc<Group>, mut core: MutexGuard<'_, Core>) {
        core.arm();
        let (acts, is_common) = (std::mem::take(&mut core.acts), self.rules.shared || core.stateless.is_some());
        drop(core);
        let perform = || acts.into_iter().for_each(|act| self.perform(act));
        // None of those who share a child may be waited for.
        if is_common { waiting_for_nobody(perform) } else { perform() }
    }

    pub(super) fn tick(self: &Arc<Group>) {
        self.with(Core::tick);
    }

    /// Something came from the child `number`.
    pub(super) fn told(self: &Arc<Group>, number: u64, event: ChildEvent) {
        match event {
            ChildEvent::Line(line) => from_child::read(line, |message| {
                self.with(|core, now| {
                    core.hear(number, message, now);
                    core.may_rest(number);
                });
            }),
            ChildEvent::Exited(exit) => self.with(|core, now| core.exited(number, &exit, now)),
            ChildEvent::Muted => self.with(|core, now| core.muted(number, now)),
            ChildEvent::Oversized(size) => self.with(|core, now| core.oversized(number, size, now)),
            ChildEvent::Stderr(_) => {}
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn perform(self: &Arc<Group>, act: Act) {
        let hold = self.hold.upgrade();
        match (act, hold) {
            (Act::Offer { outlet, message, otherwise }, _) => offer(&outlet, message, otherwise.as_ref()),
            (Act::Ended { outlet, id }, _) => outlet.ended(&id),
            (Act::Flush { kid, is_led }, _) => self.flush(kid, is_led),
            (Act::Stop(process), _) => process.stop(Ladder { close_stdin_wait: CLOSE_STDIN_WAIT, term_wait: self.rules.stop_timeout }),
            (Act::Start(kid), Some(hold)) => hold.starter.order(self, kid),
            (Act::Wake(at), Some(hold)) => hold.timer.wake(self.id, at, Arc::downgrade(self)),
            (Act::Answered { save }, Some(hold)) => hold.freshness.answered(save),
            (Act::Report(report), Some(hold)) => hold.report(self.id, report),
            (Act::Legacy { save, is_there }, Some(hold)) => hold.found_legacy(self, save, is_there),
            (Act::Quiet, Some(hold)) => hold.mind_quiet(),
            (Act::Over, Some(hold)) => hold.forget(self.id),
            // Without a hold everything has ended.
            (_, None) => {}
        }
    }

    /// Writes what waits for a child, in order, whoever else adds to it meanwhile.
    fn flush(self: &Arc<Group>, kid: u64, is_led: bool) {
        // A closure: its guard is gone before the line is written.
        let next = || self.lock().next_line(kid);
        while let Some((process, id, line)) = next() {
            match process.send(&line) {
                Ok(()) if is_led => {}
                Ok(()) => process.attend(),
                Err(error @ (SendError::Full | SendError::Failed(_))) => self.with(|core, now| core.undeliverable(kid, id, &error, now)),
                // It reads no more, so it is no use; its end says what becomes of its calls.
                Err(SendError::Closed) => process.stop(Ladder { close_stdin_wait: CLOSE_STDIN_WAIT, term_wait: self.rules.stop_timeout }),
            }
        }
    }
}

fn offer(outlet: &Arc<dyn Outlet>, message: Message, otherwise: Option<&Arc<dyn Outlet>>) {
    let second = otherwise.map(|otherwise| (otherwise, message.clone()));
    if outlet.offer(message).is_ok() {
        return;
    }
    if second.is_none_or(|(otherwise, message)| otherwise.offer(message) == Err(Gone)) {
        log::debug!("a message finds its client gone");
    }
}

/// One client's way to its group.
pub(super) struct Seated {
    pub hold: Arc<Hold>,
    pub group: Arc<Group>,
    pub seat: u64,
}

impl Link for Seated {
    fn deliver(&self, message: Message, outlet: &Arc<dyn Outlet>) -> Option<Job> {
        let is_call = message.kind() == Kind::Request && !matches!(message.method().as_ref(), "initialize" | "ping");
        let need = if is_call { self.hold.need() } else { 0 };
        self.group.call(|core, now| core.deliver(self.seat, message, outlet, need, now))
    }

    fn version(&self) -> Option<Version> {
        self.group.with(|core, _| core.seats.get(&self.seat)?.version.as_deref().and_then(Version::parse))
    }

    fn is_busy(&self) -> bool {
        self.group.with(|core, _| core.is_seat_busy(self.seat))
    }

    fn close(&self) {
        self.group.with(|core, now| core.leave(self.seat, now));
    }
}

impl Core {
    /// Whether a call of this client runs or waits.
    pub(super) fn is_seat_busy(&self, seat: u64) -> bool {
        self.seats.get(&seat).is_some_and(|seat| seat.calls > 0) || self.held.iter().any(|held| held.seat == seat)
    }

    /// The child does not read what it is sent.
    fn undeliverable(&mut self, kid: u64, id: Option<u64>, error: &SendError, now: Instant) {
        let is_starting = self.coming == Some(kid);
        log::error!("a message to the server is lost: {error}");
        match id.and_then(|id| self.waits.remove(&id)) {
            Some(Wait::Call(call)) => {
                self.offer(&call.outlet, Message::error(Some(&call.id), &unavailable(error)));
                self.ended(&call, now);
            }
            Some(Wait::Own { own: Own::Status { id, outlet }, .. }) => self.offer(&outlet, Message::error(Some(&id), &unavailable(error))),
            Some(Wait::Own { .. }) if is_starting => self.start_failed(kid, error.to_string(), String::new(), false, now),
            _ => {}
        }
    }
}
