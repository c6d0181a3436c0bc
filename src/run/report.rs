//! The last reloads, for `status`.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use crate::hold::end_of;

/// Reloads that are remembered.
const KEPT: usize = 10;

/// How one reload ended.
#[derive(Clone, Debug)]
pub(super) struct Report {
    pub(super) at: SystemTime,
    pub(super) live: bool,
    pub(super) text: String,
}

impl Report {
    pub(super) fn live(text: String) -> Report {
        Report { at: SystemTime::now(), live: true, text }
    }

    pub(super) fn failed(why: &str, output: &str) -> Report {
        Report { at: SystemTime::now(), live: false, text: format!("{why}\n{}", end_of(output)).trim_end().to_owned() }
    }
}

#[derive(Default)]
pub(super) struct Reports(Mutex<VecDeque<Report>>);

impl Reports {
    pub(super) fn add(&self, report: Report) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.truncate(KEPT - 1);
        kept.push_front(report);
    }

    /// The newest first.
    pub(super) fn list(&self) -> Vec<Report> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}
