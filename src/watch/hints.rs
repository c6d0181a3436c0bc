//! Hints: which names have been written since the last look, where the kernel tells. With them a look finds an edit at once, however many files there are.
//!
//! A hint is where to look first, and no more than that: shared and network drives give none, what a link leads to gives none by the name of the link,
//! and there are more directories than may be followed. What finds everything is the full look, which goes on as if there were no hints. Only Linux
//! has them here.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use super::names::Names;
use super::tree::Kind;
use super::{Tier, Watcher};

#[cfg(target_os = "linux")]
pub(super) use linux::{Bell, Hints, Queue};
#[cfg(not(target_os = "linux"))]
pub(super) use none::{Bell, Hints, Queue};

/// Full looks because of hints alone take at most a fifth of a core.
const FULL_SHARE: u32 = 4;

/// What has happened since the last look.
#[derive(Debug, Default)]
pub(super) struct Hint {
    /// Files written, made or removed, by directory and name.
    pub(super) files: BTreeSet<(PathBuf, OsString)>,
    /// Directories made, removed or renamed.
    pub(super) directories: BTreeSet<(PathBuf, OsString)>,
    /// A directory that was followed is not there any more.
    pub(super) has_gone: bool,
    /// More happened than is known.
    pub(super) is_lost: bool,
}

impl Watcher {
    /// Looks at what the hints name. What only a full look can tell makes this one full; returns which it is.
    pub(super) fn look_at_hinted(&mut self, tier: Tier) -> Tier {
        let mut hint = Hint::default();
        if self.hints.queue().is_some_and(|queue| !queue.is_empty()) {
            // Before anything is taken out.
            self.quiet.end();
            hint = self.hints.take();
        }
        self.is_behind |= hint.is_lost || hint.has_gone || hint.files.iter().any(|(_, name)| name == ".gitignore");
        for (dir, name) in &hint.directories {
            let known = self.tree.get(dir);
            let is_left_out = known.and_then(|dir| dir.slots.get(name)).is_some_and(|slot| matches!(slot.kind, Kind::LeftOut { .. }));
            let is_root = self.tops.iter().any(|top| top.path == dir.join(name));
            self.is_behind |= is_root || known.is_some() && Names::directory(name.as_encoded_bytes()) && !is_left_out;
        }
        if hint.files.iter().any(|(dir, name)| self.leads_elsewhere(dir, name)) {
            // By the same paths other directories are to be followed: the full look follows everything anew.
            self.hints = Hints::default();
            self.is_behind = true;
        }
        if tier == Tier::Full || self.is_behind && self.now >= self.full_end + self.full_cost.saturating_mul(FULL_SHARE) {
            self.is_behind = false;
            return Tier::Full;
        }
        let mut changed = BTreeSet::new();
        for (dir, name) in hint.files {
            match self.tree.get(&dir).map(|known| known.slots.get(&name).map(|slot| &slot.kind)) {
                Some(Some(Kind::File(_))) => {
                    let path = dir.join(&name);
                    self.look_at(&path, false);
                    // It came and went, and nobody was told: its directory forgets it.
                    if self.entry(&path).is_some_and(|entry| entry.told.is_none() && entry.seen.is_none()) {
                        changed.insert(dir);
                    }
                }
                Some(None) if self.names.file(name.as_encoded_bytes()) => drop(changed.insert(dir)),
                _ => {}
            }
        }
        for dir in changed {
            self.look_at_directory(&dir);
        }
        Tier::Hot
    }

