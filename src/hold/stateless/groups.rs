//! Which groups serve stateless requests: one that all share, and a few more for the moments in which several want to hear log messages.

use std::sync::Arc;

use super::super::core::Core;
use super::super::group::Group;
use super::super::{Hold, State};

/// Groups for further requests that want log messages. Still more hear none.
const MAX_FURTHER: usize = 4;

#[derive(Default)]
pub(in crate::hold) struct Groups {
    pub shared: Option<Arc<Group>>,
    /// Each for one request that wants log messages.
    further: Vec<Arc<Group>>,
    /// Its child serves no stateless requests, and waits for a session.
    pub spare: Option<Arc<Group>>,
    /// Code up to this save serves no stateless requests.
    legacy: Option<u64>,
}

impl Hold {
    /// The group that stateless requests share; none where the server is known not to serve them, or is being stopped.
    pub(super) fn stateless_group(&self) -> Option<Arc<Group>> {
        let mut state = self.stateless_state()?;
        if let Some(group) = &state.stateless.shared {
            return Some(Arc::clone(group));
        }
        let group = self.new_stateless(&mut state);
        state.stateless.shared = Some(Arc::clone(&group));
        drop(state);
        self.brief(&group);
        Some(group)
    }

    pub(super) fn further_groups(&self) -> Vec<Arc<Group>> {
        self.stateless_state().map(|state| state.stateless.further.clone()).unwrap_or_default()
    }

    /// One more of these, if there is to be one.
    pub(super) fn new_further_group(&self) -> Option<Arc<Group>> {
        let mut state = self.stateless_state().filter(|state| state.stateless.further.len() < MAX_FURTHER)?;
        let group = self.new_stateless(&mut state);
        state.stateless.further.push(Arc::clone(&group));
        drop(state);
        self.brief(&group);
        Some(group)
    }

    fn stateless_state(&self) -> Option<std::sync::MutexGuard<'_, State>> {
        let live = self.live.load(std::sync::atomic::Ordering::Acquire);
        Some(self.lock()).filter(|state| !state.is_stopping && state.stateless.legacy.is_none_or(|save| save < live))
    }

    fn new_stateless(&self, state: &mut State) -> Arc<Group> {
        let group = self.new_group(state, false);
        group.with(|core, now| core.serve_stateless(now));
        group
    }

    /// The group's child, which has the code of `save`, serves no stateless requests. The next session may have it.
    pub(in crate::hold) fn found_legacy(&self, group: &Arc<Group>, save: u64, is_there: bool) {
        let mut state = self.lock();
        let is_current = save >= self.live.load(std::sync::atomic::Ordering::Acquire);
        let groups = &mut state.stateless;
        groups.legacy = groups.legacy.max(Some(save));
        groups.shared.take_if(|shared| Arc::ptr_eq(shared, group));
        groups.further.retain(|other| !Arc::ptr_eq(other, group));
        if is_there && is_current && groups.spare.is_none() {
            groups.spare = Some(Arc::clone(group));
            return;
        }
        drop(state);
        group.with(Core::close);
    }

    /// What waits for a session has old code.
    pub(in crate::hold) fn end_spare(&self) {
        let spare = self.lock().stateless.spare.take();
        spare.into_iter().for_each(|group| group.with(Core::close));
    }
}
