//! The rude: for a hundred connections of the polite one that no client should make.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{Random, Soak};
use crate::Result;

/// What a kind is called, and what it does; the sockets that it gives back are kept open for a while.
type Kind = (&'static str, fn(&Soak, &mut Random) -> Result<Option<TcpStream>>);

const KINDS: [Kind; 8] = [
    ("reset", reset),
    ("reset stream", reset_stream),
    ("half closed", half_closed),
    ("half a body", half_a_body),
    ("never reads", never_reads),
    ("drips", drips),
    ("nonsense", nonsense),
    ("silent", silent),
];
/// Of those that stay open, so many at once: each has a thread at the server.
const KEPT: usize = 16;
const PATIENCE: Duration = Duration::from_secs(5);

/// Does one rude thing for each hundred connections; in the end says how often each.
pub fn start(soak: &Arc<Soak>) -> JoinHandle<Vec<(&'static str, u64)>> {
    let soak = Arc::clone(soak);
    thread::spawn(move || {
        let mut counts: Vec<_> = KINDS.iter().map(|(name, _)| (*name, 0)).collect();
        let (mut random, mut kept, mut next) = (Random(7), Vec::new(), 0);
        while soak.goes_on() {
            if soak.rude.load(Ordering::Relaxed) * 100 > soak.polite.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(1));
                continue;
            }
            let at = next % KINDS.len();
            next += 1;
            if let Ok(socket) = KINDS[at].1(&soak, &mut random) {
                counts[at].1 += 1;
                kept.extend(socket);
            }
            soak.rude.fetch_add(1, Ordering::Relaxed);
            if kept.len() > KEPT {
                kept.remove(0);
            }
        }
        counts
    })
}

pub fn shown(kinds: &[(&str, u64)]) -> String {
    kinds.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
}

fn connect(soak: &Soak) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&soak.address, PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// A socket that is closed over what has come and was not read sends RST.
fn close_unread(stream: &TcpStream) {
    // What comes instead of an answer, or nothing, is as good.
    drop(stream.peek(&mut [0]));
}

fn reset(soak: &Soak, _: &mut Random) -> Result<Option<TcpStream>> {
    let mut stream = connect(soak)?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    close_unread(&stream);
    Ok(None)
}

fn reset_stream(soak: &Soak, _: &mut Random) -> Result<Option<TcpStream>> {
    let mut stream = connect(soak)?;
    stream.write_all(b"GET /sse HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    close_unread(&stream);
    Ok(None)
}

fn half_closed(soak: &Soak, random: &mut Random) -> Result<Option<TcpStream>> {
    let mut stream = connect(soak)?;
    let whole = b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    stream.write_all(&whole[..1 + random.below(whole.len() as u64 - 1) as usize])?;
    stream.shutdown(Shutdown::Write)?;
    Ok(Some(stream))
}

fn half_a_body(soak: &Soak, _: &mut Random) -> Result<Option<TcpStream>> {
    let mut stream = connect(soak)?;
    stream
        .write_all(b"POST /mcp HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{\"jsonrpc\"")?;
    Ok(None)
}

/// A session whose calls have large answers that nobody takes.
fn never_reads(soak: &Soak, _: &mut Random) -> Result<Option<TcpStream>> {
    let mut stream = connect(soak)?;
    stream.write_all(b"GET /sse HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
    let mut seen = Vec::new();
    let path = loop {
        let mut part = [0; 512];
        let count = stream.read(&mut part)?;
        seen.extend_from_slice(&part[..count]);
        let text = String::from_utf8_lossy(&seen);
        if let Some((_, path)) = text.split_once("data: ").filter(|(_, path)| path.contains('\n')) {
            break path.lines().next().unwrap_or_default().to_owned();
        }
        if count == 0 {
            return Err("no endpoint".into());
        }
    };
    let text = "x".repeat(1 << 20);
    let mut posts = connect(soak)?;
    for id in 0..8 {
        let body = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"tools/call\",\"params\":{{\"name\":\"echo\",\"arguments\":{{\"message\":\"{text}\"}}}}}}"
        );
        let head =
            format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
        posts.write_all(head.as_bytes())?;
        posts.write_all(body.as_bytes())?;
    }
    Ok(Some(stream))
}

/// A byte now and then, in a thread of its own.
fn drips(soak: &Soak, _: &mut Random) -> Result<Option<TcpStream>> {
    let mut stream = connect(soak)?;
    thread::spawn(move || {
        let head = "GET /sse HTTP/1.1\r\nHost: localhost\r\nX-Slow: ".bytes().chain(std::iter::repeat(b'x'));
        for byte in head.take(200) {
            if stream.write_all(&[byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
    });
    Ok(None)
}

fn nonsense(soak: &Soak, random: &mut Random) -> Result<Option<TcpStream>> {
    let mut stream = connect(soak)?;
    let bytes: Vec<u8> = (0..200).map(|_| random.below(256) as u8).collect();
    stream.write_all(&bytes)?;
    stream.write_all(b"\r\n\r\n")?;
    close_unread(&stream);
    Ok(None)
}

/// Connects, and says nothing.
fn silent(soak: &Soak, _: &mut Random) -> Result<Option<TcpStream>> {
    Ok(Some(connect(soak)?))
}