    /// Whether what was written there is a link to a directory, or was one.
    fn leads_elsewhere(&self, dir: &Path, name: &OsStr) -> bool {
        match self.tree.get(dir).map(|dir| dir.slots.get(name).map(|slot| &slot.kind)) {
            Some(Some(Kind::Directory)) => true,
            Some(None) => Names::directory(name.as_encoded_bytes()) && dir.join(name).is_dir(),
            _ => false,
        }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::collections::{HashMap, HashSet};
    use std::os::fd::AsFd;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;
    use std::time::Duration;

    use nix::errno::Errno;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use nix::sys::eventfd::{EfdFlags, EventFd};
    use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
    use nix::sys::statfs::{self, FsType};

    use super::Hint;

    /// Directories followed; of those beyond, only the full look tells.
    const MOST: usize = 8192;
    /// Readings of the queue in one look; each takes up to 4 KiB.
    const READINGS: usize = 256;

    /// Drives that nobody writes to but through this kernel.
    const LOCAL: [FsType; 6] = [
        statfs::EXT4_SUPER_MAGIC,
        statfs::XFS_SUPER_MAGIC,
        statfs::BTRFS_SUPER_MAGIC,
        statfs::F2FS_SUPER_MAGIC,
        statfs::OVERLAYFS_SUPER_MAGIC,
        statfs::TMPFS_MAGIC,
    ];

    /// The kernel's queue.
    #[derive(Debug)]
    pub(in crate::watch) struct Queue(Inotify);

    impl Queue {
        pub(in crate::watch) fn is_empty(&self) -> bool {
            poll(&mut [self.readable()], PollTimeout::ZERO) == Ok(0)
        }

        /// Returns when there is something, the bell has rung, or this time has passed; or sooner.
        pub(in crate::watch) fn wait(&self, bell: &Bell, time: Duration) {
            let Some(bell) = &bell.0 else { return };
            // In whole milliseconds, of which none would be no wait. Interrupted, it is asked again.
            let time = PollTimeout::try_from(time + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            let _ = poll(&mut [self.readable(), PollFd::new(bell.as_fd(), PollFlags::POLLIN)], time);
            // It fails when nobody has rung.
            let _ = bell.read();
        }

        fn readable(&self) -> PollFd<'_> {
            PollFd::new(self.0.as_fd(), PollFlags::POLLIN)
        }
    }

    /// Ends a wait for the queue. There is none where the system has no descriptor left.
    #[derive(Debug)]
    pub(in crate::watch) struct Bell(Option<EventFd>);

    impl Default for Bell {
        fn default() -> Bell {
            Bell(EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC).ok())
        }
    }

    impl Bell {
        pub(in crate::watch) fn can_ring(&self) -> bool {
            self.0.is_some()
        }

        pub(in crate::watch) fn ring(&self) {
            if let Some(bell) = &self.0 {
                // It fails when it has rung too often not to be heard anyway.
                let _ = bell.write(1);
            }
        }
    }

    /// The queue, and the directories that it tells of.
    #[derive(Debug, Default)]
    pub(in crate::watch) struct Hints {
        queue: Option<Arc<Queue>>,
        /// The kernel refused: no more is asked of it.
        is_full: bool,
        /// Some directories may be written to without a hint.
        is_blind: bool,
        paths: HashMap<WatchDescriptor, PathBuf>,
        followed: HashSet<PathBuf>,
    }

    impl Hints {
        /// As where the kernel gives none.
        #[cfg(test)]
        pub(in crate::watch) fn none() -> Hints {
            Hints { is_full: true, ..Hints::default() }
        }

        /// From now on hints about `dir` come; to be called before it is read, each time.
        pub(in crate::watch) fn follow(&mut self, dir: &Path) {
            if self.is_full {
                return;
            }
            let added = match self.begin() {
                Ok(queue) => {
                    let made = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_DELETE | AddWatchFlags::IN_MOVE;
                    // What is written to in memory is told when it is closed.
                    let written = AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_CLOSE_WRITE;
                    let itself = AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_ONLYDIR;
                    queue.0.add_watch(dir, made | written | itself)
                }
                Err(error) => Err(error),
            };
            match added {
                // The number is that of the directory, and the same each time.
                Ok(number) if self.paths.contains_key(&number) && self.followed.contains(dir) => {}
                Ok(number) => {
                    if self.followed.contains(dir) {
                        // It had another number: one above was renamed, or a drive mounted.
                        self.unfollow(|path| path == dir);
                    }
                    self.followed.insert(dir.to_path_buf());
                    self.paths.insert(number, dir.to_path_buf());
                    self.is_blind |= !statfs::statfs(dir).is_ok_and(|drive| LOCAL.contains(&drive.filesystem_type()));
                }
                // Gone, or closed to us: its reading says so.
                Err(Errno::ENOENT | Errno::ENOTDIR | Errno::EACCES) => {}
                Err(error) => {
                    log::debug!("no hints from {} on: {error}", dir.display());
                    self.is_full = true;
                }
            }
            self.is_full |= self.followed.len() >= MOST;
        }

