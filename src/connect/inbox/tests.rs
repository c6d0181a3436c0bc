//! Answers as bytes, cut in every way.

use super::*;

/// Bytes that arrive in pieces of at most `piece`, and then the end.
struct Script {
    bytes: Vec<u8>,
    at: usize,
    piece: usize,
}

impl Source for Script {
    fn read_before(&mut self, buffer: &mut [u8], _: Instant) -> io::Result<usize> {
        let count = buffer.len().min(self.piece).min(self.bytes.len() - self.at);
        buffer[..count].copy_from_slice(&self.bytes[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// Status, body and whether the connection lives on, of each answer in `text`, in which `|` is CRLF.
fn answers(text: &str, piece: usize) -> io::Result<Vec<(u16, String, bool)>> {
    let bytes = text.replace('|', "\r\n").into_bytes();
    let mut inbox = Inbox::new(Script { bytes, at: 0, piece });
    let deadline = after(None);
    let mut found = Vec::new();
    while inbox.source.at < inbox.source.bytes.len() || !inbox.is_empty() {
        let (head, mut body) = inbox.head(deadline)?;
        let mut bytes = Vec::new();
        while inbox.body(&mut body, &mut bytes, deadline)? {}
        found.push((head.status, String::from_utf8(bytes).unwrap(), head.keeps_alive));
    }
    Ok(found)
}

fn same_however_cut(text: &str) -> Vec<(u16, String, bool)> {
    let whole = answers(text, usize::MAX).unwrap();
    for piece in [1, 2, 3, 7] {
        assert_eq!(answers(text, piece).unwrap(), whole, "{text} in pieces of {piece}");
    }
    whole
}

#[test]
fn every_framing_is_read() {
    let one = |status, body: &str, keeps| vec![(status, body.to_owned(), keeps)];
    assert_eq!(same_however_cut("HTTP/1.1 200 OK|Content-Length: 5||hello"), one(200, "hello", true));
    assert_eq!(same_however_cut("HTTP/1.1 202 |content-length:0|Connection: Close||"), one(202, "", false));
    assert_eq!(
        same_however_cut("HTTP/1.1 200 OK|Transfer-Encoding: chunked||5|hello|A;x=y|0123456789|0|T: x||"),
        one(200, "hello0123456789", true)
    );
    assert_eq!(same_however_cut("HTTP/1.1 204 No Content||"), one(204, "", true));
    assert_eq!(same_however_cut("HTTP/1.1 200||all of it"), one(200, "all of it", false));
    assert_eq!(same_however_cut("HTTP/1.0 200 OK|Content-Length: 1||x"), one(200, "x", false));
    assert_eq!(same_however_cut("HTTP/1.1 100 Continue||HTTP/1.1 200 OK|Content-Length: 1|Content-Length: 1||x"), one(200, "x", true));
    assert_eq!(same_however_cut("HTTP/1.1 200 OK|Content-Length: 1||xHTTP/1.1 202 OK|Content-Length: 0||").len(), 2);
}

#[test]
fn what_is_ambiguous_too_long_or_cut_off_is_refused() {
    let ok = "HTTP/1.1 200 OK|";
    let mut bad = vec![
        "SSH-2.0-OpenSSH_9.9".to_owned(),
        "HTTP/2 200||".to_owned(),
        "HTTP/1.1 200 OK\nX: y\n\n|||".to_owned(),
        "HTTP/1.1 x||".to_owned(),
    ];
    for rest in [
        "Content-Length: 5|Transfer-Encoding: chunked||0||",
        "Content-Length: 5|Content-Length: 6||hello",
        "Content-Length: +5||hello",
        "Content-Length:||hello",
        "Content-Length: 5||hell",
        "Transfer-Encoding: gzip||x",
        "Transfer-Encoding: chunked|Transfer-Encoding: chunked||0||",
        "Transfer-Encoding: chunked||5|hello!|0||",
        "Transfer-Encoding: chunked||x|",
        "Transfer-Encoding: chunked||5 x|hello|0||",
        "Transfer-Encoding: chunked||11112222333344445|",
        "Transfer-Encoding: chunked||5|hello|",
        "Transfer-Encoding: chunked||5|hel",
        "X: a\rb||",
        "X : a||",
    ] {
        bad.push(format!("{ok}{rest}"));
    }
    bad.push(format!("{ok}X: {}", "a".repeat(HEAD)));
    bad.push(format!("{ok}{}|", "a: b|".repeat(HEADERS + 1)));
    bad.push(format!("{ok}Transfer-Encoding: chunked||5;{}|", "a".repeat(CHUNK_LINE)));
    bad.push(format!("{ok}Transfer-Encoding: chunked||0|{}", "a: b|".repeat(TRAILERS)));
    bad.push("HTTP/1.1 100 Continue||".repeat(INTERIM + 1));
    for text in bad {
        // Byte by byte a long text would take seconds.
        for piece in [usize::MAX, 1 + text.len() / 4000 * 500] {
            assert!(answers(&text, piece).is_err(), "{} in pieces of {piece}", &text[..text.len().min(100)]);
        }
    }
}

#[test]
fn what_does_not_begin_like_an_answer_is_known_at_once() {
    let mut inbox = Inbox::new(Script { bytes: b"220 ftp".to_vec(), at: 0, piece: 2 });
    assert_eq!(inbox.head(after(None)).unwrap_err().kind(), io::ErrorKind::InvalidData);
    assert!(inbox.source.at <= 4);
}
