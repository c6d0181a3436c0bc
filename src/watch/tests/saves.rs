//! Every way to save a file is seen once, when it is over; what is no edit is not seen.

use std::fs;
use std::time::{Duration, Instant};

use super::super::stamp::CONTENT_LIMIT;
use super::super::{ChangeKind, Rules, Stamp, Tier, Watcher};
use super::{Stepper, Temp, age, show};

#[test]
fn add_edit_and_remove_are_told_once_each() {
    let temp = Temp::new();
    temp.write_old("a.py", "1");
    let mut stepper = Stepper::new(temp.rules());
    assert_eq!(stepper.settle(&temp), [""; 0]);
    temp.write("a.py", "2");
    temp.write("sub/deep/b.toml", "x");
    assert_eq!(stepper.settle(&temp), ["+sub/deep/b.toml", "~a.py"]);
    assert_eq!(stepper.settle(&temp), [""; 0]);
    fs::remove_dir_all(temp.path("sub")).unwrap();
    assert_eq!(stepper.settle(&temp), ["-sub/deep/b.toml"]);
    assert_eq!(stepper.settle(&temp), [""; 0]);
}

#[test]
fn a_touch_is_no_change_and_neither_is_saving_the_same() {
    let temp = Temp::new();
    let path = temp.write_old("a.py", "print(1)");
    let mut stepper = Stepper::new(temp.rules());
    fs::OpenOptions::new().append(true).open(&path).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
    assert_eq!(stepper.settle(&temp), [""; 0]);
    temp.write("a.py", "print(1)");
    assert_eq!(stepper.settle(&temp), [""; 0]);
    assert!(!stepper.look_after(10, Tier::Hot).pending);
}

#[test]
fn an_edit_taken_back_before_it_settled_is_no_change() {
    let temp = Temp::new();
    temp.write_old("a.py", "one");
    let mut stepper = Stepper::new(temp.rules());
    temp.write("a.py", "two");
    assert!(stepper.look_after(10, Tier::Full).pending);
    temp.write("a.py", "one");
    let look = stepper.look_after(10, Tier::Hot);
    assert!(!look.pending && look.changed.is_empty());
}

#[test]
fn rename_replace_is_one_modification() {
    let temp = Temp::new();
    temp.write_old("a.py", "one");
    let mut stepper = Stepper::new(temp.rules());
    for round in 0..3 {
        let new = temp.write("a.py.tmp.123", &format!("two{round}"));
        assert!(!stepper.look_after(10, Tier::Full).pending);
        fs::rename(new, temp.path("a.py")).unwrap();
        assert_eq!(stepper.settle(&temp), ["~a.py"]);
    }
}

#[test]
fn truncate_then_write_waits_for_the_write() {
    let temp = Temp::new();
    temp.write_old("a.py", "one");
    let mut stepper = Stepper::new(temp.rules());
    temp.write("a.py", "");
    stepper.look_after(10, Tier::Full);
    for _ in 0..4 {
        let look = stepper.look_after(10, Tier::Hot);
        assert!(look.pending && look.changed.is_empty());
    }
    temp.write("a.py", "three");
    assert!(stepper.look_after(10, Tier::Hot).changed.is_empty());
    let look = stepper.look_after(10, Tier::Hot);
    assert_eq!(look.changed.iter().map(|c| show(c, &temp.0)).collect::<Vec<_>>(), ["~a.py"]);
    assert!(!look.pending);
}

#[test]
fn a_file_that_stays_empty_is_told_in_the_end() {
    let temp = Temp::new();
    temp.write_old("a.py", "one");
    let mut stepper = Stepper::new(temp.rules());
    temp.write("a.py", "");
    assert_eq!(stepper.settle(&temp), ["~a.py"]);
}

#[test]
fn remove_and_create_is_one_modification() {
    let temp = Temp::new();
    temp.write_old("a.py", "one");
    let mut stepper = Stepper::new(temp.rules());
    fs::remove_file(temp.path("a.py")).unwrap();
    assert!(stepper.look_after(10, Tier::Full).pending);
    assert!(stepper.look_after(20, Tier::Hot).changed.is_empty());
    temp.write("a.py", "two");
    assert_eq!(stepper.settle(&temp), ["~a.py"]);
}

