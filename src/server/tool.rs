//! What a tool is: its name, its schema, and the function behind it.

use crate::handler::Session;
use crate::json::{self, Json};
use crate::server::args::{self, Args};
use crate::server::object::{Object, object, push_array};
use crate::server::registry::Listed;
use crate::server::result::{ToolError, ToolResult};
use crate::server::types::Type;

/// The description of a tool. What it takes is described by `param` and `optional`, or by a whole JSON schema.
///
/// ```
/// use mcp_http_transport::{Json, Tool, Type};
///
/// let weather = Tool::new("weather", "Says what the weather is like")
///     .param("city", Type::String, "where")
///     .optional("unit", Type::OneOf(&["celsius", "fahrenheit"]), "of the temperature")
///     .read_only(true);
///
/// let schema: Json = r#"{"type": "object", "properties": {"q": {"type": "string", "minLength": 3}}, "required": ["q"]}"#.parse().unwrap();
/// let search = Tool::new("search", "Finds pages").schema(schema);
/// # drop((weather, search));
/// ```
#[derive(Clone, Debug)]
pub struct Tool {
    name: String,
    title: Option<String>,
    description: String,
    params: Vec<Param>,
    input_schema: Option<Json>,
    output_schema: Option<Json>,
    hints: Vec<(&'static str, bool)>,
    icons: Option<Json>,
    meta: Option<Json>,
}

#[derive(Clone, Debug)]
struct Param {
    name: String,
    kind: Type,
    description: String,
    is_required: bool,
}

impl Tool {
    /// A tool that takes no arguments yet. The description is for the model: what it does, and when to use it.
    pub fn new(name: impl Into<String>, description: impl Into<String>) -> Tool {
        Tool {
            name: name.into(),
            title: None,
            description: description.into(),
            params: Vec::new(),
            input_schema: None,
            output_schema: None,
            hints: Vec::new(),
            icons: None,
            meta: None,
        }
    }

    /// A name for people.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Tool {
        self.title = Some(title.into());
        self
    }

    /// Adds an argument that every call must have. A call without it, or with something that is not of the type, is answered with `isError` before
    /// the function runs.
    #[must_use]
    pub fn param(self, name: impl Into<String>, kind: Type, description: impl Into<String>) -> Tool {
        self.any_param(name.into(), kind, description.into(), true)
    }

    /// Adds an argument that a call may have; `null` counts as none.
    #[must_use]
    pub fn optional(self, name: impl Into<String>, kind: Type, description: impl Into<String>) -> Tool {
        self.any_param(name.into(), kind, description.into(), false)
    }

    fn any_param(mut self, name: String, kind: Type, description: String, is_required: bool) -> Tool {
        self.params.push(Param { name, kind, description, is_required });
        self
    }

    /// Describes the arguments by a JSON schema of type object, in place of `param` and `optional`. Clients get it as it is; the function checks what
    /// it needs itself.
    #[must_use]
    pub fn schema(mut self, schema: impl Into<Json>) -> Tool {
        self.input_schema = Some(schema.into());
        self
    }

    /// The JSON schema of the structured content. Before 2026-07-28 it must be of type object.
    #[must_use]
    pub fn output_schema(mut self, schema: impl Into<Json>) -> Tool {
        self.output_schema = Some(schema.into());
        self
    }

    /// Tells clients whether the tool changes nothing (`readOnlyHint`).
    #[must_use]
    pub fn read_only(self, is_so: bool) -> Tool {
        self.hint("readOnlyHint", is_so)
    }

    /// Tells clients whether the tool may destroy something (`destructiveHint`).
    #[must_use]
    pub fn destructive(self, is_so: bool) -> Tool {
        self.hint("destructiveHint", is_so)
    }

    /// Tells clients whether a second call with the same arguments changes nothing more (`idempotentHint`).
    #[must_use]
    pub fn idempotent(self, is_so: bool) -> Tool {
        self.hint("idempotentHint", is_so)
    }

    /// Tells clients whether the tool deals with the world outside, as a web search does (`openWorldHint`).
    #[must_use]
    pub fn open_world(self, is_so: bool) -> Tool {
        self.hint("openWorldHint", is_so)
    }

    fn hint(mut self, name: &'static str, is_so: bool) -> Tool {
        self.hints.retain(|(other, _)| *other != name);
        self.hints.push((name, is_so));
        self
    }

