//! Reading an answer on the thread that sent the call: the transport would have that thread wait for the next request, and another one woken for the answer.
//!
//! It is for children that answer quickly, of whom nothing else is to come. The job that [`Group::call`] returns reads what the child says until the call is
//! over, a few milliseconds at most; whether that job is ever run, and how soon, is not what the answer depends on: see `child/reading.rs`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::core::Core;
use super::group::Group;
use super::parts::{Act, Call, Wait};
use super::process::Process;
use crate::connection::Job;

/// A call that took no longer was quick. Transports judge their jobs alike.
const QUICK: Duration = Duration::from_millis(1);

/// Calls with longer pauses between them are worth no haste.
const PAUSE: Duration = Duration::from_millis(10);

impl Group {
    /// Lets a request come; the job, if there is one, waits for its answer.
    pub(super) fn call(self: &Arc<Group>, come: impl FnOnce(&mut Core, Instant)) -> Option<Job> {
        let (process, id) = self.with(|core, now| {
            core.placed = None;
            come(core, now);
            core.led(now)
        })?;
        let group = Arc::clone(self);
        Some(Box::new(move || {
            let mut more_is_to_come = false;
            process.lead(&mut || {
                let core = group.lock();
                more_is_to_come = !core.waits.is_empty();
                !core.waits.contains_key(&id)
            });
            if more_is_to_come {
                process.attend();
            }
        }))
    }
}

impl Core {
    /// The call that has just been sent, if its sender may read the answer.
    pub(super) fn led(&mut self, now: Instant) -> Option<(Arc<dyn Process>, u64)> {
        let id = self.placed.take()?;
        let is_alone = self.waits.len() == 1;
        let Some(Wait::Call(call)) = self.waits.get_mut(&id) else { return None };
        call.since = Some(now);
        let number = call.kid;
        let kid = self.kid(number).filter(|kid| is_alone && kid.brisk_until.is_some_and(|until| now < until))?;
        let process = kid.process.clone()?;
        for act in &mut self.acts {
            if let Act::Flush { kid, is_led } = act {
                *is_led = *kid == number;
            }
        }
        Some((process, id))
    }

    /// A call has its answer: whether the next one may be led.
    pub(super) fn mind_pace(&mut self, call: &Call, now: Instant) {
        let is_quick = call.since.is_some_and(|since| now.saturating_duration_since(since) < QUICK);
        if let Some(kid) = self.kid_mut(call.kid) {
            kid.brisk_until = is_quick.then(|| now + PAUSE);
        }
    }

    /// The child's thread may leave the reading to others when nothing is to come and calls come quickly. Under the lock: who sends something comes after it.
    pub(super) fn may_rest(&self, number: u64) {
        if let Some(kid) = self.kid(number).filter(|kid| self.waits.is_empty() && kid.brisk_until.is_some()) {
            kid.process.iter().for_each(|process| process.rest());
        }
    }
}
