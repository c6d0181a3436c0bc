//! Changing a server while it runs.

use std::sync::{Arc, Weak};

use crate::handler::Session;
use crate::server::Shared;
use crate::server::args::Args;
use crate::server::content::ReadResult;
use crate::server::prompt::{Prompt, PromptEntry, PromptResult};
use crate::server::resource::{Resource, ResourceEntry, ResourceTemplate, TemplateEntry, UriMatch};
use crate::server::result::{ToolError, ToolResult};
use crate::server::tool::{Tool, ToolEntry};

/// A way to change a running [`Server`](crate::Server), from [`Server::handle`](crate::Server::handle). Every change is told to the clients. Calls that
/// are running go on with what they began with.
///
/// Cheap to clone; a tool may keep one. When the server is gone, it does nothing.
///
/// ```
/// use mcp_http_transport::{Server, Tool, memory};
///
/// let server = Server::new("plugins", "1.0.0");
/// let handle = server.handle();
/// let client = memory(server);
/// handle.add_tool(Tool::new("late", "Came later"), |_args, _session| Ok("here"));
/// let tools = client.call(1, "tools/list", "{}", std::time::Duration::from_secs(5)).unwrap();
/// assert!(tools.as_str().contains("late"));
/// assert!(handle.remove_tool("late"));
/// ```
#[derive(Clone)]
pub struct ServerHandle(Weak<Shared>);

impl ServerHandle {
    pub(super) fn new(shared: &Arc<Shared>) -> ServerHandle {
        ServerHandle(Arc::downgrade(shared))
    }

    /// Adds a tool, or replaces the one of its name.
    pub fn add_tool<F, R>(&self, tool: Tool, run: F)
    where
        F: Fn(&Args<'_>, &Session) -> Result<R, ToolError> + Send + Sync + 'static,
        R: Into<ToolResult>,
    {
        if let Some(shared) = self.0.upgrade() {
            let (name, entry) = ToolEntry::new(tool, run);
            shared.tools.insert(&name, entry);
            shared.clients.list_changed("tools");
        }
    }

    /// Removes a tool. False when there was none of this name.
    pub fn remove_tool(&self, name: &str) -> bool {
        self.removed("tools", |shared| shared.tools.remove(name))
    }

    /// Adds a resource, or replaces the one of its uri.
    pub fn add_resource<F, R>(&self, resource: Resource, read: F)
    where
        F: Fn(&str, &Session) -> Result<R, ToolError> + Send + Sync + 'static,
        R: Into<ReadResult>,
    {
        if let Some(shared) = self.0.upgrade() {
            let (uri, entry) = ResourceEntry::new(resource, read);
            shared.resources.insert(&uri, entry);
            shared.clients.list_changed("resources");
        }
    }

    /// Removes a resource. False when there was none of this uri.
    pub fn remove_resource(&self, uri: &str) -> bool {
        self.removed("resources", |shared| shared.resources.remove(uri))
    }

    /// Adds a resource template, or replaces the one of its text.
    pub fn add_resource_template<F, R>(&self, template: ResourceTemplate, read: F)
    where
        F: Fn(&UriMatch<'_>, &Session) -> Result<R, ToolError> + Send + Sync + 'static,
        R: Into<ReadResult>,
    {
        if let Some(shared) = self.0.upgrade() {
            let (text, entry) = TemplateEntry::new(template, read);
            shared.templates.insert(&text, entry);
            shared.clients.list_changed("resources");
        }
    }

    /// Removes a resource template. False when there was none of this text.
    pub fn remove_resource_template(&self, uri_template: &str) -> bool {
        self.removed("resources", |shared| shared.templates.remove(uri_template))
    }

    /// Adds a prompt, or replaces the one of its name.
    pub fn add_prompt<F, R>(&self, prompt: Prompt, get: F)
    where
        F: Fn(&Args<'_>, &Session) -> Result<R, ToolError> + Send + Sync + 'static,
        R: Into<PromptResult>,
    {
        if let Some(shared) = self.0.upgrade() {
            let (name, entry) = PromptEntry::new(prompt, get);
            shared.prompts.insert(&name, entry);
            shared.clients.list_changed("prompts");
        }
    }

    /// Removes a prompt. False when there was none of this name.
    pub fn remove_prompt(&self, name: &str) -> bool {
        self.removed("prompts", |shared| shared.prompts.remove(name))
    }

    /// Tells the clients that subscribed to this resource that it has other contents now.
    pub fn resource_updated(&self, uri: &str) {
        if let Some(shared) = self.0.upgrade() {
            shared.clients.updated(uri);
        }
    }

    fn removed(&self, family: &str, remove: impl FnOnce(&Shared) -> bool) -> bool {
        let Some(shared) = self.0.upgrade() else { return false };
        let was_there = remove(&shared);
        if was_there {
            shared.clients.list_changed(family);
        }
        was_there
    }
}
