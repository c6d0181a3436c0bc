//! A server with everything the protocol has, under the names that the official conformance suite asks for; `make conformance` starts it.
//!
//! ```text
//! $ MCP_TRANSPORT=http MCP_HTTP_PORT=0 cargo run --example everything
//! ! listening on http://127.0.0.1:
//! $ curl -s http://127.0.0.1:PORT/healthz
//! < ok
//! ```
//!
//! Without the variables it waits on standard input and output:
//!
//! ```text
//! $ cargo run --example everything
//! > {"jsonrpc":"2.0","id":1,"method":"ping"}
//! < {"jsonrpc":"2.0","id":1,"result":{}}
//! ```

use std::thread::sleep;
use std::time::Duration;

use mcp_http_transport::{
    Blob, ClientRequest, Config, Content, Json, LogLevel, Prompt, PromptMessage, Resource, ResourceContents, ResourceTemplate, Server,
    ServerHandle, Service, Session, Tool, ToolError, ToolResult, Type,
};
use serde_json::{Value, json};

/// One red dot.
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg==";
/// No sound at all.
const WAV: &str = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAAB9AAACABAAZGF0YQIAAAA=";

fn main() -> mcp_http_transport::Result<()> {
    let config = Config::load()?;
    let service = Service::start(everything(), &config)?;
    for address in service.local_addrs() {
        eprintln!("listening on http://{address}/mcp");
    }
    service.wait();
    service.stop(config.grace);
    Ok(())
}

fn everything() -> Server {
    let server =
        Server::new("everything", env!("CARGO_PKG_VERSION")).instructions("Made for the conformance suite: each tool shows one thing.");
    let handle = server.handle();
    let server = changes(prompts(resources(questions(reports(contents(server))))), &handle);
    server.completion(|_of, _argument, _others, _session| Ok(Vec::<String>::new()))
}

/// What a result may carry.
fn contents(server: Server) -> Server {
    let embedded = || {
        let contents = ResourceContents::text("This is an embedded resource content.");
        Content::resource(contents.uri("test://embedded-resource").mime_type("text/plain"))
    };
    let mixed = || {
        let contents = ResourceContents::text(r#"{"test":"data","value":123}"#);
        let resource = Content::resource(contents.uri("test://mixed-content-resource").mime_type("application/json"));
        vec![Content::text("Multiple content types test:"), image(), resource]
    };
    let custom = json!({"type": "object", "properties": {"value": {"type": "string", "x-mcp-header": "Value"}}, "required": ["value"]});
    server
        .tool(Tool::new("test_simple_text", "Says one sentence"), |_args, _session| Ok("This is a simple text response for testing."))
        .tool(Tool::new("test_image_content", "Shows an image"), |_args, _session| Ok(image()))
        .tool(Tool::new("test_audio_content", "Plays a sound"), |_args, _session| Ok(Content::audio(Blob::base64(WAV), "audio/wav")))
        .tool(Tool::new("test_embedded_resource", "Brings a resource along"), move |_args, _session| Ok(embedded()))
        .tool(Tool::new("test_multiple_content_types", "Text, an image and a resource"), move |_args, _session| Ok(mixed()))
        .tool(Tool::new("test_error_handling", "Fails"), |_args, _session| {
            Err::<(), _>("This tool intentionally returns an error for testing".into())
        })
        .tool(Tool::new("json_schema_2020_12_tool", "Has a schema with everything in it").schema(schema()), |args, _session| {
            Ok(Content::text(args.as_str()))
        })
        .tool(Tool::new("test_custom_header", "Has an argument that HTTP clients repeat in a header").schema(custom), |args, _session| {
            args.string("value")
        })
}

fn image() -> Content {
    Content::image(Blob::base64(PNG), "image/png")
}

/// A schema that must reach the client as it is.
fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "$defs": {
            "address": {
                "$anchor": "addressDef",
                "type": "object",
                "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
            },
        },
        "properties": {
            "name": {"type": "string"},
            "address": {"$ref": "#/$defs/address"},
            "contactMethod": {"type": "string", "enum": ["phone", "email"]},
            "phone": {"type": "string"},
            "email": {"type": "string"},
        },
        "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
        "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
        "then": {"required": ["phone"]},
        "else": {"required": ["email"]},
        "additionalProperties": false,
    })
}

