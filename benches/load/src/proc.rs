//! What Linux knows about a process: its processor time, its memory, its threads and descriptors.

use std::fs;

/// Linux gives processor times in hundredths of a second, whatever its clock is.
const TICK_MICROS: u64 = 10_000;

/// A process and all that descend from it.
pub fn family(root: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some(parent) = stat(pid).and_then(|fields| fields.get(1)?.parse::<u32>().ok()) {
            parents.push((pid, parent));
        }
    }
    let mut family = vec![root];
    let mut at = 0;
    while at < family.len() {
        let parent = family[at];
        family.extend(parents.iter().filter(|(_, its)| *its == parent).map(|(pid, _)| *pid));
        at += 1;
    }
    family
}

/// User and system time of these processes, in microseconds.
pub fn cpu_micros(pids: &[u32]) -> u64 {
    let ticks = |pid: &u32| {
        let fields = stat(*pid)?;
        Some(fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?)
    };
    pids.iter().filter_map(ticks).sum::<u64>() * TICK_MICROS
}

/// Resident memory of these processes in KiB: now, and the peak of each.
pub fn resident(pids: &[u32]) -> (u64, u64) {
    let sum = |field| pids.iter().filter_map(|pid| status(*pid, field)).sum();
    (sum("VmRSS:"), sum("VmHWM:"))
}

pub fn threads(pid: u32) -> u64 {
    status(pid, "Threads:").unwrap_or(0)
}

pub fn descriptors(pid: u32) -> u64 {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, |folder| folder.count() as u64)
}

/// The fields behind the name of the program, which may itself contain blanks: the first is the state.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(") ")?.1.split(' ').map(str::to_owned).collect())
}

fn status(pid: u32, field: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text.lines().find(|line| line.starts_with(field))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}
