//! A child as the hold sees it, the way its events find whom they belong to, and the permits by which few start at once.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use crossbeam_channel::Sender;

use super::group::Group;
use crate::child::{Child, ChildEvent, Exit, Ladder, SendError};

/// A running server.
pub(super) trait Process: Send + Sync {
    /// Never waits.
    fn send(&self, line: &str) -> Result<(), SendError>;
    /// Starts its end and returns.
    fn stop(&self, ladder: Ladder);
    /// The end of what it wrote to stderr.
    fn stderr_tail(&self) -> String;
    /// Reads what it says on this thread until `is_done`, if nobody else reads; a few milliseconds at most.
    fn lead(&self, is_done: &mut dyn FnMut() -> bool);
    /// Nothing is to come: who sends something next may lead.
    fn rest(&self);
    /// Something is to come, and nobody leads.
    fn attend(&self);
}

impl Process for Child {
    fn send(&self, line: &str) -> Result<(), SendError> {
        Child::send(self, line)
    }

    fn stop(&self, ladder: Ladder) {
        Child::stop(self, ladder);
    }

    fn stderr_tail(&self) -> String {
        Child::stderr_tail(self)
    }

    fn lead(&self, is_done: &mut dyn FnMut() -> bool) {
        Child::lead(self, is_done);
    }

    fn rest(&self) {
        Child::rest(self);
    }

    fn attend(&self) {
        Child::attend(self);
    }
}

/// The right to start a child; dropped when it is ready or has failed.
pub(super) struct Permit(pub Sender<()>);

impl Drop for Permit {
    fn drop(&mut self) {
        // As many places as permits: never full.
        let _ = self.0.try_send(());
    }
}

/// From a child's threads to the group that it belongs to, which a child started ahead of the first client does not have yet.
#[derive(Default)]
pub(super) struct Wire {
    target: OnceLock<(Weak<Group>, u64)>,
    /// Guards the moment in which a child is given to a group.
    exit: Mutex<Option<Exit>>,
}

impl Wire {
    /// From now on events go to the child `number` of `group`; false when it has ended already.
    pub(super) fn connect(&self, group: &Arc<Group>, number: u64) -> bool {
        let exit = self.exit.lock().unwrap_or_else(PoisonError::into_inner);
        exit.is_none() && self.target.set((Arc::downgrade(group), number)).is_ok()
    }

    /// It ended before it belonged to anybody.
    pub(super) fn exit(&self) -> Option<Exit> {
        self.exit.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn tell(&self, event: ChildEvent) {
        let event = match event {
            ChildEvent::Stderr(line) => return log::info!(target: "server", "{line}"),
            ChildEvent::Exited(exit) => {
                let mut early = self.exit.lock().unwrap_or_else(PoisonError::into_inner);
                if self.target.get().is_none() {
                    if !exit.stopped {
                        log::warn!("a server that no client uses yet has ended: {exit}");
                    }
                    *early = Some(exit);
                    return;
                }
                ChildEvent::Exited(exit)
            }
            line => line,
        };
        match self.target.get() {
            Some((group, number)) => {
                if let Some(group) = group.upgrade() {
                    group.told(*number, event);
                }
            }
            None => log::warn!("dropped: the server says something before it is asked: {event:?}"),
        }
    }
}
