//! What an embedder writes: a `Handler` gets requests, one thread each, and a `Session` to talk back to the client while it works.

mod ask;
mod peer;
mod rounds;
mod session;
pub(crate) mod stateless;

use std::borrow::Cow;

use serde_core::de::DeserializeOwned;
use serde_json::json;

use crate::json::Json;
use crate::message::Message;
use crate::rpc_error::RpcError;
use crate::version::Version;

pub use ask::{AskError, ClientRequest};
pub(crate) use peer::{Call, Peer};
pub(crate) use rounds::Rounds;
pub use session::{LogLevel, Session};

/// Answers the requests of MCP clients. Blocking: each call has a thread of its own while it runs, and may wait as long as it likes without delaying
/// another.
///
/// [`Server`](crate::Server) is the ready-made one, with tools, resources and prompts. A closure is one too:
///
/// ```
/// use mcp_http_transport::{Json, Request, RpcError, Session, initialize_result};
/// use serde_json::json;
///
/// let handler = |request: &Request, _session: &Session| -> Result<Json, RpcError> {
///     match request.method().as_ref() {
///         "initialize" => Ok(initialize_result(request, "clock", "1.0.0", json!({"tools": {}}))),
///         "tools/list" => Ok(json!({"tools": [{"name": "now", "inputSchema": {"type": "object"}}]}).into()),
///         "tools/call" => Ok(json!({"content": [{"type": "text", "text": "noon"}]}).into()),
///         method => Err(RpcError::method_not_found(method)),
///     }
/// };
/// let client = mcp_http_transport::memory(handler);
/// let result = client.call(1, "tools/call", r#"{"name": "now"}"#, std::time::Duration::from_secs(5)).unwrap();
/// assert!(result.as_str().contains("noon"));
/// ```
pub trait Handler: Send + Sync + 'static {
    /// Answers one request; the result is the object that stands under `result`. `initialize` comes here as well, `ping` never does.
    ///
    /// A panic in here is answered with -32603, and the server lives.
    ///
    /// # Errors
    /// The error the client gets in place of a result.
    fn handle(&self, request: &Request, session: &Session) -> Result<Json, RpcError>;

    /// Takes note of a notification other than cancellation and progress. By default nothing happens, as for one with an unknown method.
    fn notified(&self, notification: &Notification, session: &Session) {
        let _ = (notification, session);
    }

    /// The input schema of the tool `name`, if one of its parameters is annotated with `x-mcp-header` (2026-07-28 basic/transports/streamable-http):
    /// then the headers that repeat its arguments are checked against it. By default none is.
    fn schema_with_headers(&self, name: &str) -> Option<Json> {
        let _ = name;
        None
    }

    /// A client came; nothing was received from it yet. One that sends stateless requests (2026-07-28) comes and goes with them, unseen, except to
    /// hear of changes: what the session that appears then is [notified](Session::notify) of reaches the client if it asked for that.
    fn opened(&self, session: &Session) {
        let _ = session;
    }

    /// A client left, or its session ended. Its running calls are cancelled already. Over HTTP this runs on a thread with a small stack (128 KiB at least):
    /// what needs more belongs into a thread of its own.
    fn closed(&self, session: &Session) {
        let _ = session;
    }
}

impl<F> Handler for F
where
    F: Fn(&Request, &Session) -> Result<Json, RpcError> + Send + Sync + 'static,
{
    fn handle(&self, request: &Request, session: &Session) -> Result<Json, RpcError> {
        self(request, session)
    }
}

/// One request of a client.
#[derive(Clone, Debug)]
pub struct Request(Message);

/// One notification of a client.
#[derive(Clone, Debug)]
pub struct Notification(Message);

macro_rules! letter {
    ($name:ident, $what:literal) => {
        impl $name {
            pub(crate) fn new(message: Message) -> $name {
                $name(message)
            }

            #[doc = concat!("The method of the ", $what, ".")]
            pub fn method(&self) -> Cow<'_, str> {
                self.0.method()
            }

            /// The params as the client wrote them, raw JSON; `{}` when there are none.
            pub fn params(&self) -> &str {
                self.0.letter().unwrap_or("{}")
            }

            /// The raw JSON of one of the params, if it is there.
            pub fn param(&self, name: &str) -> Option<&str> {
                self.0.find(&[name])
            }

            /// The raw JSON found in the params by descending through `names`.
            pub fn find(&self, names: &[&str]) -> Option<&str> {
                self.0.find(names)
            }

            /// One of the params that is a string.
            ///
            /// # Errors
            /// -32602, naming the parameter, when it is missing or something else.
            pub fn string(&self, name: &str) -> Result<Cow<'_, str>, RpcError> {
                let raw = self.param(name).ok_or_else(|| RpcError::invalid_params(format_args!("{name} is missing")))?;
                crate::json::unquote(raw).ok_or_else(|| RpcError::invalid_params(format_args!("{name} must be a string")))
            }

            /// The params read into `T`, for instance into a `serde_json::Value`.
            ///
            /// # Errors
            /// -32602 when they do not fit, or are nested deeper than 128.
            pub fn parse<T: DeserializeOwned>(&self) -> Result<T, RpcError> {
                serde_json::from_str(self.params()).map_err(RpcError::invalid_params)
            }
        }
    };
}

letter!(Request, "request");
letter!(Notification, "notification");

impl Request {
    pub(crate) fn message(&self) -> &Message {
        &self.0
    }

    /// The id as raw JSON: a string with its quotes, or an integer.
    pub fn id(&self) -> &str {
        self.0.id()
    }
}

/// The answer to an `initialize` request: the version the client asked for where we speak it, else our newest one with a handshake
/// (2025-11-25 basic/lifecycle, Initialization); `capabilities` as the handler has them, as in `json!({"tools": {}})`.
pub fn initialize_result(request: &Request, name: &str, version: &str, capabilities: serde_json::Value) -> Json {
    let requested = request.string("protocolVersion").unwrap_or_default();
    json!({
        "protocolVersion": Version::negotiate(&requested).as_str(),
        "capabilities": capabilities,
        "serverInfo": {"name": name, "version": version},
    })
    .into()
}
