//! What all tests of the watcher stand on: a directory of their own, and a clock that only the test moves.

#[cfg(target_os = "linux")]
mod hints;
mod hostile;
mod ignore;
mod model;
#[cfg(target_os = "linux")]
mod quiet;
mod saves;
mod settle;
mod thread;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant, SystemTime};

use super::hints::Hints;
use super::{Change, ChangeKind, Look, Rules, Tier, Watcher};

/// A directory that is removed in the end.
struct Temp(PathBuf);

impl Temp {
    fn new() -> Temp {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("mcp-watch-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = fs::canonicalize(std::env::temp_dir()).unwrap().join(name);
        fs::create_dir_all(&path).unwrap();
        Temp(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Writes in place, directories made as needed.
    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// Writes, and makes the file look as if that had been an hour ago.
    fn write_old(&self, name: &str, content: &str) -> PathBuf {
        let path = self.write(name, content);
        age(&path);
        path
    }

    fn rules(&self) -> Rules {
        Rules { roots: vec![self.0.clone()], ..Rules::default() }
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn age(path: &Path) {
    let hour = SystemTime::now() - Duration::from_secs(3600);
    fs::OpenOptions::new().append(true).open(path).unwrap().set_modified(hour).unwrap();
}

/// A watcher whose time the test moves.
struct Stepper {
    watcher: Watcher,
    now: Instant,
    notes: Vec<String>,
}

impl Stepper {
    fn new(rules: Rules) -> Stepper {
        Stepper::with_limit(rules, super::FILE_LIMIT)
    }

    fn with_limit(rules: Rules, limit: usize) -> Stepper {
        let now = Instant::now();
        Stepper { watcher: Watcher::with_limit(rules, limit, now), now, notes: Vec::new() }
    }

    /// One that has to find everything by itself.
    fn without_hints(rules: Rules) -> Stepper {
        let mut stepper = Stepper::new(rules);
        stepper.watcher.hints = Hints::none();
        stepper
    }

    /// Moves time on and looks.
    fn look_after(&mut self, milliseconds: u64, tier: Tier) -> Look {
        self.now += Duration::from_millis(milliseconds);
        let look = self.watcher.look(self.now, tier);
        self.notes.extend(look.notes.iter().cloned());
        look
    }

    /// Looks at everything until nothing is pending, and returns all that was told, as `+name`, `~name`, `-name`.
    fn settle(&mut self, temp: &Temp) -> Vec<String> {
        let mut told = Vec::new();
        for _ in 0..20 {
            let look = self.look_after(30, Tier::Full);
            told.extend(look.changed.iter().map(|change| show(change, &temp.0)));
            if !look.pending {
                break;
            }
        }
        told.sort();
        told
    }

    fn said(&self, part: &str) -> usize {
        self.notes.iter().filter(|note| note.contains(part)).count()
    }
}

fn show(change: &Change, base: &Path) -> String {
    let sign = match change.kind {
        ChangeKind::Added => '+',
        ChangeKind::Modified => '~',
        ChangeKind::Removed => '-',
    };
    format!("{sign}{}", change.path.strip_prefix(base).unwrap_or(&change.path).display())
}
