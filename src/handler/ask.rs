//! Asking the client from within a handler: sampling, elicitation, roots.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use crate::json::Json;
use crate::rpc_error::RpcError;

/// How long a question waits for its answer unless told otherwise: a person may have to think.
const PATIENCE: Duration = Duration::from_secs(600);

/// A request that a server makes of its client, for [`Session::ask`](crate::Session::ask).
///
/// ```
/// use mcp_http_transport::{ClientRequest, Server, Tool};
/// use serde_json::{Value, json};
///
/// let server = Server::new("delete", "1.0.0").tool(Tool::new("delete_all", "Deletes everything"), |_args, session| {
///     let form = json!({"type": "object", "properties": {"sure": {"type": "boolean"}}, "required": ["sure"]});
///     let answer: Value = session.ask("sure", ClientRequest::elicitation("Everything?", form))?.parse()?;
///     Ok(if answer["content"]["sure"] == true { "gone" } else { "nothing happened" })
/// });
/// # drop(server);
/// ```
#[derive(Clone, Debug)]
pub struct ClientRequest {
    pub(crate) method: String,
    pub(crate) params: Json,
    pub(crate) timeout: Duration,
}

impl ClientRequest {
    /// Any request. `params` must be an object.
    pub fn new(method: impl Into<String>, params: impl Into<Json>) -> ClientRequest {
        ClientRequest { method: method.into(), params: params.into(), timeout: PATIENCE }
    }

    /// Asks the person behind the client to fill in a form (`elicitation/create`, 2025-06-18 client/elicitation). `requested_schema` is a flat
    /// JSON schema of type object.
    pub fn elicitation(message: &str, requested_schema: Value) -> ClientRequest {
        ClientRequest::new("elicitation/create", json!({"message": message, "requestedSchema": requested_schema}))
    }

    /// Asks the client's model for a message (`sampling/createMessage`, 2024-11-05 client/sampling).
    pub fn sampling(params: Value) -> ClientRequest {
        ClientRequest::new("sampling/createMessage", params)
    }

    /// Asks which directories the client works in (`roots/list`, 2024-11-05 client/roots).
    pub fn roots() -> ClientRequest {
        ClientRequest::new("roots/list", json!({}))
    }

    /// Waits at most this long for the answer, in place of ten minutes.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> ClientRequest {
        self.timeout = timeout;
        self
    }

    /// The client capability that this request needs.
    pub(crate) fn capability(&self) -> Option<&'static str> {
        match self.method.as_str() {
            "elicitation/create" => Some("elicitation"),
            "sampling/createMessage" => Some("sampling"),
            "roots/list" => Some("roots"),
            _ => None,
        }
    }
}

/// Why the client gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AskError {
    /// The client answered with an error.
    Refused(RpcError),
    /// The client did not declare the capability of this name.
    Unsupported(&'static str),
    /// The call was cancelled.
    Cancelled,
    /// The client is gone, or the server shuts down.
    Gone,
    /// No answer came in time.
    TimedOut,
    /// Too many calls wait for the client at once.
    TooMany,
    /// The client is asked by the answer to this call and will send the call again, with its answer (2026-07-28): the handler is to end, and whatever it
    /// answers is discarded.
    #[doc(hidden)]
    Suspended,
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AskError::Refused(error) => write!(f, "the client refused: {error}"),
            AskError::Unsupported(capability) => write!(f, "the client does not support {capability}"),
            AskError::Cancelled => f.write_str("the call was cancelled"),
            AskError::Gone => f.write_str("the client is gone"),
            AskError::TimedOut => f.write_str("the client did not answer in time"),
            AskError::Suspended => f.write_str("the client answers with its next request"),
            AskError::TooMany => f.write_str("too many calls are waiting for the client"),
        }
    }
}

impl std::error::Error for AskError {}

impl From<AskError> for RpcError {
    fn from(error: AskError) -> RpcError {
        RpcError::internal(error)
    }
}
