//! Lets the thread of a connection run the call it has just accepted, and hands the connection to another thread when that takes long: a hand-over for
//! each call would cost as much as all the rest of it.
//!
//! 1. Before the call the thread lays its connection down in its [`Lane`]; behind it it takes it up again.
//! 2. A thread of the relay looks at the lanes every few milliseconds. Where it finds the call that it has seen before, it starts another thread, which
//!    takes the connection up and goes on reading.
//! 3. Who comes back from a call and finds no connection has nothing more to do, and ends.
//!
//! A lane is looked at while it is in use: thousands of connections that are kept alive cost nothing.
//!
//! So what follows on the same connection (a ping, a cancellation, an answer) waits for two looks at most. The thread that looks sleeps while there is
//! nothing to see.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::connection::Job;
use crate::threads;

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(4);

/// After so many looks without anything to see the relay sleeps until it is woken.
const QUIET: u32 = 64;

/// A call that took less is quick: waking another thread for it would take a good part of that.
const QUICK: Duration = Duration::from_millis(1);

/// What can be handed from thread to thread.
pub(crate) trait Baton: Send + 'static {
    /// Goes on in a thread of its own.
    fn go_on(self: Box<Self>);
}

/// Whether the last call of a connection was quick. The next one is likely to be as the last one was.
#[derive(Clone)]
pub(crate) struct Pace(Arc<AtomicBool>);

impl Default for Pace {
    fn default() -> Pace {
        Pace(Arc::new(AtomicBool::new(true)))
    }
}

impl Pace {
    pub fn is_quick(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// The job, which from then on says how it was.
    pub fn timed(&self, job: Job) -> Job {
        let pace = self.clone();
        Box::new(move || {
            let began = Instant::now();
            job();
            pace.0.store(began.elapsed() < QUICK, Ordering::Relaxed);
        })
    }
}

/// What looks at the lanes.
pub(crate) struct Relay<T> {
    /// Of the threads that take over.
    name: &'static str,
    /// Those in use, or out of use for a short time.
    lanes: Mutex<Vec<Weak<Lane<T>>>>,
    stack: usize,
    /// The system had no thread for the last connection that needed one.
    is_short: AtomicBool,
    is_asleep: AtomicBool,
    /// The thread that looks; none when the system had none for it.
    looker: OnceLock<Thread>,
}

/// Where one thread lays down its connection.
pub(crate) struct Lane<T> {
    state: Mutex<State<T>>,
}

struct State<T> {
    baton: Option<Box<T>>,
    /// Counts the calls of this thread.
    call: u64,
    /// The last call that a look saw, and the last one for which a thread was started.
    seen: u64,
    relieved: u64,
    /// It is among those that are looked at; and for how many looks there was nothing to see.
    is_listed: bool,
    quiet: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Call,
    Nothing,
    /// It is not listed any more.
    Disused,
}

impl<T> Relay<T> {
    fn wake(&self) {
        self.looker.get().into_iter().for_each(Thread::unpark);
    }
}

impl<T: Baton> Relay<T> {
    /// Starts the thread that looks. Threads that take over get this name, and `stack` bytes of stack.
    pub fn new(name: &'static str, stack: usize) -> Arc<Relay<T>> {
        let (is_short, is_asleep) = (AtomicBool::new(false), AtomicBool::new(false));
        let relay = Arc::new(Relay { name, lanes: Mutex::default(), stack, is_short, is_asleep, looker: OnceLock::new() });
        let looked_after = Arc::downgrade(&relay);
        match threads::start(&format!("{name}-relay"), move || run(&looked_after)) {
            Ok(handle) => drop(relay.looker.set(handle.thread().clone())),
            Err(error) => log::error!("cannot start the thread that relieves busy connections: {error}"),
        }
        relay
    }

    /// A lane for the thread that asks.
    pub fn lane(&self) -> Arc<Lane<T>> {
        let state = State { baton: None, call: 0, seen: 0, relieved: 0, is_listed: false, quiet: 0 };
        Arc::new(Lane { state: Mutex::new(state) })
    }

    /// Whether a call that takes long is noticed: the system had a thread for that.
    pub fn can_relieve(&self) -> bool {
        self.looker.get().is_some()
    }

    /// Runs `work` on this thread. None when it took so long that another thread has taken over.
    pub fn run(&self, lane: &Arc<Lane<T>>, baton: Box<T>, work: impl FnOnce()) -> Option<Box<T>> {
        let mut state = lock(&lane.state);
        state.baton = Some(baton);
        state.call += 1;
        let is_listed = std::mem::replace(&mut state.is_listed, true);
        drop(state);
        if !is_listed {
            lock(&self.lanes).push(Arc::downgrade(lane));
        }
        // Either this sees that the relay sleeps, or the relay, which looks once more before it does, sees the baton.
        if self.is_asleep.load(Ordering::SeqCst) && self.is_asleep.swap(false, Ordering::SeqCst) {
            self.wake();
        }
        work();
        lock(&lane.state).baton.take()
    }

