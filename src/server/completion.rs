//! Completion: what an argument of a prompt, or a variable of a resource template, may go on with.

use crate::handler::{Request, Session};
use crate::json;
use crate::rpc_error::RpcError;
use crate::server::args::Args;
use crate::server::object::push_array;
use crate::server::reply::Reply;
use crate::server::result::ToolError;

/// How many values an answer may have (2024-11-05 server/utilities/completion).
const MOST: usize = 100;

/// What a completion is for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CompletionRef {
    /// The prompt of this name.
    Prompt(String),
    /// The resource template of this text, or the resource of this uri.
    Resource(String),
}

/// The argument to complete.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CompletionArgument {
    /// Its name.
    pub name: String,
    /// What was typed so far.
    pub value: String,
}

/// What a completion function answers: the values that fit, best first. Of more than a hundred the client gets the first hundred, and is told.
#[derive(Clone, Debug, Default)]
pub struct Completion {
    values: Vec<String>,
    total: usize,
}

impl<S: Into<String>, V: IntoIterator<Item = S>> From<V> for Completion {
    fn from(values: V) -> Completion {
        let mut values = values.into_iter();
        let first: Vec<String> = values.by_ref().take(MOST).map(Into::into).collect();
        Completion { total: first.len() + values.count(), values: first }
    }
}

impl Completion {
    pub(super) fn into_reply(self) -> Reply {
        Reply::new(|result| {
            result.object("completion", |completion| {
                push_array(completion.member("values"), &self.values, |out, value| json::push_string(out, value));
                completion.raw("total", &self.total.to_string());
                completion.raw("hasMore", if self.total > self.values.len() { "true" } else { "false" });
            });
        })
    }
}

pub(super) type Complete = dyn Fn(&CompletionRef, &CompletionArgument, &Args<'_>, &Session) -> Result<Completion, ToolError> + Send + Sync;

/// What to complete, as the request says.
pub(super) fn read(request: &Request) -> Result<(CompletionRef, CompletionArgument, Args<'_>), RpcError> {
    let string = |names: [&str; 2]| {
        let text = request.find(&names).and_then(json::unquote);
        text.map(|text| text.into_owned()).ok_or_else(|| RpcError::invalid_params(format_args!("{} must be a string", names.join("."))))
    };
    let reference = match string(["ref", "type"])?.as_str() {
        "ref/prompt" => CompletionRef::Prompt(string(["ref", "name"])?),
        "ref/resource" => CompletionRef::Resource(string(["ref", "uri"])?),
        other => return Err(RpcError::invalid_params(format_args!("ref.type is {other:?}: it must be ref/prompt or ref/resource"))),
    };
    let argument = CompletionArgument { name: string(["argument", "name"])?, value: string(["argument", "value"])? };
    let context = Args::read(request.find(&["context", "arguments"]).unwrap_or("{}"), &[])?;
    Ok((reference, argument, context))
}
