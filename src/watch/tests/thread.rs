//! The thread: batches arrive, a request gets its verdict, a full queue loses nothing, and it ends.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::super::{ChangeKind, Command, Event, Verdict, Watcher, spawn};
use super::Temp;

const DEADLINE: Duration = Duration::from_secs(20);

struct Running {
    events: Receiver<Event>,
    commands: Sender<Command>,
    thread: std::thread::JoinHandle<()>,
}

fn start(temp: &Temp, capacity: usize) -> Running {
    let (sender, events) = bounded(capacity);
    let (commands, receiver) = bounded(4);
    let thread = spawn(Watcher::new(temp.rules()), sender, receiver).unwrap();
    Running { events, commands, thread }
}

impl Running {
    fn look_now(&self) -> Verdict {
        let (reply, verdict) = bounded(1);
        self.commands.send(Command::LookNow(reply)).unwrap();
        verdict.recv_timeout(DEADLINE).unwrap()
    }

    fn changed(&self) -> Vec<(String, ChangeKind)> {
        loop {
            if let Event::Changed(batch) = self.events.recv_timeout(DEADLINE).unwrap() {
                return batch.into_iter().map(|c| (c.path.file_name().unwrap().to_string_lossy().into_owned(), c.kind)).collect();
            }
        }
    }

    fn stop(self) {
        self.commands.send(Command::Stop).unwrap();
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

#[test]
fn a_full_queue_merges_and_loses_nothing() {
    let temp = Temp::new();
    temp.write_old("a.py", "0");
    let running = start(&temp, 1);
    let settle_one = |before: u64| {
        // Unsent changes keep the verdict pending; sent ones count.
        while running.look_now() == (Verdict { pending: false, batches: before }) {}
    };
    temp.write("a.py", "1");
    settle_one(0);
    while running.look_now().batches == 0 {}
    // The queue of one is full from here on.
    temp.write("b.py", "1");
    while !running.look_now().pending {}
    temp.write("c.py", "1");
    for _ in 0..50 {
        assert!(running.look_now().pending);
    }
    assert_eq!(running.changed(), [("a.py".into(), ChangeKind::Modified)]);
    let mut rest = running.changed();
    if rest.len() == 1 {
        rest.extend(running.changed());
    }
    rest.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(rest, [("b.py".into(), ChangeKind::Added), ("c.py".into(), ChangeKind::Added)]);
    running.stop();
}

#[test]
fn output_can_be_left_out_while_it_runs() {
    let temp = Temp::new();
    let path = temp.write_old("state.json", "0");
    let running = start(&temp, 8);
    running.commands.send(Command::IgnoreOutput(path)).unwrap();
    temp.write("state.json", "1");
    assert!(!running.look_now().pending);
    temp.write("a.py", "1");
    assert_eq!(running.changed(), [("a.py".into(), ChangeKind::Added)]);
    running.stop();
}

#[test]
fn it_ends_when_either_side_has_gone() {
    let temp = Temp::new();
    let Running { commands, thread, events } = start(&temp, 1);
    drop(commands);
    thread.join().unwrap();
    drop(events);
    let Running { commands, thread, events } = start(&temp, 1);
    drop(events);
    temp.write("a.py", "1");
    thread.join().unwrap();
    drop(commands);
}
