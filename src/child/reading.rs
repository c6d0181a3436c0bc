//! Who reads what a child writes to stdout: a thread of its own or, while one quick call follows the other, the thread that waits for the answer, which
//! spares a hand-over between threads for each call.
//!
//! 1. The child's own thread reads, and waits for as long as nothing comes.
//! 2. Told that it may [`rest`](Reading::rest), because nothing is to come, it stands by after what it has just read.
//! 3. Then who has sent something may [`lead`](Reading::lead): read until what it waits for has come, a few milliseconds at most.
//! 4. Who has sent something and does not lead, or leaves while more is to come, says [`attend`](Reading::attend), and the child's own thread reads again.
//!    It does so by itself when it has stood by for a while and nobody led: what a child says unasked, or what a leader was kept from reading, waits for
//!    two looks at most.
//!
//! One piece after the other is read and told under the one lock of `pieces`, so their order is that of the child, whoever reads.

use std::io::Read;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, OnceLock, TryLockError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::lock;
use super::output::{Output, Piece, Pieces};

/// How long somebody leads at most, and the pause between two looks.
const LOOK: Duration = Duration::from_millis(4);

/// What the child's own thread does: it reads; it reads, and is to stand by after that; it stands by.
const READS: u8 = 0;
const MAY_REST: u8 = 1;
const RESTS: u8 = 2;

pub(super) struct Reading<P> {
    pieces: Mutex<Pieces<Output<P>>>,
    own: OnceLock<Thread>,
    state: AtomicU8,
    /// Somebody has led since the last look.
    was_led: AtomicBool,
}

impl<P: Read + AsFd> Reading<P> {
    pub(super) fn new(pieces: Pieces<Output<P>>) -> Reading<P> {
        Reading { pieces: Mutex::new(pieces), own: OnceLock::new(), state: AtomicU8::new(READS), was_led: AtomicBool::new(false) }
    }

    /// The child's own thread: reads, or stands by, until the end.
    pub(super) fn run(&self, tell: impl Fn(Piece)) {
        drop(self.own.set(thread::current()));
        loop {
            let mut pieces = lock(&self.pieces);
            pieces.wait_at_most(None);
            match pieces.next() {
                Ok(Some(piece)) => tell(piece),
                Ok(None) => return,
                // It waits for ever.
                Err(_) => {}
            }
            let has_more = pieces.has_buffered();
            drop(pieces);
            if !has_more && self.state.compare_exchange(MAY_REST, RESTS, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                self.stand_by();
            }
        }
    }

    fn stand_by(&self) {
        while self.state.load(Ordering::SeqCst) == RESTS {
            thread::park_timeout(LOOK);
            if !self.was_led.swap(false, Ordering::SeqCst) {
                self.state.store(READS, Ordering::SeqCst);
            }
        }
    }

    /// Nothing is to come: the child's own thread may leave the reading to those who wait. To be said while nobody can send anything, or the other
    /// one's [`attend`](Reading::attend) could come first.
    pub(super) fn rest(&self) {
        // Otherwise it rests already.
        let _ = self.state.compare_exchange(READS, MAY_REST, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// The child's own thread is to read.
    pub(super) fn attend(&self) {
        if self.state.swap(READS, Ordering::SeqCst) == RESTS {
            self.own.get().into_iter().for_each(Thread::unpark);
        }
    }

    /// Reads, if nobody else does, until `is_done`, but not for long.
    pub(super) fn lead(&self, tell: impl Fn(Piece), is_done: &mut dyn FnMut() -> bool) {
        let mut pieces = match self.pieces.try_lock() {
            Ok(pieces) => pieces,
            Err(TryLockError::Poisoned(pieces)) => pieces.into_inner(),
            // Who reads may be about to leave.
            Err(TryLockError::WouldBlock) => return self.attend(),
        };
        self.was_led.store(true, Ordering::SeqCst);
        pieces.wait_at_most(Some(LOOK));
        let end = Instant::now() + LOOK;
        let mut has_time = true;
        while has_time {
            if is_done() && !pieces.has_buffered() {
                return;
            }
            match pieces.next() {
                Ok(Some(piece)) => tell(piece),
                Ok(None) | Err(_) => break,
            }
            has_time = Instant::now() < end;
        }
        drop(pieces);
        self.attend();
    }
}
