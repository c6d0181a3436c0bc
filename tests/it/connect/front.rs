//! Against `run`: the server behind it is edited, and the front itself killed and started again, between calls.

use serde_json::json;

use super::super::run::Bench;
use super::{call, connect, handshake, text};

#[test]
fn neither_a_reload_nor_a_restart_of_the_front_fails_a_call() {
    for (path, transport) in [("/sse", "sse"), ("/mcp", "http"), ("/mcp", "auto")] {
        let bench = Bench::new();
        let mut front = bench.serve(&[]);
        let port = front.address().port().to_string();
        let mut client = connect(&format!("http://localhost:{port}{path}"), &["--transport", transport]);
        handshake(&mut client);
        client.request("\"list\"", "tools/list", "{}");
        client.answer("\"list\"");
        let mut id = 0;
        let mut is_answered_by = |version: &str, client: &mut _| {
            id += 1;
            assert_eq!(text(&call(client, &id.to_string(), "add", &json!({}))), version, "{path} {transport}");
        };
        is_answered_by("one", &mut client);
        for version in ["two", "three", "four"] {
            bench.edit(version, &["add", version], json!({}));
            is_answered_by(version, &mut client);
        }
        for version in ["five", "six"] {
            front.child.kill().unwrap();
            front.wait();
            bench.edit(version, &["add"], json!({}));
            front = bench.start(&["--http", "--host", "127.0.0.1", "--port", &port], &["python3", "child.py", "server.json"]);
            front.address();
            is_answered_by(version, &mut client);
            bench.edit("between", &["add"], json!({}));
            is_answered_by("between", &mut client);
        }
        client.close_stdin();
        assert_eq!(client.wait().code(), Some(0));
    }
}
