//! `--dev-tools`: two tools of the front's own, for clients that fetch a changed list of tools and discard it.

use std::sync::Arc;

use super::core::Core;
use super::from_client::replace;
use super::note;
use super::parts::Own;
use crate::connection::Outlet;
use crate::json;
use crate::message::{self, Message};
use crate::rpc_error::RpcError;

/// The two, as entries of a list.
pub(super) const TOOLS: &str = concat!(
    r#"{"name":"dev_status","description":"Tells since when the server's code is live, what changed in it, the last error, and its tools with their schemas.","#,
    r#""inputSchema":{"type":"object"}},"#,
    r#"{"name":"dev_call","description":"Calls a tool of the server by name, also one that is newer than the list of tools you have.","#,
    r#""inputSchema":{"type":"object","properties":{"name":{"type":"string"},"arguments":{"type":"object"}},"required":["name"]}}"#,
);

/// Which of the two a `tools/call` is for.
pub(super) enum Called {
    Status,
    /// The call that is meant.
    Call(Result<Message, RpcError>),
}

pub(super) fn called(message: &Message) -> Option<Called> {
    let name = message.find(&["name"]).and_then(json::unquote)?;
    match name.as_ref() {
        "dev_status" => Some(Called::Status),
        "dev_call" => Some(Called::Call(inner(message))),
        _ => None,
    }
}

fn inner(message: &Message) -> Result<Message, RpcError> {
    let name = message.find(&["arguments", "name"]).filter(|name| name.starts_with('"'));
    let name = name.ok_or_else(|| RpcError::invalid_params("dev_call needs the name of a tool"))?;
    let arguments = message.find(&["arguments", "arguments"]).unwrap_or("{}");
    let meta = message.find(&["_meta"]).map_or_else(String::new, |meta| format!(",\"_meta\":{meta}"));
    let params = format!("{{\"name\":{name},\"arguments\":{arguments}{meta}}}");
    let part = message.letter().map(|letter| json::span(message.as_str(), letter)).unwrap_or_default();
    Ok(message.clone().replace(part, &params))
}

/// Adds the two to the last page of a list of tools.
pub(super) fn add_tools(answer: &mut Message) {
    if answer.find(&["nextCursor"]).is_some_and(|cursor| cursor != "null") {
        return;
    }
    let Some(tools) = answer.find(&["tools"]).filter(|tools| tools.starts_with('[')) else { return };
    let end = json::span(answer.as_str(), tools).end;
    let comma = if tools[1..].trim_start().starts_with(']') { "" } else { "," };
    replace(answer, end - 1..end, &format!("{comma}{TOOLS}]"));
}

impl Core {
    /// Answers `dev_status`, after asking the child for its tools.
    pub(super) fn dev_status(&mut self, message: &Message, outlet: Arc<dyn Outlet>) {
        let id: Box<str> = message.id().into();
        match self.current().map(|kid| (kid.number, kid.families.tools)) {
            Some((kid, true)) => {
                self.ask_child(kid, Own::Status { id, outlet }, Message::request("0", "tools/list", Some(&self.own_params("{}"))));
            }
            _ => self.answer_status(&id, &outlet, &Message::result("0", "{}")),
        }
    }

    pub(super) fn answer_status(&mut self, id: &str, outlet: &Arc<dyn Outlet>, tools: &Message) {
        let good = tools.letter().filter(|_| tools.kind() == message::Kind::Result);
        let tools = good.and_then(|result| json::member(result, "tools")).unwrap_or("[]");
        let live = self.current().map_or_else(|| "null".to_owned(), |kid| json::string(&note::clock(kid.live_since)));
        let changes: Vec<String> = self.changes.iter().map(|change| json::string(change)).collect();
        let failure = self.not_live.as_ref().and_then(|not_live| not_live.output.as_deref()).map(str::to_owned);
        let failure = failure.or_else(|| self.last_failure.as_ref().map(|(why, output)| format!("{why}\n{output}")));
        let failure = failure.map_or_else(|| "null".to_owned(), |failure| json::string(&note::end_of(&failure)));
        let changes = changes.join(",");
        let status = format!("{{\"live_since\":{live},\"changed_tools\":[{changes}],\"last_error\":{failure},\"tools\":{tools}}}");
        let result = self.completed(format!("{{\"content\":[{{\"type\":\"text\",\"text\":{}}}]}}", json::string(&status)));
        self.offer(outlet, Message::result(id, &result));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dev_call_becomes_the_call_that_is_meant() {
        let text = r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"dev_call","arguments":{"name":"add","arguments":{"a":1}},"_meta":{"progressToken":3}}}"#;
        let Some(Called::Call(Ok(call))) = called(&Message::parse(text.to_owned()).unwrap()) else { panic!() };
        assert_eq!(call.letter(), Some(r#"{"name":"add","arguments":{"a":1},"_meta":{"progressToken":3}}"#));
        assert_eq!((call.id(), call.method().as_ref()), ("7", "tools/call"));
    }

    #[test]
    fn the_tools_stand_on_the_last_page_and_are_json() {
        let names = |page: &str| {
            let mut answer = Message::result("1", page);
            add_tools(&mut answer);
            let tools: Vec<serde_json::Value> = serde_json::from_str(answer.find(&["tools"]).unwrap()).unwrap();
            tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(r#"{"tools":[ ]}"#), ["dev_status", "dev_call"]);
        assert_eq!(names(r#"{"tools":[{"name":"a"}]}"#), ["a", "dev_status", "dev_call"]);
        assert_eq!(names(r#"{"tools":[{"name":"a"}],"nextCursor":"x"}"#), ["a"]);
    }
}
