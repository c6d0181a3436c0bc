//! Random requests, whole and broken, from a fixed seed: whole ones come out as they went in, broken ones never as two.

use std::str;

use super::tests::{Script, all};
use super::{Framing, Head, Refusal, Version};
use crate::random::Random;

fn text(random: &mut Random, alphabet: &[u8], longest: usize) -> String {
    (0..random.below(longest + 1)).map(|_| random.pick(alphabet) as char).collect()
}

/// What a request says, to compare with what was read.
#[derive(Debug, PartialEq)]
struct Request {
    line: (String, String, Version),
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn random(random: &mut Random) -> Request {
        let version = random.pick(&[Version::Http10, Version::Http11, Version::Http11]);
        let method = random.pick(&["GET", "POST", "DELETE", "HEAD", "PROPFIND"]).to_string();
        let target = format!("/{}", text(random, b"abc/?&=%+.~:@\"<>[]", 20));
        let mut fields = Vec::new();
        for _ in 0..random.below(6) {
            let name = format!("X{}", text(random, b"abcXYZ-_!~.", 8));
            fields.push((name, text(random, b"abc \t,;:=\"()", 20).trim().to_string()));
        }
        if version == Version::Http11 || random.below(2) == 0 {
            fields.insert(random.below(fields.len() + 1), ("hOsT".into(), "localhost:3000".into()));
        }
        let body: Vec<u8> = (0..random.below(200)).map(|_| random.pick(b"ab0\r\n:GETPOST/ {}\0\xff")).collect();
        let framing = match random.below(3) {
            0 if version == Version::Http11 => ("transfer-encoding".into(), "ChunkeD".into()),
            _ => ("CONTENT-length".into(), body.len().to_string()),
        };
        fields.insert(random.below(fields.len() + 1), framing);
        Request { line: (method, target, version), fields, body }
    }

    fn encode(&self, random: &mut Random) -> Vec<u8> {
        let version = if self.line.2 == Version::Http10 { "1.0" } else { "1.1" };
        let mut out = format!("{} {} HTTP/{version}\r\n", self.line.0, self.line.1).into_bytes();
        for (name, value) in &self.fields {
            out.extend(format!("{name}:{}{value}{}\r\n", random.pick(&["", " ", "\t "]), random.pick(&["", " "])).bytes());
        }
        out.extend(b"\r\n");
        if self.fields.iter().all(|(name, _)| name != "transfer-encoding") {
            out.extend(&self.body);
            return out;
        }
        let mut rest = self.body.as_slice();
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(1 + random.below(rest.len()));
            out.extend(format!("{:0width$X}{}\r\n", chunk.len(), random.pick(&["", ";a=b"]), width = random.below(5)).bytes());
            out.extend(chunk);
            out.extend(b"\r\n");
            rest = after;
        }
        out.extend(random.pick(&["0\r\n\r\n", "000\r\nTrailer: x\r\n\r\n"]).bytes());
        out
    }

    fn read(head: &Head, body: &[u8]) -> Request {
        let fields = head.fields().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        Request { line: (head.method.to_string(), head.target().to_string(), head.version), fields, body: body.to_vec() }
    }
}

#[test]
fn random_requests_come_out_as_they_went_in() {
    let random = &mut Random(1);
    for round in 0..2000 {
        let requests: Vec<Request> = (0..1 + random.below(4)).map(|_| Request::random(random)).collect();
        let bytes: Vec<u8> = requests.iter().flat_map(|request| request.encode(random)).collect();
        let mut script = Script { piece: 1 + random.below(300), ..Script::new(&bytes) };
        let (read, refusal) = all(&mut script);
        assert_eq!(refusal, Refusal::Closed, "round {round}: {}", bytes.escape_ascii());
        let read: Vec<Request> = read.iter().map(|(head, body)| Request::read(head, body)).collect();
        assert_eq!(read, requests, "round {round}");
    }
}

