//! The one thread for all deadlines of the hold.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use super::group::Group;
use crate::error::{Error, Result};

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
        std::thread::Builder::new()
            .name("hold-timer".to_owned())
            .spawn(move || theirs.run())
            .map_err(|error| Error::io("cannot start a thread for deadlines", error))?;
        Ok(Timer { shared })
    }

    /// Has the group `id` tick at `at`, and no longer when it said before.
    pub(super) fn wake(&self, id: u64, at: Instant, group: Weak<Group>) {
        let mut state = self.shared.lock();
        if let Some(before) = state.groups.insert(id, at) {
            state.due.remove(&(before, id));
        }
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
