//! What the stateless era (2026-07-28) wants otherwise: every result says what it is and from whom, lists say how long they may be kept, and
//! `server/discover` takes the place of `initialize`.

use crate::handler::Session;
use crate::json::{self, Json};
use crate::server::object::{Object, joined, push_array};
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
    reply.object.string("resultType", "complete");
    if reply.is_cacheable {
        reply.object.raw("ttlMs", "0");
        reply.object.string("cacheScope", "private");
    }
    let meta = reply.meta.as_ref().map_or("{}", Json::as_str);
    if json::member(meta, SERVER_INFO).is_some() {
        reply.object.raw("_meta", meta);
    } else {
        let mut info = Object::new();
        info.raw(SERVER_INFO, server_info);
        reply.object.raw("_meta", &joined(meta, &info.close()));
    }
    Json::trusted(reply.object.close())
}

/// The result of `server/discover` (2026-07-28 server/discover). It names the versions that a request may name, so those without a handshake.
pub(super) fn discover(capabilities: &str, instructions: Option<&str>) -> Reply {
    let mut object = Object::new();
    let versions = Version::ALL.into_iter().filter(|version| version.is_modern());
    push_array(object.member("supportedVersions"), versions, |out, version| json::push_string(out, version.as_str()));
    object.raw("capabilities", capabilities);
    object.text("instructions", instructions);
    Reply::new(object).cacheable()
}
