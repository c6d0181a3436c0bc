//! Calls at full speed: each session makes its next call when the last one is answered. Bounded in time and in number.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::histogram::Histogram;
use crate::session::{Session, Target};
use crate::{Flags, Report, Result, proc};

const WARMING: u8 = 0;
const MEASURING: u8 = 1;
const OVER: u8 = 2;

/// Sessions that call until they are told to stop.
pub struct Crew {
    shared: Arc<Shared>,
    threads: Vec<thread::JoinHandle<()>>,
    pub pids: Vec<u32>,
}

struct Shared {
    phase: AtomicU8,
    /// Calls that may still begin: a bound for when the clock is wrong.
    left: AtomicU64,
    /// Sessions that still call.
    active: AtomicUsize,
    histogram: Mutex<Histogram>,
    failure: Mutex<Option<String>>,
    has_failed: AtomicBool,
}

impl Crew {
    /// Opens the sessions, and has them call, at most `calls` times. Without a time to warm up every call counts.
    pub fn start(target: &Arc<Target>, sessions: usize, calls: u64, warmup: Duration) -> Result<Crew> {
        let shared = Arc::new(Shared {
            phase: AtomicU8::new(if warmup.is_zero() { MEASURING } else { WARMING }),
            left: AtomicU64::new(calls),
            active: AtomicUsize::new(sessions),
            histogram: Mutex::default(),
            failure: Mutex::default(),
            has_failed: AtomicBool::new(false),
        });
        let opened = (0..sessions).map(|_| Session::open(target)).collect::<Result<Vec<_>>>()?;
        let pids = opened.iter().filter_map(Session::pid).collect();
        let work = |session| {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name("session".to_owned()).spawn(move || shared.run(session))
        };
        let threads = opened.into_iter().map(work).collect::<std::io::Result<_>>()?;
        let crew = Crew { shared, threads, pids };
        crew.wait(warmup);
        Ok(crew)
    }

    /// From now on calls count.
    pub fn measure(&self) {
        self.shared.phase.store(MEASURING, Ordering::SeqCst);
    }

    /// Waits for `time`, or until a session has failed.
    pub fn wait(&self, time: Duration) {
        let end = Instant::now() + time;
        let is_over = || self.shared.has_failed.load(Ordering::Relaxed) || self.shared.active.load(Ordering::Relaxed) == 0;
        while Instant::now() < end && !is_over() {
            thread::sleep(Duration::from_millis(20).min(end.saturating_duration_since(Instant::now())));
        }
    }

    /// No further call begins.
    pub fn stop(&self) {
        self.shared.phase.store(OVER, Ordering::SeqCst);
    }

    /// How long the calls that counted took.
    pub fn finish(self) -> Result<Histogram> {
        self.stop();
        for thread in self.threads {
            thread.join().map_err(|_| "a session panicked")?;
        }
        if let Some(failure) = lock(&self.shared.failure).take() {
            return Err(failure.into());
        }
        let histogram = std::mem::take(&mut *lock(&self.shared.histogram));
        if histogram.count() == 0 { Err("not one call was answered in the time measured".into()) } else { Ok(histogram) }
    }
}

impl Shared {
    fn run(&self, mut session: Session) {
        let mut histogram = Histogram::default();
        let mut id = 1_000_000;
        loop {
            let phase = self.phase.load(Ordering::Relaxed);
            if phase == OVER || self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err() {
                break;
            }
            id += 1;
            let begin = Instant::now();
            if let Err(error) = session.call(id) {
                lock(&self.failure).get_or_insert_with(|| error.to_string());
                self.has_failed.store(true, Ordering::Relaxed);
                break;
            }
            if phase == MEASURING && self.phase.load(Ordering::Relaxed) == MEASURING {
                histogram.record(begin.elapsed());
            }
        }
        lock(&self.histogram).add(&histogram);
        self.active.fetch_sub(1, Ordering::Relaxed);
    }
}

pub fn run(flags: &Flags) -> Result<Report> {
    let target = Target::read(flags)?;
    let (sessions, calls) = (flags.or("sessions", 8)?, flags.or("calls", 2_000_000)?);
    let crew = Crew::start(&target, sessions, calls, Duration::from_secs_f64(flags.or("warmup", 0.3)?))?;
    let roots = match flags.or("pid", 0)? {
        0 => crew.pids.clone(),
        pid => vec![pid],
    };
    let pids: Vec<u32> = roots.iter().flat_map(|root| proc::family(*root)).collect();
    let (resident_before, _) = proc::resident(&pids);
    let (begin, cpu) = (Instant::now(), proc::cpu_micros(&pids));
    crew.measure();
    crew.wait(Duration::from_secs_f64(flags.or("seconds", 1.0)?));
    let cpu = proc::cpu_micros(&pids) - cpu;
    crew.stop();
    let took = begin.elapsed();
    let (resident, peak) = proc::resident(&pids);
    let histogram = crew.finish()?;
    let mut report = Report::default();
    report.number("calls", histogram.count());
    report.number("rate", histogram.count() as f64 / took.as_secs_f64());
    report.number("cpu", cpu as f64 / histogram.count() as f64);
    for (name, share) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)] {
        report.number(name, histogram.micros(share));
    }
    report.number("resident_before", resident_before);
    report.number("resident", resident);
    report.number("peak", peak);
    Ok(report)
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
