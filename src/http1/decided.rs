//! What the headers of a request decide about its body and its connection, and everything that makes it ambiguous.

use super::Refusal;

/// The version that the client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// HTTP/1.0: closes unless asked to keep alive, and knows no chunks.
    Http10,
    /// HTTP/1.1.
    Http11,
}

/// How long the body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is no body.
    None,
    /// Exactly so many bytes.
    Length(u64),
    /// Until the chunk of size zero.
    Chunked,
}

/// What is decided.
pub(super) struct Decided {
    pub framing: Framing,
    pub keep_alive: bool,
    pub expects_continue: bool,
}

/// What the headers say that decide.
#[derive(Default)]
struct Said<'a> {
    host: Field<'a>,
    length: Field<'a>,
    coding: Field<'a>,
    close: bool,
    keep_alive: bool,
    /// Whether all that is expected is to be told to go on.
    expectation: Option<bool>,
}

/// A header that must not be there twice.
#[derive(Clone, Copy, Default)]
enum Field<'a> {
    #[default]
    Missing,
    Once(&'a str),
    Twice,
}

impl Decided {
    /// By the names and values of all headers. What they leave open is refused.
    pub(super) fn by<'a>(fields: impl Iterator<Item = (&'a str, &'a str)>, version: Version) -> Result<Decided, Refusal> {
        let said = Said::of(fields);
        let old = version == Version::Http10;
        match said.host {
            Field::Missing if old => {}
            Field::Once(_) => {}
            Field::Missing => return Err(Refusal::bad("the Host header is missing")),
            Field::Twice => return Err(Refusal::bad("more than one Host header")),
        }
        let framing = match (said.length, said.coding) {
            (Field::Missing, Field::Missing) => Framing::None,
            (Field::Once(length), Field::Missing) => Framing::Length(content_length(length)?),
            (Field::Twice, Field::Missing) => return Err(Refusal::bad("more than one Content-Length")),
            (Field::Missing, _) if old => return Err(Refusal::bad("Transfer-Encoding in HTTP/1.0")),
            (Field::Missing, Field::Once(coding)) if coding.eq_ignore_ascii_case("chunked") => Framing::Chunked,
            (Field::Missing, _) => return Err(Refusal::bad("Transfer-Encoding must be exactly chunked")),
            _ => return Err(Refusal::bad("Content-Length together with Transfer-Encoding")),
        };
        // HTTP/1.0 knows neither Expect nor 100: RFC 9110, section 10.1.1, has us ignore it there.
        let expectation = said.expectation.filter(|_| !old);
        if expectation == Some(false) {
            return Err(Refusal::Bad { status: 417, why: "the only expectation known is 100-continue" });
        }
        Ok(Decided { framing, keep_alive: !said.close && (!old || said.keep_alive), expects_continue: expectation.is_some() })
    }
}

impl<'a> Said<'a> {
    /// In one pass: most fields are passed over for the length of their names.
    fn of(fields: impl Iterator<Item = (&'a str, &'a str)>) -> Said<'a> {
        let mut said = Said::default();
        for (name, value) in fields {
            match name.len() {
                4 if name.eq_ignore_ascii_case("host") => said.host.add(value),
                6 if name.eq_ignore_ascii_case("expect") => {
                    let is_known = value.eq_ignore_ascii_case("100-continue");
                    said.expectation = Some(is_known && said.expectation.unwrap_or(true));
                }
                10 if name.eq_ignore_ascii_case("connection") => {
                    let lists = |token| value.split(',').any(|item| item.trim().eq_ignore_ascii_case(token));
                    said.close |= lists("close");
                    said.keep_alive |= lists("keep-alive");
                }
                14 if name.eq_ignore_ascii_case("content-length") => said.length.add(value),
                17 if name.eq_ignore_ascii_case("transfer-encoding") => said.coding.add(value),
                _ => {}
            }
        }
        said
    }
}

impl<'a> Field<'a> {
    fn add(&mut self, value: &'a str) {
        *self = match self {
            Field::Missing => Field::Once(value),
            Field::Once(_) | Field::Twice => Field::Twice,
        };
    }
}

fn content_length(value: &str) -> Result<u64, Refusal> {
    // `parse` alone would take a plus sign.
    let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    let number = if digits { value.parse().ok() } else { None };
    number.ok_or(Refusal::bad("Content-Length must be one decimal number"))
}
