//! Arguments that a stateless server wants repeated in headers (2026-07-28 basic/transports/streamable-http, Custom Headers from Tool Parameters). A client
//! on stdio knows nothing of headers: which arguments these are is remembered from the tool lists that pass by.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;

use crate::connect::headers::{Header, sendable};
use crate::json;
use crate::message::Message;

/// The mark in a schema.
const MARK: &str = "x-mcp-header";
/// Tools that are remembered, and how deep an argument may lie.
const TOOLS: usize = 4096;
const DEPTH: usize = 16;

/// A header, and the way through a tool's arguments to its value.
type Repeated = (String, Vec<String>);

/// The tools that have such arguments.
#[derive(Default)]
pub(super) struct Params(Mutex<HashMap<String, Vec<Repeated>>>);

impl Params {
    /// Takes down what a list of tools says.
    pub fn listed(&self, answer: &Message) {
        // Nearly no list has any, and a list is large.
        let Some(letter) = answer.letter().filter(|letter| letter.contains(MARK)) else { return };
        let Ok(list) = serde_json::from_str::<Value>(letter) else { return };
        let mut table = self.lock();
        for tool in list["tools"].as_array().into_iter().flatten() {
            let Some(name) = tool["name"].as_str() else { continue };
            let mut found = Vec::new();
            find(&tool["inputSchema"], &mut Vec::new(), &mut found);
            if table.len() < TOOLS || table.contains_key(name) {
                table.insert(name.to_owned(), found);
            }
        }
    }

    /// The headers for a call of a tool.
    pub fn headers(&self, call: &Message) -> Vec<Header> {
        let Some(name) = call.find(&["name"]).and_then(json::unquote) else { return Vec::new() };
        let table = self.lock();
        let header = |(header, way): &Repeated| {
            let way: Vec<&str> = std::iter::once("arguments").chain(way.iter().map(String::as_str)).collect();
            let raw = call.find(&way)?;
            let value = match raw.as_bytes().first()? {
                b'"' => sendable(&json::unquote(raw)?),
                // No argument, and what is no single value.
                b'n' | b'{' | b'[' => return None,
                _ => raw.to_owned(),
            };
            Some(Header::new(&format!("Mcp-Param-{header}"), value))
        };
        table.get(&*name).into_iter().flatten().filter_map(header).collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Vec<Repeated>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Only what is reached through `properties` counts.
fn find(schema: &Value, way: &mut Vec<String>, found: &mut Vec<Repeated>) {
    if way.len() >= DEPTH {
        return;
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        way.push(name.clone());
        let is_token = |text: &&str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
        if let Some(header) = property[MARK].as_str().filter(is_token) {
            found.push((header.to_owned(), way.clone()));
        }
        find(property, way, found);
        way.pop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marked_arguments_are_repeated() {
        let params = Params::default();
        let list = r#"{"tools":[{"name":"t","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"},
            "deep":{"type":"object","properties":{"n":{"type":"integer","x-mcp-header":"N"}}},"flag":{"x-mcp-header":"Flag"},
            "none":{"x-mcp-header":"None"},"bad":{"x-mcp-header":"a b"},"plain":{}}}},{"name":"u"}]}"#;
        params.listed(&Message::result("1", list));
        let headers = |call: &str| {
            let mut text = String::new();
            params.headers(&Message::request("2", "tools/call", Some(call))).iter().for_each(|header| header.write(&mut text));
            text
        };
        let call = r#"{"name":"t","arguments":{"region":"zürich","deep":{"n":42},"flag":true,"none":null,"bad":"x","plain":"x"}}"#;
        let mut lines: Vec<_> = headers(call).lines().map(str::to_owned).collect();
        lines.sort();
        assert_eq!(lines, ["Mcp-Param-Flag: true", "Mcp-Param-N: 42", "Mcp-Param-Region: =?base64?esO8cmljaA==?="]);
        assert_eq!(headers(r#"{"name":"t"}"#), "");
        assert_eq!(headers(r#"{"name":"u","arguments":{"region":"x"}}"#), "");
    }
}
