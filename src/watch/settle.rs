//! When a change is over: a state machine without clock or file system, fed with what each look sees.
//!
//! A change is told as soon as two looks in a row, some milliseconds apart, see the same content. A file that is gone, empty, or less than half
//! of what it was, is likely being saved (unlink and create, truncate and write) and gets one longer look. `--debounce` replaces both times.
//! All that is changing is told together, so that one checkout is one batch; but a file that never rests holds up the others only for so long,
//! and in the end is told as it is.

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::stamp::Content;

/// Two looks nearer than this count as one: a hot look and one asked for by a request can be microseconds apart.
const REST: Duration = Duration::from_millis(8);
/// For what looks like the middle of a save.
const LONG_REST: Duration = Duration::from_millis(60);
/// How long what has settled waits for what has not.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long one file may go on changing before it is told as it is: a request may be waiting for the outcome.
const ENOUGH: Duration = Duration::from_secs(2);
/// So many of the last changed files are looked at every time.
pub(super) const RECENT: usize = 64;

struct Unsettled {
    /// Differs from what was told since then.
    first: Instant,
    /// Looks the same since then.
    since: Instant,
    looks: u32,
    seen: Option<Content>,
    suspicious: bool,
}

/// The files that differ from what was told, and the last ones that did.
pub(super) struct Settle {
    unsettled: HashMap<PathBuf, Unsettled>,
    recent: VecDeque<PathBuf>,
    debounce: Option<Duration>,
}

impl Settle {
    pub(super) fn new(debounce: Option<Duration>) -> Settle {
        Settle { unsettled: HashMap::new(), recent: VecDeque::new(), debounce }
    }

    /// One look at `path`, at most one a turn: `told` is what the owner knows, `seen` what is there.
    pub(super) fn saw(&mut self, path: &Path, told: Option<Content>, seen: Option<Content>, now: Instant) {
        if seen == told {
            self.unsettled.remove(path);
            return;
        }
        let size = |content: Option<Content>| content.map_or(0, |c| c.size);
        let suspicious = size(seen) < size(told).div_ceil(2) || size(seen) == 0;
        let fresh = Unsettled { first: now, since: now, looks: 1, seen, suspicious };
        let Some(unsettled) = self.unsettled.get_mut(path) else {
            self.remember(path);
            self.unsettled.insert(path.to_path_buf(), fresh);
            return;
        };
        if unsettled.seen == seen {
            unsettled.looks = unsettled.looks.saturating_add(1);
        } else {
            *unsettled = Unsettled { first: unsettled.first, ..fresh };
        }
    }

    fn remember(&mut self, path: &Path) {
        self.recent.retain(|known| known != path);
        self.recent.push_front(path.to_path_buf());
        self.recent.truncate(RECENT);
    }

    /// `path` is no longer watched.
    pub(super) fn forget(&mut self, path: &Path) {
        self.unsettled.remove(path);
        self.recent.retain(|known| known != path);
    }

    pub(super) fn is_pending(&self) -> bool {
        !self.unsettled.is_empty()
    }

    pub(super) fn holds(&self, path: &Path) -> bool {
        !self.unsettled.is_empty() && self.unsettled.contains_key(path)
    }

    pub(super) fn pending(&self) -> impl Iterator<Item = &PathBuf> {
        self.unsettled.keys()
    }

    /// The last changed files, the newest first.
    pub(super) fn recent(&self) -> impl Iterator<Item = &PathBuf> {
        self.recent.iter()
    }

    /// Takes what is over, in the order of the paths.
    pub(super) fn take(&mut self, now: Instant) -> Vec<PathBuf> {
        let debounce = self.debounce;
        let slack = debounce.unwrap_or_default().saturating_mul(4);
        let waited = |u: &Unsettled, limit: Duration| now.saturating_duration_since(u.first) >= limit.max(slack);
        let is_over = |u: &Unsettled| {
            let rest = debounce.unwrap_or(if u.suspicious { LONG_REST } else { REST });
            u.looks >= 2 && now.saturating_duration_since(u.since) >= rest || waited(u, ENOUGH)
        };
        let together = self.unsettled.values().all(is_over);
        let ready = |u: &Unsettled| is_over(u) && (together || waited(u, PATIENCE));
        let mut paths: Vec<PathBuf> = self.unsettled.iter().filter(|(_, u)| ready(u)).map(|(path, _)| path.clone()).collect();
        paths.sort();
        for path in &paths {
            self.unsettled.remove(path);
        }
        paths
    }
}
