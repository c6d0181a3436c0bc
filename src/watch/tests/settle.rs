//! When a change is over: no file, no clock.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::super::settle::{RECENT, Settle};
use super::super::stamp::Content;

fn content(hash: u64) -> Option<Content> {
    Some(Content { hash, size: 100 })
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

#[test]
fn two_looks_some_milliseconds_apart_settle_it() {
    let (mut settle, start, path) = (Settle::new(None), Instant::now(), Path::new("a"));
    settle.saw(path, content(1), content(2), start);
    assert!(settle.take(start).is_empty());
    settle.saw(path, content(1), content(2), start + ms(1));
    assert!(settle.take(start + ms(1)).is_empty(), "two looks at almost the same time are one");
    settle.saw(path, content(1), content(3), start + ms(10));
    assert!(settle.take(start + ms(10)).is_empty(), "it moved");
    settle.saw(path, content(1), content(3), start + ms(20));
    assert_eq!(settle.take(start + ms(20)), [PathBuf::from("a")]);
    assert!(!settle.is_pending());
}

#[test]
fn debounce_replaces_the_window() {
    let (mut settle, start, path) = (Settle::new(Some(ms(300))), Instant::now(), Path::new("a"));
    for n in 0..30 {
        settle.saw(path, content(1), content(2), start + ms(10 * n));
        assert!(settle.take(start + ms(10 * n)).is_empty());
    }
    settle.saw(path, content(1), content(2), start + ms(300));
    assert_eq!(settle.take(start + ms(300)).len(), 1);
    let mut settle = Settle::new(Some(ms(0)));
    settle.saw(path, content(1), content(2), start);
    assert!(settle.take(start + ms(10)).is_empty(), "but never by a single look");
    settle.saw(path, content(1), content(2), start + ms(10));
    assert_eq!(settle.take(start + ms(10)).len(), 1);
}

#[test]
fn what_changes_together_is_told_together_but_not_for_ever() {
    let (mut settle, start) = (Settle::new(None), Instant::now());
    let mut told = Vec::new();
    for n in 0..300 {
        let now = start + ms(10 * n);
        if told.is_empty() {
            settle.saw(Path::new("rests"), content(1), content(2), now);
        }
        settle.saw(Path::new("never rests"), content(1), content(10 + n), now);
        told.extend(settle.take(now).into_iter().map(|path| (path, n * 10)));
        if told.len() == 2 {
            break;
        }
    }
    assert_eq!(told, [(PathBuf::from("rests"), 500), (PathBuf::from("never rests"), 2000)]);
}

#[test]
fn the_last_changed_are_remembered_up_to_the_limit() {
    let (mut settle, now) = (Settle::new(None), Instant::now());
    for n in 0..100 {
        settle.saw(Path::new(&n.to_string()), content(1), content(2), now);
    }
    assert_eq!(settle.recent().count(), RECENT);
    assert_eq!(settle.recent().next(), Some(&PathBuf::from("99")));
    settle.forget(Path::new("99"));
    assert_eq!(settle.recent().next(), Some(&PathBuf::from("98")));
}
