//! JSON-RPC 2.0: the envelope is read, the letter stays sealed.
//!
//! A [`Message`] is its text plus where in it the id, the method and the letter (params, result or error) lie. Nothing else is ever parsed or
//! written again, so what passes through comes out byte for byte; giving a message another id replaces the bytes of the id.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use crate::json::{self, Envelope, Json, Unreadable};
use crate::rpc_error::RpcError;

/// One JSON-RPC message, complete and on one line.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    text: String,
    kind: Kind,
    id: Span,
    /// Without its quotes, unless something in it is escaped.
    method: Span,
    letter: Span,
    /// The `_meta` of the params.
    meta: Span,
}

/// What kind of message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Has a method and an id: wants an answer.
    Request,
    /// Has a method and no id: wants none.
    Notification,
    /// A good answer: has a result.
    Result,
    /// A bad answer: has an error, and the id of the request unless that could not be read.
    Error,
}

/// Text that is not a message, with what to answer and to which id, as raw JSON, if one could be read.
#[derive(Clone, Debug)]
pub(crate) struct Malformed {
    pub id: Option<String>,
    pub error: RpcError,
}

/// What one line or one body held.
pub(crate) enum Incoming {
    One(Message),
    /// An array; only 2025-03-26 has them. Never empty.
    Batch(Vec<Result<Message, Malformed>>),
}

/// The most messages in one array.
const BATCH: usize = 1000;

/// Half the bytes of a `Range<usize>`: messages wait in queues.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Span(u32, u32);

impl Span {
    const NONE: Span = Span(0, 0);

    fn of(whole: &str, part: Option<&str>) -> Span {
        part.map_or(Span::NONE, |part| {
            let range = json::span(whole, part);
            Span(range.start as u32, range.end as u32)
        })
    }

    fn range(self) -> Range<usize> {
        self.0 as usize..self.1 as usize
    }
}

impl Message {
    /// Reads one message. Line breaks between tokens become blanks; everything else is kept.
    pub(crate) fn parse(text: String) -> Result<Message, Malformed> {
        if text.len() > u32::MAX as usize {
            return Err(Malformed { id: None, error: RpcError::invalid_request("the message is larger than 4 GiB") });
        }
        let read = json::envelope(&text, ["jsonrpc", "id", "method", "params", "result", "error"]);
        let Envelope { members, inner, has_breaks } = read.map_err(|unreadable| match unreadable {
            Unreadable::Syntax(error) => Malformed { id: None, error: not_json(error) },
            Unreadable::NotAnObject => Malformed { id: None, error: RpcError::invalid_request("a message is an object") },
            Unreadable::Twice(name) => Malformed { id: None, error: RpcError::invalid_request(format!("the message has {name:?} twice")) },
        })?;
        let [jsonrpc, id, method, params, result, error] = members;
        let readable = id.filter(|id| is_id(id));
        let invalid = |why: &str| Malformed { id: readable.map(str::to_owned), error: RpcError::invalid_request(why) };
        if jsonrpc.and_then(json::unquote).as_deref() != Some("2.0") {
            return Err(invalid("jsonrpc must be \"2.0\""));
        }
        if params.is_some_and(|params| !params.starts_with(['{', '['])) {
            return Err(invalid("params must be an object or an array"));
        }
        let mut name = method;
        let (kind, letter) = match (method, result, error) {
            (Some(method), None, None) => {
                match json::unquote(method) {
                    None => return Err(invalid("method must be a string")),
                    Some(Cow::Borrowed(plain)) => name = Some(plain),
                    Some(Cow::Owned(_)) => {}
                }
                match (id, readable) {
                    (None, _) => (Kind::Notification, params),
                    (Some(_), Some(_)) => (Kind::Request, params),
                    (Some(_), None) => return Err(invalid("the id of a request must be a string or an integer")),
                }
            }
            (None, Some(result), None) if readable.is_some() => (Kind::Result, Some(result)),
            (None, None, Some(error)) if readable.is_some() || id.is_none_or(|id| id == "null") => {
                if !error.starts_with('{') {
                    return Err(invalid("error must be an object"));
                }
                (Kind::Error, Some(error))
            }
            _ => return Err(invalid("a message has a method, or an id and either a result or an error")),
        };
        let (id, method, letter, meta) = (
            Span::of(&text, readable),
            Span::of(&text, name),
            Span::of(&text, letter),
            Span::of(&text, inner.filter(|_| method.is_some())),
        );
        // Byte for byte: nothing moves.
        let text = if has_breaks { text.replace(['\n', '\r'], " ") } else { text };
        Ok(Message { text, kind, id, method, letter, meta })
    }

