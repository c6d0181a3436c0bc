//! The order of messages: what must have arrived before the next goes out, and how many are under way.
//!
//! Calls run side by side. A notification, an answer and `initialize` hold back everything behind them until the server has taken them; a call holds back
//! only those until it is written, so that its cancellation cannot overtake it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The line that the messages of one client stand in.
#[derive(Default)]
pub(super) struct Gate {
    line: Mutex<Line>,
    moved: Condvar,
}

#[derive(Default)]
struct Line {
    next: u64,
    /// Those that have not passed, and whether they hold back everything behind them.
    open: BTreeMap<u64, bool>,
    /// Those that exist, passed or not.
    tickets: usize,
}

/// A place in the line. Dropping it gives it up.
pub(super) struct Ticket {
    gate: Arc<Gate>,
    number: u64,
    /// It holds back everything behind it.
    is_barrier: bool,
    has_passed: AtomicBool,
}

impl Gate {
    /// The next place.
    pub fn ticket(self: &Arc<Gate>, is_barrier: bool) -> Ticket {
        let mut line = self.lock();
        let number = line.next;
        line.next += 1;
        line.tickets += 1;
        line.open.insert(number, is_barrier);
        Ticket { gate: Arc::clone(self), number, is_barrier, has_passed: AtomicBool::new(false) }
    }

    /// Has everybody who waits look whether there is still a reason to.
    pub fn stir(&self) {
        drop(self.lock());
        self.moved.notify_all();
    }

    /// Waits until nothing is under way, but for at most `grace`.
    pub fn wait_until_empty(&self, grace: Duration) -> bool {
        let deadline = Instant::now() + grace;
        let mut line = self.lock();
        while line.tickets > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            line = self.moved.wait_timeout(line, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    /// Waits for its turn until `deadline`, or until `is_over`; false when the turn did not come.
    pub fn wait(&self, deadline: Instant, is_over: &dyn Fn() -> bool) -> bool {
        let mut line = self.gate.lock();
        loop {
            let is_held = line.open.range(..self.number).any(|(_, is_barrier)| *is_barrier || self.is_barrier);
            if !is_held {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if is_over() || left.is_zero() {
                return false;
            }
            line = self.gate.moved.wait_timeout(line, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// It was written.
    pub fn written(&self) {
        if !self.is_barrier {
            self.pass();
        }
    }

    /// Whatever is behind it may go.
    pub fn pass(&self) {
        if !self.has_passed.swap(true, Ordering::SeqCst) {
            self.gate.lock().open.remove(&self.number);
            self.gate.moved.notify_all();
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut line = self.gate.lock();
        line.open.remove(&self.number);
        line.tickets -= 1;
        drop(line);
        self.gate.moved.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn goes(ticket: &Ticket) -> bool {
        ticket.wait(Instant::now(), &|| false)
    }

    #[test]
    fn calls_pass_calls_and_nothing_passes_a_barrier() {
        let gate = Arc::new(Gate::default());
        let [first, second] = [gate.ticket(false), gate.ticket(false)];
        let note = gate.ticket(true);
        let behind = gate.ticket(false);
        assert!(goes(&first) && goes(&second));
        assert!(!goes(&note) && !goes(&behind));
        first.written();
        drop(second);
        assert!(goes(&note) && !goes(&behind));
        note.written();
        assert!(!goes(&behind), "a notification that is written has not arrived");
        note.pass();
        assert!(goes(&behind));
        assert!(!gate.wait_until_empty(Duration::ZERO));
        drop((first, note, behind));
        assert!(gate.wait_until_empty(Duration::ZERO));
    }
}
