//! What was sent on the streams of one session, bounded, for clients that come back for the rest (2025-11-25 basic/transports, Resumability).

use std::collections::VecDeque;
use std::fmt;

use crate::message::Message;

/// Where in the streams of a session an event stands; as text, the id of the event. Its `tag` is the session's: an id of another one points nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub tag: u32,
    pub line: u64,
    /// Events are counted from 1; 0 is the beginning.
    pub number: u64,
}

impl Place {
    pub fn parse(text: &str) -> Option<Place> {
        let mut parts = text.split('-').map(|part| u64::from_str_radix(part, 16).ok());
        let (tag, line, number) = (parts.next()??, parts.next()??, parts.next()??);
        parts.next().is_none().then_some(Place { tag: u32::try_from(tag).ok()?, line, number })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{:x}-{:x}", self.tag, self.line, self.number)
    }
}

/// The latest messages of a session. The oldest go when there are too many; the very last stays whatever its size.
pub(super) struct Replay {
    most: usize,
    most_bytes: usize,
    kept: VecDeque<(u64, u64, Message)>,
    bytes: usize,
}

impl Replay {
    pub fn new(most: usize, most_bytes: usize) -> Replay {
        Replay { most, most_bytes, kept: VecDeque::new(), bytes: 0 }
    }

    /// Keeps the event `number` of a line.
    pub fn keep(&mut self, line: u64, number: u64, message: Message) {
        if self.most == 0 {
            return;
        }
        self.bytes += message.as_str().len();
        self.kept.push_back((line, number, message));
        while self.kept.len() > 1 && (self.kept.len() > self.most || self.bytes > self.most_bytes) {
            if let Some((_, _, oldest)) = self.kept.pop_front() {
                self.bytes -= oldest.as_str().len();
            }
        }
    }

    /// What came on a line after the event `number`.
    pub fn after(&self, line: u64, number: u64) -> Vec<(u64, Message)> {
        let later = self.kept.iter().filter(|(of, at, _)| *of == line && *at > number);
        later.map(|(_, at, message)| (*at, message.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(size: usize) -> Message {
        Message::notification(&"m".repeat(size), None)
    }

    fn numbers(replay: &Replay, line: u64, after: u64) -> Vec<u64> {
        replay.after(line, after).into_iter().map(|(number, _)| number).collect()
    }

    #[test]
    fn an_id_is_read_as_it_is_written() {
        let place = Place { tag: 0xab, line: 10, number: 255 };
        assert_eq!(place.to_string(), "000000ab-a-ff");
        assert_eq!(Place::parse("000000ab-a-ff"), Some(place));
        for text in ["", "1", "1-2", "1-2-3-4", "1-2-x", "1ffffffff-2-3", "-1-2-3", "1-2-"] {
            assert_eq!(Place::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn lines_are_kept_apart_and_the_oldest_go() {
        let mut replay = Replay::new(3, 10_000);
        for number in 1..=3 {
            replay.keep(7, number, message(1));
        }
        assert_eq!((numbers(&replay, 7, 0), numbers(&replay, 7, 2), numbers(&replay, 8, 0)), (vec![1, 2, 3], vec![3], vec![]));
        replay.keep(8, 1, message(1));
        assert_eq!((numbers(&replay, 7, 0), numbers(&replay, 8, 0)), (vec![2, 3], vec![1]));
    }

    #[test]
    fn bytes_are_bounded_but_the_last_stays() {
        let mut replay = Replay::new(100, 300);
        for number in 1..=9 {
            replay.keep(1, number, message(60));
        }
        assert_eq!(numbers(&replay, 1, 0), [7, 8, 9]);
        replay.keep(1, 10, message(1000));
        assert_eq!(numbers(&replay, 1, 0), [10]);
        let mut none = Replay::new(0, 300);
        none.keep(1, 1, message(1));
        assert!(numbers(&none, 1, 0).is_empty());
    }
}
