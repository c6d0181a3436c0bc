use super::*;
use crate::random::Random;

/// Inputs put together from `parts`, now and then with a byte that belongs nowhere.
fn feed(property: fn(&[u8]), rounds: usize, parts: &[&str]) {
    let mut random = Random(0x5eed);
    for _ in 0..rounds {
        let mut input = vec![random.below(256) as u8];
        for _ in 0..random.below(24) {
            match random.below(16) {
                0 => input.push(random.below(256) as u8),
                _ => input.extend_from_slice(random.pick(parts).as_bytes()),
            }
        }
        property(&input);
        property(&input[1..]);
    }
}

#[test]
fn http1_keeps_its_property() {
    let parts = [
        // Whole ones, which chance seldom makes.
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n10;x\r\n0123456789abcdef\r\n0\r\nTrail: er\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n",
        "POST /mcp?session_id=a%20b HTTP/1.1\r\nHost: localhost:1\r\n",
        "GET http://h/ HTTP/1.0\r\n",
        "\r\n",
        "\r\n\r\n",
        "\n",
        "\r",
        "Content-Length: 5\r\n",
        "Content-Length: 65\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Expect: 100-continue\r\n",
        "Connection: close\r\n",
        "X: \t y \t\r\n",
        "5\r\nhello\r\n",
        "0\r\n\r\n",
        "40;ext=1\r\n",
        "hello",
        "0",
        " ",
        ":",
    ];
    feed(http1, 5_000, &parts);
}

#[test]
fn message_keeps_its_property() {
    let parts = [
        "{\"jsonrpc\":\"2.0\",",
        "\"jsonrpc\": \"2.0\"",
        "{",
        "}",
        "[",
        "]",
        ",",
        "\"id\":1",
        "\"id\" : \"a\\u0062\"",
        "\"id\":null",
        "\"id\":1.5e3",
        "\"method\":\"tools/call\"",
        "\"m\\u0065thod\":\"x\"",
        "\"params\":{\"a\":[1,{\"id\":2}]}",
        "\"params\":[\n1]",
        "\"result\":{}",
        "\"error\":{\"code\":-1,\"message\":\"\"}",
        "\r\n",
        " ",
        "\"é\":1",
    ];
    feed(message, 10_000, &parts);
    // The shapes that random parts seldom make.
    for id in ["", "\"id\":1,", "\"id\":\"x\"\n,", "\"id\":null,"] {
        for rest in ["\"method\":\"m\"", "\"method\":\"m\",\"params\":{}", "\"result\":1", "\"error\":{}"] {
            let text = format!("{{{id}{rest},\"jsonrpc\":\"2.0\"}}");
            message(text.as_bytes());
            message(format!("[{text},{text}]").as_bytes());
        }
    }
}

#[test]
fn lines_keep_their_property() {
    feed(lines, 10_000, &["\n", "\r\n", "\r", "a", "{}", "é", "12345678", "1234567890123456", "\n\n"]);
}

#[test]
fn dotenv_keeps_its_property() {
    let parts =
        ["MCP_LOG=", "MCP_BUILD=", "export ", "MCP_HTTP_TOKEN=\"", "'", "\"", "\\", "\n", "\r\n", "#", " #", " ", "$", "\\n", "=", "é"];
    feed(dotenv, 10_000, &parts);
}

#[cfg(feature = "run")]
#[test]
fn glob_keeps_its_property() {
    let parts = ["*", "**", "/", "**/", "/**", "?", "[a-c]", "[!a]", "[", "]", "\\", "a", "b", "c", "ab", "!", "#", " ", "\n", "\n", "\n"];
    feed(glob, 20_000, &parts);
}

#[cfg(feature = "run")]
#[test]
fn events_keep_their_property() {
    let parts = [
        "data: ",
        "data",
        "data:x\n\n",
        "event: ",
        "id: 1\n",
        "retry: 5\n",
        ":",
        "\n",
        "\r",
        "\r\n",
        "\n\n",
        "\u{feff}",
        "é",
        "12345678",
        "\0",
    ];
    feed(events, 10_000, &parts);
}

#[cfg(feature = "run")]
#[test]
fn answers_keep_their_property() {
    let parts = [
        // Whole ones, which chance seldom makes.
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n10;x\r\n0123456789abcdef\r\n0\r\nTrail: er\r\n\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.0 200 OK\r\n\r\nuntil the end",
        "HTTP/1.1 202\r\n",
        "Connection: close\r\n",
        "Content-Length: 5\r\n",
        "\r\n",
        "\r",
        "\n",
        "hello",
        "0",
        ":",
    ];
    feed(answers, 5_000, &parts);
}

#[cfg(feature = "run")]
#[test]
fn urls_keep_their_property() {
    let parts = [
        "http://",
        "https://",
        "//",
        "/",
        "a",
        "localhost",
        ":",
        "80",
        "[",
        "]",
        "::1",
        "?",
        "#",
        "@",
        ".",
        "..",
        "/../",
        "%2f",
        "\\",
        " ",
        "\n",
        "é",
        "=",
    ];
    feed(url, 10_000, &parts);
}

#[test]
fn base64_keeps_its_property() {
    feed(base64, 10_000, &["Zm9v", "Zg==", "Zm8=", "=", "A", "/", "+", "-", "\n"]);
}
