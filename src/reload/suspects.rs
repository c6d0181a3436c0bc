//! Which files are output: written by the build or the server itself each time it runs, so that reloading for them would never end.
//!
//! A person who saves one file again and again while things run looks the same at first. So two runs in a row during which nothing but the same files
//! changed only make them suspects; then comes a pause, longer than it took them to change, with nothing of ours running. Whoever works on them
//! without us changes them in the pause too, or at another moment of the third run, and is acquitted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Runs in a row before the pause.
const RUNS: u32 = 2;
const LEAST_PAUSE: Duration = Duration::from_millis(300);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Two runs of a program write their files about as long after their start: a quarter more or less, and this.
const JITTER: Duration = Duration::from_millis(50);

#[derive(Default)]
pub(super) struct Suspects {
    files: BTreeSet<PathBuf>,
    /// Runs in a row during which they changed, and nothing else.
    runs: u32,
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

    /// How long to wait before the next run that only `fresh` would bring about.
    pub(super) fn pause(&self, fresh: &BTreeSet<PathBuf>) -> Option<Duration> {
        let due = self.runs >= RUNS && !fresh.is_empty() && fresh.is_subset(&self.files);
        due.then(|| (self.longest + self.longest / 2).clamp(LEAST_PAUSE, LONGEST_PAUSE))
    }

    /// A run is over during which the files of `window` changed; it had been brought about by `triggers`. Returns what turns out to be output.
    pub(super) fn close(
        &mut self,
        window: &[(PathBuf, Duration)],
        triggers: &BTreeSet<PathBuf>,
        named: &BTreeSet<PathBuf>,
        paused: bool,
    ) -> BTreeSet<PathBuf> {
        let changed: BTreeSet<PathBuf> = window.iter().map(|(path, _)| path.clone()).collect();
        let Some(offset) = window.iter().map(|(_, offset)| *offset).min().filter(|_| changed.is_disjoint(named)) else {
            *self = Suspects::default();
            return BTreeSet::new();
        };
        let same = self.runs > 0 && !triggers.is_empty() && triggers.is_subset(&self.files) && changed.is_subset(&self.files);
        let alike = offset.abs_diff(self.offset) <= self.offset / 4 + JITTER;
        if same && paused && self.runs >= RUNS && alike {
            *self = Suspects::default();
            return changed;
        }
        if same {
            let runs = if paused { self.runs } else { self.runs + 1 };
            *self = Suspects { files: changed, runs, offset, longest: self.longest.max(offset) };
        } else {
            *self = Suspects { files: changed, runs: 1, offset, longest: offset };
        }
        BTreeSet::new()
    }
}
