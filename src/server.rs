//! The MCP server: tools, resources, prompts and what belongs to them, as a `Handler`. No transport is known here.

mod args;
mod clients;
mod completion;
mod content;
mod handle;
mod methods;
mod modern;
mod object;
mod prompt;
mod registry;
mod reply;
mod resource;
mod result;
#[cfg(test)]
mod tests;
mod tool;
mod types;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::handler::Session;
use crate::json::Json;
use clients::Clients;
use object::object;
use prompt::PromptEntry;
use registry::Registry;
use resource::{ResourceEntry, TemplateEntry};
use tool::ToolEntry;

pub use args::Args;
pub use completion::{Completion, CompletionArgument, CompletionRef};
pub use content::{Blob, Content, ReadResult, ResourceContents};
pub use handle::ServerHandle;
pub use prompt::{Prompt, PromptMessage, PromptResult};
pub use resource::{Resource, ResourceTemplate, UriMatch};
pub use result::{ToolError, ToolResult};
pub use tool::Tool;
pub use types::Type;

/// Items in one page of a list, unless set.
const PAGE_SIZE: usize = 100;

/// An MCP server: a [`Handler`](crate::Handler) built of tools, resources and prompts.
///
/// Lists are in the order of the names. The functions are called with one thread each and may block; what they share is theirs to lock.
///
/// ```
/// use std::time::Duration;
///
/// use mcp_http_transport::{Prompt, Resource, Server, Tool, Type, memory};
///
/// let server = Server::new("clock", "1.0.0")
///     .instructions("Adds, and is polite.")
///     .tool(
///         Tool::new("add", "Add two numbers").param("a", Type::Number, "first").param("b", Type::Number, "second"),
///         |args, _session| Ok(args.number("a")? + args.number("b")?),
///     )
///     .resource(Resource::new("demo://greeting", "greeting").mime_type("text/plain"), |_uri, _session| Ok("Hello"))
///     .prompt(Prompt::new("greet", "Greets somebody").argument("name", "who", true), |args, _session| {
///         Ok(format!("Say hello to {}.", args.string("name")?))
///     });
///
/// let client = memory(server);
/// let result = client.call(1, "tools/call", r#"{"name": "add", "arguments": {"a": 2, "b": 3}}"#, Duration::from_secs(5)).unwrap();
/// assert_eq!(result.as_str(), r#"{"content":[{"type":"text","text":"5"}]}"#);
/// ```
pub struct Server {
    name: String,
    version: String,
    title: Option<String>,
    description: Option<String>,
    website: Option<String>,
    icons: Option<Json>,
    instructions: Option<String>,
    page_size: usize,
    complete: Option<Box<completion::Complete>>,
    shared: Arc<Shared>,
}

/// What may change while the server runs.
struct Shared {
    tools: Registry<ToolEntry>,
    resources: Registry<ResourceEntry>,
    templates: Registry<TemplateEntry>,
    prompts: Registry<PromptEntry>,
    clients: Clients,
    /// Somebody has a handle: any list may fill, so all are served from the start.
    is_open_to_change: AtomicBool,
}