/// What a call says before its result.
fn reports(server: Server) -> Server {
    const PAUSE: Duration = Duration::from_millis(50);
    server
        .tool(Tool::new("test_tool_with_logging", "Logs three lines"), |_args, session| {
            for (nth, line) in ["Tool execution started", "Tool processing data", "Tool execution completed"].into_iter().enumerate() {
                if nth > 0 {
                    sleep(PAUSE);
                }
                session.log(LogLevel::Info, None, json!(line))?;
            }
            Ok("Tool with logging executed successfully")
        })
        .tool(Tool::new("test_logging_tool", "Logs one line"), |_args, session| {
            session.log(LogLevel::Info, Some("everything"), json!("one line"))?;
            Ok("logged, if anybody wanted to hear it")
        })
        .tool(Tool::new("test_tool_with_progress", "Says three times how far it has come"), |_args, session| {
            for (nth, done) in [0.0, 50.0, 100.0].into_iter().enumerate() {
                if nth > 0 {
                    sleep(PAUSE);
                }
                session.progress(done, Some(100.0), None)?;
            }
            Ok("done")
        })
        .tool(Tool::new("test_reconnection", "Hangs up, and has the answer ready when the client is back"), |_args, session| {
            session.close_stream();
            sleep(2 * PAUSE);
            Ok("here is what the first stream did not bring")
        })
}

/// What may be asked of the client; the same functions serve clients of both eras.
fn questions(server: Server) -> Server {
    let prompted = Tool::new("test_sampling", "Asks the client's model").param("prompt", Type::String, "what to ask");
    let elicited = Tool::new("test_elicitation", "Asks the person for name and address").param("message", Type::String, "what to ask");
    server
        .tool(prompted, |args, session| {
            let answer = session.ask("answer", sampling(&args.string("prompt")?))?;
            Ok(format!("LLM response: {}", said(&answer)?))
        })
        .tool(elicited, |args, session| {
            let form = form(json!({"username": {"type": "string"}, "email": {"type": "string"}}), &["username", "email"]);
            let answer: Value = session.ask("user", ClientRequest::elicitation(&args.string("message")?, form))?.parse()?;
            Ok(format!("User response: action={}, content={}", text(&answer["action"]), answer["content"]))
        })
        .tool(Tool::new("test_elicitation_sep1034_defaults", "Asks with defaults filled in"), |_args, session| {
            filled_in(session, defaults())
        })
        .tool(Tool::new("test_elicitation_sep1330_enums", "Asks for a choice in every form there is"), |_args, session| {
            filled_in(session, choices())
        })
        .tool(Tool::new("test_missing_capability", "Works for clients with a model only"), |_args, session| {
            said(&session.ask("answer", sampling("Say yes."))?)
        })
        .tool(Tool::new("test_streaming_elicitation", "Asks in the middle of a call"), |_args, session| {
            session.progress(1.0, Some(2.0), None)?;
            Ok(format!("Hello, {}!", answered(session, "user_name", "name")?))
        })
        .tool(Tool::new("test_input_required_result_elicitation", "Asks for a name"), |_args, session| {
            Ok(format!("Hello, {}!", answered(session, "user_name", "name")?))
        })
        .tool(Tool::new("test_input_required_result_sampling", "Asks the client's model for a capital"), |_args, session| {
            said(&session.ask("capital_question", sampling("What is the capital of France?"))?)
        })
        .tool(Tool::new("test_input_required_result_list_roots", "Asks where the client works"), |_args, session| {
            let answer: Value = session.ask("client_roots", ClientRequest::roots())?.parse()?;
            Ok(format!("The client works in {}", answer["roots"]))
        })
        .tool(Tool::new("test_input_required_result_request_state", "Asks for a confirmation"), |_args, session| {
            confirmed(session)?;
            Ok("state-ok")
        })
        .tool(Tool::new("test_input_required_result_tampered_state", "Asks for a confirmation that nobody can forge"), |_args, session| {
            confirmed(session)?;
            Ok("confirmed")
        })
        .tool(Tool::new("test_input_required_result_multiple_inputs", "Asks three things at once"), |_args, session| {
            everything_at_once(session, &["user_name", "greeting", "client_roots"])
        })
        .tool(Tool::new("test_input_required_result_capabilities", "Asks what this client can be asked"), |_args, session| {
            let declared = session.client_capabilities().unwrap_or_else(Json::empty);
            let able = [("elicitation", "user_name"), ("sampling", "greeting"), ("roots", "client_roots")];
            let keys: Vec<&str> =
                able.into_iter().filter(|(capability, _)| declared.get(capability).is_some()).map(|(_, key)| key).collect();
            everything_at_once(session, &keys)
        })
        .tool(Tool::new("test_input_required_result_multi_round", "Asks a second thing once it knows the first"), |_args, session| {
            let name = answered(session, "step1", "name")?;
            let color = answered(session, "step2", "color")?;
            Ok(format!("{name} likes {color}"))
        })
}

