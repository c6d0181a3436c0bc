//! Watches files by looking at them: what changed, by content, and when the change is over.
//!
//! Polling on std only, because it works where native events do not (bind mounts, network drives, WSL), in two tiers. A **hot** look takes the
//! named files, whatever is just changing, and the last changed files with their directories; a **full** one walks the roots. [`Watcher::look`]
//! does one of them and says when the next is due; [`spawn`] is the thread that does so for ever. Where the kernel tells what is written, a hot look
//! takes that, too.
//!
//! The rooms inside: `glob` and `ignore` (`.gitignore`), `names` (the built-in lists), `stamp` (one file), `settle` (when a change is over),
//! `tree` (what is known), `sweep` (the walk), `hints` (what the kernel tells), `quiet` (an answer without a look), `thread`.

#![allow(dead_code, unused_imports, reason = "used by the front")]

mod glob;
mod hints;
mod ignore;
mod names;
mod quiet;
mod root;
mod settle;
mod stamp;
mod sweep;
#[cfg(test)]
mod tests;
mod thread;
mod tree;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

#[cfg(any(test, fuzzing))]
pub(crate) use glob::check as check_glob;
pub(crate) use quiet::Quiet;
pub(crate) use root::{Root, default_root};
pub(crate) use stamp::Stamp;
pub(crate) use thread::{Command, Event, Line, Verdict, spawn};

use hints::Hints;
use ignore::Patterns;
use names::Names;
use settle::Settle;
use stamp::{Entry, Reader};
use tree::{Dir, Kind, Slot, Top};

/// So many files are watched below the roots; the rest is not, and that is said.
const FILE_LIMIT: usize = 50_000;
/// The first look reads so many files at once; the others are known by their stamp until later sweeps have read them, a few at a time. Until
/// then a touch of such a file counts as a change.
const FIRST_READS: usize = 1000;
const LATER_READS: usize = 200;
const HOT_READS: usize = 256;

const HOT_PAUSE: Duration = Duration::from_millis(10);
const FULL_PAUSE: Duration = Duration::from_millis(20);
const COVERED_PAUSE: Duration = Duration::from_millis(500);
/// A look that takes longer because a network drive answers slowly costs no CPU: no reason to become blind.
const HOT_PAUSE_LIMIT: Duration = Duration::from_secs(1);
const FULL_PAUSE_LIMIT: Duration = Duration::from_secs(10);
/// At most 0.5 % of a core for hot looks, 1.5 % for full ones; waking up costs a little besides. Where the kernel tells all, 0.2 % are for full ones.
const HOT_SHARE: u32 = 199;
const FULL_SHARE: u32 = 66;
const COVERED_SHARE: u32 = 499;
/// A tree whose full look is quicker than this is looked at as a whole when a request asks.
const QUICK: Duration = Duration::from_millis(1);
/// So is one with so few files, whatever the last look took on a busy machine: their first edit must not be missed.
const FEW: usize = 1000;
/// What is output of the child or the build; beyond, nothing more is taken for it.
const OUTPUT_LIMIT: usize = 4096;

/// What to watch.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    /// Files and directories; a file here is as good as a named one.
    pub(crate) roots: Vec<PathBuf>,
    /// Files watched whatever the other rules say: COMMAND's program and arguments, the env file.
    pub(crate) named: Vec<PathBuf>,
    /// Extensions that count; `None` = source and configuration files.
    pub(crate) extensions: Option<Vec<String>>,
    /// Globs left out, in the syntax of a `.gitignore` line, from each root.
    pub(crate) ignore: Vec<String>,
    /// How long a file must rest before its change is told; `None` = two looks that see the same.
    pub(crate) debounce: Option<Duration>,
}

/// What happened to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    Added,
    Modified,
    Removed,
}

/// One file that is not what its owner was last told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    pub(crate) path: PathBuf,
    pub(crate) kind: ChangeKind,
    /// Hash of the content now; 0 when removed.
    pub(crate) content: u64,
}

/// How much to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tier {
    Hot,
    Full,
}

