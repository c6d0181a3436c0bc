//! Whether what runs is what was saved: asked by each request, answered by a look at the files.
//!
//! Looks are numbered. A request that finds something moving waits for the code of the next look; whatever the request saw, that look sees as well.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use crossbeam_channel::Sender;

use super::Message;
use crate::hold::{Fresh, Freshness};
use crate::reload::Stage;
use crate::watch;

/// A look takes milliseconds; on a drive that does not answer the request goes on without it.
const PATIENCE: Duration = Duration::from_secs(1);

/// For [`Watching::coming`]: nothing, and the next look.
const NOTHING: u64 = 0;
const NEXT: u64 = u64::MAX;

/// What the orchestrator and the requests share.
#[derive(Default)]
pub(super) struct Watching {
    /// The last look's number.
    looks: AtomicU64,
    /// Batches of changes that the orchestrator has dealt with.
    taken: AtomicU64,
    /// The number of the cycle under way that has all changes known.
    coming: AtomicU64,
    /// A request waits for the next look.
    expected: AtomicBool,
    /// The save whose code was started last, and when that gave its first answer to a client.
    answered: Mutex<(u64, Option<SystemTime>)>,
}

impl Watching {
    /// Begins a look: who has seen something so far sees it in this one.
    pub(super) fn next_look(&self) -> u64 {
        self.looks.fetch_add(1, Ordering::AcqRel) + 1
    }

    pub(super) fn to_come(&self) -> u64 {
        self.looks.load(Ordering::Acquire) + 1
    }

    /// The orchestrator has dealt with so many batches, and this is how far it is; `cycle` is the number of the present cycle.
    pub(super) fn publish(&self, taken: u64, stage: Stage, cycle: u64) {
        let coming = match stage {
            Stage::Idle => NOTHING,
            Stage::Before => NEXT,
            Stage::Cycle => cycle,
        };
        // In this order: who sees the batch as taken sees what came of it.
        self.coming.store(coming, Ordering::Release);
        self.taken.store(taken, Ordering::Release);
    }

    pub(super) fn take_expected(&self) -> bool {
        self.expected.swap(false, Ordering::AcqRel)
    }

    /// New code is about to be started.
    pub(super) fn starts(&self, save: u64) {
        *self.answered.lock().unwrap_or_else(PoisonError::into_inner) = (save, None);
    }

    /// Whether this file can have been changed by somebody who waited for the code that was started last: so does whoever edits on when an edit has
    /// its answer. What a server writes at its start is there before that.
    pub(super) fn can_be_a_reaction(&self, path: &Path) -> bool {
        let (_, answered) = *self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered.is_some_and(|answered| !watch::Stamp::of(path).is_some_and(|stamp| stamp.is_before(answered)))
    }
}

/// The watcher as requests see it.
pub(super) struct Looking {
    pub(super) shared: Arc<Watching>,
    pub(super) watcher: watch::Line,
    pub(super) orchestrator: Sender<Message>,
}

impl Freshness for Looking {
    fn look(&self) -> Fresh {
        let found = self.watcher.look(PATIENCE);
        let moving = found.is_some_and(|found| found.pending || found.batches > self.shared.taken.load(Ordering::Acquire));
        match self.shared.coming.load(Ordering::Acquire) {
            NOTHING if !moving => Fresh::Current,
            cycle if !moving && cycle != NEXT => Fresh::Coming(cycle),
            _ => {
                let next = self.shared.to_come();
                if !self.shared.expected.swap(true, Ordering::AcqRel) {
                    // When its queue is full it is awake, and finds the flag.
                    let _ = self.orchestrator.try_send(Message::Wake);
                }
                Fresh::Coming(next)
            }
        }
    }

    fn answered(&self, save: u64) {
        let mut answered = self.shared.answered.lock().unwrap_or_else(PoisonError::into_inner);
        // Older code finishes its calls meanwhile.
        if save >= answered.0 {
            answered.1.get_or_insert_with(SystemTime::now);
        }
    }
}
