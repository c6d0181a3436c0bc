//! Lists that a client has seen, and how those of a new child differ from them.
//!
//! 1. What passes to a client is remembered: for each list the names and a hash of each entry.
//! 2. After a swap the new child is asked for those lists only, within bounds; beyond them they count as changed.
//! 3. `list_changed` goes out for each that really differs, and merges with what the child itself says.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use super::core::Core;
use super::parts::{Act, Own, Report};
use crate::json;
use crate::message::{self, Message};

/// Bounds of one comparison.
const PAGES: usize = 100;
const BYTES: usize = 16 << 20;
const PATIENCE: Duration = Duration::from_secs(5);
/// At most one `list_changed` of a kind in so long.
const MERGE: Duration = Duration::from_millis(500);
/// Entries remembered of one list; a longer one counts as changed.
const MAX_ENTRIES: usize = 50_000;

/// A list that a server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum List {
    Tools,
    Prompts,
    Resources,
    Templates,
}

const LISTS: [(List, &str, &str, &str, usize); 4] = [
    (List::Tools, "tools/list", "tools", "name", 0),
    (List::Prompts, "prompts/list", "prompts", "name", 1),
    (List::Resources, "resources/list", "resources", "uri", 2),
    (List::Templates, "resources/templates/list", "resourceTemplates", "uriTemplate", 2),
];

/// The notifications, by the numbers in the table above.
const CHANGED: [&str; 3] =
    ["notifications/tools/list_changed", "notifications/prompts/list_changed", "notifications/resources/list_changed"];

/// Which kind of `list_changed` the method is.
pub(super) fn changed_by(method: &str) -> Option<usize> {
    CHANGED.iter().position(|changed| *changed == method)
}

impl List {
    pub(super) fn asked_by(method: &str) -> Option<List> {
        LISTS.iter().find(|(_, asked, ..)| *asked == method).map(|(list, ..)| *list)
    }

    fn row(self) -> &'static (List, &'static str, &'static str, &'static str, usize) {
        &LISTS[self as usize]
    }

    /// The result for a child that has no such family.
    pub(super) fn empty(self, with_dev_tools: bool) -> String {
        let entries = if with_dev_tools && self == List::Tools { super::dev::TOOLS } else { "" };
        format!("{{\"{}\":[{entries}]}}", self.row().2)
    }

    /// Names and hashes of the entries in a result; none when there are too many.
    fn read(self, result: &str) -> Option<Vec<(String, u64)>> {
        let (_, _, key, name, _) = self.row();
        // What is no list has no entries.
        let entries = json::member(result, key).and_then(|list| json::elements(list, MAX_ENTRIES).ok()).unwrap_or(Some(Vec::new()))?;
        let read = |entry: &&str| {
            let mut hash = DefaultHasher::new();
            entry.hash(&mut hash);
            let name = json::member(entry, name).and_then(json::unquote).unwrap_or_default().into_owned();
            (name, hash.finish())
        };
        Some(entries.iter().map(read).collect())
    }
}

/// Name and hash of each entry; none when there were too many.
type Known = Option<BTreeMap<String, u64>>;

/// What a client last saw pass.
#[derive(Default)]
pub(super) struct Seen(BTreeMap<List, Known>);

impl Seen {
    /// A page passes.
    pub(super) fn pass(&mut self, list: List, is_start: bool, result: &str) {
        let known = self.0.entry(list).or_insert_with(|| Some(BTreeMap::new()));
        if is_start {
            *known = Some(BTreeMap::new());
        }
        add(known, list, result);
    }
}

fn add(known: &mut Known, list: List, result: &str) {
    let Some(mut entries) = known.take() else { return };
    let Some(read) = list.read(result) else { return };
    entries.extend(read);
    *known = (entries.len() <= MAX_ENTRIES).then_some(entries);
}

