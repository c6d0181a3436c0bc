//! The walk: which files there are, and one look at each.
//!
//! A full look reads every directory below the roots and stats every file that counts, once. Whether a name counts is decided when it is first
//! met and remembered with it until the rules of its directory change. Directories behind symlinks come last, and no directory is walked twice.

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs::{self, DirEntry, FileType, Metadata};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Watcher;
use super::ignore::{Scope, relative};
use super::names::Names;
use super::stamp::{self, Entry, Stamp, identity};
use super::tree::{Dir, Kind, Slot};

/// A full look reads at most so many names, watched or not.
const NAME_LIMIT: usize = 500_000;
/// A hot look reads directories of at most so many names in all; what lies beyond waits for the full one.
const HOT_NAMES: usize = 256;

/// A directory still to be walked.
type Todo = (PathBuf, Arc<Scope>);

#[derive(Default)]
struct Walk {
    todo: Vec<Todo>,
    /// Directories behind symlinks: after all others, so that a file is known by its own path.
    links: Vec<Todo>,
    met: HashSet<(u64, u64)>,
    names: usize,
    files: usize,
    /// The limit is reached: what has not been met may still be there.
    cut: bool,
    /// Something was met that can be written to without a hint.
    is_blind: bool,
}

impl Watcher {
    /// The hot files: the named ones, what is changing, and what changed last.
    pub(super) fn look_at_single_files(&mut self) {
        let files_as_roots = self.tops.iter().filter(|top| !top.was_directory).map(|top| &top.path);
        let named: Vec<PathBuf> = self.named.iter().chain(files_as_roots).cloned().collect();
        for path in &named {
            self.look_at(path, true);
        }
        let others: Vec<PathBuf> = self.settle.pending().chain(self.settle.recent()).cloned().collect();
        for path in &others {
            self.look_at(path, false);
        }
    }

