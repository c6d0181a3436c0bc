//! Random operations on a small tree against a naive model: what the watcher told, applied in order, is what is there.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::{ChangeKind, Tier};
use super::{Stepper, Temp};
use crate::random::Random;

/// Every counting file below `dir`, read plainly.
fn read_all(dir: &Path, into: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            if path.file_name().unwrap() != "target" {
                read_all(&path, into);
            }
        } else if path.extension().is_some_and(|e| e == "py") {
            into.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
}

fn operate(random: &mut Random, temp: &Temp) {
    const DIRS: [&str; 5] = ["", "a/", "a/b/", "target/", "c/"];
    const FILES: [&str; 4] = ["x.py", "y.py", "z.txt", "w.py"];
    let name = |random: &mut Random| format!("{}{}", random.pick(&DIRS), random.pick(&FILES));
    let path = temp.path(&name(random));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let content = "v".repeat(random.below(3)) + &random.below(4).to_string();
    match random.below(8) {
        0..=2 => fs::write(&path, content).unwrap(),
        3 => fs::write(&path, "").unwrap(),
        4 => {
            let new = temp.write("new.tmp", &content);
            fs::rename(new, &path).unwrap();
        }
        5 => drop(fs::remove_file(&path)),
        6 => {
            let to = temp.path(&name(random));
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            let _ = fs::rename(&path, to);
        }
        _ => drop(fs::remove_dir_all(temp.path(DIRS[1 + random.below(4)]))),
    }
}

#[test]
fn what_was_told_is_what_is_there() {
    compare(Stepper::without_hints, Tier::Full);
    compare(Stepper::new, Tier::Full);
}

#[cfg(target_os = "linux")]
#[test]
fn with_hints_so_it_is_without_any_full_look() {
    compare(Stepper::new, Tier::Hot);
}

/// `last`: the looks after which everything is known.
fn compare(start: fn(super::Rules) -> Stepper, last: Tier) {
    for seed in 0..12 {
        let mut random = Random(seed);
        let temp = Temp::new();
        for _ in 0..10 {
            operate(&mut random, &temp);
        }
        let mut stepper = start(temp.rules());
        let mut model = BTreeMap::new();
        read_all(&temp.0, &mut model);
        // By path: the content hash last told. What the first look found is known by the content it then had.
        let mut known: BTreeMap<PathBuf, u64> =
            model.keys().map(|path| (path.clone(), stepper.watcher.entry(path).unwrap().told.unwrap().hash)).collect();
        let mut hashes: BTreeMap<u64, Vec<u8>> = known.iter().map(|(path, hash)| (*hash, model[path].clone())).collect();
        for round in 0..40 {
            for _ in 0..random.below(6) {
                operate(&mut random, &temp);
                if random.below(3) == 0 {
                    let tier = if random.below(2) == 0 { Tier::Hot } else { last };
                    let pause = random.next() % 40;
                    apply(&stepper.look_after(pause, tier).changed, &mut known, seed);
                }
            }
            // The last operation is over: one look sees all of it, another after the longest window tells it.
            apply(&stepper.look_after(100, last).changed, &mut known, seed);
            let look = stepper.look_after(100, last);
            apply(&look.changed, &mut known, seed);
            assert!(!look.pending, "seed {seed} round {round}");
            let mut there = BTreeMap::new();
            read_all(&temp.0, &mut there);
            assert_eq!(known.keys().collect::<Vec<_>>(), there.keys().collect::<Vec<_>>(), "seed {seed} round {round}");
            for (path, hash) in &known {
                let content = hashes.entry(*hash).or_insert_with(|| there[path].clone());
                assert_eq!(content, &there[path], "seed {seed} round {round} {}", path.display());
            }
            assert_eq!(stepper.watcher.summary().files, there.len());
        }
    }
}

fn apply(changes: &[super::Change], known: &mut BTreeMap<PathBuf, u64>, seed: u64) {
    for change in changes {
        let before = match change.kind {
            ChangeKind::Removed => known.remove(&change.path),
            _ => known.insert(change.path.clone(), change.content),
        };
        assert_eq!(before.is_none(), change.kind == ChangeKind::Added, "seed {seed}: {change:?}");
        assert_ne!(before, Some(change.content), "seed {seed}: no edit is told as one: {change:?}");
    }
}
