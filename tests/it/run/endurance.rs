//! Two hundred reloads under a client that calls throughout: nothing fails, nothing is old, nothing is left behind.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;

use super::{Bench, Client};
use crate::support::{Random, eventually, spawn};

const EDITS: usize = 200;

/// What a process holds.
#[derive(Debug, PartialEq)]
struct Held {
    threads: usize,
    descriptors: usize,
    children: usize,
}

fn held(pid: u32) -> Held {
    let count = |what: &str| fs::read_dir(format!("/proc/{pid}/{what}")).map_or(0, Iterator::count);
    let children = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default().split_whitespace().count())
        .sum();
    Held { threads: count("task"), descriptors: count("fd"), children }
}

/// Kilobytes in memory.
fn memory(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    status.lines().find_map(|line| line.strip_prefix("VmRSS:")).and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn two_hundred_reloads_lose_nothing_and_leave_nothing_behind() {
    let bench = Bench::new();
    // Without the site packages Python starts in a third of the time.
    let mut client = Client::new(bench.start(&[], &["python3", "-S", "-E", "child.py", "server.json"]));
    client.initialize();
    bench.edit("0", &["add"], json!({}));
    assert_eq!(client.version(), "0");
    let pid = client.program.child.id();
    eventually("only one server is left", || held(pid).children == 1);
    let (before, memory_before) = (held(pid), memory(pid));

    let (written, answered, is_over) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
    let editing = {
        let (written, answered, is_over) = (Arc::clone(&written), Arc::clone(&answered), Arc::clone(&is_over));
        let path = bench.path("server.json");
        spawn(move || {
            let mut random = Random(3);
            for edit in 1..=EDITS {
                // In place or by renaming, as editors do; a long one now and then.
                let content = json!({"name": edit.to_string(), "tools": ["add"], "pad": "x".repeat(random.below(3000))}).to_string();
                if random.below(2) == 0 {
                    fs::write(&path, &content).unwrap();
                } else {
                    let fresh = path.with_extension("tmp");
                    fs::write(&fresh, &content).unwrap();
                    fs::rename(&fresh, &path).unwrap();
                }
                written.store(edit, Ordering::SeqCst);
                // 30 ms apart at times, else when the one before is live.
                match random.below(4) {
                    0 => std::thread::sleep(Duration::from_millis(30)),
                    _ => eventually("it is live", || answered.load(Ordering::SeqCst) >= edit),
                }
            }
            is_over.store(true, Ordering::SeqCst);
        })
    };
    let mut calls = 0;
    while !is_over.load(Ordering::SeqCst) && !editing.is_finished() {
        let at_least = written.load(Ordering::SeqCst);
        let texts = client.call("add", json!({}));
        let version: usize = texts[0].parse().unwrap();
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert!(version >= at_least, "call {calls} was answered by {version} after {at_least} had been written");
        answered.store(version, Ordering::SeqCst);
        calls += 1;
    }
    editing.join().unwrap();
    assert_eq!(client.version(), EDITS.to_string());
    eventually("what it holds is what it held", || held(pid) == before);
    let grown = memory(pid).saturating_sub(memory_before);
    assert!(grown < 8 << 10, "{grown} KiB more than {memory_before}");
}
