//! What an argument may be.

use std::fmt;

use crate::json;

/// What an argument may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Type {
    /// Text.
    String,
    /// Any number.
    Number,
    /// A whole number, of any size.
    Integer,
    /// True or false.
    Boolean,
    /// A list.
    Array,
    /// Names with values.
    Object,
    /// One of these strings.
    OneOf(&'static [&'static str]),
}

impl Type {
    pub(super) fn name(self) -> &'static str {
        match self {
            Type::String | Type::OneOf(_) => "string",
            Type::Number => "number",
            Type::Integer => "integer",
            Type::Boolean => "boolean",
            Type::Array => "array",
            Type::Object => "object",
        }
    }

    /// True when the JSON `raw` is of this type.
    pub(super) fn takes(self, raw: &str) -> bool {
        let first = raw.as_bytes().first();
        let is_number = matches!(first, Some(b'-' | b'0'..=b'9'));
        match self {
            Type::String => first == Some(&b'"'),
            Type::Number => is_number,
            Type::Integer => is_number && (!raw.contains(['.', 'e', 'E']) || raw.parse::<f64>().is_ok_and(|number| number.fract() == 0.0)),
            Type::Boolean => matches!(raw, "true" | "false"),
            Type::Array => first == Some(&b'['),
            Type::Object => first == Some(&b'{'),
            Type::OneOf(choices) => json::unquote(raw).is_some_and(|text| choices.contains(&text.as_ref())),
        }
    }
}

/// As it stands in a sentence.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::OneOf(choices) => write!(f, "one of {choices:?}"),
            Type::Integer | Type::Array | Type::Object => write!(f, "an {}", self.name()),
            _ => write!(f, "a {}", self.name()),
        }
    }
}
