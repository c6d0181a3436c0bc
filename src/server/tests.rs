//! A server over connections in memory: every method, as a client sees it.

mod changes;
mod era;
mod lists;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::config::Limits;
use crate::connection::Connection;
use crate::dispatch::{Dispatcher, drive};
use crate::handler::Handler;
use crate::json::Json;
use crate::message::Message;
use crate::rpc_error::RpcError;
use crate::server::{Completion, CompletionRef, Content, Prompt, PromptMessage, Resource, ResourceContents, ResourceTemplate};
use crate::server::{Server, Tool, ToolError, ToolResult, Type};
use crate::workers::Workers;

const SOON: Duration = Duration::from_secs(10);

/// As many clients of one handler as are wanted.
fn clients<const N: usize>(handler: impl Handler) -> [Connection; N] {
    let dispatcher = Arc::new(Dispatcher::new(Arc::new(handler), &Limits::default(), Workers::new(8)));
    std::array::from_fn(|_| {
        let (ours, theirs) = Connection::memory();
        drive(dispatcher.clone(), Workers::new(8), theirs).unwrap();
        ours
    })
}

fn client(handler: impl Handler) -> Connection {
    let [client] = clients(handler);
    client
}

fn call(client: &Connection, method: &str, params: Value) -> Result<Json, RpcError> {
    client.call(1, method, &params.to_string(), SOON)
}

fn result(client: &Connection, method: &str, params: Value) -> Value {
    call(client, method, params).unwrap().parse().unwrap()
}

fn tool(client: &Connection, name: &str, arguments: Value) -> Value {
    result(client, "tools/call", json!({"name": name, "arguments": arguments}))
}

fn code(client: &Connection, method: &str, params: Value) -> i64 {
    call(client, method, params).unwrap_err().code()
}

fn failure(text: &str) -> Value {
    json!({"content": [{"type": "text", "text": text}], "isError": true})
}

/// The next message other than the answer to a call.
fn next(client: &Connection) -> Message {
    client.receive(SOON).unwrap()
}

fn clock() -> Server {
    Server::new("clock", "1.0.0")
        .tool(Tool::new("add", "Add").param("a", Type::Number, "first").param("b", Type::Number, ""), |args, _session| {
            Ok(args.number("a")? + args.number("b")?)
        })
        .tool(Tool::new("echo", "").param("message", Type::String, ""), |args, _session| args.string("message"))
}

#[test]
fn initialize_says_who_serves_what() {
    let client = client(
        clock()
            .title("Clock")
            .description("Tells")
            .website_url("https://example.com")
            .icons(json!([{"src": "https://example.com/i.png"}]))
            .instructions("Ask."),
    );
    let params = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    let info = json!({"name": "clock", "version": "1.0.0", "title": "Clock", "description": "Tells", "websiteUrl": "https://example.com",
        "icons": [{"src": "https://example.com/i.png"}]});
    let expected = json!({"protocolVersion": "2025-06-18", "capabilities": {"logging": {}, "tools": {"listChanged": true}}, "serverInfo": info,
        "instructions": "Ask."});
    assert_eq!(result(&client, "initialize", params), expected);
    assert_eq!(result(&client, "initialize", json!({"protocolVersion": "2026-07-28"}))["protocolVersion"], "2025-11-25");
    assert_eq!(code(&client, "initialize", json!({})), RpcError::INVALID_PARAMS);
    assert_eq!(code(&client, "initialize", json!({"protocolVersion": 3})), RpcError::INVALID_PARAMS);
    assert_eq!(result(&client, "ping", json!({})), json!({}));
}

#[test]
fn what_is_not_served_does_not_exist() {
    let client = client(clock());
    for method in [
        "resources/list",
        "resources/read",
        "resources/subscribe",
        "prompts/get",
        "completion/complete",
        "server/discover",
        "tools/x",
        "x",
        "",
    ] {
        assert_eq!(code(&client, method, json!({"uri": "a:b", "name": "a"})), RpcError::METHOD_NOT_FOUND, "{method}");
    }
    assert_eq!(client.call(2, "tools/call", "[]", SOON).unwrap_err().code(), RpcError::INVALID_PARAMS);
}

#[test]
fn a_tool_is_called() {
    let client = client(clock());
    assert_eq!(tool(&client, "add", json!({"a": 2, "b": 0.5})), json!({"content": [{"type": "text", "text": "2.5"}]}));
    let message = "é\n\"\u{1}".repeat(70_000);
    assert_eq!(tool(&client, "echo", json!({"message": message}))["content"][0]["text"], json!(message));
}

