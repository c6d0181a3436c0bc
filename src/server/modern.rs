//! What the stateless era (2026-07-28) wants otherwise: every result says what it is and from whom, lists say how long they may be kept, and
//! `server/discover` takes the place of `initialize`.

use crate::handler::Session;
use crate::json::{self, Json};
use crate::server::object::{joined, object, push_array};
use crate::server::reply::Reply;
use crate::version::Version;

pub(super) fn is_modern(session: &Session) -> bool {
    session.version().is_some_and(Version::is_modern)
}

/// True for the methods that exist in the era of the request only.
pub(super) fn exists(method: &str, is_modern: bool) -> bool {
    match method {
        "server/discover" => is_modern,
        "initialize" | "ping" | "logging/setLevel" | "resources/subscribe" | "resources/unsubscribe" => !is_modern,
        _ => true,
    }
}

/// The result as the modern era wants it. It may be kept for no time at all: after a reload the list may be another one.
pub(super) fn finish(mut reply: Reply, server_info: &str) -> Json {
    const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
    let (meta, is_cacheable) = (reply.meta.take().unwrap_or_else(Json::empty), reply.is_cacheable);
    reply.finish(|result| {
        result.string("resultType", "complete");
        if is_cacheable {
            result.raw("ttlMs", "0");
            result.string("cacheScope", "private");
        }
        if meta.get(SERVER_INFO).is_some() {
            result.json("_meta", Some(&meta));
        } else {
            let info = object(|info| info.raw(SERVER_INFO, server_info));
            result.raw("_meta", &joined(meta.as_str(), &info));
        }
    })
}

/// The result of `server/discover` (2026-07-28 server/discover). It names the versions that a request may name, so those without a handshake.
pub(super) fn discover(capabilities: &str, instructions: Option<&str>) -> Reply {
    let versions = Version::ALL.into_iter().filter(|version| version.is_modern());
    let reply = Reply::new(|result| {
        push_array(result.member("supportedVersions"), versions, |out, version| json::push_string(out, version.as_str()));
        result.raw("capabilities", capabilities);
        result.text("instructions", instructions);
    });
    reply.cacheable()
}
