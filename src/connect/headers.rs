//! Headers: those of the user, whose values may be secrets, and those that a message needs.

use std::ffi::OsString;
use std::fmt;

use crate::config::Token;
use crate::error::{Error, Result};
use crate::json;
use crate::message::Message;

/// What we set ourselves; another value would break the protocol.
const OURS: [&str; 12] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "connection",
    "accept",
    "accept-encoding",
    "mcp-session-id",
    "mcp-protocol-version",
    "mcp-method",
    "mcp-name",
    "last-event-id",
];

/// A header of a request. Its `Debug` form hides the value.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Header {
    name: String,
    value: String,
}

impl Header {
    pub(super) fn new(name: &str, value: impl Into<String>) -> Header {
        Header { name: name.to_owned(), value: value.into() }
    }

    /// `Authorization: Bearer ...`.
    pub(crate) fn bearer(token: &Token) -> Header {
        Header::new("Authorization", format!("Bearer {}", String::from_utf8_lossy(token.as_bytes())))
    }

    /// Reads `Name: value`, in which `${VARIABLE}` stands for what `env` has under that name. An error never shows a value.
    pub(crate) fn parse(text: &str, env: &dyn Fn(&str) -> Option<OsString>) -> Result<Header> {
        let refuse = |allowed: &str| Error::setting("--header", text.split(':').next().unwrap_or_default(), allowed);
        let (name, value) =
            text.split_once(':').ok_or_else(|| refuse("a name, a colon and a value, such as 'Authorization: Bearer ${TOKEN}'"))?;
        let name = name.trim();
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty() || !name.bytes().all(is_token) {
            return Err(refuse("a name of letters, digits and hyphens before the colon"));
        }
        if OURS.iter().any(|ours| ours.eq_ignore_ascii_case(name)) {
            return Err(refuse("another header: this one is set for each request"));
        }
        let value = expand(value.trim(), env)?;
        if !value.bytes().all(|byte| byte == b'\t' || (b' '..0x7f).contains(&byte)) {
            return Err(refuse("followed by visible ASCII characters, on one line"));
        }
        Ok(Header { name: name.to_owned(), value })
    }

    pub(crate) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    pub(super) fn write(&self, text: &mut String) {
        for part in [&self.name, ": ", &self.value, "\r\n"] {
            text.push_str(part);
        }
    }
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: (hidden)", self.name)
    }
}

fn expand(text: &str, env: &dyn Fn(&str) -> Option<OsString>) -> Result<String> {
    let mut expanded = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("${") {
        let (name, behind) = behind.split_once('}').ok_or_else(|| Error::usage("--header: a ${ has no } behind it"))?;
        let value = env(name).ok_or_else(|| Error::usage(format!("--header: the variable {name} is not set in the environment")))?;
        let value = value.into_string().map_err(|_| Error::usage(format!("--header: the variable {name} is not UTF-8")))?;
        expanded.push_str(before);
        expanded.push_str(value.trim());
        rest = behind;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

/// The version in the `_meta` of a stateless request (2026-07-28 basic, _meta).
pub(super) fn modern_version(message: &Message) -> Option<String> {
    let version = json::member(message.meta()?, "io.modelcontextprotocol/protocolVersion")?;
    json::unquote(version).map(|version| version.into_owned())
}

/// The headers that repeat what a stateless request says (2026-07-28 basic/transports/streamable-http, Request Headers).
pub(super) fn modern(message: &Message, version: String) -> Vec<Header> {
    let mut headers = vec![Header::new("MCP-Protocol-Version", sendable(&version)), Header::new("Mcp-Method", sendable(&message.method()))];
    let name = match message.method().as_ref() {
        "tools/call" | "prompts/get" => message.find(&["name"]),
        "resources/read" => message.find(&["uri"]),
        _ => None,
    };
    if let Some(name) = name.and_then(json::unquote) {
        headers.push(Header::new("Mcp-Name", sendable(&name)));
    }
    headers
}

/// The text as a header can carry it: as it is, or in base64 with a mark around it.
pub(super) fn sendable(text: &str) -> String {
    let is_plain = text.bytes().all(|byte| (b' '..0x7f).contains(&byte)) && text.trim() == text && !text.starts_with("=?base64?");
    if is_plain { text.to_owned() } else { format!("=?base64?{}?=", crate::base64::encode(text.as_bytes())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Header> {
        let env = |name: &str| (name == "TOKEN").then(|| OsString::from("s3cret\n"));
        Header::parse(text, &env)
    }

    fn written(header: &Header) -> String {
        let mut text = String::new();
        header.write(&mut text);
        text
    }

    #[test]
    fn variables_are_expanded() {
        assert_eq!(written(&parse("Authorization: Bearer ${TOKEN}").unwrap()), "Authorization: Bearer s3cret\r\n");
        assert_eq!(written(&parse("X-Both:${TOKEN}/${TOKEN}$x").unwrap()), "X-Both: s3cret/s3cret$x\r\n");
        assert!(parse("X: ${OTHER}").unwrap_err().to_string().contains("OTHER"));
        assert!(parse("X: ${TOKEN").is_err());
    }

    #[test]
    fn what_would_break_a_request_is_refused_and_no_value_is_shown() {
        for text in ["X", "X y: s3cret", ": s3cret", "X: s3cret\r\nY: z", "X: s3cr\u{e9}t", "Host: s3cret", "mcp-session-id: s3cret"] {
            let error = parse(text).unwrap_err();
            assert!(error.is_usage() && !error.to_string().contains("s3cr"), "{error}");
        }
        assert_eq!(format!("{:?}", parse("X: s3cret").unwrap()), "X: (hidden)");
    }

    #[test]
    fn a_stateless_request_is_repeated_in_its_headers() {
        let text = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"grüß","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
        let message = Message::parse(text.to_owned()).unwrap();
        let version = modern_version(&message).unwrap();
        let headers: String = modern(&message, version).iter().map(written).collect();
        assert_eq!(headers, "MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: =?base64?Z3LDvMOf?=\r\n");
        assert_eq!(sendable("plain name"), "plain name");
        assert_eq!(sendable(" x"), "=?base64?IHg=?=");
    }
}
