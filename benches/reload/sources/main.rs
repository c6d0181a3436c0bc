//! The same server, as small as it can be in Rust: no crate, and just enough of JSON for this client.

mod answer;

use std::io::{BufRead, Write};
use std::time::Duration;

/// The text of a member that is a string, or its bare value; the client's JSON has no escapes.
fn member<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let start = line.find(&format!("\"{name}\":"))? + name.len() + 3;
    let rest = line[start..].trim_start();
    match rest.strip_prefix('"') {
        Some(text) => text.split('"').next(),
        None => rest.split([',', '}']).next().map(str::trim),
    }
}

fn write(id: &str, result: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}").and_then(|()| out.flush());
}

fn echo(id: &str, message: &str) {
    write(id, &format!("{{\"content\":[{{\"type\":\"text\",\"text\":\"version {}: {message}\"}}]}}", answer::VERSION));
}

fn main() {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let (Some(id), Some(method)) = (member(&line, "id"), member(&line, "method")) else { continue };
        match method {
            "initialize" => {
                let version = member(&line, "protocolVersion").unwrap_or("2025-11-25");
                let server = format!("{{\"name\":\"rust\",\"version\":\"{}\"}}", answer::VERSION);
                write(id, &format!("{{\"protocolVersion\":\"{version}\",\"capabilities\":{{\"tools\":{{}}}},\"serverInfo\":{server}}}"));
            }
            "tools/list" => write(id, r#"{"tools":[{"name":"echo","description":"Says it again","inputSchema":{"type":"object"}}]}"#),
            "tools/call" => {
                let message = member(&line, "message").unwrap_or_default().to_owned();
                if message.starts_with("slow") {
                    let id = id.to_owned();
                    std::thread::spawn(move || {
                        std::thread::sleep(Duration::from_millis(400));
                        echo(&id, &message);
                    });
                } else {
                    echo(id, &message);
                }
            }
            _ => write(id, "{}"),
        }
    }
}
