//! What one would write first: `tiny_http::Server`, a pool of threads, every message a `serde_json::Value`, and a channel to each event stream.
//! `bench-tiny PORT`.

use std::collections::HashMap;
use std::io::{Cursor, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crossbeam_channel::{Sender, bounded};
use serde_json::{Value, json};
use tiny_http::{Header, Method, Request, Response, Server};

const WORKERS: usize = 8;
const QUEUE: usize = 64;

type Streams = Mutex<HashMap<u64, Sender<Value>>>;

static NEXT: AtomicU64 = AtomicU64::new(1);

fn main() {
    let port: u16 = std::env::args().nth(1).and_then(|port| port.parse().ok()).unwrap_or(0);
    let server = match Server::http(("127.0.0.1", port)) {
        Ok(server) => Arc::new(server),
        Err(error) => return eprintln!("cannot listen: {error}"),
    };
    let streams = Arc::new(Streams::default());
    let worker = || {
        let (server, streams) = (Arc::clone(&server), Arc::clone(&streams));
        thread::spawn(move || {
            while let Ok(request) = server.recv() {
                // A client that breaks off gets no answer.
                drop(take(request, &streams));
            }
        })
    };
    let workers: Vec<_> = (0..WORKERS).map(|_| worker()).collect();
    workers.into_iter().for_each(|worker| drop(worker.join()));
}

fn take(mut request: Request, streams: &Arc<Streams>) -> std::io::Result<()> {
    if *request.method() == Method::Get {
        let streams = Arc::clone(streams);
        thread::spawn(move || events(request, &streams));
        return Ok(());
    }
    let message: Value = match serde_json::from_reader(request.as_reader()) {
        Ok(message) => message,
        Err(_) => return request.respond(Response::empty(400)),
    };
    let answer = message.get("id").map(|id| answer(id, &message));
    if request.url() == "/mcp" {
        return match answer {
            None => request.respond(Response::empty(202)),
            Some(answer) => {
                let headers = [("Content-Type", "application/json"), ("Mcp-Session-Id", "1")];
                let body = answer.to_string();
                let length = body.len();
                let headers = headers.iter().filter_map(|(name, value)| Header::from_bytes(*name, *value).ok()).collect();
                let response = Response::new(200.into(), headers, Cursor::new(body), Some(length), None);
                request.respond(response.with_chunked_threshold(usize::MAX))
            }
        };
    }
    let id = request.url().split_once("session_id=").and_then(|(_, id)| id.parse().ok()).unwrap_or(0);
    let stream = lock(streams).get(&id).cloned();
    request.respond(Response::from_string("Accepted").with_status_code(202))?;
    if let (Some(stream), Some(answer)) = (stream, answer) {
        drop(stream.send(answer));
    }
    Ok(())
}

fn events(request: Request, streams: &Streams) {
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let (sender, receiver) = bounded(QUEUE);
    lock(streams).insert(id, sender);
    let mut writer = request.into_writer();
    let mut send = |text: String| writer.write_all(text.as_bytes()).and_then(|()| writer.flush());
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n";
    let mut sent = send(format!("{head}event: endpoint\ndata: /messages/?session_id={id}\n\n"));
    while sent.is_ok() {
        let Ok(message) = receiver.recv() else { break };
        sent = send(format!("event: message\ndata: {message}\n\n"));
    }
    lock(streams).remove(&id);
}

fn answer(id: &Value, message: &Value) -> Value {
    let result = match message["method"].as_str() {
        Some("initialize") => json!({
            "protocolVersion": message["params"]["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "tiny", "version": "1"}
        }),
        _ => json!({"content": [{"type": "text", "text": message["params"]["arguments"]["message"]}]}),
    };
    json!({"jsonrpc": "2.0", "id": id, "result": result})
}

fn lock(streams: &Streams) -> std::sync::MutexGuard<'_, HashMap<u64, Sender<Value>>> {
    streams.lock().unwrap_or_else(PoisonError::into_inner)
}
