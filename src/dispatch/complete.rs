//! What the stateless era (2026-07-28) wants beyond what a handler of the era before answers.

use std::borrow::Cow;

use crate::handler::{Handler, Request, Session};
use crate::json::{self, Json};
use crate::message::Message;
use crate::rpc_error::RpcError;
use crate::version::Version;

/// The methods whose results say how long they may be kept (2026-07-28 server/utilities/caching).
const CACHEABLE: [&str; 6] =
    ["server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read"];

/// The result with what is missing: that it is one, and that it may not be kept, since after a reload it may be another.
pub(super) fn complete(method: &str, result: Json) -> Json {
    let text = result.as_str();
    // Mostly nothing is missing, or the handler knows nothing of it; both show without reading the result.
    let has = |name: &str| text.contains(name) && result.get(name).is_some();
    let mut missing = String::new();
    if !has("resultType") {
        missing.push_str("\"resultType\":\"complete\"");
    }
    if CACHEABLE.contains(&method) {
        for (name, value) in [("ttlMs", "0"), ("cacheScope", "\"private\"")] {
            if !has(name) {
                let comma = if missing.is_empty() { "" } else { "," };
                missing.push_str(&format!("{comma}\"{name}\":{value}"));
            }
        }
    }
    let Some(before) = text.strip_suffix('}').map(str::trim_end).filter(|_| !missing.is_empty()) else { return result };
    let comma = if before == "{" { "" } else { "," };
    Json::trusted(format!("{before}{comma}{missing}}}"))
}

/// What the handler says of itself: its answer to `server/discover`, or, if it does not know that method, what it answers to `initialize`.
pub(super) fn discover(handler: &dyn Handler, request: &Request, session: &Session) -> Result<Json, RpcError> {
    let unknown = match handler.handle(request, session) {
        Err(error) if error.code() == RpcError::METHOD_NOT_FOUND => error,
        outcome => return outcome,
    };
    let params = format!(
        "{{\"protocolVersion\":\"{}\",\"capabilities\":{},\"clientInfo\":{}}}",
        Version::NEWEST_HANDSHAKE,
        session.client_capabilities().as_ref().map_or("{}", Json::as_str),
        session.client_info().as_ref().map_or("{\"name\":\"unknown\",\"version\":\"0\"}", Json::as_str),
    );
    let initialize = Request::new(Message::request(request.id(), "initialize", Some(&params)));
    let said = handler.handle(&initialize, session).map_err(|_| unknown)?;
    let versions: Vec<String> =
        Version::ALL.into_iter().filter(|version| version.is_modern()).map(|version| json::string(version.as_str())).collect();
    let mut result =
        format!("{{\"supportedVersions\":[{}],\"capabilities\":{}", versions.join(","), said.get("capabilities").unwrap_or("{}"));
    for (name, value) in [
        ("instructions", said.get("instructions").map(Cow::Borrowed)),
        ("_meta", said.get("serverInfo").map(|info| format!("{{\"io.modelcontextprotocol/serverInfo\":{info}}}").into())),
    ] {
        if let Some(value) = value {
            result.push_str(&format!(",\"{name}\":{value}"));
        }
    }
    result.push('}');
    Ok(Json::trusted(result))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_missing_is_added() {
        let complete = |method: &str, text: &'static str| super::complete(method, Json::trusted(text)).as_str().to_owned();
        assert_eq!(complete("tools/call", "{}"), r#"{"resultType":"complete"}"#);
        assert_eq!(complete("tools/list", r#"{"tools":[] }"#), r#"{"tools":[],"resultType":"complete","ttlMs":0,"cacheScope":"private"}"#);
        assert_eq!(
            complete("tools/list", r#"{"ttlMs":5,"a":{"resultType":1}}"#),
            r#"{"ttlMs":5,"a":{"resultType":1},"resultType":"complete","cacheScope":"private"}"#
        );
        assert_eq!(complete("tools/call", r#"{"resultType":"input_required"}"#), r#"{"resultType":"input_required"}"#);
    }
}
