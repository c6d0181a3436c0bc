//! The ladder that ends a child: close stdin, SIGTERM, SIGKILL.

use std::sync::Arc;
use std::time::Instant;

use nix::sys::signal::Signal;

use super::super::{Ladder, lock};
use super::{Life, MAX_RUNG, Phase, SMALL_STACK};
use crate::threads;

#[derive(Clone, Copy)]
pub(super) struct Rungs {
    term_at: Instant,
    kill_at: Instant,
}

impl Life {
    pub(in crate::child) fn stop(self: &Arc<Life>, ladder: Ladder) {
        let term_at = Instant::now() + ladder.close_stdin_wait.min(MAX_RUNG);
        let mut rungs = Rungs { term_at, kill_at: term_at + ladder.term_wait.min(MAX_RUNG) };
        let first = {
            let mut state = lock(&self.state);
            state.stopped |= state.phase == Phase::Running;
            if let Some(earlier) = state.rungs {
                rungs = Rungs { term_at: rungs.term_at.min(earlier.term_at), kill_at: rungs.kill_at.min(earlier.kill_at) };
            }
            let first = state.rungs.is_none() && state.phase == Phase::Running;
            state.rungs = Some(rungs);
            first
        };
        self.changed.notify_all();
        if first {
            let life = Arc::clone(self);
            if let Err(error) = threads::start_small("child-stop", SMALL_STACK, move || life.climb_down()) {
                log::warn!("killing process {} at once: cannot start a thread to stop it gently: {error}", self.pid);
                self.kill();
            }
        }
    }

    /// The thread of the ladder. The tree is looked at before each rung: afterwards nobody knows any more who came from whom.
    fn climb_down(&self) {
        self.note_descendants();
        self.stdin.close();
        if self.ends_before(|rungs| rungs.term_at) {
            return;
        }
        self.note_descendants();
        self.signal(Signal::SIGTERM);
        if self.ends_before(|rungs| rungs.kill_at) {
            return;
        }
        self.note_descendants();
        self.signal(Signal::SIGKILL);
    }

    /// False when the time has come; a later, shorter ladder may move it.
    fn ends_before(&self, rung: fn(&Rungs) -> Instant) -> bool {
        loop {
            let Some(at) = lock(&self.state).rungs.as_ref().map(rung) else { return true };
            let ended = self.wait_until(at, |state| {
                let moved = state.rungs.as_ref().map(rung) != Some(at);
                (moved || state.phase != Phase::Running).then_some(state.phase != Phase::Running)
            });
            match ended {
                Some(true) => return true,
                Some(false) => {}
                None => return false,
            }
        }
    }
}
