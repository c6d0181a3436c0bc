//! Whether a save is on its way: what a request asks before it is forwarded.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::hold::{Fresh, Freshness};
use crate::watch;

/// A look takes well under a millisecond, a full sweep that is under way some ten; later the request goes on without.
const PATIENCE: Duration = Duration::from_millis(200);

/// The watcher, as requests and the orchestrator see it.
pub(super) struct Watch {
    commands: Option<Sender<watch::Command>>,
    known: Mutex<Known>,
    expected: (Sender<()>, Receiver<()>),
}

/// What the orchestrator has taken in.
struct Known {
    /// Batches of changes.
    batches: u64,
    /// Saves, as the hold counts them: everything that began or renewed the wait for a verdict.
    noticed: u64,
    /// The verdict on all of them is out.
    is_settled: bool,
}

impl Watch {
    /// With the way to the watcher's thread, or without one.
    pub fn new(commands: Option<Sender<watch::Command>>) -> Arc<Watch> {
        let known = Known { batches: 0, noticed: 0, is_settled: true };
        Arc::new(Watch { commands, known: Mutex::new(known), expected: bounded(1) })
    }

    /// Fires when a request has seen something that the orchestrator has not.
    pub fn expected(&self) -> &Receiver<()> {
        &self.expected.1
    }

    /// Lets the watcher look now. None when there is no watcher, or it has no time.
    pub fn look_now(&self) -> Option<watch::Verdict> {
        let (reply, answer) = bounded(1);
        self.commands.as_ref()?.send_timeout(watch::Command::LookNow(reply), PATIENCE).ok()?;
        answer.recv_timeout(PATIENCE).ok()
    }

    /// Leaves a file out from now on.
    pub fn ignore(&self, path: std::path::PathBuf) {
        if let Some(commands) = &self.commands {
            commands.send_timeout(watch::Command::IgnoreOutput(path), PATIENCE).ok();
        }
    }

    /// Something new was noticed; `is_batch` when it is a batch of changes.
    pub fn notice(&self, is_batch: bool) {
        let mut known = self.lock();
        known.batches += u64::from(is_batch);
        known.noticed += 1;
        known.is_settled = false;
    }

    /// How many batches have been taken in.
    pub fn batches(&self) -> u64 {
        self.lock().batches
    }

    /// The number of the last save.
    pub fn noticed(&self) -> u64 {
        self.lock().noticed
    }

    /// The verdict on everything noticed is out. Returns the number of the last save.
    pub fn settle(&self) -> u64 {
        let mut known = self.lock();
        known.is_settled = true;
        known.noticed
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Freshness for Watch {
    fn look(&self) -> Fresh {
        let seen = self.look_now();
        let known = self.lock();
        if seen.is_some_and(|seen| seen.pending || seen.batches > known.batches) {
            // A full channel means that the orchestrator is told already.
            self.expected.0.try_send(()).ok();
            return Fresh::Coming(known.noticed + 1);
        }
        if known.is_settled { Fresh::Current } else { Fresh::Coming(known.noticed) }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(commands) = &self.commands {
            commands.try_send(watch::Command::Stop).ok();
        }
    }
}
