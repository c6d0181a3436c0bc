//! Finding members in text that is known to be JSON: it was checked when it came in, and is not checked again.
//!
//! Values are passed over, not read: strings in chunks, from quote to quote, and nesting by counting. Text that is no JSON after all is a mistake of
//! ours; then what is found is of no use, but nothing worse happens.

use std::borrow::Cow;

use super::unquote;
use crate::scan::{self, first};

/// Fills in the texts of the members of the object `text` that have these names; the first of a name counts. False when it is no object.
pub(super) fn find<'a, S: AsRef<str>>(text: &'a str, names: &[S], found: &mut [Option<&'a str>]) -> bool {
    let mut missing = names.len();
    walk(text, |key, value| {
        if let Some(index) = names.iter().position(|name| name.as_ref() == key) {
            if found[index].is_none() {
                found[index] = Some(value);
                missing -= 1;
            }
        }
        missing > 0
    })
}

/// Visits the members of the object `text`, name and text of each, for as long as `visit` says to go on. False when it is no object.
pub(super) fn walk<'a>(text: &'a str, mut visit: impl FnMut(Cow<'a, str>, &'a str) -> bool) -> bool {
    let bytes = text.as_bytes();
    let mut at = space_end(bytes, 0);
    if bytes.get(at) != Some(&b'{') {
        return false;
    }
    at = space_end(bytes, at + 1);
    while bytes.get(at) == Some(&b'"') {
        let (key_end, is_plain) = string_end(bytes, at);
        let key = match is_plain {
            true => text.get(at + 1..key_end - 1).map(Cow::Borrowed),
            false => text.get(at..key_end).and_then(unquote),
        };
        // Behind the colon.
        let start = space_end(bytes, space_end(bytes, key_end) + 1);
        let end = value_end(bytes, start);
        if !visit(key.unwrap_or_default(), text.get(start..end).unwrap_or_default()) {
            break;
        }
        // Behind the comma, or at the end.
        at = space_end(bytes, space_end(bytes, end) + 1);
    }
    true
}

fn space_end(bytes: &[u8], from: usize) -> usize {
    let rest = bytes.get(from..).unwrap_or_default();
    from + rest.iter().position(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r')).unwrap_or(rest.len())
}

/// Behind the value that begins at `from`.
fn value_end(bytes: &[u8], from: usize) -> usize {
    match bytes.get(from) {
        Some(b'"') => string_end(bytes, from).0,
        Some(b'{' | b'[') => nest_end(bytes, from),
        _ => {
            let rest = bytes.get(from..).unwrap_or_default();
            let is_end = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r');
            from + rest.iter().position(is_end).unwrap_or(rest.len())
        }
    }
}

fn nest_end(bytes: &[u8], from: usize) -> usize {
    let (mut at, mut depth) = (from, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = string_end(bytes, at).0;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    at
}

/// Behind the closing quote of the string that begins at `from`, and whether nothing in it is escaped.
fn string_end(bytes: &[u8], from: usize) -> (usize, bool) {
    let (mut at, mut is_plain) = (from + 1, true);
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        match first::<scan::QuoteOrBackslash>(rest) {
            None => return (bytes.len(), false),
            Some(behind) if rest[behind] == b'"' => return (at + behind + 1, is_plain),
            // What follows a backslash is no end, whatever it is.
            Some(behind) => at += behind + 2,
        }
        is_plain = false;
    }
}

#[cfg(test)]
mod tests {
    use super::super::envelope::envelope;
    use super::*;
    use crate::random::Random;

    #[test]
    fn it_finds_what_a_reader_of_json_finds() {
        let mut random = Random(7);
        let names = ["a", "b", "ax", "c\"", "never"];
        for _ in 0..20_000 {
            let text = format!("{}{}{}", random.space(), random.object(0), random.space());
            let mut found = [None; 5];
            assert!(find(&text, &names, &mut found), "{text}");
            assert_eq!(found, envelope(&text, names).unwrap().members, "{text}");
        }
    }

    #[test]
    fn what_is_no_json_does_no_harm() {
        let mut random = Random(8);
        for _ in 0..20_000 {
            let mut text = random.object(0);
            let at = random.below(text.len() + 1);
            if text.is_char_boundary(at) {
                text.truncate(at);
            }
            text.insert_str(0, ["", "", "{", "\"", "]", "{\"a\""][random.below(6)]);
            find(&text, &["a", "b"], &mut [None; 2]);
        }
    }

    #[test]
    fn the_first_counts_and_only_objects_have_members() {
        let mut found = [None];
        assert!(find(r#"{"a":1,"a":2}"#, &["a"], &mut found));
        assert_eq!(found, [Some("1")]);
        for text in ["[1]", "1", "\"a\"", "", "  "] {
            assert!(!find(text, &["a"], &mut [None]), "{text}");
        }
        let long = format!(r#"{{"x":"{}\"\\","a":[{}]}}"#, "y".repeat(1000), "[\"]\"],".repeat(100) + "1");
        let mut found = [None];
        assert!(find(&long, &["a"], &mut found));
        assert!(found[0].is_some_and(|text| text.starts_with("[[") && text.ends_with("1]")));
    }
}
