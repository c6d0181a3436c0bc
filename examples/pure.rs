//! MCP inside any blocking HTTP server: a handler that gets a request and returns a response whose body is a reader, as rouille and its like have it.
//! Ctrl-C ends it.
//!
//! ```text
//! $ cargo run --example pure
//! ! listening on http://127.0.0.1:
//! $ curl -sN http://127.0.0.1:PORT/sse
//! < retry: 500
//! < event: endpoint
//! < data: /messages/?session_id=...
//! ```

use std::io::{self, BufRead, BufReader, Cursor, Read, Write};
use std::net::{TcpListener, TcpStream};

use mcp_http_transport::{Config, Endpoints, Reply, Server, Tool};
use tiny_http::Header;

/// A response as such a server wants it.
struct Response {
    status: u16,
    headers: Vec<Header>,
    body: Box<dyn Read>,
}

/// The part that matters: a request goes in, a response comes out, and nobody blocks on a tool.
fn respond(endpoints: &Endpoints, method: &str, target: &str, headers: &[Header], body: Vec<u8>) -> Response {
    match endpoints.answer(&method.parse().unwrap_or(tiny_http::Method::Get), target, headers, body) {
        Reply::Full(full) => Response { status: full.status.0, headers: full.headers, body: Box::new(Cursor::new(full.body)) },
        Reply::Stream(events) => Response { status: 200, headers: events.headers().to_vec(), body: Box::new(events) },
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mcp = Server::new("echo", "1.0.0").tool(Tool::new("hello", "Says hello"), |_args, _session| Ok("hello"));
    let endpoints = Endpoints::new(mcp, &Config::new())?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    eprintln!("listening on http://{}", listener.local_addr()?);
    std::thread::scope(|scope| {
        for stream in listener.incoming() {
            let (stream, endpoints) = (stream?, &endpoints);
            scope.spawn(move || serve(stream, endpoints));
        }
        Ok(())
    })
}

/// The rest stands for the server you have: it reads one request from a connection and writes the response. Yours does that better.
fn serve(stream: TcpStream, endpoints: &Endpoints) -> io::Result<()> {
    let mut input = BufReader::new(stream.try_clone()?);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? <= 2 {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let words: Vec<&str> = lines.first().map(|line| line.split(' ').collect()).unwrap_or_default();
    let [method, target, _version] = words[..] else { return Ok(()) };
    let headers: Vec<Header> = lines[1..].iter().filter_map(|line| line.parse().ok()).collect();
    let length = headers.iter().find(|header| header.field.equiv("Content-Length")).and_then(|header| header.value.as_str().parse().ok());
    let mut body = vec![0; length.unwrap_or(0).min(4 << 20)];
    input.read_exact(&mut body)?;

    let mut response = respond(endpoints, method, target, &headers, body);
    let mut output = stream;
    write!(output, "HTTP/1.1 {} MCP\r\nConnection: close\r\n", response.status)?;
    for header in &response.headers {
        write!(output, "{}: {}\r\n", header.field, header.value)?;
    }
    output.write_all(b"\r\n")?;
    io::copy(&mut response.body, &mut output)?;
    output.flush()
}
