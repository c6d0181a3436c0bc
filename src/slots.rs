//! How many calls run at once: in all, and for each session; the others wait in line, and the sessions take turns.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::clock;
use crate::connection::Job;
use crate::workers::Workers;

/// The bounds, from [`Limits`](crate::config::Limits).
#[derive(Clone, Copy)]
pub(crate) struct Bounds {
    pub calls: usize,
    pub calls_per_session: usize,
    pub waiting_calls: usize,
    pub waiting_bytes: usize,
    /// Calls that have given their slot back, each of which keeps a thread.
    pub asks: usize,
}

/// What became of a call that asked for a slot.
pub(crate) enum Admission {
    /// It has one. Run the job; its end gives the slot back.
    Run(Job),
    /// It waits; a worker will run it.
    Waits,
    /// Its session's line is full; the job was dropped.
    Full,
}

pub(crate) struct Slots {
    workers: Workers,
    bounds: Bounds,
    state: Mutex<State>,
    quiet: Condvar,
}

#[derive(Default)]
struct State {
    running: usize,
    lanes: Lanes,
    /// Lanes in which a call waits that could run if there were a slot, each once, in turn.
    ready: VecDeque<u64>,
    /// Calls that had given their slot back and want one again; they go first.
    returning: VecDeque<(u64, Sender<()>)>,
    paused: usize,
    /// Somebody is giving out free slots.
    is_starting: bool,
    /// Somebody waits until nothing runs any more.
    is_waited_for: bool,
}

type Lanes = HashMap<u64, Lane, BuildHasherDefault<Spread>>;

/// Spreads numbers over a table. They are given out by ourselves, one after the other, so that nobody can choose some that meet.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn write_u64(&mut self, number: u64) {
        self.0 = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(self.0 ^ u64::from(*byte)));
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[derive(Default)]
struct Lane {
    running: usize,
    paused: usize,
    waiting: VecDeque<Waiting>,
    bytes: usize,
    is_ready: bool,
    /// What runs is to end before another call begins.
    is_reserved: bool,
}

struct Waiting {
    ticket: u64,
    bytes: usize,
    job: Job,
}

/// Gives the slot back when the job is over, also when it panics.
struct Held {
    slots: Arc<Slots>,
    lane: u64,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.slots.release(self.lane);
    }
}

impl Slots {
    pub fn new(bounds: Bounds, workers: Workers) -> Arc<Slots> {
        Arc::new(Slots { workers, bounds, state: Mutex::default(), quiet: Condvar::new() })
    }

    /// Asks for a slot for a call of the session `lane`. `ticket` names the call to [`withdraw`](Slots::withdraw); `bytes` is what it holds while it waits.
    pub fn admit(self: &Arc<Self>, lane_id: u64, ticket: u64, bytes: usize, job: impl FnOnce() + Send + 'static) -> Admission {
        let mut state = self.lock();
        // Whoever returns or waits while a slot is free is held up by the bound of its own session, and no reason to hold up others.
        let free = state.running < self.bounds.calls;
        let lane = state.lanes.entry(lane_id).or_default();
        if free && lane.has_room(self.bounds) && lane.waiting.is_empty() {
            lane.running += 1;
            state.running += 1;
            drop(state);
            return Admission::Run(self.holding(lane_id, job));
        }
        if lane.waiting.len() >= self.bounds.waiting_calls || (lane.bytes + bytes > self.bounds.waiting_bytes && !lane.waiting.is_empty()) {
            return Admission::Full;
        }
        lane.bytes += bytes;
        lane.waiting.push_back(Waiting { ticket, bytes, job: Box::new(job) });
        state.mark_ready(lane_id, self.bounds);
        Admission::Waits
    }

    /// Keeps the calls to come of the session `lane` waiting until one that runs has ended.
    pub fn reserve(&self, lane_id: u64) {
        if let Some(lane) = self.lock().lanes.get_mut(&lane_id) {
            lane.is_reserved = lane.running > 0;
        }
    }

    /// Takes a call out of the line, if it still waits there; then it will never start.
    pub fn withdraw(&self, lane_id: u64, ticket: u64) {
        let mut state = self.lock();
        let Some(lane) = state.lanes.get_mut(&lane_id) else { return };
        let Some(at) = lane.waiting.iter().position(|waiting| waiting.ticket == ticket) else { return };
        let withdrawn = lane.waiting.remove(at);
        lane.bytes -= withdrawn.as_ref().map_or(0, |waiting| waiting.bytes);
        state.forget_if_unused(lane_id);
        drop(state);
        drop(withdrawn);
    }

    /// Empties the line of a session that is over.
    pub fn clear(&self, lane_id: u64) {
        let mut state = self.lock();
        let Some(lane) = state.lanes.get_mut(&lane_id) else { return };
        lane.bytes = 0;
        let withdrawn = std::mem::take(&mut lane.waiting);
        state.forget_if_unused(lane_id);
        drop(state);
        drop(withdrawn);
    }

    /// Gives a running call's slot back while it waits for the client. False, and the call keeps its slot, when too many wait already.
    pub fn pause(self: &Arc<Self>, lane: u64) -> bool {
        let mut state = self.lock();
        if state.paused >= self.bounds.asks {
            return false;
        }
        state.paused += 1;
        state.lanes.entry(lane).or_default().paused += 1;
        drop(state);
        self.release(lane);
        true
    }

