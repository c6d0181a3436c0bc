//! Writing a JSON object member by member, straight into its text.

use std::borrow::Cow;

use crate::json::{self, Json};

/// An object that is still open, at the end of a text.
pub(super) struct Object<'o>(&'o mut String);

/// The object that `write` writes.
pub(super) fn object(write: impl FnOnce(&mut Object<'_>)) -> String {
    let mut out = String::new();
    push_object(&mut out, write);
    out
}

/// Appends the object that `write` writes.
pub(super) fn push_object(out: &mut String, write: impl FnOnce(&mut Object<'_>)) {
    out.push('{');
    write(&mut Object(out));
    out.push('}');
}

impl<'o> Object<'o> {
    /// Goes on with the object that begins at the last `{` of a text without its end.
    pub(super) fn go_on(out: &'o mut String) -> Object<'o> {
        Object(out)
    }

    /// Begins the member `name`; whoever calls writes its value at the end of the text.
    pub(super) fn member(&mut self, name: &str) -> &mut String {
        // No value ends in an opening brace.
        if !self.0.ends_with('{') {
            self.0.push(',');
        }
        json::push_string(self.0, name);
        self.0.push(':');
        self.0
    }

    /// A member given as raw JSON.
    pub(super) fn raw(&mut self, name: &str, value: &str) {
        self.member(name).push_str(value);
    }

    /// A member that is left out when there is none.
    pub(super) fn json(&mut self, name: &str, value: Option<&Json>) {
        if let Some(value) = value {
            self.raw(name, value.as_str());
        }
    }

    /// A member that is a string.
    pub(super) fn string(&mut self, name: &str, value: &str) {
        json::push_string(self.member(name), value);
    }

    /// A member that is a string, left out when there is none or it is empty.
    pub(super) fn text(&mut self, name: &str, value: Option<&str>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.string(name, value);
        }
    }

    /// A member that is an object.
    pub(super) fn object(&mut self, name: &str, write: impl FnOnce(&mut Object<'_>)) {
        push_object(self.member(name), write);
    }
}

/// Appends an array, each of whose elements `write` writes.
pub(super) fn push_array<T>(out: &mut String, elements: impl IntoIterator<Item = T>, mut write: impl FnMut(&mut String, T)) {
    out.push('[');
    for (index, element) in elements.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write(out, element);
    }
    out.push(']');
}

/// The object `first` with the members of the object `second` behind its own.
pub(super) fn joined<'a>(first: &'a str, second: &'a str) -> Cow<'a, str> {
    let inner = |text: &'a str| text.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}')).map_or("", str::trim);
    match (inner(first), inner(second)) {
        ("", _) => Cow::Borrowed(second),
        (_, "") => Cow::Borrowed(first),
        (first, second) => Cow::Owned(format!("{{{first},{second}}}")),
    }
}
