//! What one file looks like: its stamp, which costs one system call, and its content, which is read only when the stamp does not settle it.

use std::collections::HashSet;
use std::fs::{self, File, Metadata, OpenOptions};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Up to this size the content is compared, beyond it size and times.
pub(super) const CONTENT_LIMIT: u64 = 1 << 20;

/// A file whose last write is nearer than this to our reading of it is read again: a second write can fall into the same tick of its clock (two
/// seconds on FAT), and then the stamp does not show it.
pub(super) const YOUNG: Duration = Duration::from_secs(2);

/// By so much a file can have been written later than its stamp says.
const TICK: Duration = Duration::from_millis(10);

/// How many unreadable files are remembered, so that each is said once.
const UNREADABLE_LIMIT: usize = 1024;

/// What the file system says about a file without reading it. Two equal stamps some milliseconds apart: nobody is writing it at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stamp {
    pub(crate) size: u64,
    /// Nanoseconds of the file system's own clock; never put in order with ours.
    modified: i128,
    changed: i128,
    file: (u64, u64),
}

impl Stamp {
    /// The stamp of the file at `path`, symlinks followed; `None` when there is no regular file.
    pub(crate) fn of(path: &Path) -> Option<Stamp> {
        fs::metadata(path).ok().filter(Metadata::is_file).map(|meta| Stamp::new(&meta))
    }

    /// Like [`Stamp::of`], but an error when nobody can say whether there is a file: a closed directory, a network drive that does not answer.
    pub(super) fn probe(path: &Path) -> io::Result<Option<Stamp>> {
        match fs::metadata(path) {
            Ok(meta) => Ok(Some(&meta).filter(|meta| meta.is_file()).map(Stamp::new)),
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            // A link that leads round in circles leads nowhere.
            Err(_) if fs::symlink_metadata(path).is_ok_and(|meta| meta.is_symlink()) => Ok(None),
            Err(error) => Err(error),
        }
    }

    #[cfg(unix)]
    pub(super) fn new(meta: &Metadata) -> Stamp {
        use std::os::unix::fs::MetadataExt;
        let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Stamp {
            size: meta.len(),
            modified: nanos(meta.mtime(), meta.mtime_nsec()),
            changed: nanos(meta.ctime(), meta.ctime_nsec()),
            file: (meta.dev(), meta.ino()),
        }
    }

    #[cfg(not(unix))]
    pub(super) fn new(meta: &Metadata) -> Stamp {
        let nanos = |time: io::Result<SystemTime>| time.map_or(0, since_epoch);
        Stamp { size: meta.len(), modified: nanos(meta.modified()), changed: nanos(meta.created()), file: (0, 0) }
    }

    /// Written before `wall`, by a clock that ticks every ten milliseconds or faster. Meant for what errs on the side of no where the file system's
    /// clock is ahead of ours.
    pub(crate) fn is_before(&self, wall: SystemTime) -> bool {
        self.changed + TICK.as_nanos() as i128 <= since_epoch(wall)
    }

    /// Written so near to `wall` that the next write may leave the same stamp. A clock that was set makes a file young or old by mistake; the first
    /// costs a few reads, against the second stands that a file we saw change is young by our own clock too ([`Entry`]).
    pub(super) fn is_young(&self, wall: SystemTime) -> bool {
        since_epoch(wall).abs_diff(self.modified) <= YOUNG.as_nanos()
    }
}

fn since_epoch(time: SystemTime) -> i128 {
    let nanos = |d: Duration| i128::try_from(d.as_nanos()).unwrap_or(i128::MAX);
    time.duration_since(UNIX_EPOCH).map_or_else(|before| -nanos(before.duration()), nanos)
}

/// Whether the file can be written to by another name.
#[cfg(unix)]
pub(super) fn has_other_names(meta: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    meta.nlink() > 1
}

/// Whether the file can be written to by another name, which std has no stable way to ask.
#[cfg(not(unix))]
pub(super) fn has_other_names(_meta: &Metadata) -> bool {
    true
}

/// Which directory this is, whatever path led to it: what tells a symlink loop.
#[cfg(unix)]
pub(super) fn identity(_path: &Path, meta: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (meta.dev(), meta.ino())
}

/// Which directory this is, whatever path led to it: std has no stable number here, so the resolved path stands for it.
#[cfg(not(unix))]
pub(super) fn identity(path: &Path, _meta: &Metadata) -> (u64, u64) {
    (0, hash_of(&fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())))
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// Of the bytes, or of the stamp when they are too many or cannot be read; 0 = not read yet, equal to nothing that was.
    pub(super) hash: u64,
    pub(super) size: u64,
}

/// One watched file: what its owner was told, and what the last look saw. `None` = there is no such file.
#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) told: Option<Content>,
    pub(super) seen: Option<Content>,
    stamp: Option<Stamp>,
    /// The last reading came so soon after a write that the stamp cannot be trusted.
    young: bool,
    /// When the present stamp was first seen, by our own clock; `None` when it was there from the start.
    since: Option<Instant>,
    /// The look that saw it last.
    pub(super) turn: u64,
    /// Found by walking a root (not only because it is named).
    pub(super) counted: bool,
}

impl Entry {
    /// A look that finds `stamp` need not read the file.
    pub(super) fn is_current(&self, stamp: Option<Stamp>) -> bool {
        self.stamp == stamp && !self.young
    }

    /// Nothing is known of its content but that it has not changed.
    pub(super) fn is_unread(&self) -> bool {
        self.told.is_some_and(|content| content.hash == 0)
    }