    /// Takes a slot again for a call that gave its own back, ahead of all that have not begun. Gives up when `cancelled` fires: a cancelled call only
    /// has to end, and does so on borrowed ground.
    pub fn resume(self: &Arc<Self>, lane_id: u64, cancelled: &Receiver<()>) {
        let mut state = self.lock();
        state.paused -= 1;
        let free = state.running < self.bounds.calls;
        let lane = state.lanes.entry(lane_id).or_default();
        lane.paused -= 1;
        lane.running += 1;
        let has_room = free && lane.running <= self.bounds.calls_per_session;
        if has_room {
            state.running += 1;
            return;
        }
        lane.running -= 1;
        let (turn, my_turn) = bounded(1);
        state.returning.push_back((lane_id, turn.clone()));
        drop(state);
        crossbeam_channel::select! {
            recv(my_turn) -> _ => {}
            recv(cancelled) -> _ => {
                let mut state = self.lock();
                let waiting = state.returning.len();
                state.returning.retain(|(_, other)| !other.same_channel(&turn));
                if state.returning.len() < waiting {
                    state.running += 1;
                    state.lanes.entry(lane_id).or_default().running += 1;
                }
            }
        }
    }

    /// Waits until nothing runs, waits or asks, or the deadline has come.
    pub fn wait_until_quiet(&self, grace: Duration) -> bool {
        let deadline = clock::from_now(grace);
        let mut state = self.lock();
        loop {
            if state.running == 0 && state.paused == 0 && state.lanes.values().all(|lane| lane.waiting.is_empty()) {
                return true;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state.is_waited_for = true;
            state = self.quiet.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Runs a job that has its slot on a worker.
    pub fn run(&self, job: Job) {
        self.workers.run(job);
    }

    fn holding(self: &Arc<Self>, lane: u64, job: impl FnOnce() + Send + 'static) -> Job {
        let held = Held { slots: Arc::clone(self), lane };
        Box::new(move || {
            let _held = held;
            job();
        })
    }

    fn release(self: &Arc<Self>, lane_id: u64) {
        let mut state = self.lock();
        state.running = state.running.saturating_sub(1);
        if let Some(lane) = state.lanes.get_mut(&lane_id) {
            lane.running = lane.running.saturating_sub(1);
            lane.is_reserved = false;
        }
        state.forget_if_unused(lane_id);
        state.mark_ready(lane_id, self.bounds);
        // To wake nobody would cost each call a system call.
        if state.running == 0 && state.is_waited_for {
            self.quiet.notify_all();
        }
        // A job that finds no thread is dropped, which ends here again: then the one who is at it already goes on, not one level deeper.
        if !state.is_starting {
            self.start_next(state);
        }
    }

    /// Gives free slots to those who return, and to those who wait.
    fn start_next<'s>(self: &'s Arc<Self>, mut state: MutexGuard<'s, State>) {
        state.is_starting = true;
        while state.running < self.bounds.calls {
            if let Some(turn) = state.next_returning(self.bounds) {
                turn.send(()).ok();
            } else if let Some((lane, job)) = state.next_waiting(self.bounds) {
                drop(state);
                self.workers.run(self.holding(lane, job));
                state = self.lock();
            } else {
                break;
            }
        }
        state.is_starting = false;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane {
    fn has_room(&self, bounds: Bounds) -> bool {
        self.running < bounds.calls_per_session && !self.is_reserved
    }
}

impl State {
    /// A session that has nothing here any more leaves nothing behind.
    fn forget_if_unused(&mut self, id: u64) {
        let Some(lane) = self.lanes.get(&id) else { return };
        if lane.running > 0 || lane.paused > 0 || !lane.waiting.is_empty() {
            return;
        }
        if lane.is_ready {
            self.ready.retain(|ready| *ready != id);
        }
        self.lanes.remove(&id);
    }

    fn mark_ready(&mut self, id: u64, bounds: Bounds) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        if !lane.is_ready && !lane.waiting.is_empty() && lane.has_room(bounds) {
            lane.is_ready = true;
            self.ready.push_back(id);
        }
    }

    fn next_returning(&mut self, bounds: Bounds) -> Option<Sender<()>> {
        let has_room = |lanes: &Lanes, id: &u64| lanes.get(id).is_none_or(|lane| lane.has_room(bounds));
        let at = self.returning.iter().position(|(id, _)| has_room(&self.lanes, id))?;
        let (id, turn) = self.returning.remove(at)?;
        self.running += 1;
        self.lanes.entry(id).or_default().running += 1;
        Some(turn)
    }

    fn next_waiting(&mut self, bounds: Bounds) -> Option<(u64, Job)> {
        while let Some(id) = self.ready.pop_front() {
            let Some(lane) = self.lanes.get_mut(&id) else { continue };
            lane.is_ready = false;
            if !lane.has_room(bounds) {
                continue;
            }
            let Some(waiting) = lane.waiting.pop_front() else { continue };
            lane.bytes -= waiting.bytes;
            lane.running += 1;
            self.running += 1;
            self.mark_ready(id, bounds);
            return Some((id, waiting.job));
        }
        None
    }
}

#[cfg(test)]
mod tests;
