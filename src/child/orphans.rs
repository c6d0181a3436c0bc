//! Grandchildren that left the process group: found, ended and reaped, and nothing else touched.
//!
//! Why this can only ever hit what a child of ours left behind:
//!
//! 1. Only processes whose parent we are get a signal. A process whose parent died becomes ours because the front is a child subreaper
//!    (Linux); while its own parent lives it is left to it, and comes to us when that one has been ended.
//! 2. The pid of a child of ours cannot be given to another process before it is reaped, and nobody but this process can reap it. So
//!    between looking at `/proc` and sending the signal it still names the same process.
//! 3. Being our child is not enough: a program that embeds us has others, and so may the program that executed us. It must also belong
//!    to the child that ended: by its process group (which that child, still a zombie, keeps from being used again), by having been seen
//!    below it in the tree when it was stopped (pid and start time), or by the mark in its environment, which every descendant inherits.
//! 4. A zombie has no environment any more. One that fits nothing above is reaped only where all children come from the [`Spawner`],
//!    when it is none of those, and has been a zombie for a whole round: whoever waits for it had the time to.
//!
//! What escapes: a grandchild that left the group, cleared its environment and lost its parent before the stop began.
//!
//! [`Spawner`]: super::Spawner

use std::collections::HashSet;

/// A process for good: pids are used again, together with the start time they are not.
pub(super) type Id = (i32, u64);

/// In the environment of a child, and so of its descendants: which child of which front it is.
pub(super) const MARK: &str = "MCP_FRONT_MARK";

