//! `healthcheck`: one question to a server, for container images without curl.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use crate::config::{Config, SETTINGS, Sources};
use crate::error::{Error, Result};

const PATIENCE: Duration = Duration::from_secs(5);

/// A base URL gets the path of the health endpoint; a full one stays as it is.
pub(super) fn url(text: &str) -> Result<String> {
    let refuse = || Error::setting("URL", text, "an http:// URL, such as http://localhost:3000 or http://localhost:3000/readyz");
    let rest = text.strip_prefix("http://").ok_or_else(refuse)?;
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let plain = rest.bytes().all(|b| b.is_ascii_graphic()) && !authority.contains(['@', '?', '#']);
    if authority.is_empty() || !plain {
        return Err(refuse());
    }
    Ok(format!("http://{authority}{}", if path.len() > 1 { path } else { "/healthz" }))
}

/// The server that the same settings would start. One that listens everywhere is asked on loopback.
pub(super) fn default_url(sources: &Sources<'_>) -> Result<String> {
    let mut config = Config::new();
    let needed = |variable: &str| matches!(variable, "MCP_HTTP_HOST" | "MCP_HTTP_PORT");
    sources.apply(SETTINGS.iter().filter(|setting| needed(setting.variable)), &mut config)?;
    if config.port == 0 {
        return Err(Error::usage("MCP_HTTP_PORT is 0, any free port: name the URL to ask"));
    }
    let host = match config.host.as_str() {
        "localhost" | "0.0.0.0" => "127.0.0.1".to_owned(),
        "::" => "[::1]".to_owned(),
        v6 if v6.contains(':') => format!("[{v6}]"),
        other => other.to_owned(),
    };
    url(&format!("http://{host}:{}", config.port))
}

/// Succeeds when `url`, as [`url`] makes them, answers 200 in time.
pub(super) fn check(url: &str) -> Result<()> {
    let failed = |why: io::Error| {
        let hint = if why.kind() == io::ErrorKind::ConnectionRefused { ": is the server running, and on this port?" } else { "" };
        Error::io(format!("{url} is not healthy"), io::Error::new(why.kind(), format!("{why}{hint}")))
    };
    let status = ask(url, Instant::now() + PATIENCE).map_err(failed)?;
    if status == "200" { Ok(()) } else { Err(failed(io::Error::other(format!("it answered {status}")))) }
}

/// The status of the answer.
fn ask(url: &str, deadline: Instant) -> io::Result<String> {
    let rest = url.strip_prefix("http://").unwrap_or(url);
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let address = if has_port { authority.to_owned() } else { format!("{authority}:80") };
    let mut stream = connect(&address, deadline)?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n").as_bytes())?;
    // "HTTP/1.1 200": the status is complete with its twelfth byte.
    let mut head = [0; 12];
    let mut filled = 0;
    while filled < head.len() {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut head[filled..])? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            more => filled += more,
        }
    }
    let status = head.strip_prefix(b"HTTP/1.").and_then(|rest| rest.strip_prefix(b"1 ").or(rest.strip_prefix(b"0 ")));
    let status = status.filter(|status| status.iter().all(u8::is_ascii_digit)).and_then(|status| std::str::from_utf8(status).ok());
    status.map(str::to_owned).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it does not speak HTTP"))
}

/// The first address behind the name that answers: `localhost` may be either loopback address.
fn connect(address: &str, deadline: Instant) -> io::Result<TcpStream> {
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(deadline)?) {
            Ok(stream) => return Ok(stream),
            Err(why) => failure = why,
        }
    }
    Err(failure)
}

/// What is left of the time, never 0, which would mean for ever.
fn left(deadline: Instant) -> io::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread::Builder;

    use super::*;

    /// A server that answers one question with `answer`.
    fn server(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let serve = move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut seen = Vec::new();
            while !seen.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                seen.push(byte[0]);
            }
            assert!(seen.starts_with(b"GET /healthz HTTP/1.1\r\n"));
            stream.write_all(answer.as_bytes()).unwrap();
        };
        Builder::new().name("health-test".into()).spawn(serve).unwrap();
        url(&base).unwrap()
    }

    #[test]
    fn only_200_is_healthy() {
        check(&server("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")).unwrap();
        let text = check(&server("HTTP/1.1 503 Service Unavailable\r\n\r\n")).unwrap_err().to_string();
        assert!(text.contains("/healthz is not healthy: it answered 503"), "{text}");
        assert!(check(&server("SSH-2.0-OpenSSH_9.9\r\n")).unwrap_err().to_string().contains("HTTP"));
        assert!(check(&server("")).is_err());
    }

    #[test]
    fn a_base_url_gets_the_health_path() {
        assert_eq!(url("http://localhost:3000").unwrap(), "http://localhost:3000/healthz");
        assert_eq!(url("http://localhost:3000/").unwrap(), "http://localhost:3000/healthz");
        assert_eq!(url("http://[::1]:80/readyz").unwrap(), "http://[::1]:80/readyz");
        for bad in ["", "localhost:3000", "https://localhost", "http://", "http:///x", "http://a@b", "http://a/ b", "http://a\r\nX: y"] {
            assert!(url(bad).unwrap_err().is_usage(), "{bad}");
        }
    }
}
