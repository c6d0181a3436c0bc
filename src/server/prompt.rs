//! Prompts: messages that a person picks by name, filled in with arguments.

use crate::handler::Session;
use crate::json::Json;
use crate::server::args::Args;
use crate::server::content::Content;
use crate::server::object::{object, push_array, push_object};
use crate::server::registry::Listed;
use crate::server::reply::Reply;
use crate::server::result::ToolError;
use crate::version::Version;

/// The description of a prompt.
#[derive(Clone, Debug)]
pub struct Prompt {
    name: String,
    title: Option<String>,
    description: String,
    arguments: Vec<Argument>,
    icons: Option<Json>,
    meta: Option<Json>,
}

#[derive(Clone, Debug)]
struct Argument {
    name: String,
    description: String,
    is_required: bool,
}

impl Prompt {
    /// A prompt without arguments yet.
    pub fn new(name: impl Into<String>, description: impl Into<String>) -> Prompt {
        let (name, description) = (name.into(), description.into());
        Prompt { name, title: None, description, arguments: Vec::new(), icons: None, meta: None }
    }

    /// A name for people.
    #[must_use]
    pub fn title(mut self, title: impl Into<String>) -> Prompt {
        self.title = Some(title.into());
        self
    }

    /// Adds an argument, which is always a string. A request that lacks a required one is refused before the function runs.
    #[must_use]
    pub fn argument(mut self, name: impl Into<String>, description: impl Into<String>, is_required: bool) -> Prompt {
        self.arguments.push(Argument { name: name.into(), description: description.into(), is_required });
        self
    }

    /// Icons: an array as in `json!([{"src": "https://example.com/icon.png"}])`.
    #[must_use]
    pub fn icons(mut self, icons: impl Into<Json>) -> Prompt {
        self.icons = Some(icons.into());
        self
    }

    /// The prompt's `_meta`, an object.
    #[must_use]
    pub fn meta(mut self, meta: impl Into<Json>) -> Prompt {
        self.meta = Some(meta.into());
        self
    }

    fn listing(&self) -> String {
        object(|prompt| {
            prompt.string("name", &self.name);
            prompt.text("title", self.title.as_deref());
            prompt.text("description", Some(&self.description));
            push_array(prompt.member("arguments"), &self.arguments, |out, argument| argument.write(out));
            prompt.json("icons", self.icons.as_ref());
            prompt.json("_meta", self.meta.as_ref());
        })
    }
}

impl Argument {
    fn write(&self, out: &mut String) {
        push_object(out, |argument| {
            argument.string("name", &self.name);
            argument.text("description", Some(&self.description));
            argument.raw("required", if self.is_required { "true" } else { "false" });
        });
    }
}

/// One message of a prompt.
#[derive(Clone, Debug)]
pub struct PromptMessage {
    role: &'static str,
    content: Content,
}

impl PromptMessage {
    /// What the user says.
    pub fn user(content: impl Into<Content>) -> PromptMessage {
        PromptMessage { role: "user", content: content.into() }
    }

    /// What the assistant says.
    pub fn assistant(content: impl Into<Content>) -> PromptMessage {
        PromptMessage { role: "assistant", content: content.into() }
    }
}

/// What a prompt's function answers: messages. Text, or one [`Content`], is one message of the user's.
///
/// ```
/// use mcp_http_transport::{Prompt, PromptMessage, PromptResult, Server};
///
/// let prompt = Prompt::new("review", "Reviews a change").argument("diff", "the change", true);
/// let server = Server::new("reviews", "1.0.0").prompt(prompt, |args, _session| {
///     Ok(PromptResult::new([
///         PromptMessage::user(format!("Review this:\n{}", args.string("diff")?)),
///         PromptMessage::assistant("First what I would not change:"),
///     ]))
/// });
/// # drop(server);
/// ```
#[derive(Clone, Debug)]
pub struct PromptResult {
    messages: Vec<PromptMessage>,
    description: Option<String>,
    meta: Option<Json>,
}

impl PromptResult {
    /// These messages.
    pub fn new(messages: impl IntoIterator<Item = PromptMessage>) -> PromptResult {
        PromptResult { messages: messages.into_iter().collect(), description: None, meta: None }
    }

    /// Says what has become of the prompt, in place of its own description.
    #[must_use]
    pub fn description(mut self, description: impl Into<String>) -> PromptResult {
        self.description = Some(description.into());
        self
    }

    /// The result's `_meta`, an object.
    #[must_use]
    pub fn meta(mut self, meta: impl Into<Json>) -> PromptResult {
        self.meta = Some(meta.into());
        self
    }

    pub(super) fn into_reply(self, entry: &PromptEntry, version: Option<Version>) -> Reply {
        let reply = Reply::new(|result| {
            result.text("description", Some(self.description.as_deref().unwrap_or(&entry.description)));
            push_array(result.member("messages"), &self.messages, |out, message| {
                push_object(out, |object| {
                    object.string("role", message.role);
                    message.content.write(object.member("content"), version);
                });
            });
        });
        reply.with_meta(self.meta)
    }
}

impl From<Vec<PromptMessage>> for PromptResult {
    fn from(messages: Vec<PromptMessage>) -> PromptResult {
        PromptResult::new(messages)
    }
}

impl From<PromptMessage> for PromptResult {
    fn from(message: PromptMessage) -> PromptResult {
        PromptResult::new([message])
    }
}

impl From<Content> for PromptResult {
    fn from(content: Content) -> PromptResult {
        PromptMessage::user(content).into()
    }
}

impl From<&str> for PromptResult {
    fn from(text: &str) -> PromptResult {
        PromptMessage::user(text).into()
    }
}

impl From<String> for PromptResult {
    fn from(text: String) -> PromptResult {
        PromptMessage::user(text).into()
    }
}

type Get = dyn Fn(&Args<'_>, &Session) -> Result<PromptResult, ToolError> + Send + Sync;

/// A prompt as a server has it.
pub(super) struct PromptEntry {
    listing: String,
    description: String,
    names: Vec<String>,
    arguments: Vec<Argument>,
    pub get: Box<Get>,
}

impl PromptEntry {
    /// The name and the prompt.
    pub(super) fn new<F, R>(prompt: Prompt, get: F) -> (String, PromptEntry)
    where
        F: Fn(&Args<'_>, &Session) -> Result<R, ToolError> + Send + Sync + 'static,
        R: Into<PromptResult>,
    {
        let listing = prompt.listing();
        let names = prompt.arguments.iter().map(|argument| argument.name.clone()).collect();
        let get = Box::new(move |args: &Args<'_>, session: &Session| get(args, session).map(Into::into));
        (prompt.name, PromptEntry { listing, description: prompt.description, names, arguments: prompt.arguments, get })
    }

    /// The names of its arguments.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    /// What is wrong with the arguments, if something is.
    pub(super) fn fault(&self, args: &Args<'_>) -> Option<String> {
        self.arguments.iter().find_map(|argument| match args.get(&argument.name) {
            None if argument.is_required => Some(format!("argument {:?} is missing", argument.name)),
            Some(raw) if !raw.starts_with('"') => Some(format!("argument {:?} must be a string", argument.name)),
            _ => None,
        })
    }
}

impl Listed for PromptEntry {
    fn listing(&self) -> &str {
        &self.listing
    }
}
