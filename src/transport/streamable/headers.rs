//! A stateless request says in its headers again what its body says, so that proxies need not read the body; the two must agree (2026-07-28
//! basic/transports/streamable-http, Request Headers).

use std::borrow::Cow;

use serde_json::Value;

use crate::base64;
use crate::handler::stateless::HEADER_MISMATCH;
use crate::http1::Head;
use crate::json::{self, Json, Twice};
use crate::message::Message;
use crate::rpc_error::RpcError;

/// How deep in a schema annotations are looked for.
const DEPTH: usize = 16;

/// Compares `MCP-Protocol-Version`, `Mcp-Method` and `Mcp-Name` with the body, whose version is `version`.
pub(super) fn check(head: &Head, message: &Message, version: &str) -> Result<(), RpcError> {
    let method = message.method();
    for (name, said) in [("MCP-Protocol-Version", version), ("Mcp-Method", &*method)] {
        if only(head, name)? != Some(said) {
            return Err(mismatch(name));
        }
    }
    let named = match &*method {
        "tools/call" | "prompts/get" => "name",
        "resources/read" => "uri",
        _ => return Ok(()),
    };
    // A server behind may read the other one of two.
    let said = json::only_member(message.letter().unwrap_or_default(), named).map_err(|Twice| mismatch("Mcp-Name"))?;
    let said = said.and_then(json::unquote);
    let header = only(head, "Mcp-Name")?;
    match (header, said) {
        (None, None) => Ok(()),
        (Some(header), Some(said)) if decode(header).as_deref() == Some(&*said) => Ok(()),
        _ => Err(mismatch("Mcp-Name")),
    }
}

/// Compares the headers that repeat arguments, as `schema` says, with the arguments.
pub(super) fn check_arguments(head: &Head, message: &Message, schema: &Json) -> Result<(), RpcError> {
    let Ok(schema) = schema.parse::<Value>() else { return Ok(()) };
    let mut annotated = Vec::new();
    annotations(&schema, &mut Vec::new(), &mut annotated);
    if annotated.is_empty() {
        return Ok(());
    }
    for (path, name) in annotated {
        let name = format!("Mcp-Param-{name}");
        let argument = argument(message, &path).map_err(|Twice| mismatch(&name))?;
        match (only(head, &name)?, argument) {
            (None, None) => {}
            (Some(header), Some(argument)) if decode(header).is_some_and(|header| agrees(&header, &argument)) => {}
            _ => return Err(mismatch(&name)),
        }
    }
    Ok(())
}

/// The argument that is reached through these names, unless it is null.
fn argument(message: &Message, path: &[String]) -> Result<Option<Value>, Twice> {
    let mut raw = message.letter();
    for name in std::iter::once("arguments").chain(path.iter().map(String::as_str)) {
        raw = raw.map_or(Ok(None), |object| json::only_member(object, name))?;
    }
    Ok(raw.and_then(|raw| serde_json::from_str(raw).ok()).filter(|value: &Value| !value.is_null()))
}

/// Where in the arguments the annotated ones are, and their headers. Only what is reached through `properties` counts.
fn annotations(schema: &Value, path: &mut Vec<String>, found: &mut Vec<(Vec<String>, String)>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object).filter(|_| path.len() < DEPTH) else { return };
    for (name, property) in properties {
        path.push(name.clone());
        if let Some(header) = property.get("x-mcp-header").and_then(Value::as_str) {
            found.push((path.clone(), header.to_owned()));
        }
        annotations(property, path, found);
        path.pop();
    }
}

fn agrees(header: &str, argument: &Value) -> bool {
    match argument {
        Value::String(text) => header == text,
        Value::Bool(is_so) => header == if *is_so { "true" } else { "false" },
        Value::Number(number) => match (header.parse::<i128>(), number.to_string().parse::<i128>()) {
            // As floating point numbers two large integers may be one.
            (Ok(header), Ok(number)) => header == number,
            _ => header.parse::<f64>().is_ok_and(|header| Some(header) == number.as_f64()),
        },
        _ => false,
    }
}

/// The value of a header that stands there once at most.
fn only<'h>(head: &'h Head, name: &str) -> Result<Option<&'h str>, RpcError> {
    let mut values = head.fields().filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim_matches([' ', '\t']));
    let value = values.next();
    let is_clean = value.is_none_or(|value| value.bytes().all(|byte| byte == b'\t' || (b' '..0x7f).contains(&byte)));
    if values.next().is_some() || !is_clean { Err(mismatch(name)) } else { Ok(value) }
}

/// What a header's value stands for: itself, unless it is wrapped as `=?base64?...?=`. None when what is wrapped is no Base64 text.
fn decode(value: &str) -> Option<Cow<'_, str>> {
    match value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?=")) {
        None => Some(Cow::Borrowed(value)),
        Some(wrapped) => base64::decode(wrapped).and_then(|bytes| String::from_utf8(bytes).ok()).map(Cow::Owned),
    }
}

