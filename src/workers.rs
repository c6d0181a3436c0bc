//! Threads that run handlers: started when nobody is idle, ended when nobody needs them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};

use crate::config::Limits;
use crate::connection::Job;
use crate::threads;

/// How long an idle worker stays.
const IDLE: Duration = Duration::from_secs(10);

/// Deeply nested values are parsed on these threads; 128 levels overflow 128 KiB.
pub(crate) const STACK: usize = 2 << 20;

/// A pool without a queue: a job goes to a thread that waits for one, or to a new thread.
#[derive(Clone)]
pub(crate) struct Workers {
    jobs: Sender<Job>,
    idle: Receiver<Job>,
    alive: Arc<AtomicUsize>,
    most: usize,
}

impl Workers {
    /// A pool for all calls that `limits` let run or ask at once. A call that ends starts the next one before its own thread is free: hence twice as many.
    pub fn of(limits: &Limits) -> Workers {
        Workers::new(2 * limits.calls + limits.asks)
    }

    /// A pool of at most `most` threads, none of which runs yet.
    pub fn new(most: usize) -> Workers {
        let (jobs, idle) = bounded(0);
        Workers { jobs, idle, alive: Arc::default(), most }
    }

    /// Runs `job` on a worker. When there can be no further thread the job is dropped, and [the call in it](crate::dispatch) answers for itself.
    pub fn run(&self, job: Job) {
        let Err(TrySendError::Full(job)) = self.jobs.try_send(job) else { return };
        let count = self.alive.fetch_add(1, Ordering::Relaxed);
        if count >= self.most {
            self.alive.fetch_sub(1, Ordering::Relaxed);
            log::error!("all {} worker threads are busy: a call is refused", self.most);
            return;
        }
        let (idle, counted) = (self.idle.clone(), Counted(Arc::clone(&self.alive)));
        // The new thread brings its first job along: handed over later, it could wait behind somebody else's that runs for ever.
        let work = move || {
            let _counted = counted;
            job();
            while let Ok(job) = idle.recv_timeout(IDLE) {
                job();
            }
        };
        if let Err(error) = threads::start_small("worker", STACK, work) {
            log::error!("cannot start a worker thread: {error}: a call is refused");
        }
    }
}

/// A thread that is alive, or about to be.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_that_blocks_delays_no_other() {
        // One for each: a thread that has just done its job may not wait for the next one yet.
        let workers = Workers::new(6);
        let (hold, held) = bounded::<()>(0);
        let (done, results) = bounded(4);
        for _ in 0..2 {
            let held = held.clone();
            workers.run(Box::new(move || {
                held.recv().ok();
            }));
        }
        for n in 0..4 {
            let done = done.clone();
            workers.run(Box::new(move || {
                done.send(n).ok();
            }));
            assert_eq!(results.recv_timeout(Duration::from_secs(5)), Ok(n));
        }
        drop(hold);
    }

    #[test]
    fn beyond_the_bound_a_job_is_dropped() {
        let workers = Workers::new(1);
        let (hold, held) = bounded::<()>(0);
        workers.run(Box::new(move || {
            held.recv().ok();
        }));
        let (alive, dropped) = bounded::<()>(0);
        workers.run(Box::new(move || drop(alive)));
        assert!(dropped.recv_timeout(Duration::from_secs(5)).is_err_and(|error| error.is_disconnected()));
        drop(hold);
    }
}