/// What one look found.
#[derive(Debug)]
pub(crate) struct Look {
    /// What has changed and come to rest.
    pub(crate) changed: Vec<Change>,
    /// Something differs and has not come to rest.
    pub(crate) pending: bool,
    /// To be said, each once.
    pub(crate) notes: Vec<String>,
    /// When to look again, and at what.
    pub(crate) next_look: Instant,
    pub(crate) next_tier: Tier,
}

/// What is watched, for the line at the start.
#[derive(Debug, Clone)]
pub(crate) struct Summary {
    pub(crate) roots: Vec<PathBuf>,
    /// Files below the roots that count, and roots that are files; what is only named is not among them.
    pub(crate) files: usize,
    /// Files that are named, without those of `files`.
    pub(crate) besides: usize,
    /// Files and directories that cannot be read.
    pub(crate) unreadable: usize,
}

/// The files and what is known of them.
pub(crate) struct Watcher {
    tops: Vec<Top>,
    named: Vec<PathBuf>,
    names: Names,
    globs: Patterns,
    outputs: HashSet<PathBuf>,
    tree: HashMap<PathBuf, Dir>,
    settle: Settle,
    reader: Reader,
    limit: usize,
    files: usize,
    over_limit: bool,
    turn: u64,
    now: Instant,
    next_hot: Instant,
    next_full: Instant,
    /// How long the last full look took, and when it was over.
    full_cost: Duration,
    full_end: Instant,
    hints: Hints,
    /// A hint has come that only a full look can follow.
    is_behind: bool,
    /// Nothing that counts is written without a hint.
    is_covered: bool,
    /// Except for what is only named, and can be written to by another name.
    has_doubles: bool,
    quiet: Arc<Quiet>,
}

impl Watcher {
    /// Takes the snapshot that later looks are compared with.
    pub(crate) fn new(rules: Rules) -> Watcher {
        Watcher::with_limit(rules, FILE_LIMIT, Instant::now())
    }

    fn with_limit(rules: Rules, limit: usize, now: Instant) -> Watcher {
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        let mut watcher = Watcher {
            tops: rules.roots.into_iter().map(absolute).map(Top::new).collect(),
            named: rules.named.into_iter().map(absolute).collect(),
            names: Names::new(rules.extensions.as_deref()),
            globs: Patterns::parse(rules.ignore.iter().map(String::as_str)),
            outputs: HashSet::new(),
            tree: HashMap::new(),
            settle: Settle::new(rules.debounce),
            reader: Reader::new(FIRST_READS),
            limit,
            files: 0,
            over_limit: false,
            turn: 0,
            now,
            next_hot: now,
            next_full: now,
            full_cost: Duration::ZERO,
            full_end: now,
            hints: Hints::default(),
            is_behind: false,
            is_covered: false,
            has_doubles: false,
            quiet: Arc::default(),
        };
        watcher.see(now, Tier::Full);
        watcher.reader.first = false;
        watcher
    }

    /// What is watched at present.
    pub(crate) fn summary(&self) -> Summary {
        let slot = |path: &Path| self.tree.get(path.parent()?)?.slots.get(path.file_name()?);
        let is_counted = |path: &Path| matches!(slot(path), Some(Slot { kind: Kind::File(entry), .. }) if entry.counted);
        let is_root = |path: &Path| self.tops.iter().any(|top| top.path == path);
        let files_as_roots = self.tops.iter().filter(|top| top.path.is_file() && !is_counted(&top.path)).count();
        Summary {
            roots: self.tops.iter().map(|top| top.path.clone()).collect(),
            files: self.files + files_as_roots,
            besides: self.named.iter().filter(|named| !is_counted(named) && !is_root(named)).count(),
            unreadable: self.reader.unreadable(),
        }
    }

    /// Leaves `path` out from now on, named or not: it is output.
    pub(crate) fn ignore_output(&mut self, path: &Path) {
        if self.outputs.len() < OUTPUT_LIMIT && self.outputs.insert(path.to_path_buf()) {
            self.named.retain(|named| named != path);
            self.drop_file(path);
        }
    }

