//! Nobody is misled: a save that is not live is told where the model reads it, at the end of a tool's result.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::core::Core;
use super::from_client::replace;
use super::parts::{Act, Call, NotLive};
use super::{Save, Verdict};
use crate::handler::LogLevel;
use crate::json;
use crate::message::Message;

/// How much of a compiler's or server's output is passed on.
const OUTPUT: usize = 4 << 10;

impl Core {
    /// The orchestrator knows more about the last save. `is_first`: no child has ever been started.
    pub(super) fn verdict(&mut self, verdict: &Verdict, is_first: bool, now: Instant) {
        self.is_barred = is_first && !matches!(verdict, Verdict::Live(_));
        match verdict {
            Verdict::Live(save) => {
                self.settled = self.settled.max(save.number);
                self.not_live = None;
            }
            Verdict::Pending(Save { number, at }) => self.not_live = Some(NotLive { save: *number, code: *number, at: *at, output: None }),
            Verdict::NotLive { save: Save { number, at }, output, tried } => {
                self.settled = self.settled.max(*number);
                // The same save's verdict may be said again, for who began to wait since: nobody is told twice.
                let is_known = self.not_live.as_ref().is_some_and(|known| known.at == *at && known.output.is_some());
                if !is_known {
                    let code = tried.unwrap_or(*number);
                    let not_live = NotLive { save: *number, code, at: *at, output: Some(output.as_str().into()) };
                    self.log_to_clients(&not_live);
                    self.not_live = Some(not_live);
                }
            }
        }
        self.settle(now);
        self.pump(now);
    }

    /// The newest save that may not be live.
    pub(super) fn pending(&self) -> u64 {
        self.not_live.as_ref().map_or(0, |not_live| not_live.save)
    }

    fn log_to_clients(&mut self, not_live: &NotLive) {
        let Some(kid) = self.current().filter(|kid| kid.save < not_live.code) else { return };
        let data = json::string(&text(kid.live_since, Some(not_live.at), not_live.output.as_deref()));
        let params = format!("{{\"level\":\"error\",\"logger\":\"reload\",\"data\":{data}}}");
        let message = Message::notification("notifications/message", Some(&params));
        let listening =
            self.seats.values().filter(|seat| seat.version.is_some() && seat.level.is_none_or(|level| level <= LogLevel::Error));
        let acts = listening.map(|seat| Act::Offer { outlet: Arc::clone(&seat.outlet), message: message.clone(), otherwise: None });
        self.acts.extend(acts);
    }

    /// Adds to a tool's result that it comes from older code than was saved; to each client once for each verdict.
    pub(super) fn add_note(&mut self, call: &Call, answer: &mut Message) {
        if !self.rules.note {
            return;
        }
        let Some((has, live_since)) = self.kid(call.kid).map(|kid| (kid.save, kid.live_since)) else { return };
        let known = self.not_live.as_ref().filter(|not_live| not_live.code > has && (not_live.output.is_some() || call.stale > 0));
        let (key, text) = match known {
            Some(NotLive { save, at, output, .. }) => ((*save, output.is_some()), text(live_since, Some(*at), output.as_deref())),
            None if self.gave_up > has && call.stale > 0 => {
                let output = self.last_failure.as_ref().map(|(why, output)| format!("{why}\n{output}"));
                ((self.gave_up, true), text(live_since, None, output.as_deref()))
            }
            // Forwarded when the hold was over, before anything was known of the save but that it was coming.
            None if call.stale > has.max(self.settled) => ((call.stale, false), text(live_since, None, None)),
            None => return,
        };
        let Some(seat) = self.seats.get_mut(&call.seat).filter(|seat| seat.noted != Some(key)) else { return };
        let Some(content) = answer.find(&["content"]).filter(|content| content.starts_with('[')) else { return };
        let end = json::span(answer.as_str(), content).end;
        let comma = if content[1..].trim_start().starts_with(']') { "" } else { "," };
        let block = format!("{comma}{{\"type\":\"text\",\"text\":{}}}]", json::string(&text));
        replace(answer, end - 1..end, &block);
        seat.noted = Some(key);
    }
}

fn text(live_since: SystemTime, saved_at: Option<SystemTime>, output: Option<&str>) -> String {
    let saved = saved_at.map_or_else(|| "a later save".to_owned(), |at| format!("the save of {}", clock(at)));
    let mut text = format!("[reload] This answer comes from the version of {}; {saved} is not live", clock(live_since));
    match output {
        Some(output) => {
            text.push_str(":\n");
            text.push_str(&end_of(output));
        }
        None => text.push_str(" yet: it is still being built or started."),
    }
    text
}

/// The time of day. The standard library does not know where we are.
pub(super) fn clock(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() % 86_400;
    format!("{:02}:{:02}:{:02} UTC", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// The last 4 KiB, with control characters escaped.
pub(crate) fn end_of(output: &str) -> String {
    let output = output.trim_end();
    let mut start = output.len().saturating_sub(OUTPUT);
    while !output.is_char_boundary(start) {
        start += 1;
    }
    let mut text = String::new();
    for c in output[start..].chars() {
        match c {
            '\n' | '\t' => text.push(c),
            c if c.is_control() => {
                // Writing to a string does not fail.
                let _ = write!(text, "{}", c.escape_default());
            }
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_cut_at_a_character_and_cannot_control_a_terminal() {
        assert_eq!(end_of("a\x1b[31mred\n\tb\r\n"), "a\\u{1b}[31mred\n\tb");
        let long = end_of(&"é".repeat(5000));
        assert!(long.len() <= OUTPUT && long.len() > OUTPUT - 2 && long.chars().all(|c| c == 'é'));
    }

    #[test]
    fn times_are_times_of_day() {
        assert_eq!(clock(UNIX_EPOCH + std::time::Duration::from_secs(86_400 + 43_384)), "12:03:04 UTC");
    }
}
