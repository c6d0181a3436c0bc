//! Which groups serve stateless requests: one that all share, and a few more for the moments in which several want to hear log messages.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use super::super::core::Core;
use super::super::group::Group;
use super::super::parts::unavailable;
use super::super::{Hold, State};
use super::not_spoken;
use crate::rpc_error::RpcError;

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
    /// The group that stateless requests share.
    pub(super) fn stateless_group(&self) -> Result<Arc<Group>, RpcError> {
        let mut state = self.stateless_state()?;
        if let Some(group) = &state.stateless.shared {
            return Ok(Arc::clone(group));
        }
        let group = self.new_stateless(&mut state);
        state.stateless.shared = Some(Arc::clone(&group));
        drop(state);
        self.brief(&group);
        Ok(group)
    }

    pub(super) fn further_groups(&self) -> Vec<Arc<Group>> {
        self.stateless_state().map(|state| state.stateless.further.clone()).unwrap_or_default()
    }

    /// One more of these, if there is to be one.
    pub(super) fn new_further_group(&self) -> Option<Arc<Group>> {
        let mut state = self.stateless_state().ok().filter(|state| state.stateless.further.len() < MAX_FURTHER && !self.settings.shared)?;
        let group = self.new_stateless(&mut state);
        state.stateless.further.push(Arc::clone(&group));
        drop(state);
        self.brief(&group);
        Some(group)
    }

    /// The error where the server is known to serve no stateless requests, or is to do so no more.
    fn stateless_state(&self) -> Result<MutexGuard<'_, State>, RpcError> {
        let live = self.live.load(Ordering::Acquire);
        let state = self.lock();
        if self.is_stopping() {
            return Err(unavailable("the server is being stopped"));
        }
        let is_legacy = state.stateless.legacy.is_some_and(|save| save >= live);
        // With --shared there may be no second child beside the one that sessions have: clients can do with that.
        let is_taken = self.settings.shared && state.shared.is_some() && state.stateless.shared.is_none();
        if is_legacy || is_taken { Err(not_spoken()) } else { Ok(state) }
    }

    fn new_stateless(&self, state: &mut State) -> Arc<Group> {
        let group = self.new_group(state, false);
        group.with(|core, now| core.serve_stateless(now));
        group
    }

    /// The group's child, which has the code of `save`, serves no stateless requests. The next session may have it.
    pub(in crate::hold) fn found_legacy(&self, group: &Arc<Group>, save: u64, is_there: bool) {
        let mut state = self.lock();
        let is_current = save >= self.live.load(Ordering::Acquire);
        let is_taken = self.settings.shared && state.shared.is_some();
        let groups = &mut state.stateless;
        groups.legacy = groups.legacy.max(Some(save));
        groups.shared.take_if(|shared| Arc::ptr_eq(shared, group));
        groups.further.retain(|other| !Arc::ptr_eq(other, group));
        if is_there && is_current && !is_taken && groups.spare.is_none() {
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
