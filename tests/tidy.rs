//! House rules: the floor plan of DESIGN.md holds, every file opens by saying what it is for, and no room grows too large.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

/// Lines a file may have.
const MOST_LINES: usize = 400;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The rooms in the order of DESIGN.md's table, whose rows look like "| 3 | `slots` | what for |".
fn rooms() -> Vec<String> {
    let design = fs::read_to_string(root().join("DESIGN.md")).expect("DESIGN.md");
    let row = |line: &str| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let floor = cells.get(1)?.parse::<u32>().ok()?;
        let name = cells.get(2)?.strip_prefix('`')?.strip_suffix('`')?;
        Some((floor, name.to_owned()))
    };
    let rows: Vec<(u32, String)> = design.lines().filter_map(row).collect();
    assert!(rows.is_sorted_by_key(|(floor, _)| *floor), "the floors of DESIGN.md go up");
    rows.into_iter().map(|(_, name)| name).collect()
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            sources(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
}

fn all_sources() -> Vec<(String, String)> {
    let src = root().join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    files.sort();
    let name = |file: &Path| file.strip_prefix(&src).expect("below src").to_string_lossy().into_owned();
    files.iter().map(|file| (name(file), fs::read_to_string(file).expect("text"))).collect()
}

/// The room a file belongs to: `handler/ask.rs` is part of `handler`.
fn room(file: &str) -> &str {
    file.split(['/', '.']).next().unwrap_or(file)
}

/// The names that follow `crate::` in code, `use crate::{a, b::C}` included.
fn imports(text: &str) -> Vec<String> {
    let code: String =
        text.split("#[cfg(test)]").next().unwrap_or(text).lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    let mut names = Vec::new();
    for part in code.split("crate::").skip(1) {
        let many = part.starts_with('{');
        let list = part.strip_prefix('{').map_or(part, |list| list.split('}').next().unwrap_or(list));
        for item in list.split(',').take(if many { usize::MAX } else { 1 }) {
            names.push(item.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    names
}

fn is_test(file: &str) -> bool {
    file.ends_with("tests.rs") || file.contains("/tests/")
}

#[test]
fn imports_go_down_only() {
    let rooms = rooms();
    let floor = |name: &str| rooms.iter().position(|room| room == name);
    let mut wrong = Vec::new();
    for (file, text) in all_sources() {
        let own = room(&file);
        let Some(own_floor) = floor(own) else {
            wrong.push(format!("{file}: the room {own} has no floor in DESIGN.md"));
            continue;
        };
        if is_test(&file) || own == "lib" {
            continue;
        }
        for name in imports(&text) {
            if name.starts_with(char::is_uppercase) {
                wrong.push(format!("{file}: {name} is reached through the crate root"));
            } else if name != own && floor(&name).is_none_or(|floor| floor >= own_floor) {
                wrong.push(format!("{file}: imports {name}, which is not below {own}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_room_of_the_plan_exists() {
    let files: Vec<String> = all_sources().into_iter().map(|(file, _)| room(&file).to_owned()).collect();
    let missing: Vec<String> = rooms().into_iter().filter(|room| !files.contains(room)).collect();
    assert!(missing.is_empty(), "DESIGN.md names rooms that do not exist: {missing:?}");
}

#[test]
fn every_file_says_what_it_is_for_and_stays_small() {
    let mut wrong = Vec::new();
    for (file, text) in all_sources() {
        if !text.starts_with("//!") && !is_test(&file) {
            wrong.push(format!("{file}: does not begin with a line of //!"));
        }
        let lines = text.lines().count();
        if lines > MOST_LINES {
            wrong.push(format!("{file}: {lines} lines"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_mount_knows_the_server_of_tiny_http() {
    let knows = |text: &str| text.lines().any(|line| !line.trim_start().starts_with("//") && line.contains("tiny_http::Server"));
    let known: Vec<String> = all_sources().into_iter().filter(|(_, text)| knows(text)).map(|(file, _)| file).collect();
    assert!(known.is_empty(), "{known:?}");
}

#[test]
fn every_thread_has_a_name() {
    let starts = |text: &str| {
        let code = text.split("#[cfg(test)]").next().unwrap_or(text);
        ["thread::spawn", "thread::Builder", "thread::{Builder"].iter().any(|way| code.contains(way))
    };
    let others: Vec<String> = all_sources()
        .into_iter()
        .filter(|(file, text)| room(file) != "threads" && !is_test(file) && starts(text))
        .map(|(file, _)| file)
        .collect();
    assert!(others.is_empty(), "threads are started by the room `threads`, not by {others:?}");
}