#[test]
fn same_size_saves_within_one_tick_are_seen() {
    let temp = Temp::new();
    let path = temp.write("a.py", "value = 0");
    let mut stepper = Stepper::new(temp.rules());
    let mut same_tick = 0;
    for round in 1..200 {
        let before = Stamp::of(&path);
        temp.write("a.py", &format!("value = {}", round % 10));
        same_tick += usize::from(Stamp::of(&path) == before);
        let seen = stepper.look_after(10, Tier::Hot).pending || stepper.look_after(10, Tier::Full).pending;
        assert!(seen, "round {round}");
        assert_eq!(stepper.settle(&temp), ["~a.py"]);
    }
    eprintln!("{same_tick} of 199 saves left the stamp as it was");
}

#[test]
fn a_file_just_written_is_read_again_and_an_old_one_is_not() {
    let temp = Temp::new();
    let (young, old) = (temp.write("young.py", "1"), temp.write_old("old.py", "1"));
    let mut stepper = Stepper::new(temp.rules());
    let mut current = |path| stepper.watcher.entry(path).unwrap().is_current(Stamp::of(path));
    assert!(!current(&young) && current(&old));
}

#[test]
fn a_file_is_young_by_our_own_clock_after_a_change_whatever_its_time_says() {
    let temp = Temp::new();
    let path = temp.write_old("a.py", "one");
    let mut stepper = Stepper::new(temp.rules());
    temp.write("a.py", "two");
    age(&path);
    assert_eq!(stepper.settle(&temp), ["~a.py"]);
    let entry = stepper.watcher.entry(&path).unwrap();
    let stamp = Stamp::of(&path);
    assert!(!entry.is_current(stamp), "read again although the stamp is the same and old");
    stepper.look_after(2500, Tier::Full);
    assert!(stepper.watcher.entry(&path).unwrap().is_current(stamp), "and no longer two seconds later");
}

#[test]
fn beyond_the_content_limit_size_and_times_decide() {
    let temp = Temp::new();
    let big = "x".repeat(usize::try_from(CONTENT_LIMIT).unwrap() + 1);
    let path = temp.write_old("big.json", &big);
    let mut stepper = Stepper::new(temp.rules());
    assert_eq!(stepper.settle(&temp), [""; 0]);
    fs::OpenOptions::new().append(true).open(&path).unwrap().set_modified(std::time::SystemTime::now()).unwrap();
    assert_eq!(stepper.settle(&temp), ["~big.json"]);
    temp.write("big.json", "small");
    assert_eq!(stepper.settle(&temp), ["~big.json"]);
}

#[test]
fn a_named_file_is_hot_and_may_come_later() {
    let temp = Temp::new();
    let outside = Temp::new();
    let program = outside.path("bin/server");
    let rules = Rules { named: vec![program.clone(), outside.path("x.csv")], ..temp.rules() };
    let mut stepper = Stepper::new(rules);
    assert_eq!(stepper.watcher.summary().files, 0);
    outside.write("bin/server", "elf");
    assert!(stepper.look_after(10, Tier::Hot).pending);
    let look = stepper.look_after(10, Tier::Hot);
    assert_eq!(look.changed.iter().map(|c| (c.path.clone(), c.kind)).collect::<Vec<_>>(), [(program, ChangeKind::Added)]);
    outside.write("x.csv", "1");
    assert_eq!(stepper.settle(&outside), ["+x.csv"]);
    fs::remove_dir_all(outside.path("bin")).unwrap();
    assert_eq!(stepper.settle(&outside), ["-bin/server"]);
    outside.write("bin/server", "elf");
    assert_eq!(stepper.settle(&outside), ["+bin/server"]);
    assert_eq!(stepper.watcher.summary().files, 0, "what is only named is not counted");
}

#[test]
fn the_directory_of_a_changed_file_is_hot() {
    let temp = Temp::new();
    temp.write_old("src/a.py", "1");
    temp.write_old("src/b.py", "1");
    temp.write_old("lib/c.py", "1");
    let mut stepper = Stepper::without_hints(temp.rules());
    temp.write("src/a.py", "2");
    assert_eq!(stepper.settle(&temp), ["~src/a.py"]);
    temp.write("src/b.py", "2");
    temp.write("src/new.py", "2");
    temp.write("lib/c.py", "2");
    stepper.look_after(10, Tier::Hot);
    let look = stepper.look_after(10, Tier::Hot);
    assert_eq!(look.changed.iter().map(|c| show(c, &temp.0)).collect::<Vec<_>>(), ["~src/b.py", "+src/new.py"]);
    assert_eq!(stepper.settle(&temp), ["~lib/c.py"]);
}

