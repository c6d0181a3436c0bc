//! The methods of the protocol, each with its answer.
//!
//! 1. A method of the other era, or of a family that the server has not, does not exist (-32601).
//! 2. Params of the wrong shape, and names that nothing has, are the client's fault (-32602).
//! 3. What the embedder's function answers is written; no lock is held while it runs.
//! 4. The end of the result is written as the client's era wants it.

use std::borrow::Cow;

use serde_json::json;

use crate::handler::{Handler, LogLevel, Notification, Request, Session};
use crate::json::{self, Json};
use crate::rpc_error::RpcError;
use crate::server::args::Args;
use crate::server::object::push_array;
use crate::server::registry::Page;
use crate::server::reply::Reply;
use crate::server::{Server, completion, modern};
use crate::version::Version;

/// Resource not found, in the versions that have an `initialize` (2024-11-05 server/resources, Error Handling).
const RESOURCE_NOT_FOUND: i64 = -32002;

impl Handler for Server {
    fn handle(&self, request: &Request, session: &Session) -> Result<Json, RpcError> {
        let method = request.method();
        self.shared.clients.heard(session, &method);
        let is_modern = modern::is_modern(session);
        let family = method.split_once('/').map_or("", |(family, _)| family);
        if !modern::exists(&method, is_modern) || !self.serves(family) {
            return Err(RpcError::method_not_found(&method));
        }
        let shared = &self.shared;
        let reply = match &*method {
            "initialize" => self.initialize(request),
            "server/discover" => Ok(modern::discover(&self.capabilities(), self.instructions.as_deref())),
            "tools/list" => list("tools", shared.tools.page(request.param("cursor"), self.page_size)),
            "tools/call" => self.call_tool(request, session),
            "resources/list" => list("resources", shared.resources.page(request.param("cursor"), self.page_size)),
            "resources/templates/list" => list("resourceTemplates", shared.templates.page(request.param("cursor"), self.page_size)),
            "resources/read" => self.read_resource(request, session),
            "resources/subscribe" => shared.clients.subscribe(session, &request.string("uri")?).map(|()| Reply::empty()),
            "resources/unsubscribe" => {
                shared.clients.unsubscribe(session, &request.string("uri")?);
                Ok(Reply::empty())
            }
            "prompts/list" => list("prompts", shared.prompts.page(request.param("cursor"), self.page_size)),
            "prompts/get" => self.get_prompt(request, session),
            "completion/complete" => self.complete(request, session),
            "logging/setLevel" => set_level(request, session),
            _ => Err(RpcError::method_not_found(&method)),
        }?;
        Ok(if is_modern { modern::finish(reply, &self.info()) } else { reply.into_legacy() })
    }

    fn notified(&self, notification: &Notification, session: &Session) {
        if notification.method() == "notifications/initialized" {
            self.shared.clients.heard(session, &notification.method());
        }
    }

    fn schema_with_headers(&self, name: &str) -> Option<Json> {
        self.shared.tools.get(name).and_then(|tool| tool.schema_with_headers())
    }

    fn opened(&self, session: &Session) {
        self.shared.clients.opened(session);
    }

    fn closed(&self, session: &Session) {
        self.shared.clients.closed(session);
    }
}

impl Server {
    fn initialize(&self, request: &Request) -> Result<Reply, RpcError> {
        let version = Version::negotiate(&request.string("protocolVersion")?);
        Ok(Reply::new(|result| {
            result.string("protocolVersion", version.as_str());
            result.raw("capabilities", &self.capabilities());
            result.raw("serverInfo", &self.info());
            result.text("instructions", self.instructions.as_deref());
        }))
    }

    fn call_tool(&self, request: &Request, session: &Session) -> Result<Reply, RpcError> {
        let (name, arguments) = called(request)?;
        let tool = self.shared.tools.get(&name).ok_or_else(|| RpcError::invalid_params(format_args!("there is no tool {name:?}")))?;
        let args = Args::read(arguments, tool.names())?;
        let result = tool.call(&args, session).or_else(|error| error.into_result())?;
        Ok(result.into_reply(session.version()))
    }

    fn read_resource(&self, request: &Request, session: &Session) -> Result<Reply, RpcError> {
        let uri = request.string("uri")?;
        let (contents, mime_type) = if let Some(resource) = self.shared.resources.get(&uri) {
            ((resource.read)(&uri, session), resource.mime_type.clone())
        } else if let Some((template, values)) = self.shared.templates.find(|template| template.values(&uri)) {
            ((template.read)(&template.matched(&uri, values), session), template.mime_type.clone())
        } else {
            let code = if modern::is_modern(session) { RpcError::INVALID_PARAMS } else { RESOURCE_NOT_FOUND };
            return Err(RpcError::new(code, format!("there is no resource {uri:?}")).with_data(json!({"uri": uri})));
        };
        let contents = contents.map_err(|error| error.into_rpc())?;
        let reply = Reply::new(|result| {
            push_array(result.member("contents"), &contents.0, |out, part| part.write(out, &uri, mime_type.as_deref()))
        });
        Ok(reply.cacheable())
    }

    fn get_prompt(&self, request: &Request, session: &Session) -> Result<Reply, RpcError> {
        let (name, arguments) = called(request)?;
        let prompt = self.shared.prompts.get(&name).ok_or_else(|| RpcError::invalid_params(format_args!("there is no prompt {name:?}")))?;
        let args = Args::read(arguments, prompt.names())?;
        if let Some(fault) = prompt.fault(&args) {
            return Err(RpcError::invalid_params(fault));
        }
        let result = (prompt.get)(&args, session).map_err(|error| error.into_rpc())?;
        Ok(result.into_reply(&prompt, session.version()))
    }

    fn complete(&self, request: &Request, session: &Session) -> Result<Reply, RpcError> {
        let complete = self.complete.as_ref().ok_or_else(|| RpcError::method_not_found(&request.method()))?;
        let (of, argument, others) = completion::read(request)?;
        if let completion::CompletionRef::Prompt(name) = &of {
            if self.shared.prompts.get(name).is_none() {
                return Err(RpcError::invalid_params(format_args!("there is no prompt {name:?}")));
            }
        }
        complete(&of, &argument, &others, session).map(completion::Completion::into_reply).map_err(|error| error.into_rpc())
    }
}

/// A page of a list as a result.
fn list(member: &str, page: Result<Page, RpcError>) -> Result<Reply, RpcError> {
    let page = page?;
    let reply = Reply::new(|result| {
        result.raw(member, &page.items);
        result.text("nextCursor", page.next_cursor.as_deref());
    });
    Ok(reply.cacheable())
}

/// What a request calls, and the arguments as raw JSON; both are found in one pass.
fn called(request: &Request) -> Result<(Cow<'_, str>, &str), RpcError> {
    let found = json::members(request.params(), ["name", "arguments"]);
    let [name, arguments] = found.ok_or_else(|| RpcError::invalid_params("params must be an object"))?;
    let name = name.and_then(json::unquote).ok_or_else(|| RpcError::invalid_params("name must be a string"))?;
    Ok((name, arguments.unwrap_or("{}")))
}

fn set_level(request: &Request, session: &Session) -> Result<Reply, RpcError> {
    let level = request.string("level")?;
    let level = LogLevel::parse(&level)
        .ok_or_else(|| RpcError::invalid_params(format_args!("level is {level:?}: it must be one of RFC 5424's")))?;
    session.peer().set_log_level(level);
    Ok(Reply::empty())
}
