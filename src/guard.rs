//! Who may come in: the `Host` and `Origin` of a request, its bearer token, and what browsers are told about other origins.

use std::net::IpAddr;

use crate::config::{Config, Token};
use crate::identity;

/// Headers that a browser's script may send, and read, across origins. The asterisk is for `Mcp-Param-`, whose rest is up to the tools.
const ALLOWED_HEADERS: &str =
    "Content-Type, Accept, Authorization, Last-Event-ID, Mcp-Session-Id, MCP-Protocol-Version, Mcp-Method, Mcp-Name, *";
const EXPOSED_HEADERS: &str = "Mcp-Session-Id, MCP-Protocol-Version, WWW-Authenticate, Retry-After";

/// What the settings say about letting requests in.
pub(crate) struct Guard {
    hosts: Vec<String>,
    origins: Vec<String>,
    token: Option<Token>,
    checks_host: bool,
}

/// Why a request is not let in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// 403: from a place that is not allowed. The text says which, and how to allow it.
    Forbidden(String),
    /// 401: without the token.
    Unauthorized,
}

impl Guard {
    pub fn new(config: &Config, is_loopback: bool) -> Guard {
        Guard {
            hosts: config.allow_hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            origins: config.allow_origins.iter().map(|origin| origin.to_ascii_lowercase()).collect(),
            token: config.token.clone(),
            checks_host: is_loopback || !config.allow_hosts.is_empty(),
        }
    }

    /// Judges where a request comes from and is sent to: DNS rebinding brings a stranger's page to a loopback address under the stranger's name
    /// (2025-11-25 basic/transports, Security Warning). `host` is none only on HTTP/1.0.
    pub fn check_place(&self, host: Option<&str>, origin: Option<&str>) -> Result<(), Refused> {
        if let Some(host) = host.filter(|_| self.checks_host) {
            if !self.is_host_allowed(host) {
                return Err(forbidden("Host", host, "--allow-host or MCP_ALLOW_HOST"));
            }
        }
        match origin {
            Some(origin) if !self.is_origin_allowed(origin) => Err(forbidden("Origin", origin, "--allow-origin or MCP_ALLOW_ORIGIN")),
            _ => Ok(()),
        }
    }

    /// Judges the `Authorization` header (RFC 6750, section 2.1).
    pub fn check_token(&self, authorization: Option<&str>) -> Result<(), Refused> {
        let Some(token) = &self.token else { return Ok(()) };
        let shown = authorization.and_then(|value| {
            let (scheme, credentials) = value.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(credentials.trim())
        });
        match shown {
            Some(shown) if identity::equal(shown.as_bytes(), token.as_bytes()) => Ok(()),
            _ => Err(Refused::Unauthorized),
        }
    }

    /// The headers that let the page of a named origin read an answer. Loopback origins are let in, but not given CORS unless named.
    pub fn cors(&self, origin: Option<&str>) -> Vec<(&'static str, String)> {
        match origin.and_then(|origin| self.origins.iter().find(|allowed| *allowed == &origin.to_ascii_lowercase())) {
            None => Vec::new(),
            // From the settings, not from the client: nothing a client writes enters a header.
            Some(allowed) => vec![
                ("Access-Control-Allow-Origin", allowed.clone()),
                ("Access-Control-Expose-Headers", EXPOSED_HEADERS.to_owned()),
                ("Vary", "Origin".to_owned()),
            ],
        }
    }

    /// The headers beside [`cors`](Guard::cors) that answer a preflight for `methods`.
    pub fn preflight(&self, origin: Option<&str>, methods: &str) -> Vec<(&'static str, String)> {
        if self.cors(origin).is_empty() {
            return Vec::new();
        }
        vec![
            ("Access-Control-Allow-Methods", methods.to_owned()),
            ("Access-Control-Allow-Headers", ALLOWED_HEADERS.to_owned()),
            ("Access-Control-Max-Age", "600".to_owned()),
        ]
    }

    fn is_host_allowed(&self, host: &str) -> bool {
        let is = |allowed: &String| allowed.eq_ignore_ascii_case(host) || allowed.eq_ignore_ascii_case(name_of(host));
        is_loopback(name_of(host)) || self.hosts.iter().any(is)
    }