/// What differs, as in `+added`, `-removed`, `~changed`.
fn differences(before: &BTreeMap<String, u64>, after: &BTreeMap<String, u64>) -> Vec<String> {
    let removed = before.keys().filter(|name| !after.contains_key(*name)).map(|name| format!("-{name}"));
    let others = after.iter().filter_map(|(name, hash)| match before.get(name) {
        None => Some(format!("+{name}")),
        Some(old) if old != hash => Some(format!("~{name}")),
        Some(_) => None,
    });
    others.chain(removed).collect()
}

/// The lists of a new child, as far as they have come.
pub(super) struct Survey {
    pub kid: u64,
    deadline: Instant,
    bytes: usize,
    open: BTreeMap<List, Page>,
    changes: Vec<String>,
}

struct Page {
    count: usize,
    known: Known,
}

impl Core {
    /// Asks a child that has just become ready for the lists that some client has seen.
    pub(super) fn compare(&mut self, kid: u64, now: Instant) {
        let mut lists: Vec<List> = self.seats.values().flat_map(|seat| seat.seen.0.keys().copied()).collect();
        lists.extend(self.stateless.as_ref().map(|_| List::Tools));
        lists.sort_unstable();
        lists.dedup();
        let open = lists.iter().map(|list| (*list, Page { count: 0, known: Some(BTreeMap::new()) })).collect();
        self.survey = Some(Survey { kid, deadline: now + PATIENCE, bytes: 0, open, changes: Vec::new() });
        let families = self.kid(kid).map(|kid| kid.families).unwrap_or_default();
        for list in lists {
            if families.has(list) {
                self.ask_child(kid, Own::List(list), Message::request("0", list.row().1, Some(&self.own_params("{}"))));
            } else {
                self.compared(list, Some(BTreeMap::new()), now);
            }
        }
        self.mind_survey_end();
    }

    /// A page of a list has come.
    pub(super) fn listed(&mut self, kid: u64, list: List, answer: &Message, now: Instant) {
        let Some(survey) = self.survey.as_mut().filter(|survey| survey.kid == kid) else { return };
        let Some(page) = survey.open.get_mut(&list) else { return };
        let result = answer.letter().filter(|_| answer.kind() == message::Kind::Result);
        survey.bytes += answer.as_str().len();
        page.count += 1;
        add(&mut page.known, list, result.unwrap_or_default());
        if survey.bytes > BYTES {
            page.known = None;
        }
        let cursor = result.and_then(|result| json::member(result, "nextCursor")).filter(|cursor| cursor.starts_with('"'));
        let goes_on = page.count < PAGES && page.known.is_some();
        let known = page.known.take_if(|_| cursor.is_none());
        self.note_headers(list, result.unwrap_or_default());
        match cursor {
            Some(cursor) if goes_on => {
                let params = self.own_params(&format!("{{\"cursor\":{cursor}}}"));
                self.ask_child(kid, Own::List(list), Message::request("0", list.row().1, Some(&params)));
            }
            _ => {
                self.compared(list, known, now);
                self.mind_survey_end();
            }
        }
    }

    /// A list is complete, or too much.
    fn compared(&mut self, list: List, after: Known, now: Instant) {
        let Some(survey) = &mut self.survey else { return };
        survey.open.remove(&list);
        let mut is_changed = false;
        for before in self.seats.values().filter_map(|seat| seat.seen.0.get(&list)) {
            let Some((before, after)) = before.as_ref().zip(after.as_ref()) else {
                is_changed = true;
                continue;
            };
            let changes = differences(before, after);
            if changes.is_empty() {
                continue;
            }
            is_changed = true;
            if list == List::Tools {
                // The line that says how long the reload took has them.
                survey.changes.clone_from(&changes);
            } else {
                log::info!("{}: {}", list.row().2, changes.join(" "));
            }
        }
        if is_changed {
            self.changed(list.row().4, now);
        }
        // What the next generation is compared with, whoever lists it or not.
        let everybody = self.stateless.as_ref().and_then(|stateless| self.seats.get_mut(&stateless.everybody));
        everybody.into_iter().for_each(|seat| drop(seat.seen.0.insert(list, after.clone())));
    }

