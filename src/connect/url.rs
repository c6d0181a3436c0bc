//! The URL of a remote server, and what the server's own references mean in its light.

use std::fmt;

use crate::error::{Error, Result};

const ALLOWED: &str = "an http:// or https:// URL, such as http://localhost:3000/mcp";

/// An absolute http or https URL. Shown without its query, in which some servers expect a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(super) is_https: bool,
    /// In lower case, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    path: String,
    /// With its question mark; empty when there is none.
    query: String,
}

impl Url {
    /// Reads what a user wrote.
    pub(crate) fn parse(text: &str) -> Result<Url> {
        if text.split_once("://").is_some_and(|(_, rest)| rest.split(['/', '?', '#']).next().is_some_and(|place| place.contains('@'))) {
            // It is not repeated here: what stands before the @ is a secret.
            return Err(Error::usage("a URL with a password is not taken: give --header 'Authorization: Basic ...', or MCP_HTTP_TOKEN"));
        }
        Url::read(text).ok_or_else(|| Error::setting("URL", text.split('?').next().unwrap_or_default(), ALLOWED))
    }

    fn read(text: &str) -> Option<Url> {
        let (scheme, rest) = text.split_once("://")?;
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let rest = rest.split('#').next().unwrap_or_default();
        if !rest.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\')) {
            return None;
        }
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (path, query) = target.split_at(target.find('?').unwrap_or(target.len()));
        let (host, port) = match authority.strip_prefix('[') {
            Some(inner) => {
                let (host, port) = inner.split_once(']')?;
                host.parse::<std::net::Ipv6Addr>().ok()?;
                (host, port)
            }
            None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
        };
        let port = match port.strip_prefix(':') {
            Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok().filter(|port| *port > 0)?,
            Some(_) => return None,
            None if port.is_empty() => default_port(is_https),
            None => return None,
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
        if host.is_empty() || !host.bytes().all(plain) {
            return None;
        }
        let path = if path.is_empty() { "/".to_owned() } else { path.to_owned() };
        Some(Url { is_https, host: host.to_ascii_lowercase(), port, path, query: query.to_owned() })
    }

    /// What `reference`, found in an answer from here, points to (RFC 3986, section 5.2).
    pub(super) fn join(&self, reference: &str) -> Option<Url> {
        let reference = reference.split('#').next().unwrap_or_default();
        let scheme = if self.is_https { "https" } else { "http" };
        if reference.contains("://") && !reference.starts_with(['/', '?', '.']) {
            return Url::read(reference);
        }
        if reference.starts_with("//") {
            return Url::read(&format!("{scheme}:{reference}"));
        }
        let (path, query) = reference.split_at(reference.find('?').unwrap_or(reference.len()));
        let joined = match path {
            "" => self.path.clone(),
            path if path.starts_with('/') => without_dots(path),
            path => without_dots(&format!("{}{path}", &self.path[..self.path.rfind('/').map_or(0, |at| at + 1)])),
        };
        let query = if reference.is_empty() { &self.query } else { query };
        Url::read(&format!("{scheme}://{}{joined}{query}", self.authority()))
    }

    /// Whether both are of one server.
    pub(super) fn has_origin_of(&self, other: &Url) -> bool {
        (self.is_https, &self.host, self.port) == (other.is_https, &other.host, other.port)
    }

    /// Whether what is sent there stays on this machine.
    pub(super) fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    /// The `Host` header.
    pub(super) fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == default_port(self.is_https) { host } else { format!("{host}:{}", self.port) }
    }

    /// The request target.
    pub(super) fn target(&self) -> String {
        format!("{}{}", self.path, self.query)
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_https { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

fn default_port(is_https: bool) -> u16 {
    if is_https { 443 } else { 80 }
}

/// The path with `.` and `..` carried out.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if is_last {
                    kept.push("");
                }
            }
            segment => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}

/// Asserts that what `reference` points to, seen from `base`, can be sent in a request as it is, and means the same when it is read again.
#[cfg(any(test, fuzzing))]
pub(crate) fn check(base: &str, reference: &str) {
    let Ok(base) = Url::parse(base) else { return };
    for url in [Some(base.clone()), base.join(reference)].into_iter().flatten() {
        let (authority, target) = (url.authority(), url.target());
        assert!(target.starts_with('/') && authority.bytes().chain(target.bytes()).all(|byte| byte.is_ascii_graphic()));
        assert!(!authority.contains(['/', '?', '#', '@', '\\']), "{authority}");
        let scheme = if url.is_https { "https" } else { "http" };
        assert_eq!(Url::read(&format!("{scheme}://{authority}{target}")).as_ref(), Some(&url));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn urls_are_read_and_shown_without_their_query() {
        let mcp = url("HTTP://LocalHost:3000/mcp?key=secret#top");
        assert_eq!((mcp.to_string().as_str(), mcp.target().as_str()), ("http://localhost:3000/mcp", "/mcp?key=secret"));
        assert_eq!(mcp.authority(), "localhost:3000");
        let six = url("http://[::1]:80");
        assert_eq!((six.host.as_str(), six.authority().as_str(), six.target().as_str()), ("::1", "[::1]", "/"));
        assert_eq!(url("https://example.com?a").target(), "/?a");
        assert_eq!(url("https://example.com").port, 443);
    }

    #[test]
    fn what_is_no_url_is_refused_and_a_secret_in_it_is_not_repeated() {
        for text in [
            "",
            "localhost:3000",
            "ftp://a/",
            "http://",
            "http:///x",
            "http://a:b/",
            "http://a:0/",
            "http://a:99999",
            "http://a b/",
            "http://[a]/",
        ] {
            assert!(Url::parse(text).is_err_and(|error| error.is_usage()), "{text}");
        }
        for text in ["http://user:secret@host/", "http://host:x/?key=secret"] {
            let error = Url::parse(text).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn references_are_resolved() {
        let base = url("http://host:1/a/sse?x=1");
        for (reference, target) in [
            ("/messages/?session_id=1", "/messages/?session_id=1"),
            ("messages?s=1", "/a/messages?s=1"),
            ("../m", "/m"),
            ("./m", "/a/m"),
            ("/a/../../b/./c", "/b/c"),
            ("..", "/"),
            ("?y=2", "/a/sse?y=2"),
            ("", "/a/sse?x=1"),
            ("http://host:1/z", "/z"),
            ("//host:1/z", "/z"),
            ("/m?to=http://other/", "/m?to=http://other/"),
        ] {
            let joined = base.join(reference).unwrap();
            assert_eq!(joined.target(), target, "{reference}");
            assert!(joined.has_origin_of(&base), "{reference}");
        }
        for other in ["http://host:2/", "https://host:1/", "//other:1/", "http://host.evil:1/"] {
            assert!(!base.join(other).unwrap().has_origin_of(&base), "{other}");
        }
        assert_eq!(base.join("http://user@host:1/"), None);
        assert_eq!(base.join("/a\r\nb"), None);
    }
}