fn sampling(question: &str) -> ClientRequest {
    ClientRequest::sampling(json!({"messages": [{"role": "user", "content": {"type": "text", "text": question}}], "maxTokens": 100}))
}

/// What the client's model said; the content is one block, or, since 2025-11-25, several.
fn said(answer: &Json) -> Result<String, ToolError> {
    let answer: Value = answer.parse()?;
    let content = &answer["content"];
    Ok(text(content.get(0).unwrap_or(content).get("text").ok_or("the model said nothing in words")?))
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn form(properties: Value, required: &[&str]) -> Value {
    json!({"type": "object", "properties": properties, "required": required})
}

fn question(field: &str) -> ClientRequest {
    let properties = json!({field: {"type": "string"}});
    ClientRequest::elicitation(&format!("Your {field}, please"), form(properties, &[field]))
}

/// The text that the person filled in for `field`.
fn answered(session: &Session, key: &str, field: &str) -> Result<String, ToolError> {
    let answer: Value = session.ask(key, question(field))?.parse()?;
    Ok(answer["content"][field].as_str().ok_or("the person would rather not say")?.to_owned())
}

fn confirmed(session: &Session) -> Result<(), ToolError> {
    let form = form(json!({"ok": {"type": "boolean"}}), &["ok"]);
    session.ask("confirm", ClientRequest::elicitation("Is that all right?", form))?;
    Ok(())
}

fn everything_at_once(session: &Session, keys: &[&str]) -> Result<String, ToolError> {
    let all = keys.iter().map(|key| {
        let request = match *key {
            "greeting" => sampling("Say hello."),
            "client_roots" => ClientRequest::roots(),
            _ => question("name"),
        };
        (*key, request)
    });
    let answers = session.ask_all(all)?;
    Ok(format!("{} answers", answers.len()))
}

fn filled_in(session: &Session, properties: Value) -> Result<String, ToolError> {
    let answer: Value = session.ask("form", ClientRequest::elicitation("Please look this over", form(properties, &[])))?.parse()?;
    Ok(format!("Elicitation completed: action={}, content={}", text(&answer["action"]), answer["content"]))
}

fn defaults() -> Value {
    json!({
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
        "verified": {"type": "boolean", "default": true},
    })
}

fn choices() -> Value {
    let titled = |nth: &str| {
        let each = [("value1", "First"), ("value2", "Second"), ("value3", "Third")];
        Value::from_iter(each.map(|(value, title)| json!({"const": value, "title": format!("{title} {nth}")})))
    };
    let plain = json!(["option1", "option2", "option3"]);
    json!({
        "untitledSingle": {"type": "string", "enum": plain},
        "titledSingle": {"type": "string", "oneOf": titled("Option")},
        "legacyEnum": {"type": "string", "enum": ["opt1", "opt2", "opt3"], "enumNames": ["Option One", "Option Two", "Option Three"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": plain}},
        "titledMulti": {"type": "array", "items": {"anyOf": titled("Choice")}},
    })
}

fn resources(server: Server) -> Server {
    let text = Resource::new("test://static-text", "static-text").description("Always the same text").mime_type("text/plain");
    let binary = Resource::new("test://static-binary", "static-binary").description("Always the same image").mime_type("image/png");
    let watched = Resource::new("test://watched-resource", "watched-resource").description("To subscribe to").mime_type("text/plain");
    let template = ResourceTemplate::new("test://template/{id}/data", "template").description("Data by id").mime_type("application/json");
    server
        .resource(text, |_uri, _session| Ok("This is the content of the static text resource."))
        .resource(binary, |_uri, _session| Ok(Blob::base64(PNG)))
        .resource(watched, |_uri, _session| Ok("Nothing has happened yet."))
        .resource_template(template, |found, _session| {
            let id = found.get("id");
            Ok(json!({"id": id, "templateTest": true, "data": format!("Data for ID: {id}")}))
        })
}

fn prompts(server: Server) -> Server {
    let two = Prompt::new("test_prompt_with_arguments", "Says what it was given")
        .argument("arg1", "first", true)
        .argument("arg2", "second", true);
    let embedded = Prompt::new("test_prompt_with_embedded_resource", "Brings a resource along").argument("resourceUri", "which", true);
    server
        .prompt(Prompt::new("test_simple_prompt", "Says one sentence"), |_args, _session| Ok("This is a simple prompt for testing."))
        .prompt(two, |args, _session| {
            Ok(format!("Prompt with arguments: arg1='{}', arg2='{}'", args.string("arg1")?, args.string("arg2")?))
        })
        .prompt(embedded, |args, _session| {
            let contents = ResourceContents::text("Embedded resource content for testing.").uri(args.string("resourceUri")?);
            let resource = PromptMessage::user(Content::resource(contents.mime_type("text/plain")));
            Ok(vec![resource, PromptMessage::user("Please process the embedded resource above.")])
        })
        .prompt(Prompt::new("test_prompt_with_image", "Shows an image"), |_args, _session| {
            Ok(vec![PromptMessage::user(image()), PromptMessage::user("Please analyze the image above.")])
        })
        .prompt(Prompt::new("test_input_required_result_prompt", "Asks before it says anything"), |_args, session| {
            Ok(format!("Bear in mind: {}", answered(session, "user_context", "context")?))
        })
}

/// Tools that change the server while it runs.
fn changes(server: Server, handle: &ServerHandle) -> Server {
    let (tools, prompts, resource) = (handle.clone(), handle.clone(), handle.clone());
    server
        .tool(Tool::new("test_trigger_tool_change", "Replaces a tool"), move |_args, _session| {
            tools.add_tool(Tool::new("test_changing_tool", "Is replaced now and then"), |_args, _session| Ok(ToolResult::default()));
            Ok("replaced")
        })
        .tool(Tool::new("test_trigger_prompt_change", "Replaces a prompt"), move |_args, _session| {
            prompts.add_prompt(Prompt::new("test_changing_prompt", "Is replaced now and then"), |_args, _session| Ok("Anything new?"));
            Ok("replaced")
        })
        .tool(Tool::new("test_trigger_resource_change", "Says that the watched resource has changed"), move |_args, _session| {
            resource.resource_updated("test://watched-resource");
            Ok("said so")
        })
}