/// Broken at random, a request may still be one request, but it must end where its own framing says, by a second and simpler reading.
#[test]
fn random_damage_never_panics_loops_or_shifts_a_boundary() {
    let random = &mut Random(2);
    let pieces: [&[u8]; 16] = [
        b"\r",
        b"\n",
        b"\r\n",
        b"\r\n\r\n",
        b" ",
        b"\t",
        b":",
        b",",
        b"\0",
        b"0",
        b"5",
        b"\xff",
        b"Content-Length: 7\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"\r\n0\r\n\r\n",
    ];
    let (mut whole, mut broken) = (0, 0);
    for round in 0..20_000 {
        let mut bytes = Request::random(random).encode(random);
        for _ in 0..=random.below(3) {
            let at = random.below(bytes.len());
            let to = at + random.below((bytes.len() - at).min(4) + 1);
            bytes.splice(at..to, random.pick(&pieces).iter().copied());
        }
        let mut script = Script { piece: 1 + random.below(300), ..Script::new(&bytes) };
        let (read, refusal) = all(&mut script);
        assert!(script.reads <= bytes.len() + 8, "round {round} loops");
        assert_eq!(refusal.status().is_none(), matches!(refusal, Refusal::Closed | Refusal::Cut));
        whole += read.len();
        broken += usize::from(refusal != Refusal::Closed);
        let mut at = 0;
        for (head, body) in &read {
            at += plain_length(&bytes[at..], head, body).unwrap_or_else(|| panic!("round {round}: {}", bytes.escape_ascii()));
        }
        assert!(refusal != Refusal::Closed || bytes[at..].iter().all(|byte| b"\r\n".contains(byte)), "round {round}: bytes were skipped");
    }
    assert!(whole > 1000 && broken > 1000, "{whole} whole and {broken} broken: the damage tests nothing");
}

/// How many bytes the request at the start of `bytes` has when read by splitting text; `None` when another reader could differ.
fn plain_length(bytes: &[u8], head: &Head, body: &[u8]) -> Option<usize> {
    let find = |from: usize, what: &[u8]| bytes[from..].windows(what.len()).position(|window| window == what).map(|at| from + at);
    let blank = bytes.chunks(2).take_while(|pair| *pair == b"\r\n").count() * 2;
    let end = find(blank, b"\r\n\r\n")? + 4;
    let lines = String::from_utf8_lossy(&bytes[blank..end - 4]).to_ascii_lowercase();
    if lines.replace("\r\n", "").contains(['\r', '\n', '\0']) {
        return None;
    }
    let values = |name: &str| {
        let named = lines.split("\r\n").filter_map(|line| line.split_once(':')).filter(|(field, _)| field.trim() == name);
        named.map(|(_, value)| value.trim().to_string()).collect::<Vec<_>>()
    };
    match (values("content-length").as_slice(), values("transfer-encoding").as_slice()) {
        ([], []) => (head.framing == Framing::None && body.is_empty()).then_some(end),
        ([length], []) => {
            let length: usize = length.parse().ok()?;
            (bytes[end..].get(..length)? == body).then_some(end + length)
        }
        ([], [coding]) if coding == "chunked" => {
            let (mut at, mut joined) = (end, Vec::new());
            loop {
                let line = find(at, b"\r\n")?;
                let size = bytes[at..line].split(|byte| *byte == b';').next()?;
                let size = usize::from_str_radix(str::from_utf8(size).ok()?.trim_end(), 16).ok()?;
                at = line + 2;
                if size == 0 {
                    let end = if bytes[at..].starts_with(b"\r\n") { at + 2 } else { find(at, b"\r\n\r\n")? + 4 };
                    return (joined == body).then_some(end);
                }
                joined.extend_from_slice(bytes.get(at..at + size)?);
                if bytes.get(at + size..at + size + 2)? != b"\r\n" {
                    return None;
                }
                at += size + 2;
            }
        }
        _ => None,
    }
}
