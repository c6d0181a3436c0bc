//! Everything that is refused, with its status, and that this does not depend on how the bytes arrive.

use super::tests::{Script, all};

fn long(before: &str, count: usize, after: &str) -> String {
    format!("{before}{}{after}", "a".repeat(count))
}

/// Refused requests; `|` stands for CRLF.
fn refused() -> Vec<(u16, String)> {
    let post = |headers: &str, body: &str| format!("POST /mcp HTTP/1.1|Host: h|{headers}||{body}");
    let chunked = |body: &str| post("Transfer-Encoding: chunked", body);
    let heads = [
        (505, "GET / HTTP/2.0|Host: h||"),
        (505, "GET / HTTP/1.2|Host: h||"),
        (505, "GET / HTTP/0.9||"),
        (505, "GET / HTTP/3|"),
        (505, "PRI * HTTP/2.0|"),
        (400, "GET /|"),
        (400, "GET / http/1.1|"),
        (400, "GET / HTTP/1.1x|"),
        (400, "GET / HTTP/|"),
        (400, "GET / HTTP/1.1 |"),
        (400, "GET  / HTTP/1.1|"),
        (400, " GET / HTTP/1.1|"),
        (400, "GET\t/ HTTP/1.1|"),
        (400, "G(T / HTTP/1.1|"),
        (400, "\u{16}\u{3}\u{1}"),
        (400, "|||GET / HTTP/1.1|Host: h||"),
        (400, "GET / HTTP/1.1\nHost: h\n\n"),
        (400, "\nGET / HTTP/1.1|Host: h||"),
        (400, "GET / HTTP/1.1\rHost: h||"),
        (400, "GET / HTTP/1.1|Host: h\n||"),
        (400, "GET / HTTP/1.1|Host: h|X: a\rb||"),
        (400, "GET / HTTP/1.1|Host: h|X: a\r\r\n|"),
        (400, "GET / HTTP/1.1|Host: h|X: a\0b||"),
        (400, "GET / HTTP/1.1|Host: h|X: a\u{7f}b||"),
        (400, "GET / HTTP/1.1|Host: h|X: a\u{b}b||"),
        (400, "GET / HTTP/1.1|Host: h|X: a| folded||"),
        (400, "GET / HTTP/1.1|Host: h|X: a|\tfolded||"),
        (400, "GET / HTTP/1.1| Host: h||"),
        (400, "GET / HTTP/1.1|Host : h||"),
        (400, "GET / HTTP/1.1|Host: h|X\t: a||"),
        (400, "GET / HTTP/1.1|Host: h|: a||"),
        (400, "GET / HTTP/1.1|Host: h|no colon||"),
        (400, "GET / HTTP/1.1|Host: h|X(: a||"),
        (400, "GET / HTTP/1.1|Host: h|\u{fc}: a||"),
        (400, "GET /\u{fc} HTTP/1.1|"),
        (400, "GET /\u{1} HTTP/1.1|"),
        (400, "GET mcp HTTP/1.1|"),
        (400, "GET * HTTP/1.1|"),
        (400, "OPTIONS *x HTTP/1.1|"),
        (400, "CONNECT host:80 HTTP/1.1|"),
        (400, "GET http:///mcp HTTP/1.1|"),
        (400, "GET http://user@host/mcp HTTP/1.1|"),
        (400, "GET ftp://host/mcp HTTP/1.1|"),
        (400, "GET / HTTP/1.1||"),
        (400, "GET / HTTP/1.1|Host: h|Host: h||"),
        (400, "GET http://h/ HTTP/1.1|Host: h|host: i||"),
        (400, "GET / HTTP/1.0|Host: h|Host: h||"),
        (400, "POST / HTTP/1.0|Transfer-Encoding: chunked||0||"),
    ];
    let mut table: Vec<(u16, String)> = heads.iter().map(|(status, text)| (*status, (*text).to_string())).collect();
    for length in ["", "abc", "-5", "+5", "5, 5", "5,5", "5 5", "0x5", "5.0", "18446744073709551617", "\u{665}"] {
        table.push((400, post(&format!("Content-Length: {length}"), "hello")));
    }
    for coding in ["gzip", "chunked, chunked", "gzip, chunked", "identity", "", "xchunked", "chunked;q=1", "\"chunked\"", "chunked\u{a0}"] {
        table.push((400, post(&format!("Transfer-Encoding: {coding}"), "0||")));
    }
    let chunk_bodies = [
        "x||",
        "||",
        "5|hello0||",
        "5|hell|0||",
        "5|hello!|0||",
        "+5|hello|0||",
        "0x5|hello|0||",
        "-5|hello|0||",
        " 5|hello|0||",
        "5 |hello|0||",
        "5 x|hello|0||",
        "00000000000000005|hello|0||",
        "5\nhello|0||",
        "5|hello\n0||",
        "5;a=\"\rb\"|hello|0||",
        "0|no colon||",
        "0|colonless||",
        "5;\u{7f}|hello|0||",
        "0|: a||",
        "0|X : a||",
        "0|X: a\n||",
    ];
    table.extend(chunk_bodies.iter().map(|body| (400, chunked(body))));
    table.extend([
        (400, post("Content-Length: 5|Content-Length: 5", "hello")),
        (400, post("Content-Length: 5|content-length: 6", "hello")),
        (400, post("Content-Length: 5|Transfer-Encoding: chunked", "0||")),
        (400, post("Transfer-Encoding: chunked|Transfer-Encoding: chunked", "0||")),
        (400, post("Transfer-Encoding: identity|Transfer-Encoding: chunked", "0||")),
        (400, post("Transfer-Encoding : chunked", "0||")),
        (400, chunked(&long("5;", 300, "|hello|0||"))),
        (400, chunked(&(long("1;", 200, "|x|").repeat(90) + "0||"))),
        (413, post("Content-Length: 1001", "")),
        (413, post("Content-Length: 100000000000", "xy")),
        (413, post("Content-Length: 18446744073709551615", "xy")),
        (413, chunked("3e9|")),
        (413, chunked("ffffffffffffffff|xy")),
        (413, chunked(&(long("3e8|", 1000, "|") + "1|"))),
        (417, post("Content-Length: 5|Expect: miracles", "hello")),
        (417, post("Content-Length: 5|Expect: 100-continue, miracles", "hello")),
        (414, long("GET /", 1100, " HTTP/1.1|Host: h||")),
        (400, "a".repeat(1100)),
        (400, long("", 1100, " / HTTP/1.1|")),
        (431, long("GET / HTTP/1.1|Host: h|X: ", 1100, "||")),
        (431, format!("GET / HTTP/1.1|Host: h|{}|", "a:b|".repeat(100))),
        (431, chunked(&long("0|X: ", 1100, "||"))),
        (431, chunked(&format!("0|{}|", "a:b|".repeat(101)))),
    ]);
    table.into_iter().map(|(status, text)| (status, text.replace('|', "\r\n"))).collect()
}

