//! The program itself: the demo over stdio and HTTP, and how it ends when it cannot begin.

use serde_json::json;

use super::support::{Program, Sse, get};

const INITIALIZE: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{"elicitation":{}},"clientInfo":{"name":"t","version":"1"}}"#;

#[test]
fn the_demo_over_stdio() {
    let mut program = Program::binary(&["demo"], &[]);
    program.request("0", "initialize", INITIALIZE);
    assert_eq!(program.answer("0")["result"]["protocolVersion"], "2025-11-25");
    program.line(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#);
    program.request("1", "tools/list", "{}");
    let tools = program.answer("1");
    let names: Vec<_> = tools["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["add", "ask", "echo", "slow"]);
    program.request("2", "tools/call", r#"{"name":"add","arguments":{"a":2,"b":40}}"#);
    assert_eq!(program.answer("2")["result"]["content"][0]["text"], "42");
    program.request("3", "tools/call", r#"{"name":"add","arguments":{"a":"two","b":40}}"#);
    assert_eq!(program.answer("3")["result"]["isError"], true);
    program.request("4", "tools/call", r#"{"name":"nothing","arguments":{}}"#);
    assert_eq!(program.answer("4")["error"]["code"], -32602);
    program.close_stdin();
    assert_eq!((program.raw(), program.wait().code()), (None, Some(0)));
}

#[test]
fn the_demo_over_http() {
    let mut program = Program::binary(&["demo", "--http", "--port", "0"], &[]);
    let address = program.address();
    let mut session = Sse::open(address);
    session.call("0", "initialize", INITIALIZE);
    assert_eq!(session.call("1", "tools/call", r#"{"name":"echo","arguments":{"message":"hé"}}"#)["result"]["content"][0]["text"], "hé");
    session.request("2", "tools/call", r#"{"name":"slow","arguments":{"seconds":0.1,"steps":2},"_meta":{"progressToken":7}}"#);
    for step in [1.0, 2.0] {
        let progress = session.find(|message| message["method"] == "notifications/progress");
        assert_eq!((&progress["params"]["progressToken"], &progress["params"]["progress"]), (&json!(7), &json!(step)));
    }
    assert!(session.answer("2")["result"]["content"][0]["text"].as_str().unwrap().starts_with("Done"));
    session.request("3", "tools/call", r#"{"name":"ask","arguments":{"question":"why?"}}"#);
    let question = session.find(|message| message["method"] == "elicitation/create");
    assert_eq!(question["params"]["message"], "why?");
    let answer = json!({"jsonrpc": "2.0", "id": question["id"], "result": {"action": "accept", "content": {"answer": "because"}}});
    session.send(&answer.to_string());
    assert_eq!(session.answer("3")["result"]["content"][0]["text"], "The answer is: because");
    session.request("4", "tools/call", r#"{"name":"slow","arguments":{"seconds":3600,"steps":1}}"#);
    session.find(|message| message["params"]["data"].as_str().is_some_and(|data| data.contains("in 3600 s")));
    session.send(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":4}}"#);
    program.stderr("slow was cancelled");
    assert_eq!(session.call("5", "resources/read", r#"{"uri":"demo://greeting"}"#)["result"]["contents"][0]["uri"], "demo://greeting");
    assert!(session.call("6", "prompts/get", r#"{"name":"greet","arguments":{"name":"Ada"}}"#)["result"]["messages"].is_array());
    #[cfg(unix)]
    {
        program.signal(nix::sys::signal::Signal::SIGTERM);
        assert!(session.find_end());
        assert_eq!(program.wait().code(), Some(0));
    }
}

#[test]
fn with_the_log_off_stderr_stays_empty() {
    let mut program = Program::binary(&["demo", "--http", "--port", "0", "--log-level", "off"], &[]);
    program.request("1", "ping", "{}");
    assert_eq!(program.answer("1")["result"], json!({}));
    program.line("no message");
    program.close_stdin();
    assert_eq!(program.wait().code(), Some(0));
    assert_eq!(program.rest_of_stderr(), [""; 0]);
}

#[test]
fn what_makes_no_sense_is_a_usage_error_that_names_it() {
    type Case<'c> = (&'c [&'c str], &'c [(&'c str, &'c str)], i32, &'c [&'c str]);
    let cases: [Case<'_>; 8] = [
        (&[], &[], 2, &["demo"]),
        (&["dmeo"], &[], 2, &["dmeo", "demo"]),
        (&["demo", "--prot", "1"], &[], 2, &["--prot", "--port"]),
        (&["demo"], &[("MCP_TRANSPORT", "htttp")], 2, &["MCP_TRANSPORT", "htttp", "stdio"]),
        (&["demo", "--http"], &[("MCP_HTTP_PORT", "65536")], 2, &["MCP_HTTP_PORT", "65536"]),
        (&["demo", "--http", "--port", "x"], &[], 2, &["--port", "x"]),
        (&["demo", "--http", "--host", "0.0.0.0", "--port", "0"], &[], 2, &["MCP_HTTP_TOKEN", "--insecure"]),
        (&["demo", "--http", "--port", "0"], &[("MCP_HTTP_TOKEN_FILE", "/no/such/file")], 1, &["/no/such/file"]),
    ];
    for (arguments, variables, status, words) in cases {
        let mut program = Program::binary(arguments, variables);
        assert_eq!(program.wait().code(), Some(status), "{arguments:?} {variables:?}");
        let text = program.rest_of_stderr().join("\n");
        assert!(words.iter().all(|word| text.contains(word)), "{arguments:?} {variables:?}: {text}");
        assert_eq!(program.raw(), None, "stdout is for the protocol");
    }
}

#[test]
fn healthcheck_says_whether_a_server_is_up() {
    let program = Program::binary(&["demo", "--http", "--port", "0"], &[]);
    let address = program.address();
    assert_eq!(get(address, "/healthz").status, 200);
    assert_eq!(Program::binary(&["healthcheck", &format!("http://{address}")], &[]).wait().code(), Some(0));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port();
    drop(free);
    assert_eq!(Program::binary(&["healthcheck", &format!("http://127.0.0.1:{port}")], &[]).wait().code(), Some(1));
}
