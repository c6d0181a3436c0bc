//! What goes out, to the byte but for the date.

use std::str;
use std::time::Duration;

use super::*;

fn header(name: &str, value: &str) -> Header {
    Header::from_bytes(name, value).unwrap()
}

fn writer(version: Version, keep_alive: bool, head_only: bool) -> Writer {
    Writer { version, keep_alive, head_only }
}

/// The answer with its date taken out, which every answer has exactly once; header lines sorted, since their order says nothing.
fn shown(out: &[u8]) -> String {
    let text = str::from_utf8(out).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<&str> = head.split("\r\n").collect();
    let status = lines.remove(0);
    let dates = lines.iter().filter(|line| line.starts_with("Date: ") && line.ends_with(" GMT")).count();
    assert_eq!(dates, 1, "{text}");
    lines.retain(|line| !line.starts_with("Date: "));
    lines.sort_unstable();
    format!("{status}|{}||{body}", lines.join("|"))
}

#[test]
fn complete_answers_are_framed_for_their_version() {
    use Version::{Http10, Http11};
    let table = [
        (Http11, true, false, 200, "HTTP/1.1 200 OK|Content-Length: 2|Content-Type: t|Server: mcp-http-transport||{}"),
        (Http11, true, true, 200, "HTTP/1.1 200 OK|Content-Length: 2|Content-Type: t|Server: mcp-http-transport||"),
        (
            Http11,
            false,
            false,
            404,
            "HTTP/1.1 404 Not Found|Connection: close|Content-Length: 2|Content-Type: t|Server: mcp-http-transport||{}",
        ),
        (
            Http11,
            false,
            true,
            404,
            "HTTP/1.1 404 Not Found|Connection: close|Content-Length: 2|Content-Type: t|Server: mcp-http-transport||",
        ),
        (
            Http10,
            true,
            false,
            200,
            "HTTP/1.0 200 OK|Connection: keep-alive|Content-Length: 2|Content-Type: t|Server: mcp-http-transport||{}",
        ),
        (Http10, false, false, 200, "HTTP/1.0 200 OK|Connection: close|Content-Length: 2|Content-Type: t|Server: mcp-http-transport||{}"),
        (Http11, true, false, 204, "HTTP/1.1 204 No Content|Content-Type: t|Server: mcp-http-transport||"),
        (
            Http11,
            false,
            false,
            304,
            "HTTP/1.1 304 Not Modified|Connection: close|Content-Length: 2|Content-Type: t|Server: mcp-http-transport||",
        ),
    ];
    for (version, keep_alive, head_only, status, expected) in table {
        let out = writer(version, keep_alive, head_only).complete(status, &[header("Content-Type", "t")], b"{}");
        assert_eq!(shown(&out), expected);
    }
}

#[test]
fn a_large_answer_has_a_length_and_no_chunks() {
    let body = vec![b'x'; 100_000];
    let out = writer(Version::Http11, true, false).complete(200, &[], &body);
    assert!(shown(&out).starts_with("HTTP/1.1 200 OK|Content-Length: 100000|Server: mcp-http-transport||xxx"));
    assert!(out.ends_with(&body));
}

#[test]
fn no_header_can_split_an_answer_or_contradict_it() {
    for keep_alive in [true, false] {
        let bad = vec![
            header("X-Split", "a\r\nX-Evil: b"),
            header("X-Line", "a\nb"),
            header("X-Nul", "a\0b"),
            header("X Name", "a"),
            header("X\r\nName", "a"),
            header("Content-Length", "99"),
            header("transfer-encoding", "chunked"),
            header("Connection", "upgrade"),
            header("Date", "never"),
            header("Server", "other"),
            header("X-Good", "a\tb"),
        ];
        let out = shown(&writer(Version::Http11, keep_alive, false).complete(200, &bad, b""));
        let close = if keep_alive { "" } else { "Connection: close|" };
        assert_eq!(out, format!("HTTP/1.1 200 OK|{close}Content-Length: 0|Server: mcp-http-transport|X-Good: a\tb||"));
    }
}

#[test]
fn streams_are_chunked_in_1_1_and_closed_in_1_0() {
    let body = |writer: Writer| {
        let mut out = Vec::new();
        for part in [&b"data: 0123456789abcdef\n\n"[..], b"", b"x"] {
            writer.chunk(&mut out, part);
        }
        String::from_utf8(out).unwrap()
    };
    let new = writer(Version::Http11, true, false);
    assert_eq!(shown(&new.stream(200, &[])), "HTTP/1.1 200 OK|Server: mcp-http-transport|Transfer-Encoding: chunked||");
    assert_eq!(body(new), "18\r\ndata: 0123456789abcdef\n\n\r\n1\r\nx\r\n");
    let closing = new.close().stream(200, &[]);
    assert!(shown(&closing).contains("|Connection: close|"));
    let old = writer(Version::Http10, true, false);
    assert_eq!(shown(&old.stream(200, &[])), "HTTP/1.0 200 OK|Connection: close|Server: mcp-http-transport||");
    assert_eq!(body(old), "data: 0123456789abcdef\n\nx");
}

#[test]
fn the_size_of_a_chunk_is_hexadecimal() {
    for size in [0, 1, 9, 15, 16, 255, 256, 0x1234_abcd, usize::MAX] {
        let mut out = Vec::new();
        push_chunk_size(&mut out, size);
        assert_eq!(out, format!("{size:x}\r\n").as_bytes());
    }
}

#[test]
fn dates_are_what_the_calendar_says() {
    let table = [
        (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
        (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
        (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
        (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
        (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
        (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        (253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT"),
    ];
    for (seconds, expected) in table {
        let mut date = Vec::new();
        push_date(&mut date, UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(date, expected.as_bytes());
    }
}
