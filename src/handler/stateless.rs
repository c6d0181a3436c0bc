//! What a stateless request says of its client (2026-07-28 basic, `_meta`): version, capabilities and the like, with each request anew.

use std::borrow::Cow;

use serde_json::json;

use crate::handler::LogLevel;
use crate::json::{self, Json};
use crate::message::Message;
use crate::rpc_error::RpcError;
use crate::version::Version;

/// A required header is missing or says something else than the body. The error codes are those of 2026-07-28 basic, Error Codes.
pub(crate) const HEADER_MISMATCH: i64 = -32020;
/// The client has not declared a capability that the request needs.
pub(crate) const MISSING_CAPABILITY: i64 = -32021;
/// The request is of a version that we do not speak, or not in this form.
pub(crate) const UNSUPPORTED_VERSION: i64 = -32022;

/// Methods that the stateless era has not, whatever a handler does.
const GONE: [&str; 5] = ["initialize", "ping", "logging/setLevel", "resources/subscribe", "resources/unsubscribe"];

/// The `_meta` of a request, as far as it concerns us: raw JSON.
#[derive(Default)]
pub(crate) struct Meta<'m> {
    pub progress_token: Option<&'m str>,
    version: Option<&'m str>,
    capabilities: Option<&'m str>,
    client_info: Option<&'m str>,
    log_level: Option<&'m str>,
}

/// What a stateless request says of its client.
pub(crate) struct Claims {
    pub client_info: Option<Json>,
    pub capabilities: Json,
    /// Log messages are wanted from this level on; none at all without it.
    pub log_level: Option<LogLevel>,
}

impl<'m> Meta<'m> {
    pub fn of(message: &'m Message) -> Meta<'m> {
        let Some(meta) = message.meta() else { return Meta::default() };
        let names = [
            "progressToken",
            "io.modelcontextprotocol/protocolVersion",
            "io.modelcontextprotocol/clientCapabilities",
            "io.modelcontextprotocol/clientInfo",
            "io.modelcontextprotocol/logLevel",
        ];
        let Some([progress_token, version, capabilities, client_info, log_level]) = json::members(meta, names) else {
            return Meta::default();
        };
        Meta { progress_token, version, capabilities, client_info, log_level }
    }

    /// Whether the request is a stateless one.
    pub fn is_stateless(&self) -> bool {
        self.version.is_some()
    }

    /// The version that the request is written in.
    pub fn version(&self) -> Option<Cow<'m, str>> {
        self.version.and_then(json::unquote)
    }

    /// What it says, if all is there that has to be.
    pub fn claims(&self) -> Result<Claims, RpcError> {
        if self.version().is_none() {
            return Err(missing("protocolVersion", "a string"));
        }
        let capabilities =
            self.capabilities.filter(|raw| raw.starts_with('{')).ok_or_else(|| missing("clientCapabilities", "an object"))?;
        let log_level = match self.log_level {
            None => None,
            Some(raw) => {
                let level = json::unquote(raw).and_then(|name| LogLevel::parse(&name));
                Some(level.ok_or_else(|| missing("logLevel", "one of RFC 5424's"))?)
            }
        };
        Ok(Claims { client_info: self.client_info.map(Json::trusted), capabilities: Json::trusted(capabilities), log_level })
    }

    /// Refuses a version that has no stateless requests, or that we do not know.
    pub fn check_version(&self) -> Result<(), RpcError> {
        let requested = self.version().unwrap_or_default();
        if Version::parse(&requested).is_some_and(Version::is_modern) {
            return Ok(());
        }
        let supported: Vec<&str> = Version::ALL.into_iter().filter(|version| version.is_modern()).map(Version::as_str).collect();
        Err(RpcError::new(UNSUPPORTED_VERSION, format!("Unsupported protocol version: {requested:?}"))
            .with_data(json!({"supported": supported, "requested": requested})))
    }
}

/// Refuses the methods that are gone.
pub(crate) fn check_method(method: &str) -> Result<(), RpcError> {
    if GONE.contains(&method) { Err(RpcError::method_not_found(method)) } else { Ok(()) }
}

fn missing(name: &str, what: &str) -> RpcError {
    RpcError::invalid_params(format_args!("_meta must have io.modelcontextprotocol/{name}, {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(meta: &str) -> Message {
        Message::request("1", "tools/list", Some(&format!("{{\"_meta\":{meta}}}")))
    }

    #[test]
    fn what_has_to_be_there_is_asked_for() {
        let whole = request(
            r#"{"progressToken":7,"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"roots":{}},"io.modelcontextprotocol/logLevel":"error"}"#,
        );
        let meta = Meta::of(&whole);
        let claims = meta.claims().unwrap();
        assert!(meta.is_stateless() && meta.check_version().is_ok());
        assert_eq!(
            (meta.progress_token, claims.capabilities.as_str(), claims.log_level),
            (Some("7"), r#"{"roots":{}}"#, Some(LogLevel::Error))
        );
        for meta in [
            r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#,
            r#"{"io.modelcontextprotocol/protocolVersion":1,"io.modelcontextprotocol/clientCapabilities":{}}"#,
            r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":[]}"#,
            r#"{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/logLevel":"loud"}"#,
        ] {
            let message = request(meta);
            assert_eq!(Meta::of(&message).claims().err().map(|error| error.code()), Some(-32602), "{meta}");
        }
    }

    #[test]
    fn other_versions_are_told_which_there_are() {
        for version in ["2025-11-25", "v999.0.0"] {
            let message = request(&format!(r#"{{"io.modelcontextprotocol/protocolVersion":"{version}"}}"#));
            let error = Meta::of(&message).check_version().unwrap_err();
            assert_eq!(error.code(), UNSUPPORTED_VERSION);
            assert_eq!(error.data().unwrap().as_str(), format!(r#"{{"requested":"{version}","supported":["2026-07-28"]}}"#));
        }
        assert!(!Meta::of(&request(r#"{"progressToken":1}"#)).is_stateless() && !Meta::of(&request("3")).is_stateless());
    }
}