fn mismatch(name: &str) -> RpcError {
    RpcError::new(HEADER_MISMATCH, format!("Header mismatch: {name} must be there once and say what the body says"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::{Limits, Reader, Source};
    use std::time::{Duration, Instant};

    struct Text<'t>(&'t [u8]);

    impl Source for Text<'_> {
        fn read_before(&mut self, buffer: &mut [u8], _: Instant) -> std::io::Result<usize> {
            std::io::Read::read(&mut self.0, buffer)
        }
    }

    fn head(headers: &str) -> Head {
        let text = format!("POST /mcp HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n");
        let second = Duration::from_secs(1);
        let limits = Limits { head_bytes: 4096, headers: 50, body_bytes: 0, head_deadline: second, body_deadline: second, idle: second };
        Reader::new().head(&mut Text(text.as_bytes()), &limits).unwrap()
    }

    fn call(params: &str) -> Message {
        Message::request("1", "tools/call", Some(params))
    }

    fn agrees(headers: &str, message: &Message) -> bool {
        match check(&head(headers), message, "2026-07-28") {
            Ok(()) => true,
            Err(error) => {
                assert_eq!(error.code(), HEADER_MISMATCH);
                false
            }
        }
    }

    #[test]
    fn the_standard_headers_say_what_the_body_says() {
        let message = call(r#"{"name":"gr\u00fc\u00dfe"}"#);
        let fine = "MCP-Protocol-Version: 2026-07-28\r\nmcp-method:  tools/call \r\nMCP-NAME: =?base64?Z3LDvMOfZQ==?=\r\n";
        assert!(agrees(fine, &message));
        for (there, instead) in [
            ("2026-07-28", "2025-11-25"),
            ("tools/call", "TOOLS/CALL"),
            ("tools/call", "tools/list"),
            ("mcp-method:  tools/call \r\n", ""),
            ("mcp-method", "mcp-method: tools/call\r\nmcp-method"),
            ("MCP-Protocol-Version: 2026-07-28\r\n", ""),
            ("Z3LDvMOfZQ==", "Z3LDvMOfZQ"),
            ("Z3LDvMOfZQ==", "AAAA"),
            ("MCP-NAME: =?base64?Z3LDvMOfZQ==?=\r\n", ""),
        ] {
            assert!(!agrees(&fine.replace(there, instead), &message), "{instead:?} for {there:?}");
        }
        let list = Message::request("1", "tools/list", None);
        assert!(agrees("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/list\r\n", &list));
        let read = Message::request("1", "resources/read", Some(r#"{"uri":"a:b"}"#));
        assert!(agrees("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: resources/read\r\nMcp-Name: a:b\r\n", &read));
    }

    #[test]
    fn a_name_that_is_there_twice_agrees_with_no_header() {
        for name in ["a", "b"] {
            let headers = format!("MCP-Protocol-Version: 2026-07-28\r\nMcp-Method: tools/call\r\nMcp-Name: {name}\r\n");
            assert!(!agrees(&headers, &call(r#"{"name":"a","arguments":{},"n\u0061me":"b"}"#)), "{name}");
        }
        let schema: Json = r#"{"properties":{"r":{"x-mcp-header":"R"},"o":{"properties":{"p":{"x-mcp-header":"P"}}}}}"#.parse().unwrap();
        for (header, params) in [
            ("R: a", r#"{"arguments":{"r":"a","r":"b"}}"#),
            ("R: b", r#"{"arguments":{"r":"a","r":"b"}}"#),
            ("R: a", r#"{"arguments":{"r":"a"},"arguments":{"r":"b"}}"#),
            ("P: a", r#"{"arguments":{"o":{"p":"a"},"o":{"p":"a"}}}"#),
        ] {
            assert!(check_arguments(&head(&format!("Mcp-Param-{header}\r\n")), &call(params), &schema).is_err(), "{params}");
        }
    }

    #[test]
    fn annotated_arguments_are_repeated() {
        let schema: Json = r#"{"properties":{"region":{"type":"string","x-mcp-header":"Region"},"deep":{"properties":{"n":{"type":"integer","x-mcp-header":"N"}}},
            "list":{"items":{"properties":{"x":{"x-mcp-header":"X"}}}},"flag":{"type":"boolean","x-mcp-header":"Flag"}}}"#
            .parse()
            .unwrap();
        let agrees = |headers: &str, arguments: &str| {
            check_arguments(&head(headers), &call(&format!("{{\"arguments\":{arguments}}}")), &schema).is_ok()
        };
        assert!(agrees("", "{}") && agrees("", r#"{"region":null,"list":[{"x":1}]}"#));
        assert!(
            agrees("Mcp-Param-Region: eu\r\n", r#"{"region":"eu"}"#)
                && agrees("mcp-param-region: =?base64?ZXU=?=\r\n", r#"{"region":"eu"}"#)
        );
        assert!(agrees("Mcp-Param-N: 42\r\nMcp-Param-Flag: true\r\n", r#"{"deep":{"n":42.0},"flag":true}"#));
        assert!(!agrees("", r#"{"region":"eu"}"#) && !agrees("Mcp-Param-Region: EU\r\n", r#"{"region":"eu"}"#));
        assert!(!agrees("Mcp-Param-Region: =?base64?!?=\r\n", r#"{"region":"eu"}"#) && !agrees("Mcp-Param-Region: eu\r\n", "{}"));
        assert!(!agrees("Mcp-Param-N: 9007199254740993\r\n", r#"{"deep":{"n":9007199254740992}}"#));
        assert!(!agrees("Mcp-Param-N: 43\r\n", r#"{"deep":{"n":42}}"#) && !agrees("Mcp-Param-Flag: 1\r\n", r#"{"flag":true}"#));
    }
}