    /// A request. `id` and `params` are raw JSON.
    pub(crate) fn request(id: &str, method: &str, params: Option<&str>) -> Message {
        Message::build(Kind::Request, Some(id), Some(method), params)
    }

    /// A notification. `params` is raw JSON.
    pub(crate) fn notification(method: &str, params: Option<&str>) -> Message {
        Message::build(Kind::Notification, None, Some(method), params)
    }

    /// A good answer. `id` and `result` are raw JSON.
    pub(crate) fn result(id: &str, result: &str) -> Message {
        Message::build(Kind::Result, Some(id), None, Some(result))
    }

    /// A good answer from a result that is not needed any more: the envelope is put around it where it is.
    pub(crate) fn answer(id: &str, result: Json) -> Message {
        let head = ["{\"jsonrpc\":\"2.0\",\"id\":", id, ",\"result\":"].concat();
        let (id_end, start) = (head.len() - ",\"result\":".len(), head.len());
        let mut text = result.into_text();
        text.reserve(head.len() + 1);
        text.insert_str(0, &head);
        let span = |from: usize, to: usize| Span(from as u32, to as u32);
        let (id, letter) = (span(id_end - id.len(), id_end), span(start, text.len()));
        text.push('}');
        Message { text, kind: Kind::Result, id, method: Span::NONE, letter, meta: Span::NONE }
    }

    /// A bad answer; without an `id` when that of the request could not be read, which JSON-RPC writes as null.
    pub(crate) fn error(id: Option<&str>, error: &RpcError) -> Message {
        Message::build(Kind::Error, Some(id.unwrap_or("null")), None, Some(error.to_json().as_str()))
    }

    /// A bad answer without any id, as 2025-11-25 and later write one to a request that could not be read.
    pub(crate) fn error_without_id(error: &RpcError) -> Message {
        Message::build(Kind::Error, None, None, Some(error.to_json().as_str()))
    }

    fn build(kind: Kind, id: Option<&str>, method: Option<&str>, letter: Option<&str>) -> Message {
        let size = 64 + id.map_or(0, str::len) + method.map_or(0, str::len) + letter.map_or(0, str::len);
        let mut text = String::with_capacity(size);
        text.push_str("{\"jsonrpc\":\"2.0\"");
        let mut put = |name: &str, value: Option<&str>| {
            let Some(value) = value else { return Span::NONE };
            text.push_str(",\"");
            text.push_str(name);
            text.push_str("\":");
            let start = text.len() as u32;
            text.push_str(value);
            Span(start, text.len() as u32)
        };
        let mut at_id = put("id", id);
        let mut at_method = put("method", method.map(json::string).as_deref());
        let at_letter = put(
            match kind {
                Kind::Request | Kind::Notification => "params",
                Kind::Result => "result",
                Kind::Error => "error",
            },
            letter,
        );
        if method.is_some_and(|method| at_method.range().len() == method.len() + 2) {
            at_method = Span(at_method.0 + 1, at_method.1 - 1);
        }
        if kind == Kind::Error && id == Some("null") {
            at_id = Span::NONE;
        }
        text.push('}');
        Message { text, kind, id: at_id, method: at_method, letter: at_letter, meta: Span::NONE }.with_meta_found()
    }

    fn with_meta_found(mut self) -> Message {
        self.meta = match self.kind {
            Kind::Request | Kind::Notification => Span::of(&self.text, self.find(&[json::INNER])),
            Kind::Result | Kind::Error => Span::NONE,
        };
        self
    }