#[test]
fn output_is_left_out_from_then_on() {
    let temp = Temp::new();
    let path = temp.write_old("state.json", "1");
    temp.write_old("a.py", "1");
    let mut stepper = Stepper::new(temp.rules());
    temp.write("state.json", "2");
    assert!(stepper.look_after(10, Tier::Full).pending);
    stepper.watcher.ignore_output(&path);
    assert_eq!(stepper.watcher.summary().files, 1);
    assert_eq!(stepper.settle(&temp), [""; 0]);
    temp.write("state.json", "3");
    temp.write("a.py", "2");
    assert_eq!(stepper.settle(&temp), ["~a.py"]);
}

#[test]
fn what_the_first_look_did_not_read_is_read_later() {
    let temp = Temp::new();
    let count = super::super::FIRST_READS + 50;
    for n in 0..count {
        temp.write_old(&format!("f{n}.py"), "old");
    }
    let mut stepper = Stepper::new(temp.rules());
    let unread = |stepper: &mut Stepper| {
        let paths = (0..count).map(|n| temp.path(&format!("f{n}.py")));
        paths.filter(|path| stepper.watcher.entry(path).unwrap().is_unread()).collect::<Vec<_>>()
    };
    let left = unread(&mut stepper);
    assert_eq!(left.len(), 50);
    fs::write(&left[0], "new").unwrap();
    assert_eq!(stepper.settle(&temp).len(), 1);
    assert_eq!(unread(&mut stepper).len(), 0);
    age(&left[1]);
    assert_eq!(stepper.settle(&temp), [""; 0], "a touch is no change once the content is known");
}

#[test]
fn looks_are_paced_by_what_they_cost() {
    let temp = Temp::new();
    let mut watcher = Watcher::new(temp.rules());
    let now = Instant::now();
    watcher.now = now;
    watcher.is_covered = true;
    watcher.schedule(Tier::Full, Duration::from_millis(4));
    assert_eq!(watcher.next_full - now, Duration::from_millis(2000));
    watcher.schedule(Tier::Full, Duration::from_micros(30));
    assert_eq!(watcher.next_full - now, super::super::COVERED_PAUSE + Duration::from_micros(30));
    watcher.is_covered = false;
    watcher.schedule(Tier::Full, Duration::from_millis(4));
    assert_eq!(watcher.next_full - now, Duration::from_millis(268));
    watcher.schedule(Tier::Full, Duration::from_micros(30));
    assert_eq!(watcher.next_full - now, super::super::FULL_PAUSE + Duration::from_micros(30));
    watcher.schedule(Tier::Hot, Duration::from_micros(20));
    assert_eq!(watcher.next_hot - now, super::super::HOT_PAUSE);
    watcher.schedule(Tier::Hot, Duration::from_micros(200));
    assert_eq!(watcher.next_hot - now, Duration::from_micros(39_800));
    watcher.schedule(Tier::Full, Duration::from_secs(3));
    assert_eq!(watcher.next_full - now, Duration::from_secs(3) + super::super::FULL_PAUSE_LIMIT);
}

/// Printed, not asserted: `cargo test --release --lib sweep_time -- --nocapture`.
#[test]
fn sweep_time_for_5000_files() {
    let temp = Temp::new();
    for n in 0..5000 {
        temp.write_old(&format!("d{}/e{}/file{n}.py", n % 10, n % 250), "x = 1\n");
    }
    let started = Instant::now();
    let mut watcher = Watcher::new(temp.rules());
    eprintln!("first look {:?}, {} files", started.elapsed(), watcher.summary().files);
    for _ in 0..30 {
        watcher.look(Instant::now(), Tier::Full);
    }
    let started = Instant::now();
    for _ in 0..20 {
        watcher.look(Instant::now(), Tier::Full);
    }
    eprintln!("full look {:?}", started.elapsed() / 20);
    let started = Instant::now();
    for _ in 0..20 {
        watcher.look(Instant::now(), Tier::Hot);
    }
    eprintln!("hot look {:?}", started.elapsed() / 20);
}