    fn is_origin_allowed(&self, origin: &str) -> bool {
        let origin = origin.to_ascii_lowercase();
        let place = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        place.is_some_and(|place| is_loopback(name_of(place))) || self.origins.contains(&origin)
    }
}

fn forbidden(header: &str, seen: &str, flag: &str) -> Refused {
    let seen: String = seen.chars().take(200).collect();
    Refused::Forbidden(format!("the {header} {seen:?} is not allowed here: name it with {flag} if it should be"))
}

/// The name in `name:port`, without the brackets of an IPv6 address. What has no such form is returned whole, and then matches nothing.
fn name_of(place: &str) -> &str {
    let (name, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, port)) => (name, port),
        None => place.find(':').map_or((place, ""), |at| place.split_at(at)),
    };
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    if is_port { name } else { place }
}

fn is_loopback(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(|address: IpAddr| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(change: impl FnOnce(Config) -> Config, is_loopback: bool) -> Guard {
        Guard::new(&change(Config::new()), is_loopback)
    }

    #[test]
    fn on_loopback_only_loopback_names_come_in() {
        let guard = guard(|config| config, true);
        for host in
            ["localhost", "LOCALHOST:3000", "localhost.:1", "127.0.0.1:3000", "127.1.2.3", "[::1]:3000", "[::1]", "[::ffff:127.0.0.1]:1"]
        {
            assert_eq!(guard.check_place(Some(host), None), Ok(()), "{host}");
            assert_eq!(guard.check_place(Some(host), Some(&format!("http://{host}"))), Ok(()), "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "",
            "localhost:80:80",
            "localhost:x",
            "[::1",
            "::1]",
            "localhost@evil",
        ] {
            let refused = guard.check_place(Some(host), None);
            assert!(matches!(&refused, Err(Refused::Forbidden(why)) if why.contains("--allow-host")), "{host}: {refused:?}");
            let refused = guard.check_place(Some("localhost"), Some(&format!("http://{host}")));
            assert!(matches!(&refused, Err(Refused::Forbidden(why)) if why.contains("--allow-origin")), "{host}: {refused:?}");
        }
        assert!(guard.check_place(Some("localhost"), Some("null")).is_err());
        assert!(guard.check_place(None, None).is_ok());
    }

    #[test]
    fn beyond_loopback_the_host_counts_only_when_one_is_named() {
        assert!(guard(|config| config, false).check_place(Some("mcp.example"), None).is_ok());
        let named = guard(|config| config.allow_host("Mcp.Example").allow_origin("https://App.Example"), false);
        assert!(named.check_place(Some("mcp.example:8443"), Some("https://app.example")).is_ok());
        assert!(named.check_place(Some("other.example"), None).is_err());
        assert!(named.check_place(Some("mcp.example"), Some("http://app.example")).is_err());
    }

    #[test]
    fn the_token_is_asked_for_once_it_is_set() {
        assert!(guard(|config| config, true).check_token(None).is_ok());
        let guarded = guard(|config| config.token("s3cret"), true);
        assert!(guarded.check_token(Some("Bearer s3cret")).is_ok());
        assert!(guarded.check_token(Some("bearer  s3cret ")).is_ok());
        for shown in [None, Some("s3cret"), Some("Bearer"), Some("Bearer s3cre"), Some("Bearer s3cret2"), Some("Basic s3cret")] {
            assert_eq!(guarded.check_token(shown), Err(Refused::Unauthorized), "{shown:?}");
        }
    }

    #[test]
    fn cors_is_for_named_origins_only() {
        let guard = guard(|config| config.allow_origin("https://app.example"), true);
        assert!(guard.cors(Some("http://localhost:5173")).is_empty() && guard.cors(None).is_empty());
        assert!(guard.preflight(Some("http://localhost:5173"), "GET").is_empty());
        assert!(guard.cors(Some("https://App.example")).contains(&("Access-Control-Allow-Origin", "https://app.example".to_owned())));
        let headers = guard.preflight(Some("https://app.example"), "GET, POST");
        assert!(headers.contains(&("Access-Control-Allow-Methods", "GET, POST".to_owned())));
    }
}
