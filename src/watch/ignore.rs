//! Which rules hold in which directory: the `.gitignore` files on the way down to it, and the `--ignore` globs of its root.
//!
//! As in git, a deeper file has the last word over a higher one and a later line over an earlier one, and below a directory that is left out
//! nothing is looked at. `--ignore` globs have the syntax of one `.gitignore` line, count from the root, and win over every `.gitignore`.

use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::glob::Pattern;
use super::stamp::Stamp;

/// Of a `.gitignore` file, this much is read and so many lines are kept; what lies beyond is not obeyed.
const SIZE_LIMIT: u64 = 256 * 1024;
const PATTERN_LIMIT: usize = 4096;

/// The lines of one `.gitignore` file, or the `--ignore` globs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Patterns(Vec<Pattern>);

impl Patterns {
    pub(super) fn parse<'a>(lines: impl Iterator<Item = &'a str>) -> Patterns {
        Patterns(lines.filter_map(Pattern::parse).take(PATTERN_LIMIT).collect())
    }

    /// What the last line that speaks of `path` says: `Some(true)` = left out.
    pub(super) fn verdict(&self, path: &[u8], is_directory: bool) -> Option<bool> {
        self.0.iter().rev().find(|p| p.matches(path, is_directory)).map(|p| !p.negated)
    }
}

/// A `.gitignore` file, read again when it changes.
#[derive(Debug, Default)]
pub(super) struct Gitignore {
    stamp: Option<Stamp>,
    young: bool,
    patterns: Option<Arc<Patterns>>,
}

impl Gitignore {
    /// The present patterns; the same `Arc` for as long as they say the same.
    pub(super) fn refresh(&mut self, file: &Path, stamp: Option<Stamp>, wall: SystemTime) -> Option<Arc<Patterns>> {
        if stamp != self.stamp || self.young {
            self.stamp = stamp;
            self.young = stamp.is_some_and(|s| s.is_young(wall));
            // One that cannot be read leaves nothing out: too much is watched, nothing is missed.
            let patterns = stamp.and_then(|_| read(file)).map(|text| Patterns::parse(text.trim_start_matches('\u{feff}').lines()));
            if patterns.as_ref() != self.patterns.as_deref() {
                self.patterns = patterns.map(Arc::new);
            }
        }
        self.patterns.clone()
    }
}

fn read(file: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(file).ok()?.take(SIZE_LIMIT).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The rules that hold in one directory.
#[derive(Debug)]
pub(super) struct Scope {
    base: PathBuf,
    patterns: Arc<Patterns>,
    above: Option<Arc<Scope>>,
}

impl Scope {
    pub(super) fn new(base: &Path, patterns: Arc<Patterns>, above: Option<Arc<Scope>>) -> Arc<Scope> {
        Arc::new(Scope { base: base.to_path_buf(), patterns, above })
    }

    /// Whether `path` is left out. `globs` are the `--ignore` ones of the root at `root`.
    pub(super) fn leaves_out(&self, path: &Path, is_directory: bool) -> bool {
        let own = relative(path, &self.base).and_then(|rel| self.patterns.verdict(&rel, is_directory));
        own.unwrap_or_else(|| self.above.as_ref().is_some_and(|above| above.leaves_out(path, is_directory)))
    }
}

/// `path` from `base`, with `/` between names on every platform.
pub(super) fn relative(path: &Path, base: &Path) -> Option<Vec<u8>> {
    let names = path.strip_prefix(base).ok()?.components().filter_map(|c| match c {
        Component::Normal(name) => Some(name.as_encoded_bytes()),
        _ => None,
    });
    Some(names.collect::<Vec<_>>().join(&b'/'))
}

/// A root, with the `.gitignore` files above it that belong to the same git work tree.
pub(super) struct Above {
    root: PathBuf,
    files: Vec<(PathBuf, Gitignore, Option<Arc<Patterns>>)>,
    scope: Arc<Scope>,
}

impl Above {
    pub(super) fn new(root: &Path) -> Above {
        let top = root.ancestors().find(|dir| dir.join(".git").exists());
        let mut files: Vec<_> = match top {
            Some(top) => root
                .ancestors()
                .skip(1)
                .take_while(|dir| dir.starts_with(top))
                .map(|d| (d.to_path_buf(), Gitignore::default(), None))
                .collect(),
            None => Vec::new(),
        };
        files.reverse();
        Above { root: root.to_path_buf(), files, scope: Scope::new(root, Arc::default(), None) }
    }

    /// The rules that hold around the root, the same `Arc` for as long as no file above changes. A root that they leave out is watched all
    /// the same, since somebody named it, and then nothing above holds inside it.
    pub(super) fn scope(&mut self, wall: SystemTime) -> Arc<Scope> {
        let mut changed = false;
        for (dir, file, last) in &mut self.files {
            let path = dir.join(".gitignore");
            let patterns = file.refresh(&path, Stamp::of(&path), wall);
            changed |= patterns.as_ref().map(Arc::as_ptr) != last.as_ref().map(Arc::as_ptr);
            *last = patterns;
        }
        if changed {
            self.scope = self.build();
        }
        Arc::clone(&self.scope)
    }

    fn build(&self) -> Arc<Scope> {
        let mut scope = Scope::new(&self.root, Arc::default(), None);
        for (dir, _, patterns) in &self.files {
            if let Some(patterns) = patterns {
                scope = Scope::new(dir, Arc::clone(patterns), Some(scope));
            }
        }
        let Some((top, ..)) = self.files.first() else { return scope };
        let is_out = self.root.ancestors().take_while(|dir| *dir != top).any(|dir| scope.leaves_out(dir, true));
        if is_out { Scope::new(&self.root, Arc::default(), None) } else { scope }
    }
}