    /// Looks once. `now` is the caller's clock: nothing here waits or asks what time it is, but for the cost of the look and the youth of a file.
    pub(crate) fn look(&mut self, now: Instant, tier: Tier) -> Look {
        let started = Instant::now();
        let tier = self.see(now, tier);
        let changed = self.settle.take(now).iter().filter_map(|path| self.tell(path)).collect();
        self.schedule(tier, started.elapsed());
        let (next_look, next_tier) =
            if self.next_full <= self.next_hot { (self.next_full, Tier::Full) } else { (self.next_hot, Tier::Hot) };
        // What only the full look can tell may be a change.
        let pending = self.settle.is_pending() || self.is_behind;
        Look { changed, pending, notes: std::mem::take(&mut self.reader.notes), next_look, next_tier }
    }

    /// What a look on behalf of a waiting request should take in: the hot set, or everything when that costs next to nothing and is needed.
    pub(crate) fn quick_tier(&self) -> Tier {
        if !self.is_covered && (self.files <= FEW || self.full_cost < QUICK) { Tier::Full } else { Tier::Hot }
    }

    /// Looks; a hint can make of a hot look a full one. Returns which it was.
    fn see(&mut self, now: Instant, tier: Tier) -> Tier {
        self.turn += 1;
        self.now = now;
        self.reader.wall = SystemTime::now();
        if !self.reader.first {
            self.reader.budget = if tier == Tier::Full { LATER_READS } else { HOT_READS };
        }
        // First of all: what is written from here on gives another hint.
        let tier = self.look_at_hinted(tier);
        // Followed before it is looked at.
        let follows = tier == Tier::Full && self.follow_single_files();
        self.look_at_single_files();
        match tier {
            Tier::Hot => self.look_at_recent_directories(),
            Tier::Full => {
                let is_whole = self.sweep();
                self.is_covered = follows && is_whole && self.hints.tell_all() && self.has_real_roots();
            }
        }
        tier
    }

    fn schedule(&mut self, tier: Tier, cost: Duration) {
        let pause = |least: Duration, share: u32, most: Duration| least.max(cost.saturating_mul(share).min(most));
        // While something is coming to rest the next look comes soon, whatever the last one cost.
        let hot = if self.settle.is_pending() { 1 } else { HOT_SHARE };
        match tier {
            Tier::Hot => self.next_hot = self.now + pause(HOT_PAUSE, hot, HOT_PAUSE_LIMIT),
            Tier::Full => {
                (self.full_cost, self.full_end) = (cost, self.now + cost);
                // With its budget used up, this one has left files unread.
                let has_time = self.is_covered && self.reader.budget > 0;
                let (least, share) = if has_time { (COVERED_PAUSE, COVERED_SHARE) } else { (FULL_PAUSE, FULL_SHARE) };
                self.next_full = self.full_end + pause(least, share, FULL_PAUSE_LIMIT);
                self.next_hot = self.now + HOT_PAUSE;
            }
        }
    }

    /// The change to tell about a file that has come to rest; from here on its owner knows.
    fn tell(&mut self, path: &Path) -> Option<Change> {
        let entry = self.entry(path)?;
        let kind = match (entry.told, entry.seen) {
            (None, Some(_)) => ChangeKind::Added,
            (Some(_), None) => ChangeKind::Removed,
            (Some(told), Some(seen)) if told != seen => ChangeKind::Modified,
            _ => return None,
        };
        entry.told = entry.seen;
        let content = entry.seen.map_or(0, |content| content.hash);
        if kind == ChangeKind::Removed && !self.is_named(path) {
            self.remove_entry(path);
        }
        Some(Change { path: path.to_path_buf(), kind, content })
    }

    fn entry(&mut self, path: &Path) -> Option<&mut Entry> {
        match &mut self.tree.get_mut(path.parent()?)?.slots.get_mut(path.file_name()?)?.kind {
            Kind::File(entry) => Some(entry),
            _ => None,
        }
    }

    fn remove_entry(&mut self, path: &Path) {
        self.reader.forget(path);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return };
        let Some(dir) = self.tree.get_mut(parent) else { return };
        if let Some(Kind::File(entry)) = dir.slots.remove(name).map(|slot| slot.kind) {
            self.files -= usize::from(entry.counted);
        }
    }

    /// Forgets a file without a word to anybody.
    fn drop_file(&mut self, path: &Path) {
        self.settle.forget(path);
        self.remove_entry(path);
    }
}