#[test]
fn refuses_what_is_ambiguous_or_too_large() {
    for (status, text) in refused() {
        let (requests, refusal) = all(&mut Script::new(text.as_bytes()));
        assert_eq!(refusal.status(), Some(status), "{text:?}: {refusal:?}");
        assert!(requests.is_empty(), "{text:?} gave a request before its refusal");
    }
}

#[test]
fn bytes_above_ascii_are_for_values_only() {
    let (requests, refusal) = all(&mut Script::new(b"GET / HTTP/1.1\r\nHost: h\r\nUser-Agent: caf\xe9\r\nX: y\r\n\r\n"));
    assert_eq!(refusal.status(), None);
    let (head, _) = &requests[0];
    assert_eq!((head.header("user-agent"), head.header("x"), head.path()), (Some("caf\u{fffd}"), Some("y"), "/"));
    for (before, after) in [
        ("GET /", " HTTP/1.1\r\nHost: h\r\n\r\n"),
        ("GET / HTTP/1.1\r\nX", ": y\r\n\r\n"),
        ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 0", "\r\n\r\n"),
    ] {
        let (requests, refusal) = all(&mut Script::new(&[before.as_bytes(), b"\xe9", after.as_bytes()].concat()));
        assert!(requests.is_empty() && refusal.status() == Some(400), "{before:?}");
    }
}

#[test]
fn a_refusal_does_not_depend_on_how_the_bytes_arrive() {
    for (_, text) in refused() {
        let expected = all(&mut Script::new(text.as_bytes())).1;
        // Long texts are monotonous: a sample of their boundaries will do.
        for split in (0..text.len()).step_by(1 + text.len() / 500) {
            let refusal = all(&mut Script { split, ..Script::new(text.as_bytes()) }).1;
            assert_eq!(refusal, expected, "{text:?} split at {split}");
        }
        assert_eq!(all(&mut Script { piece: 1, ..Script::new(text.as_bytes()) }).1, expected, "{text:?} byte by byte");
    }
}
