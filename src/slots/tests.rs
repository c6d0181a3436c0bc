use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

const SOON: Duration = Duration::from_secs(5);

fn slots(calls: usize, calls_per_session: usize) -> Arc<Slots> {
    Slots::new(Bounds { calls, calls_per_session, waiting_calls: 3, waiting_bytes: 100, asks: 1 }, Workers::new(16))
}

/// Admits a call that reports its name and then waits to be let go.
fn admit(slots: &Arc<Slots>, lane: u64, name: &'static str, log: &Sender<&'static str>, gate: &Receiver<()>) -> Admission {
    let (log, gate) = (log.clone(), gate.clone());
    let job: Job = Box::new(move || {
        log.send(name).ok();
        gate.recv().ok();
    });
    let admission = slots.admit(lane, name.len() as u64, 10, job);
    if let Admission::Run(job) = admission {
        slots.workers.run(job);
        return Admission::Waits;
    }
    admission
}

#[test]
fn calls_beyond_the_bounds_wait_and_sessions_take_turns() {
    let slots = slots(2, 1);
    let (log, started) = bounded(16);
    let (go, gate) = bounded(16);
    for (lane, name) in [(1, "a1"), (1, "a22"), (1, "a333"), (2, "b1"), (3, "c1")] {
        assert!(matches!(admit(&slots, lane, name, &log, &gate), Admission::Waits));
    }
    let mut first = [started.recv_timeout(SOON).unwrap(), started.recv_timeout(SOON).unwrap()];
    first.sort_unstable();
    assert_eq!(first, ["a1", "b1"]);
    assert!(started.try_recv().is_err());
    for _ in 0..5 {
        go.send(()).unwrap();
    }
    let mut rest: Vec<_> = (0..3).map(|_| started.recv_timeout(SOON).unwrap()).collect();
    assert!(rest.iter().position(|name| *name == "a22") < rest.iter().position(|name| *name == "a333"));
    rest.sort_unstable();
    assert_eq!(rest, ["a22", "a333", "c1"]);
    assert!(slots.wait_until_quiet(SOON));
}

#[test]
fn behind_a_reserved_call_its_session_waits_and_no_other() {
    let slots = slots(4, 4);
    let (log, started) = bounded(16);
    let Admission::Run(first) = slots.admit(1, 1, 1, || {}) else { panic!("a free slot") };
    slots.reserve(1);
    assert!(matches!(slots.admit(1, 2, 1, move || log.send("behind").unwrap()), Admission::Waits));
    assert!(matches!(slots.admit(2, 1, 1, || {}), Admission::Run(_)));
    first();
    assert_eq!(started.recv_timeout(SOON), Ok("behind"));
    assert!(matches!(slots.admit(1, 3, 1, || {}), Admission::Run(_)), "the reservation is over");
    assert!(slots.wait_until_quiet(SOON));
}

#[test]
fn a_full_line_refuses_and_a_withdrawn_call_never_starts() {
    let slots = slots(1, 1);
    let (log, started) = bounded(16);
    let (go, gate) = bounded(16);
    for name in ["1", "22", "333", "4444"] {
        assert!(matches!(admit(&slots, 1, name, &log, &gate), Admission::Waits));
    }
    assert!(matches!(admit(&slots, 1, "55555", &log, &gate), Admission::Full));
    slots.withdraw(1, 2);
    for _ in 0..3 {
        go.send(()).unwrap();
    }
    let ran: Vec<_> = (0..3).map(|_| started.recv_timeout(SOON).unwrap()).collect();
    assert_eq!(ran, ["1", "333", "4444"]);
    assert!(slots.wait_until_quiet(SOON));
    assert!(started.try_recv().is_err());
}

#[test]
fn a_call_that_waits_for_the_client_lends_its_slot() {
    let slots = slots(1, 1);
    let (log, started) = bounded(16);
    let (go, gate) = bounded(16);
    let (answer, answered) = bounded::<()>(1);
    let (_cancel, never) = bounded::<()>(0);
    let (asking, log_again) = (Arc::clone(&slots), log.clone());
    let asker: Job = Box::new(move || {
        assert!(asking.pause(1) && !asking.pause(1), "one at a time");
        log_again.send("asking").ok();
        answered.recv().ok();
        asking.resume(1, &never);
        log_again.send("resumed").ok();
    });
    let Admission::Run(asker) = slots.admit(1, 1, 10, asker) else { panic!("the first call runs") };
    slots.workers.run(asker);
    assert_eq!(started.recv_timeout(SOON), Ok("asking"));
    assert!(matches!(admit(&slots, 1, "other", &log, &gate), Admission::Waits));
    assert_eq!(started.recv_timeout(SOON), Ok("other"));
    answer.send(()).unwrap();
    assert!(!slots.wait_until_quiet(Duration::ZERO));
    go.send(()).unwrap();
    assert_eq!(started.recv_timeout(SOON), Ok("resumed"));
    assert!(slots.wait_until_quiet(SOON));
    assert!(slots.lock().lanes.is_empty());
}

