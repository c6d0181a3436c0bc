//! Rough treatment: a program that is still being written, reloads without a pause.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::json;

use super::super::Swapped;
use super::kit::{beside, changes, front, until};
use crate::child::CommandLine;

#[test]
fn a_program_that_is_still_being_written_is_not_a_broken_one() {
    let front = front(json!({"name": "v1"}));
    let program = front.dir.join("server");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/child.py");
    fs::write(&program, format!("#!/bin/sh\nexec python3 -S -E {script} child.json\n")).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    front.hold.set_command(CommandLine { program: program.clone().into(), args: Vec::new(), cwd: front.dir.clone(), env: Vec::new() });
    let client = front.session();
    assert_eq!(client.version(), "v1");
    let writer = fs::OpenOptions::new().append(true).open(&program).unwrap();
    front.edit(json!({"name": "v2"}));
    let save = front.save();
    assert!(matches!(front.hold.swap(save), Swapped::Failed { is_text_busy: true, .. }));
    assert_eq!(client.version(), "v1");
    drop(writer);
    changes(front.hold.swap(save));
    assert_eq!(client.version(), "v2");
}

#[test]
fn many_reloads_under_calls_lose_nothing() {
    let front = front(json!({"name": "v0"}));
    let client = Arc::new(front.session());
    let (done, theirs) = (Arc::new(AtomicBool::new(false)), Arc::clone(&client));
    let ended = Arc::clone(&done);
    let versions = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&versions);
    let calls = beside(move || {
        while !ended.load(Ordering::SeqCst) {
            let slow = theirs.start("slow", json!({"seconds": 0.02}));
            let version = theirs.version();
            seen.lock().unwrap().push(version);
            theirs.result(slow);
        }
    });
    for number in 1..=15 {
        changes(front.reload(json!({"name": format!("v{number}")})));
        assert_eq!(client_version(&versions, number), number);
    }
    done.store(true, Ordering::SeqCst);
    calls.recv().unwrap();
    until("one child is left", || front.children() == 1);
    let order: Vec<u64> = versions.lock().unwrap().iter().map(|version| version[1..].parse().unwrap()).collect();
    assert!(order.is_sorted(), "never back: {order:?}");
}

/// Waits until this version has answered.
fn client_version(versions: &Mutex<Vec<String>>, number: u64) -> u64 {
    let last = || versions.lock().unwrap().last().map_or(0, |version| version[1..].parse().unwrap());
    until("the new version answers", || last() >= number);
    last()
}
