//! Many sessions that say nothing: that all are let in, what each costs, whether others are served meanwhile, what is left when they have gone, and
//! how long one notification takes to reach all.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::calls::Crew;
use crate::histogram::Histogram;
use crate::session::{Session, Target, Transport, open_listener, open_stream};
use crate::{Flags, Report, Result, proc};

/// How many clients open sessions at the same time.
const OPENERS: usize = 64;

/// Of an idle stream little is read.
const BUFFER: usize = 512;

/// Opens as many as asked for, or as can be; the second is what stopped it.
fn open_many<T: Send>(count: usize, open: impl Fn() -> Result<T> + Sync) -> (Vec<T>, Option<String>) {
    let (begun, opened, failure) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Mutex::new(None));
    let work = || {
        let mut mine = Vec::new();
        while begun.fetch_add(1, Ordering::Relaxed) < count {
            match open() {
                Ok(one) => mine.push(one),
                Err(error) => {
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| error.to_string());
                    break;
                }
            }
        }
        opened.lock().unwrap_or_else(PoisonError::into_inner).append(&mut mine);
    };
    thread::scope(|scope| (0..OPENERS.min(count)).for_each(|_| drop(scope.spawn(work))));
    (opened.into_inner().unwrap_or_else(PoisonError::into_inner), failure.into_inner().unwrap_or_else(PoisonError::into_inner))
}

pub fn idle(flags: &Flags) -> Result<Report> {
    let target = Target::read(flags)?;
    let Transport::Sse(path) = &target.transport else { return Err("idle sessions are those of HTTP+SSE".into()) };
    let (pid, count, callers) = (flags.or("pid", 0)?, flags.or("count", 2000)?, flags.or("callers", 8)?);
    let seconds = Duration::from_secs_f64(flags.or("seconds", 1.0)?);
    let warmup = Duration::from_secs_f64(flags.or("warmup", 0.3)?);
    let mut report = Report::default();
    let (threads, descriptors) = (proc::threads(pid), proc::descriptors(pid));

    let measure = |crew: &Crew| {
        crew.measure();
        crew.wait(seconds);
    };
    let crew = Crew::start(&target, callers, u64::MAX, warmup)?;
    measure(&crew);
    report_calls(&mut report, "alone", &crew.finish()?);

    let (before, _) = proc::resident(&[pid]);
    let begin = Instant::now();
    let (streams, failure) = open_many(count, || open_stream(target.address, path, BUFFER).map(|(conn, _)| conn));
    report.number("opened", streams.len());
    report.number("opening_ms", begin.elapsed().as_secs_f64() * 1e3);
    if let Some(failure) = failure {
        report.sentence("bounded_by", &failure);
    }
    let (after, _) = proc::resident(&[pid]);
    report.number("kib_each", after.saturating_sub(before) as f64 / streams.len().max(1) as f64);
    report.number("threads_meanwhile", proc::threads(pid));
    report.number("descriptors_meanwhile", proc::descriptors(pid));

    let crew = Crew::start(&target, callers, u64::MAX, warmup)?;
    measure(&crew);
    report_calls(&mut report, "meanwhile", &crew.finish()?);

    drop(streams);
    let deadline = Instant::now() + Duration::from_secs(flags.or("deadline", 60)?);
    let is_as_before = || proc::threads(pid) <= threads && proc::descriptors(pid) <= descriptors;
    let begin = Instant::now();
    while !is_as_before() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(50));
    }
    report.number("returned_ms", begin.elapsed().as_secs_f64() * 1e3);
    report.number("threads_left", proc::threads(pid) as i64 - threads as i64);
    report.number("descriptors_left", proc::descriptors(pid) as i64 - descriptors as i64);
    Ok(report)
}

fn report_calls(report: &mut Report, when: &str, histogram: &Histogram) {
    report.number(&format!("calls_{when}"), histogram.count());
    for (name, share) in [("p50", 0.5), ("p99", 0.99)] {
        report.number(&format!("{name}_{when}"), histogram.micros(share));
    }
}

/// One `list_changed` to many sessions: from the call that causes it until the last of them has read it.
pub fn broadcast(flags: &Flags) -> Result<Report> {
    let target = Target::read(flags)?;
    let Transport::Sse(path) = &target.transport else { return Err("a broadcast goes to sessions of HTTP+SSE".into()) };
    let (count, rounds) = (flags.or("count", 5000)?, flags.or("rounds", 5)?);
    let (mut listeners, failure) = open_many(count, || open_listener(target.address, path, BUFFER));
    let mut report = Report::default();
    report.number("opened", listeners.len());
    if let Some(failure) = failure {
        report.sentence("bounded_by", &failure);
    }
    let mut caller = Session::open(&target)?;
    let mut times = Vec::new();
    for round in 0..rounds {
        let begin = Instant::now();
        let mut took = 0.0;
        caller.change(round + 1, || {
            for listener in &mut listeners {
                listener.event()?;
            }
            took = begin.elapsed().as_secs_f64() * 1e3;
            Ok(())
        })?;
        times.push(took);
    }
    times.sort_by(f64::total_cmp);
    report.number("last_ms", times[times.len() / 2]);
    report.number("last_ms_best", times[0]);
    Ok(report)
}