    /// Icons: an array as in `json!([{"src": "https://example.com/icon.png", "mimeType": "image/png"}])`.
    #[must_use]
    pub fn icons(mut self, icons: impl Into<Json>) -> Tool {
        self.icons = Some(icons.into());
        self
    }

    /// The tool's `_meta`, an object.
    #[must_use]
    pub fn meta(mut self, meta: impl Into<Json>) -> Tool {
        self.meta = Some(meta.into());
        self
    }

    fn listing(&self) -> String {
        object(|tool| {
            tool.string("name", &self.name);
            tool.text("title", self.title.as_deref());
            tool.text("description", Some(&self.description));
            match &self.input_schema {
                Some(schema) => tool.raw("inputSchema", schema.as_str()),
                None => tool.object("inputSchema", |schema| self.write_schema(schema)),
            }
            tool.json("outputSchema", self.output_schema.as_ref());
            if !self.hints.is_empty() {
                tool.object("annotations", |hints| {
                    self.hints.iter().for_each(|(name, is_so)| hints.raw(name, if *is_so { "true" } else { "false" }));
                });
            }
            tool.json("icons", self.icons.as_ref());
            tool.json("_meta", self.meta.as_ref());
        })
    }

    fn write_schema(&self, schema: &mut Object<'_>) {
        schema.string("type", "object");
        schema.object("properties", |properties| {
            for param in &self.params {
                properties.object(&param.name, |property| {
                    property.string("type", param.kind.name());
                    if let Type::OneOf(choices) = param.kind {
                        push_array(property.member("enum"), choices, |out, choice| json::push_string(out, choice));
                    }
                    property.text("description", Some(&param.description));
                });
            }
        });
        let mut required = self.params.iter().filter(|param| param.is_required).peekable();
        if required.peek().is_some() {
            push_array(schema.member("required"), required, |out, param| json::push_string(out, &param.name));
        }
    }

    /// The arguments that calls are likely to have.
    fn argument_names(&self) -> Vec<String> {
        match &self.input_schema {
            None => self.params.iter().map(|param| param.name.clone()).collect(),
            Some(schema) => {
                let properties = schema.get("properties").unwrap_or("{}");
                json::entries(properties).unwrap_or_default().into_iter().map(|(name, _)| name.into_owned()).collect()
            }
        }
    }
}

type Run = dyn Fn(&Args<'_>, &Session) -> Result<ToolResult, ToolError> + Send + Sync;

/// A tool as a server has it.
pub(super) struct ToolEntry {
    listing: String,
    names: Vec<String>,
    /// The arguments to check, in the order of `names`; none when the tool has a schema of its own.
    params: Vec<Param>,
    run: Box<Run>,
}

impl ToolEntry {
    /// The name and the tool.
    pub(super) fn new<F, R>(tool: Tool, run: F) -> (String, ToolEntry)
    where
        F: Fn(&Args<'_>, &Session) -> Result<R, ToolError> + Send + Sync + 'static,
        R: Into<ToolResult>,
    {
        let (listing, names) = (tool.listing(), tool.argument_names());
        let params = if tool.input_schema.is_none() { tool.params } else { Vec::new() };
        (tool.name, ToolEntry { listing, names, params, run: Box::new(move |args, session| run(args, session).map(Into::into)) })
    }

    /// The arguments it is likely to be called with.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// The schema of the arguments, if some of them are repeated in HTTP headers.
    pub(super) fn schema_with_headers(&self) -> Option<Json> {
        let is_annotated = self.listing.contains("x-mcp-header");
        json::member(&self.listing, "inputSchema").filter(|_| is_annotated).map(Json::trusted)
    }

    /// Checks the arguments, and runs (2025-11-25 server/tools, Error Handling: the model is told what is wrong with a value).
    pub(super) fn call(&self, args: &Args<'_>, session: &Session) -> Result<ToolResult, ToolError> {
        for param in &self.params {
            let fault = match args.get(&param.name) {
                None if param.is_required => Some(args::missing(&param.name, param.kind)),
                None => None,
                Some("null") if !param.is_required => None,
                Some(raw) => args::fault(&param.name, raw, param.kind),
            };
            if let Some(fault) = fault {
                return Err(ToolError::from(fault));
            }
        }
        (self.run)(args, session)
    }
}

impl Listed for ToolEntry {
    fn listing(&self) -> &str {
        &self.listing
    }
}