#[test]
fn a_panic_gives_the_slot_back() {
    let slots = slots(1, 1);
    let ran = Arc::new(AtomicUsize::new(0));
    let Admission::Run(job) = slots.admit(1, 1, 1, Box::new(|| panic!("on purpose"))) else { panic!("a free slot") };
    assert!(std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err());
    let count = Arc::clone(&ran);
    let Admission::Run(job) = slots.admit(
        1,
        2,
        1,
        Box::new(move || {
            count.fetch_add(1, Ordering::SeqCst);
        }),
    ) else {
        panic!("the slot is free again")
    };
    job();
    assert_eq!(ran.load(Ordering::SeqCst), 1);
}

#[test]
fn who_returns_to_a_full_session_holds_up_no_other_session() {
    let slots = slots(3, 1);
    let (log, started) = bounded(16);
    let (go, gate) = bounded(16);
    let (answer, answered) = bounded::<()>(1);
    let (_cancel, never) = bounded::<()>(0);
    let (asking, log_again) = (Arc::clone(&slots), log.clone());
    let asker: Job = Box::new(move || {
        assert!(asking.pause(1));
        log_again.send("asking").ok();
        answered.recv().ok();
        asking.resume(1, &never);
    });
    let Admission::Run(asker) = slots.admit(1, 1, 10, asker) else { panic!("the first call runs") };
    slots.workers.run(asker);
    assert_eq!(started.recv_timeout(SOON), Ok("asking"));
    // The session's only slot is taken for ever, and the asker wants it back.
    assert!(matches!(admit(&slots, 1, "stuck", &log, &gate), Admission::Waits));
    assert_eq!(started.recv_timeout(SOON), Ok("stuck"));
    answer.send(()).unwrap();
    let deadline = Instant::now() + SOON;
    while slots.lock().returning.is_empty() {
        assert!(Instant::now() < deadline);
        std::thread::yield_now();
    }
    assert!(matches!(admit(&slots, 2, "other", &log, &gate), Admission::Waits));
    assert_eq!(started.recv_timeout(SOON), Ok("other"));
    go.send(()).unwrap();
    go.send(()).unwrap();
    assert!(slots.wait_until_quiet(SOON));
}

#[test]
fn a_session_that_is_over_leaves_nothing_behind() {
    let slots = slots(1, 1);
    let (log, started) = bounded(16);
    let (go, gate) = bounded(16);
    assert!(matches!(admit(&slots, 1, "runs", &log, &gate), Admission::Waits));
    assert_eq!(started.recv_timeout(SOON), Ok("runs"));
    for lane in 2..100 {
        assert!(matches!(admit(&slots, lane, "waits", &log, &gate), Admission::Waits));
        if lane % 2 == 0 { slots.clear(lane) } else { slots.withdraw(lane, 5) }
    }
    assert_eq!(slots.lock().lanes.len(), 1);
    assert!(slots.lock().ready.is_empty());
    go.send(()).unwrap();
    assert!(slots.wait_until_quiet(SOON));
    assert!(started.try_recv().is_err());
}

/// Without threads the calls that wait are refused one after the other: not one inside the other, which no stack would hold.
#[test]
fn without_threads_whoever_waits_is_refused() {
    let bounds = Bounds { calls: 1, calls_per_session: 1, waiting_calls: 100_000, waiting_bytes: usize::MAX, asks: 1 };
    let slots = Slots::new(bounds, Workers::new(0));
    let Admission::Run(first) = slots.admit(1, 0, 1, Box::new(|| {})) else { panic!("a free slot") };
    let dropped = Arc::new(AtomicUsize::new(0));
    struct Counts(Arc<AtomicUsize>);
    impl Drop for Counts {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    for ticket in 1..=100_000 {
        let counts = Counts(Arc::clone(&dropped));
        assert!(matches!(slots.admit(1, ticket, 1, Box::new(move || drop(counts))), Admission::Waits));
    }
    first();
    assert_eq!(dropped.load(Ordering::SeqCst), 100_000);
    assert!(slots.wait_until_quiet(SOON) && slots.lock().lanes.is_empty());
}
