//! Text from outside, read once: whether it is JSON (RFC 8259), and where the members of a message stand in it.
//!
//! Strings are passed over in chunks, nesting costs a bit for each level and no recursion. Why something is no JSON is left to `serde_json` to say.

use serde_core::de::Error as _;
use serde_json::value::RawValue;

use super::{first_to_escape, unquote};

/// The members of a message that were asked for.
pub(crate) struct Envelope<'a, const N: usize> {
    pub members: [Option<&'a str>; N],
    /// The member [`INNER`] of the member [`OUTER`].
    pub inner: Option<&'a str>,
    /// There are line breaks between tokens.
    pub has_breaks: bool,
}

/// Whose member is found in the same pass, and which: nearly every room wants to know it.
pub(crate) const OUTER: &str = "params";
pub(crate) const INNER: &str = "_meta";

/// Why the members of a message could not be read.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// Not JSON at all.
    Syntax(serde_json::Error),
    /// JSON, but not an object.
    NotAnObject,
    /// One of the members asked for stands there twice: which one counts would be anyone's guess.
    Twice(&'static str),
}

/// The texts of the named members of the object `text`, which is checked to its end.
pub(crate) fn envelope<'a, const N: usize>(text: &'a str, names: [&'static str; N]) -> Result<Envelope<'a, N>, Unreadable> {
    let mut reader = Reader { text, at: 0, has_breaks: false };
    let (mut members, mut inner, mut twice) = ([None; N], None, None);
    let read = reader.document(|reader, key| {
        let name = names.iter().position(|name| key.is(name));
        let start = reader.at;
        if name.is_some_and(|index| names[index] == OUTER) && reader.peek() == Some(b'{') {
            reader.object(|reader, key| {
                let value = reader.value()?;
                if inner.is_none() && key.is(INNER) {
                    inner = Some(value);
                }
                Some(())
            })?;
        } else {
            reader.value()?;
        }
        if let Some(index) = name {
            let value = &reader.text[start..reader.at];
            if members[index].replace(value).is_some() {
                twice = Some(names[index]);
            }
        }
        Some(())
    });
    match (read, twice) {
        (None, _) => Err(unreadable(text)),
        (Some(()), Some(twice)) => Err(Unreadable::Twice(twice)),
        (Some(()), None) => Ok(Envelope { members, inner, has_breaks: reader.has_breaks }),
    }
}

fn unreadable(text: &str) -> Unreadable {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(raw) if !raw.get().starts_with('{') => Unreadable::NotAnObject,
        Ok(_) => Unreadable::Syntax(serde_json::Error::custom("not JSON")),
        Err(error) => Unreadable::Syntax(error),
    }
}

/// The name of a member, with its quotes.
#[derive(Clone, Copy)]
struct Key<'a> {
    raw: &'a str,
    /// Nothing in it is escaped.
    is_plain: bool,
}

impl Key<'_> {
    fn is(&self, name: &str) -> bool {
        &self.raw[1..self.raw.len() - 1] == name || (!self.is_plain && unquote(self.raw).is_some_and(|key| key == name))
    }
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    has_breaks: bool,
}

