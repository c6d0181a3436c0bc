//! What a tool answers: its result, its failure, or, rarely, an error of the protocol.

use std::fmt::Display;

use serde_json::Value;

use crate::json::Json;
use crate::rpc_error::RpcError;
use crate::server::content::Content;
use crate::server::object::push_array;
use crate::server::reply::Reply;
use crate::version::Version;

/// The result of a tool: blocks of content, structured content, or both.
///
/// Text, numbers and booleans become one by `into()`; so does a `serde_json::Value`, as structured content and, for clients that know no better, as
/// text.
///
/// ```
/// use mcp_http_transport::{Content, Server, Tool, ToolResult};
/// use serde_json::json;
///
/// let server = Server::new("weather", "1.0.0").tool(Tool::new("today", "Today's weather"), |_args, _session| {
///     Ok(ToolResult::new([Content::text("Rain, 9 degrees")]).structured(json!({"rain": true, "degrees": 9})))
/// });
/// # drop(server);
/// ```
#[derive(Clone, Debug, Default)]
pub struct ToolResult {
    content: Vec<Content>,
    structured: Option<Json>,
    is_error: bool,
    meta: Option<Json>,
}

impl ToolResult {
    /// A result of these blocks.
    pub fn new(content: impl IntoIterator<Item = Content>) -> ToolResult {
        ToolResult { content: content.into_iter().collect(), ..ToolResult::default() }
    }

    /// A failure that the model sees, with `isError`.
    pub fn error(why: impl Into<Content>) -> ToolResult {
        ToolResult { is_error: true, ..ToolResult::new([why.into()]) }
    }

    /// Adds structured content, which should fit the tool's output schema. Before 2026-07-28 only an object can be sent.
    #[must_use]
    pub fn structured(mut self, value: impl Into<Json>) -> ToolResult {
        self.structured = Some(value.into());
        self
    }

    /// The result's `_meta`, an object.
    #[must_use]
    pub fn meta(mut self, meta: impl Into<Json>) -> ToolResult {
        self.meta = Some(meta.into());
        self
    }

    pub(super) fn into_reply(self, version: Option<Version>) -> Reply {
        let can_be_anything = version.is_some_and(Version::is_modern);
        let structured = self.structured.filter(|json| can_be_anything || json.as_str().starts_with('{'));
        let reply = Reply::new(|result| {
            push_array(result.member("content"), &self.content, |out, content| content.write(out, version));
            result.json("structuredContent", structured.as_ref());
            if self.is_error {
                result.raw("isError", "true");
            }
        });
        reply.with_meta(self.meta)
    }
}

/// Why a tool, a resource, a prompt or a completion gave no result.
///
/// Anything that can be displayed becomes one through `?`. From a tool it goes to the model as a result with `isError`; elsewhere it is the JSON-RPC
/// error -32603. An error of the protocol's own, with its code, is [`ToolError::rpc`].
///
/// ```
/// use mcp_http_transport::{RpcError, Server, Tool, ToolError, Type};
///
/// let tool = Tool::new("read", "Reads a file").param("path", Type::String, "which one");
/// let server = Server::new("files", "1.0.0").tool(tool, |args, _session| {
///     let path = args.string("path")?;
///     if path.starts_with("/etc") {
///         // The client is told that the call was wrong; the model is not.
///         return Err(ToolError::rpc(RpcError::invalid_params("not there")));
///     }
///     // The model is told what the system says.
///     Ok(std::fs::read_to_string(path)?)
/// });
/// # drop(server);
/// ```
///
/// It has no `Display` itself, because then `?` could not make one of everything else.
#[derive(Clone, Debug)]
pub struct ToolError(Failure);

#[derive(Clone, Debug)]
enum Failure {
    Said(String),
    Rpc(RpcError),
}

impl ToolError {
    /// Answers the call with a JSON-RPC error in place of a result.
    pub fn rpc(error: RpcError) -> ToolError {
        ToolError(Failure::Rpc(error))
    }

    /// As the answer of a tool.
    pub(super) fn into_result(self) -> Result<ToolResult, RpcError> {
        match self.0 {
            Failure::Said(why) => Ok(ToolResult::error(why)),
            Failure::Rpc(error) => Err(error),
        }
    }

    /// As the answer of anything else.
    pub(super) fn into_rpc(self) -> RpcError {
        match self.0 {
            Failure::Said(why) => RpcError::new(RpcError::INTERNAL_ERROR, why),
            Failure::Rpc(error) => error,
        }
    }
}

impl<E: Display> From<E> for ToolError {
    fn from(error: E) -> ToolError {
        ToolError(Failure::Said(error.to_string()))
    }
}

impl From<Content> for ToolResult {
    fn from(content: Content) -> ToolResult {
        ToolResult::new([content])
    }
}

impl From<Vec<Content>> for ToolResult {
    fn from(content: Vec<Content>) -> ToolResult {
        ToolResult::new(content)
    }
}

impl From<()> for ToolResult {
    fn from((): ()) -> ToolResult {
        ToolResult::default()
    }
}

impl From<Json> for ToolResult {
    fn from(json: Json) -> ToolResult {
        ToolResult::new([Content::text(json.as_str())]).structured(json)
    }
}

impl From<Value> for ToolResult {
    fn from(value: Value) -> ToolResult {
        match value {
            Value::String(text) => ToolResult::new([Content::text(text.as_str())]).structured(Value::String(text)),
            value => Json::from(value).into(),
        }
    }
}

/// A whole number is written without a fraction, and what is far from one without a hundred zeros.
impl From<f64> for ToolResult {
    fn from(number: f64) -> ToolResult {
        let text = format!("{number:?}");
        Content::text(text.strip_suffix(".0").unwrap_or(&text)).into()
    }
}

impl From<&str> for ToolResult {
    fn from(text: &str) -> ToolResult {
        Content::text(text).into()
    }
}

macro_rules! as_text {
    ($($from:ty),*) => {$(
        impl From<$from> for ToolResult {
            fn from(value: $from) -> ToolResult {
                Content::text(value.to_string()).into()
            }
        }
    )*};
}

as_text!(i32, i64, u32, u64, usize, bool);

impl From<String> for ToolResult {
    fn from(text: String) -> ToolResult {
        Content::text(text).into()
    }
}
