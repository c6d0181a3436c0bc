//! An error that travels to the client: a JSON-RPC code, a sentence, and data where it helps.

use std::fmt;

use crate::json::{self, Json};

/// A JSON-RPC error: what a client gets in place of a result.
///
/// A tool's own failure is not one of these: it is a result with `isError`, so that the model sees it.
///
/// ```
/// use mcp_http_transport::RpcError;
/// use serde_json::json;
///
/// let error = RpcError::new(-32050, "the index is being built").with_data(json!({"ready": 0.4}));
/// assert_eq!((error.code(), error.message()), (-32050, "the index is being built"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcError {
    code: i64,
    message: String,
    data: Option<Json>,
}

impl RpcError {
    /// The text was not JSON.
    pub const PARSE_ERROR: i64 = -32700;
    /// JSON, but not a message, or not one that may come now.
    pub const INVALID_REQUEST: i64 = -32600;
    /// No such method.
    pub const METHOD_NOT_FOUND: i64 = -32601;
    /// The params do not fit the method.
    pub const INVALID_PARAMS: i64 = -32602;
    /// The server failed.
    pub const INTERNAL_ERROR: i64 = -32603;

    /// An error with any code.
    pub fn new(code: i64, message: impl Into<String>) -> RpcError {
        RpcError { code, message: message.into(), data: None }
    }

    /// -32700: `why` says where the text stopped being JSON.
    pub fn parse_error(why: impl fmt::Display) -> RpcError {
        RpcError::new(RpcError::PARSE_ERROR, format!("Parse error: {why}"))
    }

    /// -32600: `why` says what a valid request would have.
    pub fn invalid_request(why: impl fmt::Display) -> RpcError {
        RpcError::new(RpcError::INVALID_REQUEST, format!("Invalid request: {why}"))
    }

    /// -32601: there is no `method` here.
    pub fn method_not_found(method: &str) -> RpcError {
        RpcError::new(RpcError::METHOD_NOT_FOUND, format!("Method not found: {method}"))
    }

    /// -32602: `why` names the parameter.
    pub fn invalid_params(why: impl fmt::Display) -> RpcError {
        RpcError::new(RpcError::INVALID_PARAMS, format!("Invalid params: {why}"))
    }

    /// -32603: `why` says what failed.
    pub fn internal(why: impl fmt::Display) -> RpcError {
        RpcError::new(RpcError::INTERNAL_ERROR, format!("Internal error: {why}"))
    }

    /// The same error with data for the client.
    #[must_use]
    pub fn with_data(mut self, data: impl Into<Json>) -> RpcError {
        self.data = Some(data.into());
        self
    }

    /// The error in the JSON `text` of an answer; what is missing or odd there is filled in.
    pub(crate) fn from_json(text: &str) -> RpcError {
        let code = json::member(text, "code").and_then(|code| code.parse().ok()).unwrap_or(RpcError::INTERNAL_ERROR);
        let message = json::member(text, "message").and_then(json::unquote).unwrap_or_default().into_owned();
        let data = json::member(text, "data").map(Json::trusted);
        RpcError { code, message, data }
    }

    /// The code.
    pub fn code(&self) -> i64 {
        self.code
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The data, if there is any.
    pub fn data(&self) -> Option<&Json> {
        self.data.as_ref()
    }

    /// The object that stands under `error` in an answer.
    pub(crate) fn to_json(&self) -> Json {
        let mut text = format!("{{\"code\":{},\"message\":", self.code);
        json::push_string(&mut text, &self.message);
        if let Some(data) = &self.data {
            text.push_str(",\"data\":");
            text.push_str(data.as_str());
        }
        text.push('}');
        Json::trusted(text)
    }
}

impl fmt::Display for RpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for RpcError {}