/// `None` everywhere means: this is no JSON.
impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    fn space(&mut self) {
        while let Some(byte @ (b' ' | b'\t' | b'\n' | b'\r')) = self.peek() {
            self.has_breaks |= byte < b' ' && byte != b'\t';
            self.at += 1;
        }
    }

    /// An object and nothing else. `member` reads the value of each member.
    fn document(&mut self, member: impl FnMut(&mut Self, Key<'a>) -> Option<()>) -> Option<()> {
        self.space();
        self.object(member)?;
        self.space();
        (self.at == self.text.len()).then_some(())
    }

    fn object(&mut self, mut member: impl FnMut(&mut Self, Key<'a>) -> Option<()>) -> Option<()> {
        self.expect(b'{')?;
        self.space();
        if self.peek()? == b'}' {
            self.at += 1;
            return Some(());
        }
        loop {
            let key = self.key()?;
            member(self, key)?;
            self.space();
            match self.next()? {
                b',' => self.space(),
                b'}' => return Some(()),
                _ => return None,
            }
        }
    }

    /// A key, and the colon.
    fn key(&mut self) -> Option<Key<'a>> {
        let start = self.at;
        self.expect(b'"')?;
        let is_plain = self.rest_of_string()?;
        let key = Key { raw: &self.text[start..self.at], is_plain };
        self.space();
        self.expect(b':')?;
        self.space();
        Some(key)
    }

    /// Any value, however deep.
    fn value(&mut self) -> Option<&'a str> {
        let start = self.at;
        let mut nesting = Nesting::default();
        loop {
            match self.next()? {
                b'"' => {
                    self.rest_of_string()?;
                }
                b'-' => {
                    let digit = self.next()?;
                    self.rest_of_number(digit)?;
                }
                digit @ b'0'..=b'9' => self.rest_of_number(digit)?,
                b't' => self.rest_of_word("rue")?,
                b'f' => self.rest_of_word("alse")?,
                b'n' => self.rest_of_word("ull")?,
                bracket @ (b'{' | b'[') => {
                    let is_object = bracket == b'{';
                    self.space();
                    if self.peek()? == if is_object { b'}' } else { b']' } {
                        self.at += 1;
                    } else {
                        nesting.open(is_object);
                        if is_object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                _ => return None,
            }
            // Behind a value: to the next one, or out.
            loop {
                let Some(is_object) = nesting.innermost() else { return Some(&self.text[start..self.at]) };
                self.space();
                match (self.next()?, is_object) {
                    (b',', true) => {
                        self.space();
                        self.key()?;
                        break;
                    }
                    (b',', false) => {
                        self.space();
                        break;
                    }
                    (b'}', true) | (b']', false) => nesting.close(),
                    _ => return None,
                }
            }
        }
    }

    /// Behind the opening quote. Tells whether nothing in it is escaped.
    fn rest_of_string(&mut self) -> Option<bool> {
        let bytes = self.text.as_bytes();
        let mut is_plain = true;
        loop {
            self.at += first_to_escape(&bytes[self.at..])?;
            match self.next()? {
                b'"' => return Some(is_plain),
                b'\\' => match self.next()? {
                    b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => {}
                    b'u' => {
                        let digits = bytes.get(self.at..self.at + 4)?;
                        self.at += 4;
                        digits.iter().all(u8::is_ascii_hexdigit).then_some(())?;
                    }
                    _ => return None,
                },
                _ => return None,
            }
            is_plain = false;
        }
    }

    /// Behind the first digit.
    fn rest_of_number(&mut self, first: u8) -> Option<()> {
        match first {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            _ => return None,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.some_digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.some_digits()?;
        }
        Some(())
    }

    fn digits(&mut self) {
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    fn some_digits(&mut self) -> Option<()> {
        let start = self.at;
        self.digits();
        (self.at > start).then_some(())
    }

    fn rest_of_word(&mut self, rest: &str) -> Option<()> {
        let is_there = self.text.as_bytes()[self.at..].starts_with(rest.as_bytes());
        self.at += rest.len();
        is_there.then_some(())
    }
}

/// Which brackets are open, a bit each: set for an object.
#[derive(Default)]
struct Nesting {
    depth: usize,
    /// The innermost ones.
    bits: u64,
    /// Those further out, 64 in each.
    outer: Vec<u64>,
}

impl Nesting {
    fn open(&mut self, is_object: bool) {
        if self.depth > 0 && self.depth % 64 == 0 {
            self.outer.push(self.bits);
        }
        self.bits = self.bits << 1 | u64::from(is_object);
        self.depth += 1;
    }

    fn close(&mut self) {
        self.depth -= 1;
        self.bits >>= 1;
        if self.depth > 0 && self.depth % 64 == 0 {
            self.bits = self.outer.pop().unwrap_or_default();
        }
    }

    fn innermost(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.bits & 1 == 1)
    }
}

#[cfg(test)]
mod tests;
