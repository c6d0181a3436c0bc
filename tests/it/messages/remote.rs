//! What `connect` says of a server that is away, wants something, or is none.

use std::io::Read;
use std::net::TcpListener;

use serde_json::json;

use super::Bench;
use crate::support::{Program, Raw, spawn};

const INITIALIZE: &str = r#"{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"test","version":"1"}}"#;

fn connect(bench: &Bench, url: &str, flags: &[&str]) -> Program {
    let words: Vec<&str> = ["connect"].iter().chain(flags).chain(&[url]).copied().collect();
    let mut program = Program::start(&mut bench.command(&words));
    program.request("1", "initialize", INITIALIZE);
    program
}

fn told(program: &Program) -> String {
    let answer = program.answer("1");
    assert_eq!(answer["error"]["code"], json!(-32603), "{answer}");
    answer["error"]["message"].as_str().unwrap().to_owned()
}

#[test]
fn a_server_that_is_away_is_tried_for_as_long_as_was_said() {
    let bench = Bench::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}/mcp");
    let program = connect(&bench, &url, &["--timeout", "300ms"]);
    let wanted = format!("cannot reach {url} (Connection refused (os error 111)), tried for 300ms: is the server running?");
    assert_eq!(told(&program), wanted);
}

/// A build without TLS says that another one is needed.
fn built(text: &str) -> String {
    let more = if cfg!(feature = "tls") { "" } else { ", with a build that has the feature tls" };
    text.replace("https:// instead", &format!("https:// instead{more}"))
}

/// Servers that speak TLS answer a request in the clear with an alert, or hang up.
#[test]
fn a_server_that_speaks_tls_is_known_by_what_it_answers() {
    let bench = Bench::new();
    let raw = Raw::start();
    let program = connect(&bench, &raw.url("/mcp"), &["--timeout", "2s"]);
    raw.post().raw(b"\x15\x03\x03\x00\x02\x02\x0a");
    let wanted = format!("{} cannot be used: it speaks TLS: connect to https:// instead", raw.url("/mcp"));
    assert_eq!(told(&program), built(&wanted));

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    spawn(move || listener.incoming().for_each(|stream| drop(stream.unwrap().read(&mut [0; 100]))));
    let program = connect(&bench, &url, &["--timeout", "300ms"]);
    let why = "the server closed the connection without an answer: is it an https:// server?";
    assert_eq!(told(&program), format!("cannot reach {url} ({why}), tried for 300ms: is the server running?"));
}

/// One answer for all that `connect` asks: what it makes of it.
#[test]
fn what_a_server_answers_is_said_in_a_sentence() {
    let bench = Bench::new();
    let rows = [
        ("401 Unauthorized", "", "401: it wants a token: set MCP_HTTP_TOKEN, or give --header 'Name: value'"),
        ("403 Forbidden", "the Host \"x\" is not allowed here", "403: it does not let this client in: the Host \"x\" is not allowed here"),
        ("404 Not Found", "", "404: there is no MCP server at this path; common ones are /mcp and /sse"),
        ("405 Method Not Allowed", "", "405: what is at this path speaks another protocol; common paths are /mcp and /sse"),
        ("413 Content Too Large", "", "413: the message is larger than it takes"),
        ("500 Internal Server Error", "it hurts", "500: it failed: it hurts"),
        ("400 Bad Request", "Client sent an HTTP request to an HTTPS server.\n", "400: it speaks TLS: connect to https:// instead"),
        ("400 Bad Request", "<h1>The plain HTTP request was sent to HTTPS port</h1>", "400: it speaks TLS: connect to https:// instead"),
    ];
    for (status, body, text) in rows {
        let raw = Raw::start();
        let program = connect(&bench, &raw.url("/mcp"), &["--transport", "http", "--timeout", "2s"]);
        raw.post().answer(status, "Content-Type: text/plain\r\n", body);
        assert_eq!(told(&program), format!("{} answered {}", raw.url("/mcp"), built(text)), "{status}");
    }
}

#[test]
fn a_page_for_people_is_no_server() {
    let bench = Bench::new();
    let raw = Raw::start();
    let program = connect(&bench, &raw.url("/mcp"), &["--transport", "http", "--timeout", "2s"]);
    raw.post().answer("200 OK", "Content-Type: text/html\r\n", "<h1>Hello</h1>");
    assert_eq!(told(&program), format!("{} answered 200 to initialize without an answer in it: is it an MCP server?", raw.url("/mcp")));
}