#[cfg(target_os = "linux")]
pub(super) use linux::{Zombies, descendants, end};

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::{self, File};
    use std::io::Read as _;
    use std::time::{Duration, Instant};

    use nix::errno::Errno;
    use nix::sys::signal::{Signal, kill};
    use nix::sys::wait::{Id as Wait, WaitPidFlag, WaitStatus, waitid};
    use nix::unistd::{Pid, getpid};

    use super::{HashSet, Id, MARK};

    /// How long the orphans of one child are waited for. One that cannot be killed (it hangs in the kernel) is left.
    const PATIENCE: Duration = Duration::from_secs(1);
    /// The kernel lets an environment be larger; nobody's is.
    const MAX_ENVIRONMENT: u64 = 4 << 20;

    #[derive(Debug)]
    struct Process {
        pid: i32,
        parent: i32,
        group: i32,
        zombie: bool,
        started: u64,
    }

    impl Process {
        fn id(&self) -> Id {
            (self.pid, self.started)
        }

        /// From `/proc/PID/stat`. The name, in parentheses, may hold spaces and parentheses itself.
        fn parse(stat: &str) -> Option<Process> {
            let (pid, rest) = stat.split_once(' ')?;
            let mut fields = rest.rsplit_once(')')?.1.split_ascii_whitespace();
            let zombie = matches!(fields.next()?, "Z" | "X");
            let (parent, group) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
            let started = fields.nth(16)?.parse().ok()?;
            Some(Process { pid: pid.parse().ok()?, parent, group, zombie, started })
        }

        fn has_mark(&self, mark: &str) -> bool {
            let mut environment = Vec::new();
            let read =
                File::open(format!("/proc/{}/environ", self.pid)).and_then(|file| file.take(MAX_ENVIRONMENT).read_to_end(&mut environment));
            let wanted = format!("{MARK}={mark}");
            read.is_ok() && environment.split(|&byte| byte == 0).any(|entry| entry == wanted.as_bytes())
        }
    }

    /// All that can be seen; empty without `/proc`.
    fn processes() -> Vec<Process> {
        let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
        let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
        pids.filter_map(|pid| Process::parse(&String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/stat")).ok()?))).collect()
    }

    fn below(pid: i32, all: &[Process]) -> HashSet<Id> {
        let (mut found, mut parents) = (HashSet::new(), vec![pid]);
        while let Some(parent) = parents.pop() {
            for process in all.iter().filter(|process| process.parent == parent) {
                if found.insert(process.id()) {
                    parents.push(process.pid);
                }
            }
        }
        found
    }

    /// Everything below `pid` in the tree of processes right now.
    pub(crate) fn descendants(pid: i32) -> HashSet<Id> {
        below(pid, &processes())
    }

    /// Ends and reaps the orphans of `child`, which has ended and has not been reaped.
    pub(crate) fn end(child: i32, mark: &str, mut known: HashSet<Id>) {
        let (deadline, mut pause) = (Instant::now() + PATIENCE, Duration::from_millis(1));
        let mut given_up = HashSet::new();
        loop {
            let (all, me) = (processes(), getpid().as_raw());
            let mut left = 0;
            for orphan in all.iter().filter(|process| process.parent == me && process.pid != child) {
                let belongs = orphan.group == child || known.contains(&orphan.id()) || orphan.has_mark(mark);
                if !belongs || given_up.contains(&orphan.id()) {
                    continue;
                }
                left += 1;
                known.insert(orphan.id());
                known.extend(below(orphan.pid, &all));
                if orphan.zombie {
                    reap(orphan.pid);
                } else if let Err(error) = kill(Pid::from_raw(orphan.pid), Signal::SIGKILL) {
                    log::warn!("cannot end process {}, left behind by a server: {error}", orphan.pid);
                    given_up.insert(orphan.id());
                }
            }
            if left == 0 {
                return;
            }
            if Instant::now() >= deadline {
                log::warn!("{left} processes left behind by a server do not end");
                return;
            }
            // A killed process takes a moment to die, and its children one more to become ours. There is no event for several at once.
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
    }

    fn reap(pid: i32) {
        // Whatever it says: gone is gone, and anything else comes round again.
        let _ = waitid(Wait::Pid(Pid::from_raw(pid)), WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG);
    }

    /// Reaps adopted zombies that nobody else will, while children live; see 4 above.
    #[derive(Default)]
    pub(crate) struct Zombies {
        suspects: HashSet<Id>,
    }

    impl Zombies {
        /// One round; `spawned` are the children that are waited for.
        pub(crate) fn round(&mut self, spawned: &[i32]) {
            let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
            if matches!(waitid(Wait::All, flags), Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD)) {
                self.suspects.clear();
                return;
            }
            let me = getpid().as_raw();
            let all = processes();
            let zombies = all.iter().filter(|process| process.zombie && process.parent == me && !spawned.contains(&process.pid));
            let (old, new): (Vec<Id>, Vec<Id>) = zombies.map(Process::id).partition(|id| self.suspects.contains(id));
            old.iter().for_each(|(pid, _)| reap(*pid));
            self.suspects = new.into_iter().collect();
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_stat_line_is_read_past_any_name() {
            let stat = "42 (a) Z (b) S 7 40 40 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1000 2";
            let process = Process::parse(stat).unwrap();
            assert_eq!((process.pid, process.parent, process.group, process.zombie, process.started), (42, 7, 40, false, 98765));
            assert!(Process::parse("42 (cut off").is_none());
            assert!(processes().iter().any(|process| process.pid == getpid().as_raw()));
        }

        #[test]
        fn below_is_the_whole_tree_and_ends_in_a_loop() {
            let process = |pid, parent| Process { pid, parent, group: 0, zombie: false, started: 1 };
            let all = [process(2, 1), process(3, 2), process(4, 3), process(5, 1), process(6, 6)];
            assert_eq!(below(2, &all), HashSet::from([(3, 1), (4, 1)]));
            assert_eq!(below(6, &all), HashSet::from([(6, 1)]));
        }
    }
}

/// Without `/proc` and subreaper there is the process group, and that is all.
#[cfg(not(target_os = "linux"))]
pub(super) fn descendants(_pid: i32) -> HashSet<Id> {
    HashSet::new()
}

#[cfg(not(target_os = "linux"))]
pub(super) fn end(_child: i32, _mark: &str, _known: HashSet<Id>) {}