    /// Looks at one file; a named one is known from here on even when it does not exist yet.
    pub(super) fn look_at(&mut self, path: &Path, named: bool) {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return };
        let turn = self.turn;
        if self.entry(path).is_some_and(|entry| entry.turn == turn) {
            return;
        }
        // Nobody knows better than what was last seen; so does a change stay that was just coming to rest.
        let Ok(stamp) = Stamp::probe(path) else { return };
        if stamp.is_none() && self.tops.iter().any(|top| top.was_directory && path.starts_with(&top.path) && !top.path.exists()) {
            // Its whole root is gone: no removal, see `start_at`.
            return;
        }
        if named && self.entry(path).is_none() {
            let dir = self.tree.entry(parent.to_path_buf()).or_default();
            let slot = Slot { kind: Kind::File(Entry::default()), generation: dir.generation.wrapping_sub(1), turn: 0 };
            dir.slots.insert(name.to_os_string(), slot);
        }
        // Out of the tree for a moment, so that the rest of the watcher can be used.
        let Some(entry) = self.entry(path) else { return };
        let mut entry = std::mem::take(entry);
        self.observe(&mut entry, path, stamp);
        if let Some(place) = self.entry(path) {
            *place = entry;
        }
    }

    fn observe(&mut self, entry: &mut Entry, path: &Path, stamp: Option<Stamp>) {
        entry.turn = self.turn;
        entry.update(path, stamp, self.now, &mut self.reader);
        if self.reader.first {
            entry.told = entry.seen;
        } else if entry.seen != entry.told || self.settle.holds(path) {
            self.settle.saw(path, entry.told, entry.seen, self.now);
        } else if entry.is_unread() {
            entry.fill(path, &mut self.reader);
        }
    }

    /// The directories of the last changed files: an editor that replaces a file, or the next file of the same edit. Where hints come of themselves
    /// there is no need.
    pub(super) fn look_at_recent_directories(&mut self) {
        let mut walk = Walk::default();
        let mut seen: Vec<&Path> = Vec::new();
        let mut todo: Vec<Todo> = Vec::new();
        let mut names = 0;
        for dir in self.settle.recent().filter_map(|path| path.parent()) {
            let known = self.tree.get(dir).and_then(|known| Some((known.slots.len(), known.above.clone()?)));
            let Some((count, above)) = known.filter(|_| !seen.contains(&dir) && !self.hints.come_from(dir)) else { continue };
            seen.push(dir);
            names += count;
            if names > HOT_NAMES {
                break;
            }
            todo.push((dir.to_path_buf(), above));
        }
        for (dir, above) in &todo {
            // Gone or unreadable: the full look says so.
            let _ = self.scan(dir, above, &mut walk);
        }
    }

    /// One directory that is known, without those below it.
    pub(super) fn look_at_directory(&mut self, dir: &Path) {
        if let Some(above) = self.tree.get(dir).and_then(|known| known.above.clone()) {
            // Gone or unreadable: the full look says so.
            let _ = self.scan(dir, &above, &mut Walk::default());
        }
    }

    /// Everything below the roots. True when there is nothing that could be written to without a hint.
    pub(super) fn sweep(&mut self) -> bool {
        let mut walk = Walk::default();
        for index in 0..self.tops.len() {
            self.start_at(index, &mut walk);
            self.drain(&mut walk);
        }
        while let Some((path, above)) = walk.links.pop() {
            if fs::metadata(&path).is_ok_and(|meta| walk.met.insert(identity(&path, &meta))) {
                walk.todo.push((path, above));
                self.drain(&mut walk);
            }
        }
        self.look_at_the_unmet(walk.cut);
        self.reader.forget_the_gone();
        if walk.cut && !self.over_limit {
            let limit = self.limit;
            self.reader.notes.push(format!(
                "more than {limit} files (or {NAME_LIMIT} names): only the first {limit} are watched; narrow it with --watch or --ignore"
            ));
        }
        self.over_limit = walk.cut;
        !walk.cut && !walk.is_blind
    }

    fn drain(&mut self, walk: &mut Walk) {
        while let Some((path, above)) = walk.todo.pop() {
            match self.scan(&path, &above, walk) {
                Ok(()) => self.reader.readable(&path),
                // Gone since its parent was read; the unmet are looked at in the end.
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    self.reader.cannot_read(&path, &error);
                    self.keep_below(&path);
                }
            }
        }
    }

    fn start_at(&mut self, index: usize, walk: &mut Walk) {
        let wall = self.reader.wall;
        let top = &mut self.tops[index];
        match fs::metadata(&top.path) {
            Ok(meta) if meta.is_dir() => {
                if std::mem::take(&mut top.gone) {
                    self.reader.notes.push(format!("{} is back", top.path.display()));
                }
                top.was_directory = true;
                if walk.met.insert(identity(&top.path, &meta)) {
                    walk.todo.push((top.path.clone(), top.above.scope(wall)));
                }
            }
            _ if top.was_directory => {
                if !std::mem::replace(&mut top.gone, true) {
                    self.reader.notes.push(format!("{} is gone: waiting for it to come back", top.path.display()));
                }
                let path = top.path.clone();
                self.keep_below(&path);
            }
            Ok(_) => {}
            Err(_) if self.reader.first => self.reader.notes.push(format!("{} does not exist yet: waiting for it", top.path.display())),
            Err(_) => {}
        }
    }

    /// What lies below a directory that cannot be looked at stays as it was last seen: nobody knows better.
    fn keep_below(&mut self, path: &Path) {
        let turn = self.turn;
        self.tree.iter_mut().filter(|(dir, _)| dir.starts_with(path)).for_each(|(_, dir)| dir.turn = turn);
    }

    /// One directory: its rules, its files, and its directories for later.
    fn scan(&mut self, path: &Path, above: &Arc<Scope>, walk: &mut Walk) -> io::Result<()> {
        self.hints.follow(path);
        walk.is_blind |= !self.hints.come_from(path);
        let room = NAME_LIMIT.saturating_sub(walk.names);
        let entries = fs::read_dir(path)?
            .take(room)
            .map(|entry| entry.map(|e| (e.file_name(), e)))
            .collect::<io::Result<Vec<(OsString, DirEntry)>>>()?;
        walk.names += entries.len();
        walk.cut |= entries.len() == room;
        let mut dir = self.tree.remove(path).unwrap_or_default();
        dir.turn = self.turn;
        let file = entries.iter().any(|(name, _)| name == ".gitignore").then(|| path.join(".gitignore"));
        let patterns = dir.gitignore.refresh(file.as_deref().unwrap_or(path), file.as_deref().and_then(Stamp::of), self.reader.wall);
        let scope = dir.refresh(path, above, patterns);
        for (name, entry) in entries {
            if let Ok(kind) = entry.file_type() {
                self.meet(path, &mut dir, &scope, name, &entry, kind, walk);
            }
        }
        let unmet: Vec<OsString> = dir.slots.iter().filter(|(_, slot)| slot.turn != self.turn).map(|(name, _)| name.clone()).collect();
        for name in unmet {
            match dir.slots.get_mut(&name).map(|slot| &mut slot.kind) {
                Some(Kind::File(entry)) => {
                    let file = path.join(&name);
                    if entry.turn != self.turn {
                        // A name can escape a reading of its directory while it is being replaced: only a stat says that it is gone.
                        if let Ok(stamp) = Stamp::probe(&file) {
                            self.observe(entry, &file, stamp);
                        }
                    }
                    if entry.told.is_none() && entry.seen.is_none() && !self.is_named(&file) {
                        self.files -= usize::from(entry.counted);
                        dir.slots.remove(&name);
                    }
                }
                _ => drop(dir.slots.remove(&name)),
            }
        }
        self.tree.insert(path.to_path_buf(), dir);
        Ok(())
    }

    /// One name in a directory.
    #[allow(clippy::too_many_arguments, reason = "the innards of one loop")]
    fn meet(&mut self, path: &Path, dir: &mut Dir, scope: &Arc<Scope>, name: OsString, entry: &DirEntry, kind: FileType, walk: &mut Walk) {
        let is_link = kind.is_symlink();
        // A link is what it leads to; what it leads to costs the one more call.
        let target: Option<Metadata> = if is_link { fs::metadata(path.join(&name)).ok() } else { None };
        let is_directory = if is_link { target.as_ref().is_some_and(Metadata::is_dir) } else { kind.is_dir() };
        let is_file = if is_link { target.as_ref().is_some_and(Metadata::is_file) } else { kind.is_file() };
        if !is_directory && !is_file {
            return;
        }
        let generation = dir.generation;
        let counts = match dir.slots.get(&name) {
            Some(Slot { kind: Kind::LeftOut { is_directory: d }, generation: g, .. }) if *g == generation && *d == is_directory => false,
            Some(Slot { kind: Kind::Directory, generation: g, .. }) if *g == generation && is_directory => true,
            Some(Slot { kind: Kind::File(_), generation: g, .. }) if *g == generation && is_file => true,
            _ => match self.decide(&path.join(&name), &name, is_directory, scope) {
                Decision::Counts => true,
                Decision::LeftOut => false,
                Decision::WrongName => {
                    self.drop_unless_named(path, dir, &name);
                    return;
                }
            },
        };
        let turn = self.turn;
        if !counts || is_directory {
            if is_directory && counts {
                self.enter(path.join(&name), entry, is_link, scope, walk);
            }
            if is_directory && matches!(dir.slots.get(&name), Some(Slot { kind: Kind::File(_), .. })) {
                // A directory has taken the place of a file: first that removal is told, as that of any file not met.
                return;
            }
            self.drop_unless_named(path, dir, &name);
            if let Some(Slot { kind: Kind::File(_), .. }) = dir.slots.get(&name) {
                return;
            }
            let kind = if counts { Kind::Directory } else { Kind::LeftOut { is_directory } };
            dir.slots.insert(name, Slot { kind, generation, turn });
            return;
        }
        walk.files += 1;
        walk.cut |= walk.files > self.limit;
        let is_new = !matches!(dir.slots.get(&name), Some(Slot { kind: Kind::File(entry), .. }) if entry.counted);
        if is_new && self.files >= self.limit {
            walk.cut = true;
            return;
        }
        let Some(meta) = target.or_else(|| entry.metadata().ok()) else { return };
        walk.is_blind |= is_link || stamp::has_other_names(&meta);
        let stamp = Some(meta).filter(Metadata::is_file).map(|meta| Stamp::new(&meta));
        let slot = dir.slots.entry(name).or_insert_with_key(|_| Slot { kind: Kind::Directory, generation, turn });
        (slot.generation, slot.turn) = (generation, turn);
        if !matches!(slot.kind, Kind::File(_)) {
            slot.kind = Kind::File(Entry::default());
        }
        let Kind::File(known) = &mut slot.kind else { return };
        self.files += usize::from(!std::mem::replace(&mut known.counted, true));
        if known.turn == turn {
            return;
        }
        if known.is_current(stamp) && known.seen == known.told && !(known.is_unread() && self.reader.budget > 0) {
            known.turn = turn;
        } else {
            self.observe(known, &entry.path(), stamp);
        }
    }

    fn enter(&self, path: PathBuf, entry: &DirEntry, is_link: bool, scope: &Arc<Scope>, walk: &mut Walk) {
        if is_link {
            walk.links.push((path, Arc::clone(scope)));
        } else if !walk.cut && entry.metadata().is_ok_and(|meta| walk.met.insert(identity(&path, &meta))) {
            walk.todo.push((path, Arc::clone(scope)));
        }
    }

    /// A file that does not count (any more) is forgotten, unless it is named.
    fn drop_unless_named(&mut self, path: &Path, dir: &mut Dir, name: &OsString) {
        let Some(Slot { kind: Kind::File(entry), .. }) = dir.slots.get_mut(name) else { return };
        let file = path.join(name);
        if std::mem::take(&mut entry.counted) {
            self.files -= 1;
        }
        if !self.is_named(&file) {
            self.settle.forget(&file);
            self.reader.forget(&file);
            dir.slots.remove(name);
        }
    }

    pub(super) fn is_named(&self, path: &Path) -> bool {
        self.named.iter().any(|named| named == path) || self.tops.iter().any(|top| top.path == path)
    }

    fn decide(&self, path: &Path, name: &OsString, is_directory: bool, scope: &Scope) -> Decision {
        let bytes = name.as_encoded_bytes();
        let right_name = if is_directory { Names::directory(bytes) } else { self.names.file(bytes) };
        if !right_name {
            return Decision::WrongName;
        }
        let root = self.tops.iter().map(|top| &top.path).filter(|root| path.starts_with(root)).max_by_key(|root| root.as_os_str().len());
        let by_glob = root.and_then(|root| relative(path, root)).and_then(|rel| self.globs.verdict(&rel, is_directory));
        let is_out = self.outputs.contains(path) || by_glob.unwrap_or_else(|| scope.leaves_out(path, is_directory));
        if is_out { Decision::LeftOut } else { Decision::Counts }
    }

    /// Directories that this look did not come to: gone, left out by now, or beyond the limit.
    fn look_at_the_unmet(&mut self, cut: bool) {
        let turn = self.turn;
        let unmet: Vec<PathBuf> = self.tree.iter().filter(|(_, dir)| dir.turn != turn).map(|(path, _)| path.clone()).collect();
        for path in unmet {
            let Some(mut dir) = self.tree.remove(&path) else { continue };
            dir.slots.retain(|name, slot| {
                let Kind::File(entry) = &mut slot.kind else { return false };
                let file = path.join(name);
                let named = self.is_named(&file);
                if entry.turn != turn {
                    match Stamp::probe(&file) {
                        Ok(stamp) if stamp.is_none() || cut || named => self.observe(entry, &file, stamp),
                        Ok(_) => {}
                        Err(_) => return true,
                    }
                }
                // What is still there and was not met is left out by now: forgotten without a word.
                let removed = entry.told.is_some() && entry.seen.is_none();
                let stays = named || removed || cut && entry.seen.is_some();
                if !stays {
                    self.files -= usize::from(entry.counted);
                    self.settle.forget(&file);
                    self.reader.forget(&file);
                }
                stays
            });
            if !dir.slots.is_empty() {
                self.tree.insert(path, dir);
            }
        }
    }
}

enum Decision {
    Counts,
    /// By a rule that may change.
    LeftOut,
    /// By the built-in lists or the extension, which is as quickly decided as looked up.
    WrongName,
}
