//! Where the kernel tells all, a request has its answer without a look, and never a wrong one.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};

use super::super::{Command, Event, Line, Quiet, Rules, Tier, Verdict, Watcher, spawn};
use super::{Temp, show};

const DEADLINE: Duration = Duration::from_secs(20);

struct Running {
    quiet: Arc<Quiet>,
    line: Line,
    events: Receiver<Event>,
}

impl Running {
    fn new(rules: Rules) -> Running {
        let watcher = Watcher::new(rules);
        let quiet = watcher.quiet();
        let (sender, events) = bounded(8);
        let (line, receiver) = Line::to(&watcher, 4);
        spawn(watcher, sender, receiver).unwrap();
        Running { quiet, line, events }
    }

    /// All that was sent is said without a look.
    fn is_quiet_after(&self, batches: u64) {
        let deadline = Instant::now() + DEADLINE;
        while self.quiet.verdict() != Some(Verdict { pending: false, batches }) {
            assert!(Instant::now() < deadline, "never quiet after {batches}");
            std::thread::yield_now();
        }
    }

    /// Neither is it quiet, however often it was looked at.
    fn is_never_quiet(&self) {
        for _ in 0..20 {
            assert!(self.line.look(DEADLINE).is_some());
            assert_eq!(self.quiet.verdict(), None);
        }
    }
}

#[test]
fn a_save_is_known_of_the_moment_it_is_written() {
    let temp = Temp::new();
    for name in ["a.py", "deep/b.py"] {
        temp.write_old(name, "0");
    }
    let server = temp.write_old("elsewhere/server.txt", "0");
    let running = Running::new(Rules { named: vec![server, temp.path("deep/../late.json")], ..temp.rules() });
    running.is_quiet_after(0);
    for round in 1..100 {
        let (name, text) = (["a.py", "deep/b.py", "elsewhere/server.txt"][round % 3], round.to_string());
        if round % 2 == 0 {
            temp.write(name, &text);
        } else {
            let fresh = temp.write("fresh.tmp", &text);
            fs::rename(fresh, temp.path(name)).unwrap();
        }
        let verdict = running.quiet.verdict();
        assert!(verdict.is_none_or(|verdict| verdict.batches == round as u64), "round {round}: {verdict:?}");
        assert!(matches!(running.events.recv_timeout(DEADLINE), Ok(Event::Changed(_))));
        running.is_quiet_after(round as u64);
    }
    // In a directory that is new, too.
    temp.write("new/deep/c.py", "1");
    assert!(running.quiet.verdict().is_none_or(|verdict| verdict.batches == 100));
    assert!(matches!(running.events.recv_timeout(DEADLINE), Ok(Event::Changed(_))));
    running.is_quiet_after(100);
    temp.write("new/deep/c.py", "2");
    assert!(running.quiet.verdict().is_none_or(|verdict| verdict.batches == 101));
}

#[test]
fn who_rests_hears_what_is_told() {
    let temp = Temp::new();
    let state = temp.write_old("state.json", "0");
    let running = Running::new(temp.rules());
    running.is_quiet_after(0);
    assert!(running.line.tell(Command::IgnoreOutput(state), DEADLINE));
    temp.write("a.py", "1");
    temp.write("state.json", "1");
    let Ok(Event::Changed(batch)) = running.events.recv_timeout(DEADLINE) else { panic!() };
    assert_eq!(batch.iter().map(|change| show(change, &temp.0)).collect::<Vec<_>>(), ["+a.py"]);
}

#[test]
fn what_has_two_names_or_is_a_link_takes_a_look() {
    let others = Temp::new();
    let (linked, doubled) = (others.write_old("linked.py", "0"), others.write_old("doubled.py", "0"));
    let temp = Temp::new();
    symlink(&linked, temp.path("linked.py")).unwrap();
    Running::new(temp.rules()).is_never_quiet();
    let temp = Temp::new();
    fs::hard_link(&doubled, temp.path("doubled.py")).unwrap();
    Running::new(temp.rules()).is_never_quiet();
    // A root behind a link, and a file of the command that is not there yet, nor its directory.
    let real = Temp::new();
    symlink(&real.0, others.path("root")).unwrap();
    Running::new(Rules { roots: vec![others.path("root")], ..real.rules() }).is_never_quiet();
    let temp = Temp::new();
    Running::new(Rules { named: vec![temp.path("bin/server")], ..temp.rules() }).is_never_quiet();
}

#[test]
fn a_program_behind_a_link_is_followed_at_both_ends() {
    let programs = Temp::new();
    let real = programs.write_old("real/python3.11", "0");
    let temp = Temp::new();
    fs::create_dir(temp.path("bin")).unwrap();
    symlink(&real, temp.path("bin/python")).unwrap();
    let running = Running::new(Rules { named: vec![temp.path("bin/python")], ..temp.rules() });
    running.is_quiet_after(0);
    programs.write("real/python3.11", "1");
    assert!(running.quiet.verdict().is_none_or(|verdict| verdict.batches == 1));
    assert!(matches!(running.events.recv_timeout(DEADLINE), Ok(Event::Changed(_))));
    running.is_quiet_after(1);
    let other = programs.write("other/python3.12", "2");
    fs::remove_file(temp.path("bin/python")).unwrap();
    symlink(other, temp.path("bin/python")).unwrap();
    assert!(running.quiet.verdict().is_none_or(|verdict| verdict.batches > 1));
}

#[test]
fn a_directory_that_took_the_place_of_another_is_followed_from_the_next_full_look_on() {
    let temp = Temp::new();
    let root = temp.0.join("above/root");
    let save = |text: &str| {
        fs::create_dir_all(&root).unwrap();
        fs::write(root.join("a.py"), text).unwrap();
    };
    save("1");
    let mut watcher = Watcher::new(Rules { roots: vec![root.clone()], ..Rules::default() });
    fs::rename(temp.0.join("above"), temp.0.join("gone")).unwrap();
    save("2");
    watcher.look(Instant::now(), Tier::Full);
    watcher.look(Instant::now(), Tier::Full);
    watcher.settle_down(Some(1));
    assert!(watcher.quiet().verdict().is_some());
    save("3");
    assert_eq!(watcher.quiet().verdict(), None);
}
