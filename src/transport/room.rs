//! How many sessions there may be, of all kinds together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Room for sessions.
pub(crate) struct Room {
    most: usize,
    taken: AtomicUsize,
}

/// The place of one session; dropped when the session is over.
pub(crate) struct Seat(Arc<Room>);

impl Room {
    pub fn new(most: usize) -> Arc<Room> {
        Arc::new(Room { most, taken: AtomicUsize::new(0) })
    }

    /// A place, if there is one.
    pub fn enter(self: &Arc<Self>) -> Option<Seat> {
        let one_more = |taken: usize| (taken < self.most).then_some(taken + 1);
        self.taken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).ok().map(|_| Seat(Arc::clone(self)))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::SeqCst);
    }
}