#[test]
fn a_bad_value_is_told_to_the_model_and_a_bad_call_to_the_client() {
    let client = client(clock());
    assert_eq!(tool(&client, "add", json!({"a": 2})), failure(r#"argument "b" is missing: it must be a number"#));
    assert_eq!(result(&client, "tools/call", json!({"name": "add"})), failure(r#"argument "a" is missing: it must be a number"#));
    assert_eq!(tool(&client, "add", json!({"a": "2", "b": 1})), failure(r#"argument "a" must be a number, and not "2""#));
    for params in [
        json!({"name": "none"}),
        json!({"name": 1}),
        json!({}),
        json!({"name": "add", "arguments": [1]}),
        json!({"name": "add", "arguments": null}),
    ] {
        assert_eq!(code(&client, "tools/call", params.clone()), RpcError::INVALID_PARAMS, "{params}");
    }
}

#[test]
fn types_are_checked_before_the_function_runs() {
    let every = Tool::new("every", "")
        .optional("s", Type::String, "")
        .optional("n", Type::Number, "")
        .optional("i", Type::Integer, "")
        .optional("b", Type::Boolean, "")
        .optional("a", Type::Array, "")
        .optional("o", Type::Object, "")
        .optional("e", Type::OneOf(&["x", "y"]), "");
    let must = Tool::new("must", "").param("s", Type::String, "");
    let server = Server::new("t", "1").tool(every, |_args, _session| Ok("ran")).tool(must, |_args, _session| Ok("ran"));
    let client = client(server);
    assert_eq!(tool(&client, "must", json!({})), failure(r#"argument "s" is missing: it must be a string"#));
    assert_eq!(tool(&client, "must", json!({"s": null})), failure(r#"argument "s" must be a string, and not null"#));
    let passes = |arguments: Value| tool(&client, "every", arguments)["content"][0]["text"] == "ran";
    assert!(passes(json!({"s": "", "n": -1.5, "i": 3, "b": false, "a": [], "o": {}, "e": "y"})));
    assert!(passes(json!({"s": null, "n": null, "i": null, "b": null, "a": null, "o": null, "e": null, "other": 1})));
    assert!(passes(json!({"i": 3.0})));
    for bad in
        [json!({"s": 1}), json!({"n": "1"}), json!({"i": 1.5}), json!({"b": 1}), json!({"a": {}}), json!({"o": []}), json!({"e": "z"})]
    {
        assert!(!passes(bad.clone()), "{bad}");
    }
    assert_eq!(tool(&client, "every", json!({"e": 1})), failure(r#"argument "e" must be one of ["x", "y"], and not 1"#));
}

#[test]
fn whatever_goes_wrong_in_a_tool_has_its_answer() {
    let server = Server::new("t", "1")
        .tool(Tool::new("io", ""), |_args, _session| Ok(std::fs::read_to_string("no/such/file")?))
        .tool(Tool::new("rpc", ""), |_args, _session| -> Result<(), ToolError> { Err(ToolError::rpc(RpcError::new(-32050, "odd"))) })
        .tool(Tool::new("panic", ""), |_args, _session| -> Result<(), ToolError> { panic!("on purpose") })
        .tool(Tool::new("said", ""), |_args, _session| Ok(ToolResult::error("no")));
    let client = client(server);
    assert_eq!(tool(&client, "io", json!({}))["isError"], true);
    assert_eq!(code(&client, "tools/call", json!({"name": "rpc"})), -32050);
    assert_eq!(code(&client, "tools/call", json!({"name": "panic"})), RpcError::INTERNAL_ERROR);
    assert_eq!(tool(&client, "said", json!({})), failure("no"));
}

#[test]
fn results_of_every_kind() {
    let server = Server::new("t", "1")
        .tool(Tool::new("object", ""), |_args, _session| Ok(json!({"n": 1})))
        .tool(Tool::new("list", ""), |_args, _session| Ok(json!([1])))
        .tool(Tool::new("nothing", ""), |_args, _session| Ok(()))
        .tool(Tool::new("whole", ""), |_args, _session| Ok(3.0))
        .tool(Tool::new("meta", ""), |_args, _session| Ok(ToolResult::new(["a".into()]).meta(json!({"m": 1}))))
        .tool(Tool::new("blocks", ""), |_args, _session| {
            let contents = ResourceContents::text("t").uri("demo://a").mime_type("text/plain");
            Ok(vec![
                Content::image(b"foo", "image/png").annotations(json!({"priority": 1})),
                Content::resource(contents).meta(json!({"m": 2})),
                Content::link(Resource::new("demo://b", "b").size(7)),
            ])
        });
    let client = client(server);
    assert_eq!(
        tool(&client, "object", json!({})),
        json!({"content": [{"type": "text", "text": "{\"n\":1}"}], "structuredContent": {"n": 1}})
    );
    // Before 2026-07-28 structured content is an object, or is not.
    assert_eq!(tool(&client, "list", json!({})), json!({"content": [{"type": "text", "text": "[1]"}]}));
    assert_eq!(tool(&client, "nothing", json!({})), json!({"content": []}));
    assert_eq!(tool(&client, "whole", json!({})), json!({"content": [{"type": "text", "text": "3"}]}));
    assert_eq!(tool(&client, "meta", json!({})), json!({"content": [{"type": "text", "text": "a"}], "_meta": {"m": 1}}));
    let blocks = json!([
        {"type": "image", "data": "Zm9v", "mimeType": "image/png", "annotations": {"priority": 1}},
        {"type": "resource", "resource": {"uri": "demo://a", "mimeType": "text/plain", "text": "t"}, "_meta": {"m": 2}},
        {"type": "resource_link", "uri": "demo://b", "name": "b", "size": 7},
    ]);
    assert_eq!(tool(&client, "blocks", json!({})), json!({"content": blocks}));
}

#[test]
fn resources_are_read() {
    let server = Server::new("t", "1")
        .resource(Resource::new("demo://text", "text").mime_type("text/plain"), |uri, _session| Ok(format!("this is {uri}")))
        .resource(Resource::new("demo://bytes", "bytes"), |_uri, _session| Ok(b"foo".to_vec()))
        .resource(Resource::new("demo://lost", "lost"), |_uri, _session| -> Result<String, ToolError> { Err("gone".into()) })
        .resource_template(ResourceTemplate::new("demo://{id}/data", "data").mime_type("application/json"), |found, _session| {
            Ok(vec![ResourceContents::text(found.get("id")), ResourceContents::text("").uri("demo://other").meta(json!({}))])
        });
    let client = client(server);
    let read = |uri: &str| result(&client, "resources/read", json!({"uri": uri}))["contents"].clone();
    assert_eq!(read("demo://text"), json!([{"uri": "demo://text", "mimeType": "text/plain", "text": "this is demo://text"}]));
    assert_eq!(read("demo://bytes"), json!([{"uri": "demo://bytes", "blob": "Zm9v"}]));
    let of_template = json!([
        {"uri": "demo://a%20b/data", "mimeType": "application/json", "text": "a b"},
        {"uri": "demo://other", "mimeType": "application/json", "text": "", "_meta": {}},
    ]);
    assert_eq!(read("demo://a%20b/data"), of_template);
    let missing = call(&client, "resources/read", json!({"uri": "demo://none"})).unwrap_err();
    assert_eq!((missing.code(), missing.data().unwrap().as_str()), (-32002, r#"{"uri":"demo://none"}"#));
    assert_eq!(code(&client, "resources/read", json!({"uri": "demo://lost"})), RpcError::INTERNAL_ERROR);
    assert_eq!(code(&client, "resources/read", json!({})), RpcError::INVALID_PARAMS);
}

#[test]
fn prompts_are_filled_in() {
    let server = Server::new("t", "1")
        .prompt(Prompt::new("greet", "Greets").argument("name", "who", true).argument("how", "", false), |args, _session| {
            let how = args.opt_string("how")?.unwrap_or_default();
            Ok(vec![
                PromptMessage::user(format!("{} {how}", args.string("name")?)),
                PromptMessage::assistant(Content::image(b"", "image/png")),
            ])
        })
        .prompt(Prompt::new("plain", ""), |_args, _session| Ok("just text"));
    let client = client(server);
    let get = |params: Value| result(&client, "prompts/get", params);
    let messages = json!([
        {"role": "user", "content": {"type": "text", "text": "Ann "}},
        {"role": "assistant", "content": {"type": "image", "data": "", "mimeType": "image/png"}},
    ]);
    assert_eq!(get(json!({"name": "greet", "arguments": {"name": "Ann"}})), json!({"description": "Greets", "messages": messages}));
    assert_eq!(get(json!({"name": "plain"})), json!({"messages": [{"role": "user", "content": {"type": "text", "text": "just text"}}]}));
    for params in [json!({"name": "greet"}), json!({"name": "none"}), json!({"name": "greet", "arguments": {"name": 1}})] {
        assert_eq!(code(&client, "prompts/get", params.clone()), RpcError::INVALID_PARAMS, "{params}");
    }
}

#[test]
fn arguments_are_completed() {
    let server = clock().prompt(Prompt::new("greet", "").argument("name", "", true), |_args, _session| Ok("")).completion(
        |of, argument, others, _session| {
            let of = if matches!(of, CompletionRef::Prompt(_)) { "prompt" } else { "resource" };
            let count = others.opt_integer("count")?.unwrap_or(1);
            Ok(Completion::from((0..count).map(|number| format!("{of} {} {number}", argument.value))))
        },
    );
    let client = client(server);
    let ask = |of: Value, context: Value| json!({"ref": of, "argument": {"name": "name", "value": "A"}, "context": {"arguments": context}});
    let greet = json!({"type": "ref/prompt", "name": "greet"});
    let one = result(&client, "completion/complete", ask(greet.clone(), json!({})));
    assert_eq!(one, json!({"completion": {"values": ["prompt A 0"], "total": 1, "hasMore": false}}));
    let of_resource = ask(json!({"type": "ref/resource", "uri": "demo://{id}"}), json!({"count": 120}));
    let many = &result(&client, "completion/complete", of_resource)["completion"];
    assert_eq!((many["values"].as_array().unwrap().len(), &many["total"], &many["hasMore"]), (100, &json!(120), &json!(true)));
    for bad in [json!({"type": "ref/other"}), json!({"type": "ref/prompt", "name": "none"}), json!({"type": "ref/prompt"})] {
        assert_eq!(code(&client, "completion/complete", ask(bad.clone(), json!({}))), RpcError::INVALID_PARAMS, "{bad}");
    }
    assert_eq!(code(&client, "completion/complete", json!({"ref": greet})), RpcError::INVALID_PARAMS);
}
