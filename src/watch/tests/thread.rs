//! The thread: batches arrive, a request gets its verdict, a full queue loses nothing, and it ends.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};

use super::super::thread::Outbox;
use super::super::{Change, ChangeKind, Command, Event, Line, Look, Tier, Verdict, Watcher, spawn};
use super::Temp;

const DEADLINE: Duration = Duration::from_secs(20);

struct Running {
    events: Receiver<Event>,
    line: Line,
    thread: std::thread::JoinHandle<()>,
}

fn start(temp: &Temp, capacity: usize) -> Running {
    let (sender, events) = bounded(capacity);
    let watcher = Watcher::new(temp.rules());
    let (line, receiver) = Line::to(&watcher, 4);
    let thread = spawn(watcher, sender, receiver).unwrap();
    Running { events, line, thread }
}

impl Running {
    fn look_now(&self) -> Verdict {
        self.line.look(DEADLINE).unwrap()
    }

    fn changed(&self) -> Vec<(String, ChangeKind)> {
        loop {
            if let Event::Changed(batch) = self.events.recv_timeout(DEADLINE).unwrap() {
                return batch.into_iter().map(|c| (c.path.file_name().unwrap().to_string_lossy().into_owned(), c.kind)).collect();
            }
        }
    }

    fn stop(self) {
        drop(self.line);
        self.thread.join().unwrap();
    }
}

#[test]
fn a_save_is_on_its_way_as_soon_as_the_write_has_returned() {
    let temp = Temp::new();
    temp.write_old("a.py", "0");
    let running = start(&temp, 64);
    assert_eq!(running.look_now(), Verdict { pending: false, batches: 0 });
    for round in 1..20 {
        temp.write("a.py", &format!("{round}"));
        let verdict = running.look_now();
        // Either it is not over, or it has been sent.
        assert!(verdict.pending || verdict.batches == round, "round {round}: {verdict:?}");
        assert_eq!(running.changed(), [("a.py".into(), ChangeKind::Modified)]);
        assert_eq!(running.look_now(), Verdict { pending: false, batches: round });
    }
    running.stop();
}

fn look(changes: &[(&str, ChangeKind, u64)], note: &str) -> Look {
    let change = |&(path, kind, content): &(&str, ChangeKind, u64)| Change { path: path.into(), kind, content };
    let (changed, notes) = (changes.iter().map(change).collect(), vec![note.to_string()]);
    Look { changed, pending: false, notes, next_look: Instant::now(), next_tier: Tier::Hot }
}

#[test]
fn a_full_queue_merges_and_loses_nothing() {
    use ChangeKind::{Added, Modified, Removed};
    let (sender, events) = bounded(2);
    let mut outbox = Outbox::default();
    outbox.add(look(&[("a", Modified, 1)], "one"));
    outbox.offer(&sender);
    assert_eq!(outbox.sent, 1);
    for (changes, note) in [
        ([("a", Modified, 2), ("b", Added, 3), ("c", Removed, 0)], "two"),
        ([("a", Removed, 0), ("b", Modified, 4), ("c", Added, 5)], "three"),
    ] {
        outbox.add(look(&changes, note));
        outbox.offer(&sender);
    }
    assert_eq!(outbox.sent, 1, "the queue was full");
    let change = |path: &str, kind, content| Change { path: path.into(), kind, content };
    assert_eq!(events.try_iter().collect::<Vec<_>>(), [Event::Note("one".into()), Event::Changed(vec![change("a", Modified, 1)])]);
    outbox.offer(&sender);
    assert_eq!(events.try_iter().collect::<Vec<_>>(), [Event::Note("two".into()), Event::Note("three".into())]);
    outbox.offer(&sender);
    let merged = vec![change("a", Removed, 0), change("b", Added, 4), change("c", Modified, 5)];
    assert_eq!(events.try_iter().collect::<Vec<_>>(), [Event::Changed(merged)]);
    assert_eq!(outbox.sent, 2);
    drop(events);
    outbox.add(look(&[], "nobody hears"));
    outbox.offer(&sender);
    assert!(outbox.closed);
}

#[test]
fn output_can_be_left_out_while_it_runs() {
    let temp = Temp::new();
    let path = temp.write_old("state.json", "0");
    let running = start(&temp, 8);
    assert!(running.line.tell(Command::IgnoreOutput(path), DEADLINE));
    temp.write("state.json", "1");
    assert!(!running.look_now().pending);
    temp.write("a.py", "1");
    assert_eq!(running.changed(), [("a.py".into(), ChangeKind::Added)]);
    running.stop();
}

#[test]
fn it_ends_when_either_side_has_gone() {
    let temp = Temp::new();
    let Running { line, thread, events } = start(&temp, 1);
    drop(line);
    thread.join().unwrap();
    drop(events);
    let Running { line, thread, events } = start(&temp, 1);
    drop(events);
    temp.write("a.py", "1");
    thread.join().unwrap();
    drop(line);
}
