//! Sealed JSON: text that is known to be valid and that nobody reads unless they must, so that key order and big numbers pass as they came.

mod envelope;
#[cfg(test)]
mod random;
mod sealed;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde_core::Deserializer;
use serde_core::de::{DeserializeOwned, IgnoredAny, SeqAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::scan::{self, first};

pub(crate) use envelope::{Envelope, INNER, Unreadable, envelope};

/// One JSON value as text: valid, on one line, otherwise byte for byte as it was written.
///
/// ```
/// use mcp_http_transport::Json;
/// use serde_json::json;
///
/// let built = Json::from(json!({"content": []}));
/// assert_eq!(built.as_str(), r#"{"content":[]}"#);
/// let kept: Json = r#"{"z": 123456789012345678901234567890, "a": 1}"#.parse().unwrap();
/// assert_eq!(kept.as_str(), r#"{"z": 123456789012345678901234567890, "a": 1}"#);
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Json(String);

impl Json {
    /// The empty object, `{}`.
    pub fn empty() -> Json {
        Json::trusted("{}")
    }

    /// Text that this crate built or has checked already.
    pub(crate) fn trusted(text: impl Into<String>) -> Json {
        Json(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text, with whatever room there is at its end.
    pub(crate) fn into_text(self) -> String {
        self.0
    }

    /// The text of the member `name`, when this is an object that has one. The first counts when there are several.
    pub fn get(&self, name: &str) -> Option<&str> {
        member(&self.0, name)
    }

    /// The value read into `T`. Fails when the text does not fit, or is nested deeper than 128.
    pub fn parse<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(&self.0)
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Json {
        Json(written(&value))
    }
}

impl From<Box<RawValue>> for Json {
    fn from(raw: Box<RawValue>) -> Json {
        Json(on_one_line(raw.get().to_owned()))
    }
}

impl std::str::FromStr for Json {
    type Err = serde_json::Error;

    fn from_str(text: &str) -> serde_json::Result<Json> {
        serde_json::from_str::<&RawValue>(text)?;
        Ok(Json(on_one_line(text.trim().to_owned())))
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The same JSON without line breaks. Inside strings they are always escaped, so a raw one is white space between tokens and a blank does as well.
pub(crate) fn on_one_line(text: String) -> String {
    if first::<scan::Break>(text.as_bytes()).is_none() {
        return text;
    }
    text.chars().map(|c| if c == '\n' || c == '\r' { ' ' } else { c }).collect()
}

/// Appends `text` as a JSON string.
pub(crate) fn push_string(out: &mut String, text: &str) {
    // With room for what usually follows, and for the envelope: growing then would copy it all.
    out.reserve(text.len() + 160);
    out.push('"');
    let mut rest = text;
    while let Some(at) = first_to_escape(rest.as_bytes()) {
        out.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            control => out.push_str(&format!("\\u{control:04x}")),
        }
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
    out.push('"');
}

/// Where the first byte stands that cannot be in a JSON string as it is.
fn first_to_escape(bytes: &[u8]) -> Option<usize> {
    first::<scan::ToEscape>(bytes)
}

/// `value` as text. (Its `Display` can write it in lines as well, which is a second writer in the program.)
pub(crate) fn written(value: &Value) -> String {
    // Only keys that are no strings cannot be written.
    serde_json::to_string(value).unwrap_or_default()
}

/// `text` as a JSON string.
pub(crate) fn string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    push_string(&mut out, text);
    out
}

/// The text that the JSON string `raw` stands for; none when it is not a string.
pub(crate) fn unquote(raw: &str) -> Option<Cow<'_, str>> {
    let inner = raw.strip_prefix('"')?.strip_suffix('"')?;
    if first::<scan::Byte<b'\\'>>(inner.as_bytes()).is_some() {
        serde_json::from_str(raw).ok().map(Cow::Owned)
    } else {
        Some(Cow::Borrowed(inner))
    }
}

/// The text of the member `name` of the object `text`, which is known to be JSON; none when there is none, or no object.
pub(crate) fn member<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let mut found = [None];
    sealed::find(text, &[name], &mut found);
    found[0]
}

/// As [`member`]; an error when the name is there twice, since readers differ in which of the two they take.
pub(crate) fn only_member<'a>(text: &'a str, name: &str) -> Result<Option<&'a str>, Twice> {
    let (mut found, mut is_twice) = (None, false);
    sealed::walk(text, |key, value| {
        if key == name {
            is_twice = found.replace(value).is_some();
        }
        !is_twice
    });
    if is_twice { Err(Twice) } else { Ok(found) }
}

