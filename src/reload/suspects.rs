//! Which files are output: written by the build or the server itself each time it runs, so that reloading for them would never end.
//!
//! A person who saves one file again and again while things run looks the same at first. So three runs in a row during which nothing but the same files
//! changed only make them suspects; then comes a pause, longer than it took them to change, with nothing of ours running. Whoever works on them
//! without us changes them in the pause too, or at another moment of each run, and is acquitted. On a machine whose load makes every run different,
//! more of them stand for their likeness; and more are asked for when requests cut the pause short, or when the files change behind the run, as the
//! last words of the old server do: so does whoever waits for one reload to save the next edit.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Runs in a row before the pause: alike ones, and any.
const RUNS: u32 = 3;
const MANY_RUNS: u32 = 7;
/// Alike ones before the pause when the files change behind the run, and those that need none.
const LATE_RUNS: u32 = 6;
const RUNS_WITHOUT_PAUSE: u32 = 6;
const LEAST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Two runs of a program write a file about as long after their start: an eighth more or less, and this.
const JITTER: Duration = Duration::from_millis(50);

/// What changed during one run, and right behind it.
#[derive(Default)]
pub(super) struct Window {
    /// Each with how long after the beginning, at first.
    pub changes: BTreeMap<PathBuf, Duration>,
    /// Some of it behind the run.
    pub is_late: bool,
}

impl Window {
    pub(super) fn add(&mut self, (path, offset): (PathBuf, Duration)) {
        self.changes.entry(path).or_insert(offset);
    }
}

#[derive(Default)]
pub(super) struct Suspects {
    files: BTreeSet<PathBuf>,
    /// Runs in a row during which they changed, and nothing else; and those of them that were alike.
    runs: u32,
    alike: u32,
    is_late: bool,
    /// How long after the start of the last run, and the longest.
    offset: Duration,
    longest: Duration,
}

impl Suspects {
    /// `path` has changed while nothing of ours ran.
    pub(super) fn acquit(&mut self, path: &Path) {
        if self.files.contains(path) {
            *self = Suspects::default();
        }
    }

    fn is_due(&self) -> bool {
        if self.is_late { self.alike >= LATE_RUNS } else { self.alike >= RUNS || self.runs >= MANY_RUNS }
    }

    /// How long to wait before the next run that only `fresh` would bring about.
    pub(super) fn pause(&self, fresh: &BTreeSet<PathBuf>) -> Option<Duration> {
        let due = self.is_due() && !fresh.is_empty() && fresh.is_subset(&self.files);
        due.then(|| (self.longest * 2).clamp(LEAST_PAUSE, LONGEST_PAUSE))
    }

    /// A run is over during which the files of `window` changed; it had been brought about by `triggers`. Returns what turns out to be output.
    pub(super) fn close(
        &mut self,
        window: &Window,
        triggers: &BTreeSet<PathBuf>,
        named: &BTreeSet<PathBuf>,
        paused: bool,
    ) -> BTreeSet<PathBuf> {
        let changed: BTreeSet<PathBuf> = window.changes.keys().cloned().collect();
        let Some(offset) = window.changes.values().copied().min().filter(|_| changed.is_disjoint(named)) else {
            *self = Suspects::default();
            return BTreeSet::new();
        };
        let same = self.runs > 0 && !triggers.is_empty() && triggers.is_subset(&self.files) && changed == self.files;
        let alike = same && offset.abs_diff(self.offset) <= self.offset / 8 + JITTER;
        let is_late = window.is_late || same && self.is_late;
        let is_proved =
            paused && self.is_due() && (alike || self.runs >= MANY_RUNS) || !is_late && alike && self.alike >= RUNS_WITHOUT_PAUSE;
        if same && is_proved {
            *self = Suspects::default();
            return changed;
        }
        *self = Suspects {
            files: changed,
            runs: if same { self.runs + 1 } else { 1 },
            alike: if alike { self.alike + 1 } else { 1 },
            is_late,
            offset,
            longest: if same { self.longest.max(offset) } else { offset },
        };
        BTreeSet::new()
    }
}
