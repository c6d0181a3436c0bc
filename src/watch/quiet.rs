//! An answer without a look: where the kernel tells of all that is written, and its queue is empty, nothing was. A request asks here first, since a look of
//! its own would wake the watcher's thread, and read a small tree as a whole.
//!
//! It is true of a tree when each of its directories is followed and on a drive of this machine's, and when nothing in it has another name that could be
//! written to: no file is a link, or has two. What is only named lies in directories that are followed as well. A full look finds that out each time.
//! Then the watcher itself has no need to look, either, but for what a kernel may forget to tell.

use std::fs;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::hints::{Bell, Queue};
use super::{Verdict, Watcher, stamp};

/// What the watcher and those who ask share.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    known: Mutex<Option<Known>>,
    bell: Bell,
}

/// There is nothing new but what is in the queue, of which nothing has been taken since.
#[derive(Debug)]
struct Known {
    queue: Arc<Queue>,
    batches: u64,
}

impl Quiet {
    /// The answer to [`Command::LookNow`](super::Command::LookNow), if it is known without a look.
    pub(crate) fn verdict(&self) -> Option<Verdict> {
        let known = self.lock();
        known.as_ref().filter(|known| known.queue.is_empty()).map(|known| Verdict { pending: false, batches: known.batches })
    }

    /// Wakes the watcher, whose commands have become more.
    pub(super) fn ring(&self) {
        self.bell.ring();
    }

    /// Something is to be found out: from now on it takes a look.
    pub(super) fn end(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher {
    pub(crate) fn quiet(&self) -> Arc<Quiet> {
        Arc::clone(&self.quiet)
    }

    /// After a look: all that it has found was sent, the last in the batch of this number; or not, when there is none.
    pub(super) fn settle_down(&self, batches: Option<u64>) {
        let queue = self.hints.queue().filter(|_| self.is_covered);
        *self.quiet.lock() = batches.zip(queue).map(|(batches, queue)| Known { queue: Arc::clone(queue), batches });
    }

    /// Whether there is nothing to look at before something is written, or the next full look is due.
    pub(super) fn rests(&self) -> bool {
        !self.has_doubles && self.quiet.bell.can_ring() && Instant::now() < self.next_full && self.quiet.verdict().is_some()
    }

    /// Waits until something is written, the bell rings, or the next full look is due.
    pub(super) fn rest(&self) {
        let left = self.next_full.saturating_duration_since(Instant::now());
        self.hints.queue().into_iter().for_each(|queue| queue.wait(&self.quiet.bell, left));
    }

    /// Follows the directories of what is only named. False when an edit there can go untold.
    pub(super) fn follow_single_files(&mut self) -> bool {
        let files_as_roots = self.tops.iter().filter(|top| !top.was_directory).map(|top| &top.path);
        let named: Vec<_> = self.named.iter().chain(files_as_roots).cloned().collect();
        // As a program often has that a linker made. It is looked at every few milliseconds, as where nothing is told.
        self.has_doubles = named.iter().any(|path| fs::metadata(path).is_ok_and(|meta| stamp::has_other_names(&meta)));
        // Nobody but its parent tells that a root is another directory now.
        let roots: Vec<_> =
            self.tops.iter().filter(|top| top.was_directory).filter_map(|top| top.path.parent()).map(Path::to_path_buf).collect();
        let follows_roots = roots.iter().all(|dir| {
            self.hints.follow(dir);
            self.hints.come_from(dir)
        });
        follows_roots
            && named.iter().all(|path| {
                // A link is what it leads to, and has to be followed itself.
                let real = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
                [path.as_path(), &real].into_iter().filter_map(Path::parent).all(|dir| {
                    self.hints.follow(dir);
                    self.hints.come_from(dir) && is_real(dir)
                })
            })
    }

    /// Whether nothing on the way to a root is a link, which could lead elsewhere one day.
    pub(super) fn has_real_roots(&self) -> bool {
        self.tops.iter().filter(|top| top.was_directory).all(|top| is_real(&top.path))
    }
}

/// Whether no part of the path is a link.
fn is_real(dir: &Path) -> bool {
    let mut plain = PathBuf::new();
    for part in dir.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            part => plain.push(part),
        }
    }
    fs::canonicalize(dir).is_ok_and(|real| real == plain)
}