impl Server {
    /// A server that offers nothing yet; name and version are what clients are told.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Server {
        Server {
            name: name.into(),
            version: version.into(),
            title: None,
            description: None,
            website: None,
            icons: None,
            instructions: None,
            page_size: PAGE_SIZE,
            complete: None,
            shared: Arc::new(Shared {
                tools: Registry::new(),
                resources: Registry::new(),
                templates: Registry::new(),
                prompts: Registry::new(),
                clients: Clients::default(),
                is_open_to_change: AtomicBool::new(false),
            }),
        }
    }

    /// A name for people.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Server {
        self.title = Some(title.into());
        self
    }

    /// What the server is, for people.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> Server {
        self.description = Some(description.into());
        self
    }

    /// The address of a page about the server.
    #[must_use]
    pub fn website_url(mut self, url: impl Into<String>) -> Server {
        self.website = Some(url.into());
        self
    }

    /// Icons: an array as in `json!([{"src": "https://example.com/icon.png", "mimeType": "image/png"}])`.
    #[must_use]
    pub fn icons(mut self, icons: impl Into<Json>) -> Server {
        self.icons = Some(icons.into());
        self
    }

    /// What a model should know to use the server well.
    #[must_use]
    pub fn instructions(mut self, instructions: impl Into<String>) -> Server {
        self.instructions = Some(instructions.into());
        self
    }

    /// How many items a page of a list has, in place of 100.
    #[must_use]
    pub fn page_size(mut self, items: usize) -> Server {
        self.page_size = items.max(1);
        self
    }

    /// Adds a tool. What the function answers becomes a [`ToolResult`]; its error, which anything that can be displayed becomes through `?`, is a result
    /// that the model sees as a failure.
    #[must_use]
    pub fn tool<F, R>(self, tool: Tool, run: F) -> Server
    where
        F: Fn(&Args<'_>, &Session) -> Result<R, ToolError> + Send + Sync + 'static,
        R: Into<ToolResult>,
    {
        let (name, entry) = ToolEntry::new(tool, run);
        self.shared.tools.insert(&name, entry);
        self
    }

    /// Adds a resource. The function gets the uri, and answers text, bytes, or [`ResourceContents`].
    #[must_use]
    pub fn resource<F, R>(self, resource: Resource, read: F) -> Server
    where
        F: Fn(&str, &Session) -> Result<R, ToolError> + Send + Sync + 'static,
        R: Into<ReadResult>,
    {
        let (uri, entry) = ResourceEntry::new(resource, read);
        self.shared.resources.insert(&uri, entry);
        self
    }

    /// Adds a family of resources. The function gets the uri and the values of the template's variables.
    ///
    /// ```
    /// use mcp_http_transport::{ResourceTemplate, Server};
    ///
    /// let server = Server::new("logs", "1.0.0").resource_template(ResourceTemplate::new("logs://{day}", "the log of a day"), |found, _session| {
    ///     Ok(format!("nothing happened on {}", found.get("day")))
    /// });
    /// # drop(server);
    /// ```
    #[must_use]
    pub fn resource_template<F, R>(self, template: ResourceTemplate, read: F) -> Server
    where
        F: Fn(&UriMatch<'_>, &Session) -> Result<R, ToolError> + Send + Sync + 'static,
        R: Into<ReadResult>,
    {
        let (text, entry) = TemplateEntry::new(template, read);
        self.shared.templates.insert(&text, entry);
        self
    }

    /// Adds a prompt. The function answers text, [`Content`], or messages.
    #[must_use]
    pub fn prompt<F, R>(self, prompt: Prompt, get: F) -> Server
    where
        F: Fn(&Args<'_>, &Session) -> Result<R, ToolError> + Send + Sync + 'static,
        R: Into<PromptResult>,
    {
        let (name, entry) = PromptEntry::new(prompt, get);
        self.shared.prompts.insert(&name, entry);
        self
    }

    /// Completes arguments while a person types them. The function gets what the argument is of, the argument, those filled in already, and the session.
    ///
    /// ```
    /// use mcp_http_transport::Server;
    ///
    /// let server = Server::new("cities", "1.0.0").completion(|_of, argument, _others, _session| {
    ///     let cities = ["Paris", "Parma", "Pisa"];
    ///     Ok(cities.into_iter().filter(|city| city.starts_with(&argument.value)).collect::<Vec<_>>())
    /// });
    /// # drop(server);
    /// ```
    #[must_use]
    pub fn completion<F, R>(mut self, complete: F) -> Server
    where
        F: Fn(&CompletionRef, &CompletionArgument, &Args<'_>, &Session) -> Result<R, ToolError> + Send + Sync + 'static,
        R: Into<Completion>,
    {
        self.complete = Some(Box::new(move |of, argument, others, session| complete(of, argument, others, session).map(Into::into)));
        self
    }

    /// A way to change the server while it runs. With it the server says that it has tools, resources and prompts, even where there are none yet.
    ///
    /// Who wraps a server in a handler of their own calls `Handler::handle(&server, request, session)`.
    pub fn handle(&self) -> ServerHandle {
        self.shared.is_open_to_change.store(true, Ordering::Relaxed);
        ServerHandle::new(&self.shared)
    }

    /// Whether the server has this family of methods.
    fn serves(&self, family: &str) -> bool {
        let shared = &self.shared;
        let has_some = match family {
            "tools" => !shared.tools.is_empty(),
            "resources" => !shared.resources.is_empty() || !shared.templates.is_empty(),
            "prompts" => !shared.prompts.is_empty(),
            "completion" => return self.complete.is_some(),
            _ => return true,
        };
        has_some || shared.is_open_to_change.load(Ordering::Relaxed)
    }

    /// The capabilities: exactly what is served.
    fn capabilities(&self) -> String {
        const EACH: [(&str, &str, &str); 4] = [
            ("completion", "completions", "{}"),
            ("prompts", "prompts", r#"{"listChanged":true}"#),
            ("resources", "resources", r#"{"subscribe":true,"listChanged":true}"#),
            ("tools", "tools", r#"{"listChanged":true}"#),
        ];
        object(|capabilities| {
            capabilities.raw("logging", "{}");
            let served = EACH.into_iter().filter(|(family, _, _)| self.serves(family));
            served.for_each(|(_, name, capability)| capabilities.raw(name, capability));
        })
    }

    /// Name, version and the like.
    fn info(&self) -> String {
        object(|info| {
            info.string("name", &self.name);
            info.string("version", &self.version);
            info.text("title", self.title.as_deref());
            info.text("description", self.description.as_deref());
            info.text("websiteUrl", self.website.as_deref());
            info.json("icons", self.icons.as_ref());
        })
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("name", &self.name).field("version", &self.version).finish_non_exhaustive()
    }
}
