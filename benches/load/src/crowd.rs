//! Many sessions that say nothing: that all are let in, what each costs, whether others are served meanwhile, what is left when they have gone, and
//! how long one notification takes to reach all.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::calls::Crew;
use crate::conn::Conn;
use crate::histogram::Histogram;
use crate::session::{Session, Target, Transport, open_listener, open_stream, ping};
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

/// How many of these sessions are served, asked by as many at once as opened them; and why the first of the others is not.
fn ping_all(target: &Target, streams: &mut [(Conn, String)]) -> (usize, Option<String>) {
    let (served, failure) = (AtomicUsize::new(0), Mutex::new(None));
    let ask = |some: &mut [(Conn, String)]| -> Result<()> {
        let mut posts = Conn::open(target.address, 4096)?;
        for (events, path) in some {
            ping(events, &mut posts, target.address, path)?;
            served.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    let share = streams.len().div_ceil(OPENERS).max(1);
    thread::scope(|scope| {
        for some in streams.chunks_mut(share) {
            scope.spawn(|| {
                if let Err(error) = ask(some) {
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| error.to_string());
                }
            });
        }
    });
    (served.into_inner(), failure.into_inner().unwrap_or_else(PoisonError::into_inner))
}

pub fn idle(flags: &Flags) -> Result<Report> {
    let target = Target::read(flags)?;
    let Transport::Sse(path) = &target.transport else { return Err("idle sessions are those of HTTP+SSE".into()) };
    let (pid, count, callers) = (flags.or("pid", 0)?, flags.or("count", 2000)?, flags.or("callers", 8)?);
    let seconds = Duration::from_secs_f64(flags.or("seconds", 1.0)?);
    let warmup = Duration::from_secs_f64(flags.or("warmup", 0.3)?);
    let patience = Duration::from_secs(flags.or("deadline", 30)?);
    let mut report = Report::default();
    let descriptors = proc::descriptors(pid);

    let measure = |crew: &Crew| {
        crew.measure();
        crew.wait(seconds);
    };
    let crew = Crew::start(&target, callers, u64::MAX, warmup)?;
    measure(&crew);
    report_calls(&mut report, "alone", &crew.finish()?);

    let until = |is_so: &dyn Fn() -> bool| {
        let begin = Instant::now();
        while !is_so() && begin.elapsed() < patience {
            thread::sleep(Duration::from_millis(20));
        }
        begin.elapsed().as_secs_f64() * 1e3
    };
    // What is there now is there before the crowd comes: a server that has just been started may still start threads.
    until(&|| proc::descriptors(pid) <= descriptors);
    let threads = proc::threads(pid);
    let (before, _) = proc::resident(&[pid]);
    let begin = Instant::now();
    let (mut streams, failure) = open_many(count, || open_stream(target.address, path, BUFFER));
    report.number("opened", streams.len());
    report.number("opening_ms", begin.elapsed().as_secs_f64() * 1e3);
    if let Some(failure) = failure {
        report.sentence("not_opened", &failure);
    }
    let (after, _) = proc::resident(&[pid]);
    report.number("kib_each", after.saturating_sub(before) as f64 / streams.len().max(1) as f64);
    report.number("threads_meanwhile", proc::threads(pid));
    report.number("descriptors_meanwhile", proc::descriptors(pid));

    let crew = Crew::start(&target, callers, u64::MAX, warmup)?;
    measure(&crew);
    report_calls(&mut report, "meanwhile", &crew.finish()?);

    let begin = Instant::now();
    let (served, failure) = ping_all(&target, &mut streams);
    report.number("served", served);
    report.number("serving_ms", begin.elapsed().as_secs_f64() * 1e3);
    if let Some(failure) = failure {
        report.sentence("not_served", &failure);
    }

    drop(streams);
    // A stream's thread has its descriptor until it ends; threads that wait for further calls may stay for a while.
    let noticed = until(&|| proc::descriptors(pid) <= descriptors);
    report.number("noticed_ms", noticed);
    report.number("returned_ms", noticed + until(&|| proc::threads(pid) <= threads));
    report.number("threads_left", proc::threads(pid).saturating_sub(threads));
    report.number("descriptors_left", proc::descriptors(pid).saturating_sub(descriptors));
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
