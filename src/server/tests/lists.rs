//! Lists and their pages, and schemas as they were written.

use super::*;

fn page(client: &Connection, method: &str, cursor: Option<&Value>) -> Value {
    result(client, method, cursor.map_or(json!({}), |cursor| json!({"cursor": cursor})))
}

#[test]
fn every_list_comes_page_by_page() {
    let mut server = Server::new("t", "1").page_size(2);
    for name in ["c", "a", "e", "b", "d"] {
        let uri = format!("demo://{name}");
        server = server
            .tool(Tool::new(name, ""), |_args, _session| Ok(()))
            .prompt(Prompt::new(name, ""), |_args, _session| Ok(""))
            .resource(Resource::new(uri.clone(), name), |_uri, _session| Ok(""))
            .resource_template(ResourceTemplate::new(uri + "/{x}", name), |_found, _session| Ok(""));
    }
    let client = client(server);
    let lists = [
        ("tools/list", "tools"),
        ("prompts/list", "prompts"),
        ("resources/list", "resources"),
        ("resources/templates/list", "resourceTemplates"),
    ];
    for (method, member) in lists {
        let (mut names, mut cursor) = (Vec::new(), None);
        for size in [2, 2, 1] {
            let page = page(&client, method, cursor.as_ref());
            let items = page[member].as_array().unwrap();
            assert_eq!(items.len(), size, "{method}");
            names.extend(items.iter().map(|item| item["name"].as_str().unwrap().to_owned()));
            cursor = page.get("nextCursor").cloned();
        }
        assert_eq!((names.concat().as_str(), cursor), ("abcde", None), "{method}");
        assert_eq!(code(&client, method, json!({"cursor": "?"})), RpcError::INVALID_PARAMS);
    }
}

#[test]
fn a_tool_is_listed_with_all_that_was_said_of_it() {
    let full = Tool::new("full", "Does")
        .title("Full")
        .param("z", Type::OneOf(&["x", "y"]), "the last")
        .optional("a", Type::Integer, "")
        .output_schema(json!({"type": "object"}))
        .read_only(true)
        .destructive(false)
        .idempotent(true)
        .open_world(false)
        .icons(json!([{"src": "data:,"}]))
        .meta(json!({"m": 1}));
    let server = Server::new("t", "1").tool(full, |_args, _session| Ok(()));
    let list = call(&client(server), "tools/list", json!({})).unwrap();
    let expected = concat!(
        r#"{"tools":[{"name":"full","title":"Full","description":"Does","inputSchema":{"type":"object","properties":{"#,
        r#""z":{"type":"string","enum":["x","y"],"description":"the last"},"a":{"type":"integer"}},"required":["z"]},"#,
        r#""outputSchema":{"type":"object"},"annotations":{"readOnlyHint":true,"destructiveHint":false,"idempotentHint":true,"openWorldHint":false},"#,
        r#""icons":[{"src":"data:,"}],"_meta":{"m":1}}]}"#
    );
    assert_eq!(list.as_str(), expected);
}

#[test]
fn a_raw_schema_is_listed_as_it_was_written() {
    const SCHEMA: &str = r##"{"$schema":"https://json-schema.org/draft/2020-12/schema", "type":"object","$defs":{"a":{"$anchor":"x"}},
        "properties":{"z":{"$ref":"#/$defs/a"},"b":{"maximum":123456789012345678901234567890}},"if":{},"then":{},"additionalProperties":false}"##;
    let schema: Json = SCHEMA.parse().unwrap();
    let server =
        Server::new("t", "1").tool(Tool::new("raw", "").schema(schema), |args, _session| Ok(args.get("b").unwrap_or("none").to_owned()));
    let client = client(server);
    let list = call(&client, "tools/list", json!({})).unwrap();
    assert!(list.as_str().contains(&SCHEMA.replace('\n', " ")), "{list}");
    let exact = client.call(2, "tools/call", r#"{"name": "raw", "arguments": {"b": 123456789012345678901234567890}}"#, SOON).unwrap();
    assert!(exact.as_str().contains("\"123456789012345678901234567890\""), "{exact}");
}

#[test]
fn resources_and_prompts_are_listed_with_all_that_was_said_of_them() {
    let resource = Resource::new("demo://a", "a")
        .title("A")
        .description("first")
        .mime_type("text/plain")
        .size(3)
        .icons(json!([]))
        .annotations(json!({"priority": 0}))
        .meta(json!({}));
    let prompt = Prompt::new("p", "Prompts").title("P").argument("x", "an x", true).icons(json!([])).meta(json!({}));
    let client = client(Server::new("t", "1").resource(resource, |_uri, _session| Ok("")).prompt(prompt, |_args, _session| Ok("")));
    let expected = json!({"uri": "demo://a", "name": "a", "title": "A", "description": "first", "mimeType": "text/plain", "size": 3, "icons": [],
        "annotations": {"priority": 0}, "_meta": {}});
    assert_eq!(page(&client, "resources/list", None), json!({"resources": [expected]}));
    let expected = json!({"name": "p", "title": "P", "description": "Prompts", "arguments": [{"name": "x", "description": "an x", "required": true}],
        "icons": [], "_meta": {}});
    assert_eq!(page(&client, "prompts/list", None), json!({"prompts": [expected]}));
    assert_eq!(page(&client, "resources/templates/list", None), json!({"resourceTemplates": []}));
}
