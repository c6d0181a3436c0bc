//! Finding a byte of some kind in a text.
//!
//! Most texts are short, and are looked at a word at a time; the long ones in chunks, with a loop that compilers make vector instructions of: twenty times
//! as fast as byte by byte, provided that it gathers bytes and no `bool`.

use std::ops::{BitAnd, BitOr, Not};

/// Twice as many as a vector has, or the loop over a chunk is taken apart before it could become one.
const CHUNK: usize = 32;
/// As many as a word has.
const WORD: usize = 8;

const EACH: u64 = u64::from_ne_bytes([1; WORD]);
const LOW: u64 = EACH * 0x7f;

/// What makes a byte one of a kind, asked of one byte or of eight at once.
pub(crate) trait Kind {
    fn mark<L: Lanes>(lanes: L) -> L;
}

/// One byte or several side by side. What is asked of them is answered in the highest bit of each; the other bits of an answer mean nothing.
pub(crate) trait Lanes: Copy + BitAnd<Output = Self> + BitOr<Output = Self> + Not<Output = Self> {
    fn is(self, byte: u8) -> Self;
    /// Whether they are less than `bound`, which is 128 at most.
    fn is_below(self, bound: u8) -> Self;
}

impl Lanes for u8 {
    fn is(self, byte: u8) -> u8 {
        u8::from(self == byte) << 7
    }

    fn is_below(self, bound: u8) -> u8 {
        u8::from(self < bound) << 7
    }
}

impl Lanes for u64 {
    fn is(self, byte: u8) -> u64 {
        let differs = self ^ (EACH * u64::from(byte));
        !(((differs & LOW) + LOW) | differs)
    }

    fn is_below(self, bound: u8) -> u64 {
        // No lane carries into the next: without its highest bit none is more than 127.
        !(((self & LOW) + EACH * (128 - u64::from(bound))) | self)
    }
}

/// Ends a line.
pub(crate) struct Feed;
/// Ends a line, or belongs to its end.
pub(crate) struct Break;
/// Begins an escape in a JSON string.
pub(crate) struct Backslash;
/// Ends a JSON string, or begins an escape in one.
pub(crate) struct QuoteOrBackslash;
/// Cannot be in a JSON string as it is.
pub(crate) struct ToEscape;
/// A control character, but no tab.
pub(crate) struct Control;

impl Kind for Feed {
    fn mark<L: Lanes>(lanes: L) -> L {
        lanes.is(b'\n')
    }
}

impl Kind for Break {
    fn mark<L: Lanes>(lanes: L) -> L {
        lanes.is(b'\n') | lanes.is(b'\r')
    }
}

impl Kind for Backslash {
    fn mark<L: Lanes>(lanes: L) -> L {
        lanes.is(b'\\')
    }
}

impl Kind for QuoteOrBackslash {
    fn mark<L: Lanes>(lanes: L) -> L {
        lanes.is(b'"') | lanes.is(b'\\')
    }
}

impl Kind for ToEscape {
    fn mark<L: Lanes>(lanes: L) -> L {
        lanes.is_below(b' ') | lanes.is(b'"') | lanes.is(b'\\')
    }
}

impl Kind for Control {
    fn mark<L: Lanes>(lanes: L) -> L {
        (lanes.is_below(b' ') & !lanes.is(b'\t')) | lanes.is(0x7f)
    }
}

/// Where the first byte of the kind `K` stands.
#[inline]
pub(crate) fn first<K: Kind>(bytes: &[u8]) -> Option<usize> {
    let passed = if bytes.len() < CHUNK { 0 } else { passed::<K>(bytes) };
    let mut words = bytes[passed..].chunks_exact(WORD);
    let mut at = passed;
    for word in words.by_ref() {
        if let Some(lane) = lane(K::mark(u64::from_le_bytes(word.try_into().unwrap_or_default()))) {
            return Some(at + lane);
        }
        at += WORD;
    }
    let rest = words.remainder();
    // Filled up with zeros, which may be of the kind.
    let word = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    lane(K::mark(word)).filter(|lane| *lane < rest.len()).map(|lane| at + lane)
}

/// How many bytes lie before the chunk that has one of the kind.
fn passed<K: Kind>(bytes: &[u8]) -> usize {
    let has_none = |chunk: &&[u8]| chunk.iter().fold(0, |found, byte| found | K::mark(*byte)) >> 7 == 0;
    bytes.chunks_exact(CHUNK).take_while(has_none).count() * CHUNK
}

/// The first lane that is marked.
fn lane(marks: u64) -> Option<usize> {
    let marks = marks & !LOW;
    (marks != 0).then_some(marks.trailing_zeros() as usize / 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn agree<K: Kind>(is: impl Fn(u8) -> bool) {
        for byte in 0..=255 {
            // Beside all that a carry could come from.
            for other in [b'a', 0, 8, b'\t', 0x1f, b' ', 0x7f, 0x80, 0xff] {
                for length in [1, 3, 7, 8, 9, 15, 16, 31, 32, 33, 70] {
                    for at in [0, length / 2, length - 1] {
                        let mut bytes = vec![other; length];
                        bytes[at] = byte;
                        assert_eq!(first::<K>(&bytes), bytes.iter().position(|byte| is(*byte)), "{bytes:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_byte_is_told_from_every_other_wherever_it_stands() {
        agree::<Feed>(|byte| byte == b'\n');
        agree::<Break>(|byte| matches!(byte, b'\n' | b'\r'));
        agree::<Backslash>(|byte| byte == b'\\');
        agree::<QuoteOrBackslash>(|byte| matches!(byte, b'"' | b'\\'));
        agree::<ToEscape>(|byte| byte < 0x20 || matches!(byte, b'"' | b'\\'));
        agree::<Control>(|byte| byte != b'\t' && byte.is_ascii_control());
    }

    #[test]
    fn it_is_found_wherever_it_stands() {
        for length in 0..200 {
            let mut bytes = vec![b'a'; length];
            assert_eq!(first::<Feed>(&bytes), None);
            for at in 0..length {
                bytes[at] = b'\n';
                bytes[length - 1] = b'\n';
                assert_eq!(first::<Feed>(&bytes), Some(at), "{length}");
                bytes[at] = b'a';
            }
        }
    }
}
