//! The head of a request: where it ends, and what it says.

use std::borrow::Cow;
use std::ops::Range;
use std::str::{self, FromStr};

use tiny_http::Method;

use super::Refusal;
use super::decided::{Decided, Framing, Version};
use crate::scan::{self, first};

/// Up to so many headers are found without memory of their own. More would be a page of stack that each idle connection keeps.
const FEW: usize = 16;
/// Empty lines before a request line that are forgiven: old clients send one after a body (RFC 9112, section 2.2).
const BLANK_LINES: usize = 2;

/// One request without its body.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    /// Any token is a method; which of them make sense is the endpoint's to say.
    pub(crate) method: Method,
    /// What the client speaks.
    pub(crate) version: Version,
    /// How long the body is.
    pub(crate) framing: Framing,
    /// Whether the client wants another request on this connection.
    pub(crate) keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub(crate) expects_continue: bool,
    /// The whole head as it came; everything below is a part of it.
    text: String,
    target: Range<usize>,
    /// Where the path ends, in the target.
    path_end: usize,
    authority: Option<Range<usize>>,
    fields: Vec<(Range<usize>, Range<usize>)>,
}

impl Head {
    /// Path and query as sent; of an absolute target what is behind the authority.
    pub(crate) fn target(&self) -> &str {
        &self.text[self.target.clone()]
    }

    /// The path as sent, not decoded.
    pub(crate) fn path(&self) -> &str {
        match &self.target()[..self.path_end] {
            // `http://host` and `http://host?query` leave the root unsaid.
            "" => "/",
            path => path,
        }
    }

    /// The first value of the query parameter `name`, percent-decoded.
    pub(crate) fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        let query = self.target().get(self.path_end + 1..)?;
        let pairs = query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.into_iter().find(|(key, _)| decode(key) == name).map(|(_, value)| decode(value))
    }

    /// Whom the request is for: the authority of an absolute target, which overrides `Host`, or else `Host`.
    pub(crate) fn host(&self) -> Option<&str> {
        match &self.authority {
            Some(authority) => Some(&self.text[authority.clone()]),
            None => self.header("host"),
        }
    }

    /// The first header called `name`, in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| self.is_called(field, name)).map(|(_, value)| &self.text[value.clone()])
    }

    /// Every header called `name`, in any case, in the order sent.
    pub(crate) fn headers<'h>(&'h self, name: &str) -> impl Iterator<Item = &'h str> {
        self.fields.iter().filter(move |(field, _)| self.is_called(field, name)).map(|(_, value)| &self.text[value.clone()])
    }

    /// A dozen names are looked for in each head, and most fields are told from them by their lengths.
    #[inline]
    fn is_called(&self, field: &Range<usize>, name: &str) -> bool {
        field.len() == name.len() && is_alike(&self.text.as_bytes()[field.clone()], name.as_bytes())
    }

    /// All headers as sent: name and value.
    pub(crate) fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        self.fields.iter().map(|(name, value)| (&self.text[name.clone()], &self.text[value.clone()]))
    }
}

/// Whether two names of the same length are one, in any case. Most clients write theirs as we do.
fn is_alike(one: &[u8], other: &[u8]) -> bool {
    one == other || one.iter().zip(other).fold(true, |alike, (a, b)| alike & a.eq_ignore_ascii_case(b))
}

/// A search for the end of a head, resumed when more bytes are here.
#[derive(Default)]
pub(super) struct Scan {
    /// Where the head begins, behind any empty lines.
    begin: usize,
    blank_lines: usize,
    /// The line that is open: where it begins, and how much of it has been looked at.
    line: usize,
    seen: usize,
    /// The request line, and where the headers begin; both relative to `begin`.
    request: Option<(RequestLine, usize)>,
}