    fn mind_survey_end(&mut self) {
        if let Some(survey) = self.survey.take_if(|survey| survey.open.is_empty()) {
            let changes = Some(survey.changes).filter(|_| self.has_seen_tools());
            self.changes = changes.clone().unwrap_or_default();
            self.acts.push(Act::Report(Report::Compared { changes }));
        }
    }

    /// Whether a comparison of tools is still to come.
    pub(super) fn is_comparing(&self) -> bool {
        self.has_seen_tools() && (self.coming.is_some() || self.survey.is_some())
    }

    /// Whether there is anything to compare tools with.
    fn has_seen_tools(&self) -> bool {
        self.seats.values().any(|seat| seat.seen.0.contains_key(&List::Tools))
    }

    /// A list of the new child differs from what clients have seen. A `list_changed` that went out since the swap says so already.
    pub(super) fn changed(&mut self, which: usize, now: Instant) {
        let ready_at = self.current().and_then(|kid| kid.ready_at);
        let (last, is_due) = self.notices[which];
        if !is_due && (last.is_none() || last < ready_at) {
            self.notify(which, now);
        }
    }

    /// The child says itself that a list has changed.
    pub(super) fn changed_by_child(&mut self, which: usize, now: Instant) {
        match self.notices[which].0 {
            Some(last) if now < last + MERGE => self.notices[which].1 = true,
            _ => self.notify(which, now),
        }
    }

    fn notify(&mut self, which: usize, now: Instant) {
        self.notices[which] = (Some(now), false);
        self.tell_all(&Message::notification(CHANGED[which], None));
    }

    pub(super) fn mind_lists(&mut self, now: Instant) {
        for which in 0..CHANGED.len() {
            if self.notices[which].1 && self.notices[which].0.is_none_or(|last| now >= last + MERGE) {
                self.notify(which, now);
            }
        }
        let is_late = self.survey.as_ref().is_some_and(|survey| now >= survey.deadline);
        let late: Vec<List> = self.survey.iter().filter(|_| is_late).flat_map(|survey| survey.open.keys().copied()).collect();
        for list in late {
            log::info!("the new server does not list its {} in time: they count as changed", list.row().2);
            self.compared(list, None, now);
        }
        self.mind_survey_end();
    }

    pub(super) fn lists_deadline(&self) -> Option<Instant> {
        let notices = self.notices.iter().filter(|(_, is_due)| *is_due).filter_map(|(last, _)| last.map(|last| last + MERGE));
        notices.chain(self.survey.as_ref().map(|survey| survey.deadline)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_told_by_name() {
        let read = |result: &str| List::Tools.read(result).unwrap().into_iter().collect::<BTreeMap<_, _>>();
        let before = read(r#"{"tools":[{"name":"sub"},{"name":"mul","x":1},{"name":"same", "y":[1]}]}"#);
        let after = read(r#"{"tools":[{"name":"same", "y":[1]},{"name":"mul","x":2},{"name":"add"}]}"#);
        assert_eq!(differences(&before, &after), ["+add", "~mul", "-sub"]);
        assert!(differences(&before, &before).is_empty());
        assert!(read("{}").is_empty() && read(r#"{"tools":7}"#).is_empty());
    }

    #[test]
    fn a_first_page_forgets_what_was_and_later_ones_add() {
        let mut seen = Seen::default();
        seen.pass(List::Tools, true, r#"{"tools":[{"name":"old"}]}"#);
        seen.pass(List::Tools, true, r#"{"tools":[{"name":"a"}],"nextCursor":"1"}"#);
        seen.pass(List::Tools, false, r#"{"tools":[{"name":"b"}]}"#);
        let known = seen.0[&List::Tools].as_ref().unwrap();
        assert_eq!(known.keys().collect::<Vec<_>>(), ["a", "b"]);
        let many = |count: usize| format!("{{\"tools\":[{}0]}}", "0,".repeat(count - 1));
        for (count, is_known) in [(MAX_ENTRIES, true), (MAX_ENTRIES + 1, false)] {
            seen.pass(List::Tools, true, &many(count));
            assert_eq!(seen.0[&List::Tools].is_some(), is_known);
        }
    }
}
