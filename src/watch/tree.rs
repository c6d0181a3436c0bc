//! What is known of the roots, their directories, and every name in them.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::ignore::{Above, Gitignore, Patterns, Scope};
use super::stamp::Entry;

/// One root.
pub(super) struct Top {
    pub(super) path: PathBuf,
    pub(super) above: Above,
    /// It has been a directory; then its absence is no removal of all its files.
    pub(super) was_directory: bool,
    pub(super) gone: bool,
}

impl Top {
    pub(super) fn new(path: PathBuf) -> Top {
        Top { above: Above::new(&path), was_directory: path.is_dir(), path, gone: false }
    }
}

/// What is known of a directory; one that only holds named files has no rules.
#[derive(Default)]
pub(super) struct Dir {
    pub(super) slots: HashMap<OsString, Slot>,
    pub(super) gitignore: Gitignore,
    patterns: Option<Arc<Patterns>>,
    pub(super) above: Option<Arc<Scope>>,
    scope: Option<Arc<Scope>>,
    /// Counts up when the rules change.
    pub(super) generation: u32,
    /// The last full look that came here.
    pub(super) turn: u64,
}

pub(super) struct Slot {
    pub(super) kind: Kind,
    pub(super) generation: u32,
    pub(super) turn: u64,
}

pub(super) enum Kind {
    /// Left out by `.gitignore` or `--ignore`; as a file and as a directory are two questions.
    LeftOut {
        is_directory: bool,
    },
    Directory,
    File(Entry),
}

impl Dir {
    /// Brings the rules up to date, and returns those that hold here.
    pub(super) fn refresh(&mut self, path: &Path, above: &Arc<Scope>, patterns: Option<Arc<Patterns>>) -> Arc<Scope> {
        let same_above = self.above.as_ref().is_some_and(|known| Arc::ptr_eq(known, above));
        let same_patterns = self.patterns.as_ref().map(Arc::as_ptr) == patterns.as_ref().map(Arc::as_ptr);
        if let Some(scope) = self.scope.as_ref().filter(|_| same_above && same_patterns) {
            return Arc::clone(scope);
        }
        self.generation = self.generation.wrapping_add(1);
        let scope = match &patterns {
            Some(own) => Scope::new(path, Arc::clone(own), Some(Arc::clone(above))),
            None => Arc::clone(above),
        };
        (self.above, self.patterns, self.scope) = (Some(Arc::clone(above)), patterns, Some(Arc::clone(&scope)));
        scope
    }
}