        pub(in crate::watch) fn come_from(&self, dir: &Path) -> bool {
            self.followed.contains(dir)
        }

        /// Whether all that is written in the directories that are followed comes here.
        pub(in crate::watch) fn tell_all(&self) -> bool {
            !self.is_full && !self.is_blind
        }

        pub(in crate::watch) fn queue(&self) -> Option<&Arc<Queue>> {
            self.queue.as_ref()
        }

        fn begin(&mut self) -> nix::Result<&Queue> {
            if self.queue.is_none() {
                self.queue = Some(Arc::new(Queue(Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?)));
            }
            self.queue.as_deref().ok_or(Errno::EBADF)
        }

        /// These are other directories now, or none. One that is somebody's working directory lives on when it is removed, and the kernel says nothing of it.
        fn unfollow(&mut self, is_other: impl Fn(&Path) -> bool) {
            self.followed.retain(|path| !is_other(path));
            let queue = self.queue.as_deref();
            self.paths.retain(|number, path| {
                let is_other = is_other(path);
                if let Some(queue) = queue.filter(|_| is_other) {
                    // Nearly always it is gone already.
                    let _ = queue.0.rm_watch(*number);
                }
                !is_other
            });
        }

        /// What has happened since the last time.
        pub(in crate::watch) fn take(&mut self) -> Hint {
            let mut hint = Hint::default();
            let (mut readings, mut gone) = (0, Vec::new());
            while let Some(Ok(events)) = self.queue.as_ref().map(|queue| queue.0.read_events()) {
                readings += 1;
                for event in events {
                    let lost = AddWatchFlags::IN_Q_OVERFLOW | AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_UNMOUNT;
                    if event.mask.contains(AddWatchFlags::IN_IGNORED) {
                        // The directory is gone.
                        if let Some(path) = self.paths.remove(&event.wd) {
                            self.followed.remove(&path);
                            hint.has_gone = true;
                        }
                    } else if event.mask.intersects(lost) {
                        hint.is_lost = true;
                    } else if let (Some(dir), Some(name)) = (self.paths.get(&event.wd), event.name) {
                        let is_directory = event.mask.contains(AddWatchFlags::IN_ISDIR);
                        if is_directory && event.mask.contains(AddWatchFlags::IN_DELETE) {
                            gone.push(dir.join(&name));
                        }
                        // What lies below has other paths now, of which nobody tells.
                        hint.is_lost |=
                            is_directory && event.mask.intersects(AddWatchFlags::IN_MOVE) && self.followed.contains(&dir.join(&name));
                        let found = if is_directory { &mut hint.directories } else { &mut hint.files };
                        found.insert((dir.clone(), name));
                    }
                }
                gone.drain(..).for_each(|gone| self.unfollow(|path| path.starts_with(&gone)));
                if readings >= READINGS {
                    hint.is_lost = true;
                    break;
                }
            }
            if hint.is_lost {
                // The full look that comes now follows everything anew.
                *self = Hints::default();
            }
            hint
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod none {
    use std::path::Path;
    use std::sync::Arc;
    use std::time::Duration;

    use super::Hint;

    /// There are none.
    #[derive(Debug, Default)]
    pub(in crate::watch) struct Hints;

    #[derive(Debug)]
    pub(in crate::watch) enum Queue {}

    impl Queue {
        pub(in crate::watch) fn is_empty(&self) -> bool {
            match *self {}
        }

        pub(in crate::watch) fn wait(&self, _bell: &Bell, _time: Duration) {
            match *self {}
        }
    }

    #[derive(Debug, Default)]
    pub(in crate::watch) struct Bell;

    impl Bell {
        pub(in crate::watch) fn can_ring(&self) -> bool {
            false
        }

        pub(in crate::watch) fn ring(&self) {}
    }

    impl Hints {
        #[cfg(test)]
        pub(in crate::watch) fn none() -> Hints {
            Hints
        }

        pub(in crate::watch) fn follow(&mut self, _dir: &Path) {}

        pub(in crate::watch) fn come_from(&self, _dir: &Path) -> bool {
            false
        }

        pub(in crate::watch) fn tell_all(&self) -> bool {
            false
        }

        pub(in crate::watch) fn queue(&self) -> Option<&Arc<Queue>> {
            None
        }

        pub(in crate::watch) fn take(&mut self) -> Hint {
            Hint::default()
        }
    }
}