    /// What kind of message this is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The whole text, on one line.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The whole text.
    pub(crate) fn into_text(self) -> String {
        self.text
    }

    /// The id as raw JSON: a string with its quotes, or an integer. Empty on a notification.
    pub fn id(&self) -> &str {
        &self.text[self.id.range()]
    }

    /// The method; empty on an answer.
    pub fn method(&self) -> Cow<'_, str> {
        let raw = &self.text[self.method.range()];
        if raw.starts_with('"') { json::unquote(raw).unwrap_or_default() } else { Cow::Borrowed(raw) }
    }

    /// The params, the result or the error, as raw JSON; none when there are no params.
    pub fn letter(&self) -> Option<&str> {
        if self.letter == Span::NONE { None } else { Some(&self.text[self.letter.range()]) }
    }

    /// The raw JSON found in the letter by descending through `names`.
    pub(crate) fn find(&self, names: &[&str]) -> Option<&str> {
        json::path(self.letter()?, names)
    }

    /// The `_meta` of the params, as raw JSON.
    pub(crate) fn meta(&self) -> Option<&str> {
        if self.meta == Span::NONE { None } else { Some(&self.text[self.meta.range()]) }
    }

    /// The same message with another id.
    #[cfg_attr(not(feature = "run"), allow(dead_code, reason = "only a front changes messages"))]
    pub(crate) fn with_id(self, id: &str) -> Message {
        let range = self.id.range();
        self.replace(range, id)
    }

    /// The same message with `part`, a slice of its text that is the id or lies in the letter, replaced by other raw JSON.
    #[cfg_attr(not(feature = "run"), allow(dead_code, reason = "only a front changes messages"))]
    pub(crate) fn replace(self, part: Range<usize>, with: &str) -> Message {
        let Message { mut text, kind, id, method, letter, meta } = self;
        let moved = with.len() as i64 - part.len() as i64;
        let shift = |span: Span| {
            let after = |at: u32| (i64::from(at) + moved) as u32;
            let starts = if span.0 as usize >= part.end { after(span.0) } else { span.0 };
            let ends = if span.1 as usize >= part.end { after(span.1) } else { span.1 };
            if span == Span::NONE { span } else { Span(starts, ends) }
        };
        let within = |span: Span| span.0 as usize <= part.start && part.end <= span.1 as usize;
        let keeps_meta = !within(letter) || within(meta);
        let (id, method, letter, meta) = (shift(id), shift(method), shift(letter), shift(meta));
        text.replace_range(part, with);
        let message = Message { text, kind, id, method, letter, meta };
        if keeps_meta { message } else { message.with_meta_found() }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

fn not_json(error: impl fmt::Display) -> RpcError {
    RpcError::parse_error(format_args!("this is not JSON: {error}"))
}

impl Incoming {
    /// Reads what one line or one body held: a message, or an array of them.
    pub(crate) fn parse(text: String) -> Result<Incoming, Malformed> {
        if !text.trim_start_matches([' ', '\t', '\n', '\r']).starts_with('[') {
            return Message::parse(text).map(Incoming::One);
        }
        let malformed = |error| Malformed { id: None, error };
        let parts = json::elements(&text, BATCH).map_err(|error| malformed(not_json(error)))?;
        let parts = parts.ok_or_else(|| malformed(RpcError::invalid_request(format_args!("a batch has at most {BATCH} messages"))))?;
        if parts.is_empty() {
            return Err(malformed(RpcError::invalid_request("the batch is empty")));
        }
        Ok(Incoming::Batch(parts.into_iter().map(|part| Message::parse(part.to_owned())).collect()))
    }
}

/// True for what the protocol takes as a request's id: a string or an integer (2025-11-25 basic, Requests).
fn is_id(raw: &str) -> bool {
    raw.starts_with('"') || (!raw.is_empty() && raw.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-'))
}

#[cfg(test)]
mod tests;
