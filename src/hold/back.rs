//! The hold as a back: clients of sessions and stateless ones are let in.

use std::sync::Arc;
use std::time::Duration;

use super::Hold;
use super::group::Seated;
use super::stateless::{BothEras, Requests};
use crate::connection::{Back, Client, Link};
use crate::json::Json;
use crate::rpc_error::RpcError;
use crate::version::Version;

impl Hold {
    /// Lets in a client of a session.
    pub(super) fn sit(self: &Arc<Hold>, client: Client) -> Result<Seated, RpcError> {
        let mut state = self.lock();
        if self.is_stopping() {
            return Err(RpcError::internal("the server is being stopped"));
        }
        let group = match state.shared.clone().or_else(|| state.stateless.spare.take()) {
            Some(group) => group,
            None => self.new_group(&mut state, false),
        };
        if self.settings.shared {
            state.shared = Some(Arc::clone(&group));
        }
        drop(state);
        self.brief(&group);
        let version = client.version.map(Version::as_str);
        let seat = group.with(|core, now| core.sit(client.outlet, version, now));
        Ok(Seated { hold: Arc::clone(self), group, seat })
    }
}

impl Back for Hold {
    fn open(&self, client: Client) -> Result<Arc<dyn Link>, RpcError> {
        let Some(hold) = self.itself.upgrade() else { return Err(RpcError::internal("the server is being stopped")) };
        Ok(match client.version {
            Some(version) if version.is_modern() => Arc::new(Requests::new(hold)),
            _ if client.may_be_stateless => Arc::new(BothEras::new(hold, client)),
            _ => Arc::new(hold.sit(client)?),
        })
    }

    fn schema_with_headers(&self, name: &str) -> Option<Json> {
        let group = self.lock().stateless.shared.clone()?;
        group.with(|core, _| core.stateless.as_ref()?.annotated.get(name).cloned())
    }

    fn is_ready(&self) -> bool {
        self.starter.ahead_is_running() != Some(false) || self.groups().iter().any(|group| group.with(|core, _| core.current.is_some()))
    }

    fn drain(&self, grace: Duration) {
        self.stop(grace);
    }
}