impl Scan {
    /// The end of the head in `bytes`, once it is there. What cannot become a head is refused as soon as that is known.
    pub(super) fn advance(&mut self, bytes: &[u8], limit: usize) -> Result<Option<usize>, Refusal> {
        if self.line == 0 && bytes.first() == Some(&0x16) {
            // What a TLS client sends first; its user sees no more than that the handshake fails, so that this is for the log.
            return Err(Refusal::bad(IS_TLS));
        }
        loop {
            let used = self.line - self.begin;
            let end = match line_end(&bytes[self.line..], self.seen, limit - used)? {
                Line::Ends(end) => end,
                Line::Open(seen) => {
                    self.seen = seen;
                    return Ok(None);
                }
                Line::TooLong if self.request.is_some() => return Err(Refusal::Bad { status: 431, why: "the headers are over the limit" }),
                Line::TooLong if bytes[self.line..self.begin + limit].contains(&b' ') => {
                    return Err(Refusal::Bad { status: 414, why: "the request target is over the limit" });
                }
                Line::TooLong => return Err(Refusal::bad("the request line is malformed")),
            };
            let line = &bytes[self.line..self.line + end];
            self.line += end + 2;
            self.seen = 0;
            match (line.is_empty(), &self.request) {
                (true, Some(_)) => return Ok(Some(self.line)),
                (true, None) if self.blank_lines == BLANK_LINES => return Err(Refusal::bad("empty lines before the request")),
                (true, None) => {
                    self.blank_lines += 1;
                    self.begin = self.line;
                }
                (false, None) => self.request = Some((RequestLine::parse(line)?, end + 2)),
                (false, Some(_)) => {}
            }
        }
    }

    /// True when `bytes` are empty lines only: a client that says good-bye so has not been cut off.
    pub(super) fn only_blank(&self, bytes: &[u8]) -> bool {
        self.begin == bytes.len()
    }

    /// The head, from `bytes` that end where [`Scan::advance`] said.
    pub(super) fn head(self, bytes: &[u8], most: usize) -> Result<Head, Refusal> {
        let (request, headers_at) = self.request.ok_or(Refusal::bad("the request line is missing"))?;
        // A value may hold any byte above ASCII (RFC 9110, 5.5). What is not UTF-8 is marked, and stays visible to the checks behind us.
        let text = match str::from_utf8(&bytes[self.begin..]) {
            Ok(text) => text.to_owned(),
            Err(_) => String::from_utf8_lossy(&bytes[self.begin..]).into_owned(),
        };
        let fields = &text.as_bytes()[headers_at..];
        let mut few = [httparse::EMPTY_HEADER; FEW];
        let mut many = Vec::new();
        let mut read = httparse::parse_headers(fields, &mut few[..most.min(FEW)]);
        if matches!(read, Err(httparse::Error::TooManyHeaders)) {
            many.resize(most, httparse::EMPTY_HEADER);
            read = httparse::parse_headers(fields, &mut many);
        }
        let found = match read {
            Ok(httparse::Status::Complete((length, found))) if headers_at + length == text.len() => found,
            Err(httparse::Error::TooManyHeaders) => return Err(Refusal::Bad { status: 431, why: "too many headers" }),
            _ => return Err(Refusal::bad("a header is malformed")),
        };
        // httparse hands out slices of the text; what is kept is where they lie in it.
        let place = |part: &[u8]| {
            let start = part.as_ptr().addr() - text.as_ptr().addr();
            start..start + part.len()
        };
        let fields: Vec<_> = found.iter().map(|header| (place(header.name.as_bytes()), place(header.value))).collect();
        let texts = fields.iter().map(|(name, value)| (&text[name.clone()], &text[value.clone()]));
        let Decided { framing, keep_alive, expects_continue } = Decided::by(texts, request.version)?;
        Ok(Head {
            method: request.method,
            version: request.version,
            framing,
            keep_alive,
            expects_continue,
            path_end: first::<scan::Byte<b'?'>>(&text.as_bytes()[request.target.clone()]).unwrap_or(request.target.len()),
            target: request.target,
            authority: request.authority,
            fields,
            text,
        })
    }
}

struct RequestLine {
    method: Method,
    version: Version,
    target: Range<usize>,
    authority: Option<Range<usize>>,
}