    /// Looks at the lanes in use. True when there was a call.
    fn look(&self) -> bool {
        // Who comes into use meanwhile is listed behind, and once: what is left out here has let go of its place before.
        let mut listed = std::mem::take(&mut *lock(&self.lanes));
        let mut has_call = false;
        listed.retain(|lane| {
            let seen = lane.upgrade().map_or(Seen::Disused, |lane| self.look_at(&lane));
            has_call |= seen == Seen::Call;
            seen != Seen::Disused
        });
        lock(&self.lanes).append(&mut listed);
        has_call
    }

    fn look_at(&self, lane: &Arc<Lane<T>>) -> Seen {
        let mut state = lock(&lane.state);
        let call = state.call;
        if state.seen != call {
            (state.seen, state.quiet) = (call, 0);
            return Seen::Call;
        }
        if state.baton.is_none() {
            state.quiet += 1;
            state.is_listed = state.quiet <= QUIET;
            return if state.is_listed { Seen::Nothing } else { Seen::Disused };
        }
        if state.relieved == call {
            return Seen::Nothing;
        }
        state.relieved = call;
        drop(state);
        let of = Arc::clone(lane);
        let relieve = move || {
            if let Some(baton) = of.take(call) {
                baton.go_on();
            }
        };
        match threads::start_small(self.name, self.stack, relieve) {
            Ok(_) => self.is_short.store(false, Ordering::Relaxed),
            Err(error) => {
                // The next look tries again.
                lock(&lane.state).relieved = 0;
                if !self.is_short.swap(true, Ordering::Relaxed) {
                    log::error!("cannot start a thread for a connection: {error}: it waits for its call");
                }
            }
        }
        Seen::Call
    }
}

impl<T> Drop for Relay<T> {
    fn drop(&mut self) {
        self.wake();
    }
}

impl<T> Lane<T> {
    /// The baton, if it still lies there for this call.
    fn take(&self, call: u64) -> Option<Box<T>> {
        let mut state = lock(&self.state);
        if state.call == call { state.baton.take() } else { None }
    }
}

fn run<T: Baton>(relay: &Weak<Relay<T>>) {
    let mut quiet = 0;
    while let Some(alive) = relay.upgrade() {
        quiet = if alive.look() { 0 } else { quiet + 1 };
        let mut sleeps = quiet > QUIET;
        if sleeps {
            alive.is_asleep.store(true, Ordering::SeqCst);
            sleeps = !alive.look();
        }
        drop(alive);
        if sleeps {
            thread::park();
            quiet = 0;
        } else {
            thread::park_timeout(LOOK);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::{Receiver, Sender, bounded};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    /// Says when it goes on.
    struct Runner(Sender<()>);

    impl Baton for Runner {
        fn go_on(self: Box<Self>) {
            self.0.send(()).ok();
        }
    }

    #[test]
    fn a_quick_call_keeps_its_thread() {
        let (sender, went_on) = bounded(1);
        let relay = Relay::new("test", 64 << 10);
        let lane = relay.lane();
        let mut runner = Some(Box::new(Runner(sender)));
        for _ in 0..1000 {
            let mut ran = false;
            runner = relay.run(&lane, runner.take().unwrap(), || ran = true);
            assert!(ran);
            // A look may come between: then the thread that it starts has the baton.
            if runner.is_none() {
                went_on.recv_timeout(PATIENCE).unwrap();
                return;
            }
        }
        drop(runner);
        assert!(went_on.recv_timeout(PATIENCE).is_err(), "nobody else went on with it");
    }

    #[test]
    fn a_call_that_takes_long_is_relieved_once() {
        let (sender, went_on) = bounded(2);
        let relay = Relay::new("test", 64 << 10);
        let (first, second) = (relay.lane(), relay.lane());
        let wait = |went_on: &Receiver<()>| went_on.recv_timeout(PATIENCE).unwrap();
        assert!(relay.run(&first, Box::new(Runner(sender.clone())), || wait(&went_on)).is_none());
        assert!(relay.run(&second, Box::new(Runner(sender)), || wait(&went_on)).is_none());
        assert!(went_on.is_empty());
    }

    #[test]
    fn a_relay_that_sleeps_is_woken() {
        let (sender, went_on) = bounded(1);
        let relay = Relay::new("test", 64 << 10);
        let lane = relay.lane();
        let deadline = std::time::Instant::now() + PATIENCE;
        while !relay.is_asleep.load(Ordering::SeqCst) {
            assert!(std::time::Instant::now() < deadline, "it never sleeps");
            thread::yield_now();
        }
        assert!(relay.run(&lane, Box::new(Runner(sender)), || went_on.recv_timeout(PATIENCE).unwrap()).is_none());
    }

    #[test]
    fn a_lane_is_looked_at_while_it_is_in_use() {
        let (sender, went_on) = bounded(2);
        let relay = Relay::new("test", 64 << 10);
        let lane = relay.lane();
        for _ in 0..2 {
            assert!(relay.run(&lane, Box::new(Runner(sender.clone())), || went_on.recv_timeout(PATIENCE).unwrap()).is_none());
            // The list is empty during each look, and stays so when the lane is out of use.
            let deadline = std::time::Instant::now() + PATIENCE;
            while lock(&lane.state).is_listed {
                assert!(std::time::Instant::now() < deadline, "it is looked at for ever");
                thread::yield_now();
            }
        }
        assert!(!relay.look() && lock(&relay.lanes).is_empty());
    }
}