/// A name is twice in an object.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Twice;

/// The text found by descending through `names`.
pub(crate) fn path<'a>(text: &'a str, names: &[&str]) -> Option<&'a str> {
    names.iter().try_fold(text, |text, name| member(text, name))
}

/// Where `part` lies in `whole`, of which it is a slice.
pub(crate) fn span(whole: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr() as usize - whole.as_ptr() as usize;
    start..start + part.len()
}

/// The texts of the named members of the object `text`, which is known to be JSON; none when it is no object.
pub(crate) fn members<'a, const N: usize>(text: &'a str, names: [&str; N]) -> Option<[Option<&'a str>; N]> {
    let mut found = [None; N];
    sealed::find(text, &names, &mut found).then_some(found)
}

/// The members of the object `text`, which is known to be JSON: their names, and their texts; none when it is no object.
pub(crate) fn entries(text: &str) -> Option<Vec<(Cow<'_, str>, &str)>> {
    let mut found = Vec::new();
    sealed::walk(text, |name, value| {
        found.push((name, value));
        true
    })
    .then_some(found)
}

/// The texts of the elements of the array `text`, which may be anything; none when it has more than `most`, of which no more are kept. Fails when it is no
/// JSON, or no array.
pub(crate) fn elements(text: &str, most: usize) -> serde_json::Result<Option<Vec<&str>>> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let found = reader.deserialize_seq(Elements { most })?;
    reader.end()?;
    Ok(found)
}

struct Elements {
    most: usize,
}

impl<'a> Visitor<'a> for Elements {
    type Value = Option<Vec<&'a str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut array: A) -> Result<Self::Value, A::Error> {
        let mut found = Vec::new();
        while let Some(element) = array.next_element::<&RawValue>()? {
            if found.len() == self.most {
                // Whether the rest is JSON decides what the error says.
                while array.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(None);
            }
            found.push(element.get());
        }
        Ok(Some(found))
    }
}

/// As [`members`], for names known only at run time.
pub(crate) fn members_listed<'a, S: AsRef<str>>(text: &'a str, names: &[S]) -> Option<Vec<Option<&'a str>>> {
    let mut found = vec![None; names.len()];
    sealed::find(text, names, &mut found).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_slices_of_the_text() {
        let text = r#" {"b": [1, 2 ], "a\u0062": "x\ny", "n": 123456789012345678901234567890} "#;
        assert_eq!(member(text, "b"), Some("[1, 2 ]"));
        assert_eq!(member(text, "ab").and_then(unquote).as_deref(), Some("x\ny"));
        assert_eq!(member(text, "n"), Some("123456789012345678901234567890"));
        assert_eq!(member(text, "c"), None);
        assert_eq!(member("[1]", "b"), None);
        assert_eq!(&text[span(text, member(text, "b").unwrap())], "[1, 2 ]");
    }

    #[test]
    fn strings_are_written_as_serde_json_writes_them() {
        let long = "clean é text of some length, \u{1}then \"quoted\" ".repeat(9);
        for text in ["", "plain", "q\"b\\n\n\r\t\u{1}\u{1f}", "é 漢 \u{2028}", &long] {
            assert_eq!(serde_json::from_str::<String>(&string(text)).unwrap(), text);
            assert_eq!(unquote(&string(text)).as_deref(), Some(text));
        }
    }

    #[test]
    fn nesting_without_end_is_passed_over_without_recursion() {
        let deep = format!("{{\"a\":{}{}, \"b\": 1}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(member(&deep, "b"), Some("1"));
    }

    #[test]
    fn no_more_elements_are_kept_than_are_wanted() {
        let text = r#" [1, {"a": [2, 3]} ,"]"] "#;
        assert_eq!(elements(text, 3).unwrap().unwrap(), ["1", r#"{"a": [2, 3]}"#, "\"]\""]);
        assert_eq!((elements(text, 2).unwrap(), elements("[]", 0).unwrap()), (None, Some(Vec::new())));
        for bad in ["{}", "1", "", "[1", "[1,]", "[1] 2", "[1,2,3"] {
            assert!(elements(bad, 1).is_err(), "{bad}");
        }
        let many = format!("[{}0]", "0,".repeat(1 << 20));
        assert_eq!(elements(&many, 1000).unwrap(), None);
    }

    #[test]
    fn sealed_text_has_no_line_breaks() {
        let json: Json = "{\n\"a\":\r\n1}".parse().unwrap();
        assert_eq!(json.as_str(), "{ \"a\":  1}");
    }
}