impl RequestLine {
    fn parse(line: &[u8]) -> Result<RequestLine, Refusal> {
        let malformed = Refusal::bad("the request line is malformed");
        let (method, rest) = cut::<b' '>(line).ok_or(malformed)?;
        let (target, version) = cut::<b' '>(rest).ok_or(malformed)?;
        let version = match version {
            b"HTTP/1.1" => Version::Http11,
            b"HTTP/1.0" => Version::Http10,
            _ => match version.strip_prefix(b"HTTP/") {
                Some(number @ [b'0'..=b'9', ..]) if number.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.')) => {
                    return Err(Refusal::Bad { status: 505, why: "only HTTP/1.0 and HTTP/1.1 are spoken here" });
                }
                _ => return Err(malformed),
            },
        };
        if !is_token(method) || first::<scan::NotGraphic>(target).is_some() {
            return Err(malformed);
        }
        let (Ok(name), Ok(text)) = (str::from_utf8(method), str::from_utf8(target)) else {
            return Err(malformed);
        };
        let method = Method::from_str(name).map_err(|()| malformed)?;
        let start = name.len() + 1;
        let end = start + text.len();
        if text.starts_with('/') || (text == "*" && method == Method::Options) {
            return Ok(RequestLine { method, version, target: start..end, authority: None });
        }
        let scheme = ["http://", "https://"]
            .into_iter()
            .find(|scheme| text.as_bytes().get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme.as_bytes())));
        let Some(scheme) = scheme else {
            return Err(Refusal::bad("the request target must begin with a slash"));
        };
        let from = start + scheme.len();
        let rest = &text[scheme.len()..];
        let path = from + rest.find(['/', '?', '#']).unwrap_or(rest.len());
        // Userinfo in an authority is only ever a disguise: `http://localhost@evil`.
        if path == from || line[from..path].contains(&b'@') {
            return Err(Refusal::bad("the authority of the request target is malformed"));
        }
        Ok(RequestLine { method, version, target: path..end, authority: Some(from..path) })
    }
}

/// What is before the first `BYTE`, and what is behind it.
fn cut<const BYTE: u8>(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    first::<scan::Byte<BYTE>>(bytes).map(|at| (&bytes[..at], &bytes[at + 1..]))
}

/// Why a client that speaks https is refused.
pub(crate) const IS_TLS: &str =
    "this client speaks TLS, and plain http is spoken here: use an http:// URL, or a proxy that speaks https in front";

/// What [`line_end`] found.
pub(super) enum Line {
    /// The line is this long without its CRLF.
    Ends(usize),
    /// No end yet; everything before this index is good.
    Open(usize),
    /// With its CRLF the line is longer than the limit.
    TooLong,
}

/// Looks for the CRLF of the line at the start of `bytes`, from index `from` on. Control characters, bare CR and bare LF are refused
/// wherever a line ends or not: other parsers take some of them for line ends.
pub(super) fn line_end(bytes: &[u8], from: usize, limit: usize) -> Result<Line, Refusal> {
    let within = &bytes[..bytes.len().min(limit)];
    let Some(skip) = first::<scan::Control>(&within[from.min(within.len())..]) else {
        return Ok(if bytes.len() >= limit { Line::TooLong } else { Line::Open(bytes.len()) });
    };
    let at = from + skip;
    match (bytes[at], bytes.get(at + 1)) {
        (b'\r', _) if at + 2 > limit => Ok(Line::TooLong),
        (b'\r', Some(b'\n')) => Ok(Line::Ends(at)),
        (b'\r', None) => Ok(Line::Open(at)),
        (b'\r', Some(_)) => Err(Refusal::bad("a carriage return without a line feed")),
        (b'\n', _) => Err(Refusal::bad("a line feed without a carriage return")),
        _ => Err(Refusal::bad("a control character")),
    }
}

pub(super) fn is_token(bytes: &[u8]) -> bool {
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    !bytes.is_empty() && bytes.iter().all(token)
}

/// Percent-decoding; `+` is a space, and what is not a code stays as it is.
fn decode(text: &str) -> Cow<'_, str> {
    if first::<scan::Coded>(text.as_bytes()).is_none() {
        return Cow::Borrowed(text);
    }
    let hex = |byte: Option<&u8>| byte.and_then(|byte| (*byte as char).to_digit(16));
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        decoded.push(match (byte, hex(bytes.get(at)), hex(bytes.get(at + 1))) {
            (b'+', _, _) => b' ',
            (b'%', Some(high), Some(low)) => {
                at += 2;
                (high * 16 + low) as u8
            }
            _ => byte,
        });
    }
    Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
}
