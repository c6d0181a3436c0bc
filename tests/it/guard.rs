//! Who may come in: `Host`, `Origin`, the token, and CORS.

use mcp_http_transport::{Config, Service, TransportMode};

use super::support::{Http, Server, Sse, get, request, test_handler};

fn ask(server: &Server, head: &str) -> super::support::Response {
    Http::connect(server.address).exchange(format!("{head}\r\n\r\n").replace('|', "\r\n"))
}

#[test]
fn on_loopback_the_host_must_be_loopback_or_named() {
    let server = Server::with(|config| *config = config.clone().allow_host("mcp.example"));
    for host in ["localhost", "127.0.0.1:1", "[::1]", "mcp.example", "MCP.example:443"] {
        assert_eq!(ask(&server, &format!("GET /x HTTP/1.1|Host: {host}")).status, 404, "{host}");
    }
    let refused = ask(&server, "GET /sse HTTP/1.1|Host: evil.example");
    assert_eq!(refused.status, 403);
    assert!(refused.body.contains("evil.example") && refused.body.contains("--allow-host"), "{refused:?}");
    assert_eq!(ask(&server, "GET /x HTTP/1.0").status, 404, "HTTP/1.0 needs none");
    assert_eq!(ask(&server, "GET /sse HTTP/1.0|Host: evil.example").status, 403);
    assert_eq!(ask(&server, "GET /x HTTP/1.1").status, 400);
    assert_eq!(ask(&server, "GET /x HTTP/1.1|Host: localhost|Host: localhost").status, 400);
}

#[test]
fn the_origin_must_be_loopback_or_named_if_there_is_one() {
    let server = Server::with(|config| *config = config.clone().allow_origin("https://app.example"));
    for origin in ["http://localhost:5173", "https://127.0.0.1", "http://[::1]:1", "https://app.example"] {
        assert_eq!(ask(&server, &format!("GET /x HTTP/1.1|Host: localhost|Origin: {origin}")).status, 404, "{origin}");
    }
    for origin in ["http://app.example", "https://app.example:444", "https://evil.example", "null"] {
        let refused = ask(&server, &format!("GET /sse HTTP/1.1|Host: localhost|Origin: {origin}"));
        assert_eq!(refused.status, 403, "{origin}");
        assert!(refused.body.contains(origin) && refused.body.contains("--allow-origin"), "{refused:?}");
    }
}

#[test]
fn beyond_loopback_the_host_counts_only_when_one_is_named() {
    let (handler, _events) = test_handler();
    let config = Config::new().transport(TransportMode::Http).host("0.0.0.0").port(0).insecure(true);
    let service = Service::start(handler, &config).unwrap();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], service.local_addrs()[0].port()));
    let anyone = request("GET", "/x", "", "").replace("localhost", "anything.example");
    assert_eq!(Http::connect(address).exchange(&anyone).status, 404);
    service.stop(std::time::Duration::ZERO);

    let (handler, _events) = test_handler();
    let service = Service::start(handler, &config.clone().allow_host("mcp.example")).unwrap();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], service.local_addrs()[0].port()));
    assert_eq!(Http::connect(address).exchange(&anyone).status, 403);
    assert_eq!(Http::connect(address).exchange(anyone.replace("anything", "mcp")).status, 404);
    service.stop(std::time::Duration::ZERO);
}

#[test]
fn listening_beyond_loopback_needs_a_token_or_insecure() {
    for host in ["0.0.0.0", "::", "192.0.2.1"] {
        let (handler, _events) = test_handler();
        let config = Config::new().transport(TransportMode::Http).host(host).port(0);
        let error = Service::start(handler, &config).err().unwrap_or_else(|| panic!("{host} is open to all"));
        assert!(error.is_usage() && error.to_string().contains("MCP_HTTP_TOKEN") && error.to_string().contains("--insecure"), "{error}");
    }
}

#[test]
fn the_token_is_asked_for_on_loopback_too_but_not_of_a_preflight() {
    let server = Server::with(|config| *config = config.clone().token("s3cret").allow_origin("https://app.example"));
    for shown in [
        "",
        "Authorization: s3cret|",
        "Authorization: Basic s3cret|",
        "Authorization: Bearer|",
        "Authorization: Bearer s3cre|",
        "Authorization: Bearer s3cret2|",
    ] {
        let refused = ask(&server, format!("GET /sse HTTP/1.1|Host: localhost|{shown}").trim_end_matches('|'));
        assert_eq!(refused.status, 401, "{shown}");
        assert!(refused.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")), "{refused:?}");
        assert!(!refused.body.contains("s3cret"));
    }
    let mut session = Sse::open_with(server.address, &request("GET", "/sse", "Authorization: Bearer s3cret\r\n", ""));
    assert_eq!(session.post("{}").status, 401, "a session's id is not enough");
    let authorized = "Content-Type: application/json\r\nAuthorization: bearer s3cret\r\n";
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
    assert_eq!(Http::connect(server.address).exchange(request("POST", &session.path, authorized, body)).status, 202);
    assert_eq!(session.answer("1")["result"], serde_json::json!({}));
    let preflight = "OPTIONS /messages/ HTTP/1.1|Host: localhost|Origin: https://app.example|Access-Control-Request-Method: POST";
    assert_eq!(ask(&server, preflight).status, 204);
}

#[test]
fn cors_is_off_until_an_origin_is_named() {
    let names =
        ["access-control-allow-origin", "access-control-allow-methods", "access-control-allow-headers", "access-control-expose-headers"];
    let server = Server::start();
    let answer = ask(&server, "OPTIONS /sse HTTP/1.1|Host: localhost|Origin: http://localhost:5173|Access-Control-Request-Method: GET");
    assert_eq!(answer.status, 204);
    assert!(names.iter().all(|name| answer.header(name).is_none()), "{answer:?}");

    let server = Server::with(|config| *config = config.clone().allow_origin("https://app.example"));
    let preflight =
        ask(&server, "OPTIONS /messages/ HTTP/1.1|Host: localhost|Origin: https://app.example|Access-Control-Request-Method: POST");
    assert_eq!((preflight.status, preflight.header("content-length")), (204, None));
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://app.example"));
    assert!(preflight.header("access-control-allow-methods").unwrap().contains("POST"));
    let allowed = preflight.header("access-control-allow-headers").unwrap().to_ascii_lowercase();
    for header in ["content-type", "authorization", "mcp-session-id", "mcp-protocol-version", "last-event-id", ", *"] {
        assert!(allowed.contains(header), "{header}: {allowed}");
    }
    let from_page = "Origin: https://app.example\r\n";
    let session = Sse::open_with(server.address, &request("GET", "/sse", from_page, ""));
    assert_eq!(session.head.header("access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(session.head.header("vary"), Some("Origin"));
    assert!(session.head.header("access-control-expose-headers").unwrap().to_ascii_lowercase().contains("mcp-session-id"));
    for (path, headers) in [(session.path.as_str(), "Content-Type: application/json\r\n"), (session.path.as_str(), ""), ("/nowhere", "")] {
        let answer = Http::connect(server.address).exchange(request("POST", path, &format!("{from_page}{headers}"), "{}"));
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://app.example"), "errors can be read, too: {answer:?}");
    }
    assert_eq!(get(server.address, "/nowhere").header("access-control-allow-origin"), None);
}
