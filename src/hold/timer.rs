//! The one thread for all deadlines of the hold.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use super::group::Group;
use crate::connection::wait_for_nobody;
use crate::error::{Error, Result};
use crate::threads;

/// Wakes groups. The thread ends with the last handle.
pub(super) struct Timer {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// Each group is in it once.
#[derive(Default)]
struct State {
    due: BTreeMap<(Instant, u64), Weak<Group>>,
    groups: HashMap<u64, Instant>,
    is_over: bool,
}

impl Timer {
    pub(super) fn start() -> Result<Timer> {
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        let run = move || {
            wait_for_nobody();
            theirs.run();
        };
        threads::start("hold-timer", run).map_err(|error| Error::io("cannot start a thread for deadlines", error))?;
        Ok(Timer { shared })
    }

    /// Has the group `id` tick at `at`, unless it does so sooner. A tick that comes too early asks for the next one. One that is put off would never come in
    /// time: two threads that tell of two deadlines may come here in either order.
    pub(super) fn wake(&self, id: u64, at: Instant, group: Weak<Group>) {
        let mut state = self.shared.lock();
        match state.groups.get(&id).copied() {
            Some(before) if before <= at => return,
            Some(before) => drop(state.due.remove(&(before, id))),
            None => {}
        }
        state.groups.insert(id, at);
        state.due.insert((at, id), group);
        drop(state);
        self.shared.changed.notify_one();
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.changed.notify_one();
    }
}

impl Shared {
    fn run(&self) {
        let mut state = self.lock();
        while !state.is_over {
            let Some((&(at, id), _)) = state.due.first_key_value() else {
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = at.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            let due = state.due.pop_first();
            state.groups.remove(&id);
            drop(state);
            if let Some(group) = due.and_then(|(_, group)| group.upgrade()) {
                group.tick();
            }
            state = self.lock();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_sooner_of_two_deadlines_counts_whichever_is_told_last() {
        let timer = Timer::start().unwrap();
        let soon = Instant::now() + Duration::from_secs(1000);
        let (sooner, later) = (soon, soon + Duration::from_secs(1));
        for (id, order) in [(1, [sooner, later]), (2, [later, sooner])] {
            order.into_iter().for_each(|at| timer.wake(id, at, Weak::new()));
            let state = timer.shared.lock();
            assert_eq!((state.groups[&id], state.due.keys().filter(|(_, other)| *other == id).count()), (sooner, 1));
        }
    }
}
