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

/// This very byte.
pub(crate) struct Byte<const BYTE: u8>;
/// Ends a line, or belongs to its end.
pub(crate) struct Break;
/// Ends a JSON string, or begins an escape in one.
pub(crate) struct QuoteOrBackslash;
/// Cannot be in a JSON string as it is.
pub(crate) struct ToEscape;
/// A control character, but no tab.
pub(crate) struct Control;
/// Neither a letter nor a digit nor punctuation of ASCII.
pub(crate) struct NotGraphic;
/// Stands for another byte in a query.
pub(crate) struct Coded;

impl<const BYTE: u8> Kind for Byte<BYTE> {
    fn mark<L: Lanes>(lanes: L) -> L {
        lanes.is(BYTE)
    }
}

impl Kind for Break {
    fn mark<L: Lanes>(lanes: L) -> L {
        lanes.is(b'\n') | lanes.is(b'\r')
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

impl Kind for NotGraphic {
    fn mark<L: Lanes>(lanes: L) -> L {
        lanes.is_below(b'!') | !lanes.is_below(0x7f)
    }
}

impl Kind for Coded {
    fn mark<L: Lanes>(lanes: L) -> L {
        lanes.is(b'%') | lanes.is(b'+')
    }
}

/// Where the first byte of the kind `K` stands.
#[inline]
pub(crate) fn first<K: Kind>(bytes: &[u8]) -> Option<usize> {
    if bytes.len() < WORD {
        // Filled up with zeros, which may be of the kind.
        return lane(K::mark(short(bytes))).filter(|lane| *lane < bytes.len());
    }
    let mut at = if bytes.len() < CHUNK { 0 } else { passed::<K>(bytes) };
    while let Some(word) = bytes[at..].first_chunk() {
        if let Some(lane) = lane(K::mark(u64::from_le_bytes(*word))) {
            return Some(at + lane);
        }
        at += WORD;
    }
    // The last word, of which a part may have been looked at.
    let word = *bytes.last_chunk()?;
    lane(K::mark(u64::from_le_bytes(word))).map(|lane| bytes.len() - WORD + lane)
}

/// Less than a word, read from both ends: where they overlap they say the same.
fn short(bytes: &[u8]) -> u64 {
    let (length, byte) = (bytes.len(), |at: usize| u64::from(bytes[at]) << (8 * at));
    match (bytes.first_chunk(), bytes.last_chunk()) {
        (Some(low), Some(high)) => u64::from(u32::from_le_bytes(*low)) | u64::from(u32::from_le_bytes(*high)) << (8 * (length - 4)),
        _ if length == 0 => 0,
        _ => byte(0) | byte(length / 2) | byte(length - 1),
    }
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
                for length in [1, 2, 3, 4, 7, 8, 9, 15, 16, 31, 32, 33, 70] {
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
        agree::<Byte<b'\n'>>(|byte| byte == b'\n');
        agree::<Break>(|byte| matches!(byte, b'\n' | b'\r'));
        agree::<QuoteOrBackslash>(|byte| matches!(byte, b'"' | b'\\'));
        agree::<ToEscape>(|byte| byte < 0x20 || matches!(byte, b'"' | b'\\'));
        agree::<Control>(|byte| byte != b'\t' && byte.is_ascii_control());
        agree::<NotGraphic>(|byte| !byte.is_ascii_graphic());
        agree::<Coded>(|byte| matches!(byte, b'%' | b'+'));
    }

    #[test]
    fn it_is_found_wherever_it_stands() {
        for length in 0..200 {
            let mut bytes = vec![b'a'; length];
            assert_eq!(first::<Byte<b'\n'>>(&bytes), None);
            for at in 0..length {
                bytes[at] = b'\n';
                bytes[length - 1] = b'\n';
                assert_eq!(first::<Byte<b'\n'>>(&bytes), Some(at), "{length}");
                bytes[at] = b'a';
            }
        }
    }
}