    /// Takes in what a look found, reading the file when the stamp does not settle it.
    pub(super) fn update(&mut self, path: &Path, stamp: Option<Stamp>, now: Instant, reader: &mut Reader) {
        let unchanged = self.stamp == stamp;
        // After a checkout thousands of files are young at once: their reading is spread over several looks.
        if unchanged && !(self.young && reader.spend()) {
            return;
        }
        let Some(found) = stamp else {
            (self.seen, self.stamp, self.young, self.since) = (None, None, false, None);
            return;
        };
        if !unchanged {
            // The first look of all has no earlier stamp to differ from: there the file's own clock must do.
            self.since = if reader.first { None } else { Some(now) };
        }
        let fresh = self.since.is_some_and(|since| now.saturating_duration_since(since) < YOUNG);
        self.young = found.is_young(reader.wall) || fresh;
        self.stamp = stamp;
        if reader.first && !self.young && !reader.spend() {
            self.seen = Some(Content { hash: 0, size: found.size });
            return;
        }
        match reader.read(path, &found) {
            Ok(content) => self.seen = content,
            // The next look reads again. Until then what was last seen stays; another stamp is a change until we know better.
            Err(Shortage) => {
                self.young = true;
                if !unchanged {
                    self.seen = Some(Content { hash: hash_of(&found), size: found.size });
                }
            }
        }
    }

    /// Reads what the first look left unread, for as long as the budget lasts.
    pub(super) fn fill(&mut self, path: &Path, reader: &mut Reader) {
        let Some(stamp) = self.stamp.filter(|_| reader.spend()) else { return };
        let Ok(content) = reader.read(path, &stamp) else { return };
        // Written while we read: what we hold may be the new content, and telling nobody would lose the change.
        if Stamp::of(path) == Some(stamp) {
            (self.told, self.seen) = (content, content);
        }
    }
}

/// Reads files, and remembers which it could not.
pub(super) struct Reader {
    buffer: Vec<u8>,
    /// The wall clock at the start of this look; only ever asked how near it is to a file's time.
    pub(super) wall: SystemTime,
    /// This is the snapshot all later looks are compared with.
    pub(super) first: bool,
    /// How many files may still be read in this look though their stamp has not changed.
    pub(super) budget: usize,
    unreadable: HashSet<PathBuf>,
    pub(super) notes: Vec<String>,
}

impl Reader {
    pub(super) fn new(budget: usize) -> Reader {
        Reader { buffer: Vec::new(), wall: SystemTime::now(), first: true, budget, unreadable: HashSet::new(), notes: Vec::new() }
    }

    /// How many files and directories could not be read at their last reading.
    pub(super) fn unreadable(&self) -> usize {
        self.unreadable.len()
    }

    fn spend(&mut self) -> bool {
        let some = self.budget > 0;
        self.budget = self.budget.saturating_sub(1);
        some
    }

    fn read(&mut self, path: &Path, stamp: &Stamp) -> Result<Option<Content>, Shortage> {
        let by_stamp = Content { hash: hash_of(stamp), size: stamp.size };
        if stamp.size > CONTENT_LIMIT {
            return Ok(Some(Content { hash: hash_of(&(stamp.size, stamp.modified, stamp.changed)), size: stamp.size }));
        }
        match self.read_bytes(path) {
            Ok(size) => {
                self.readable(path);
                let content = Content { hash: hash_of(&self.buffer), size };
                Ok(Some(if size > CONTENT_LIMIT { by_stamp } else { content }))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) if is_shortage(&error) => Err(Shortage),
            Err(error) => {
                self.cannot_read(path, &error);
                Ok(Some(by_stamp))
            }
        }
    }

    fn read_bytes(&mut self, path: &Path) -> io::Result<u64> {
        self.buffer.clear();
        let file = open(path)?;
        if !file.metadata()?.is_file() {
            return Err(ErrorKind::NotFound.into());
        }
        file.take(CONTENT_LIMIT + 1).read_to_end(&mut self.buffer).map(|size| size as u64)
    }

    /// Says once that `path` cannot be read.
    pub(super) fn cannot_read(&mut self, path: &Path, error: &io::Error) {
        if self.unreadable.len() < UNREADABLE_LIMIT && self.unreadable.insert(path.to_path_buf()) {
            self.notes.push(format!("cannot read {}: {error}: its content is not watched until that changes", path.display()));
        }
    }

    /// `path` can be read (again).
    pub(super) fn readable(&mut self, path: &Path) {
        if !self.unreadable.is_empty() {
            self.unreadable.remove(path);
        }
    }

    /// Forgets the unreadable that are no longer there: of a closed directory nothing else is known that could tell.
    pub(super) fn forget_the_gone(&mut self) {
        self.unreadable.retain(|path| !matches!(fs::symlink_metadata(path), Err(error) if error.kind() == ErrorKind::NotFound));
    }

    /// There is nothing at `path` any more that could be unreadable.
    pub(super) fn forget(&mut self, path: &Path) {
        self.unreadable.remove(path);
    }
}

/// This process cannot read any file at the moment, which says nothing about the file.
struct Shortage;

#[cfg(unix)]
fn is_shortage(error: &io::Error) -> bool {
    use nix::errno::Errno;
    matches!(error.raw_os_error().map(Errno::from_raw), Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM))
}

#[cfg(not(unix))]
fn is_shortage(_: &io::Error) -> bool {
    false
}

/// Without waiting: between our stat and our open a named pipe can take the file's place.
fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits());
    }
    options.open(path)
}

/// Never 0, which stands for "not read".
fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish().max(1)
}
