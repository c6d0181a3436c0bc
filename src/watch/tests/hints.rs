//! What the kernel tells is found by the next hot look, wherever it is; what it does not tell, by the full one.

use std::fs;

use super::super::{Line, Tier, Watcher, spawn};
use super::{Stepper, Temp, show};

/// What hot looks find, until there is no more. On a busy machine the full look that some hints need waits for several of them.
fn hot(stepper: &mut Stepper, temp: &Temp) -> Vec<String> {
    let mut told = Vec::new();
    for _ in 0..100 {
        let look = stepper.look_after(70, Tier::Hot);
        told.extend(look.changed.iter().map(|change| show(change, &temp.0)));
        if !look.pending {
            break;
        }
    }
    told.sort();
    told
}

#[test]
fn a_file_that_nobody_has_touched_before_is_found_at_once() {
    let temp = Temp::new();
    for name in ["a/one.py", "a/b/two.py", "a/b/c/three.py"] {
        temp.write_old(name, "1");
    }
    let mut stepper = Stepper::new(temp.rules());
    temp.write("a/b/two.py", "2");
    assert_eq!(hot(&mut stepper, &temp), ["~a/b/two.py"]);
    let fresh = temp.write("fresh.tmp", "2");
    fs::rename(fresh, temp.path("a/b/c/three.py")).unwrap();
    fs::remove_file(temp.path("a/one.py")).unwrap();
    temp.write("a/four.py", "1");
    temp.write("a/five.log", "does not count");
    assert_eq!(hot(&mut stepper, &temp), ["+a/four.py", "-a/one.py", "~a/b/c/three.py"]);
}

#[test]
fn so_are_those_in_new_and_renamed_directories() {
    let temp = Temp::new();
    temp.write_old("src/deep/a.py", "1");
    let mut stepper = Stepper::new(temp.rules());
    temp.write("new/deep/b.py", "1");
    assert_eq!(hot(&mut stepper, &temp), ["+new/deep/b.py"]);
    fs::rename(temp.path("src"), temp.path("old")).unwrap();
    assert_eq!(hot(&mut stepper, &temp), ["+old/deep/a.py", "-src/deep/a.py"]);
    fs::rename(temp.path("new"), temp.path("src")).unwrap();
    assert_eq!(hot(&mut stepper, &temp), ["+src/deep/b.py", "-new/deep/b.py"]);
    // Until they are not looked at anyway.
    for number in 0..super::super::settle::RECENT {
        temp.write(&format!("else/f{number}.py"), "1");
    }
    assert_eq!(hot(&mut stepper, &temp).len(), super::super::settle::RECENT);
    // The same paths, other directories.
    temp.write("src/deep/b.py", "2");
    temp.write("old/deep/a.py", "2");
    assert_eq!(hot(&mut stepper, &temp), ["~old/deep/a.py", "~src/deep/b.py"]);
    fs::remove_dir_all(temp.path("src")).unwrap();
    assert_eq!(hot(&mut stepper, &temp), ["-src/deep/b.py"]);
}

#[test]
fn a_link_that_is_turned_to_another_directory_is_found_at_once() {
    let (temp, outside) = (Temp::new(), Temp::new());
    for name in ["v1/a.py", "v2/a.py", "v2/b.py"] {
        outside.write_old(name, name);
    }
    let turn = |to: &str| {
        std::os::unix::fs::symlink(outside.path(to), temp.path("link.tmp")).unwrap();
        fs::rename(temp.path("link.tmp"), temp.path("current")).unwrap();
    };
    temp.write_old("main.py", "1");
    let mut stepper = Stepper::new(temp.rules());
    turn("v1");
    assert_eq!(hot(&mut stepper, &temp), ["+current/a.py"]);
    turn("v2");
    assert_eq!(hot(&mut stepper, &temp), ["+current/b.py", "~current/a.py"]);
    // The same path, another directory.
    outside.write("v2/c.py", "1");
    assert_eq!(hot(&mut stepper, &temp), ["+current/c.py"]);
    fs::remove_file(temp.path("current")).unwrap();
    assert_eq!(hot(&mut stepper, &temp), ["-current/a.py", "-current/b.py", "-current/c.py"]);
}

#[test]
fn what_is_left_out_is_no_news_and_new_rules_are() {
    let temp = Temp::new();
    temp.write_old("a.py", "1");
    temp.write_old("b.py", "1");
    let mut stepper = Stepper::new(temp.rules());
    temp.write("node_modules/x/index.js", "1");
    temp.write("__pycache__/a.pyc", "1");
    let before = stepper.watcher.full_end;
    assert!(hot(&mut stepper, &temp).is_empty());
    assert_eq!(stepper.watcher.full_end, before, "no full look for these");
    temp.write(".gitignore", "/out\nb.py\n");
    temp.write("out/c.py", "1");
    temp.write("b.py", "2");
    assert!(hot(&mut stepper, &temp).is_empty());
    temp.write(".gitignore", "/out\n");
    assert_eq!(hot(&mut stepper, &temp), ["+b.py"]);
}

#[test]
fn a_flood_of_hints_is_a_full_look_and_hints_come_again() {
    let temp = Temp::new();
    temp.write_old("a.py", "1");
    let mut stepper = Stepper::new(temp.rules());
    // More than is read in one look, and more than the kernel keeps.
    let (one, other) = (temp.path("one.tmp"), temp.path("other.tmp"));
    fs::write(&one, "").unwrap();
    for _ in 0..12_000 {
        fs::rename(&one, &other).unwrap();
        fs::rename(&other, &one).unwrap();
    }
    temp.write("a.py", "2");
    assert_eq!(hot(&mut stepper, &temp), ["~a.py"]);
    temp.write("a.py", "3");
    temp.write("b.py", "1");
    assert_eq!(hot(&mut stepper, &temp), ["+b.py", "~a.py"]);
}

#[test]
fn a_request_in_a_large_tree_knows_of_the_first_edit_of_any_file() {
    let temp = Temp::new();
    for number in 0..super::super::FEW + 200 {
        temp.write_old(&format!("d{}/f{number}.py", number % 20), "1");
    }
    let (sender, events) = crossbeam_channel::bounded(8);
    let watcher = Watcher::new(temp.rules());
    let (line, receiver) = Line::to(&watcher, 4);
    let thread = spawn(watcher, sender, receiver).unwrap();
    for number in 1..20 {
        temp.write(&format!("d{number}/f{}.py", number + 100), "2");
        let verdict = line.look(std::time::Duration::from_secs(20)).unwrap();
        assert!(verdict.pending || verdict.batches == number as u64, "edit {number}: {verdict:?}");
        events.recv_timeout(std::time::Duration::from_secs(20)).unwrap();
    }
    drop(line);
    thread.join().unwrap();
}
