//! The environment and `.env` are given as text here: nothing changes this process.

use std::collections::HashMap;
use std::ffi::OsString;
use std::time::Duration;

use super::*;

/// `NAME=value` words as an environment.
fn env(text: &str) -> impl Fn(&str) -> Option<OsString> + use<> {
    let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
    let map: HashMap<String, OsString> = pairs.map(|(name, value)| (name.to_owned(), value.into())).collect();
    move |name| map.get(name).cloned()
}

fn read(environment: &str, dotenv: &str) -> Result<Config> {
    Config::from_sources(&Sources::new(&env(environment), Dotenv::parse(dotenv)))
}

fn error(environment: &str) -> String {
    let error = read(environment, "").unwrap_err();
    assert!(error.is_usage(), "{error}");
    error.to_string()
}

fn notes(environment: &str, dotenv: &str) -> Vec<String> {
    let lookup = env(environment);
    let notes = Sources::new(&lookup, Dotenv::parse(dotenv)).notes();
    notes.into_iter().map(|note| format!("{} {}", note.level, note.text)).collect()
}

/// What `.env` makes of the token: the one setting among the six that holds nearly any text.
fn token(dotenv: &str) -> Option<String> {
    read("", dotenv).unwrap().token.map(|token| String::from_utf8(token.as_bytes().to_vec()).unwrap())
}

#[test]
fn the_defaults_are_those_of_the_table() {
    let config = read("", "").unwrap();
    assert_eq!(config.transport, TransportMode::Stdio);
    assert_eq!((config.host.as_str(), config.port), ("localhost", 3000));
    assert!(config.allow_hosts.is_empty() && config.allow_origins.is_empty() && config.base_path.is_empty());
    assert!(config.token.is_none() && !config.insecure && config.dev_mode.is_none());
    assert_eq!((config.max_connections, config.max_sessions, config.max_body), (1024, 1024, 4 * 1024 * 1024));
    let times = [config.session_timeout, config.keep_alive, config.grace].map(|time| time.as_secs());
    assert_eq!(times, [3600, 15, 5]);
    assert!(config.check().is_ok());
}

#[test]
fn each_variable_sets_its_field() {
    let config = read(
        "MCP_TRANSPORT=sse MCP_HTTP_HOST=[::1] MCP_HTTP_PORT=0 MCP_ALLOW_HOST=a.example,B.example:80 MCP_ALLOW_ORIGIN=https://a.example/ \
         MCP_BASE_PATH=/tools/ MCP_HTTP_TOKEN=t MCP_INSECURE=yes MCP_MAX_CONNECTIONS=7 MCP_MAX_SESSIONS=8 MCP_MAX_BODY=64KiB \
         MCP_SESSION_TIMEOUT=2m MCP_KEEP_ALIVE=500ms MCP_GRACE=0 MCP_DEV_MODE=1",
        "",
    );
    let config = config.unwrap().check().unwrap();
    assert_eq!(config.transport, TransportMode::Http);
    assert_eq!((config.host.as_str(), config.port), ("::1", 0));
    assert_eq!(config.allow_hosts, ["a.example", "b.example:80"]);
    assert_eq!(config.allow_origins, ["https://a.example"]);
    assert_eq!(config.base_path, "/tools");
    assert_eq!(config.token.unwrap().as_bytes(), b"t");
    assert!(config.insecure && config.dev_mode == Some(true));
    assert_eq!((config.max_connections, config.max_sessions, config.max_body), (7, 8, 65536));
    let times = [config.session_timeout, config.keep_alive, config.grace].map(|time| time.as_millis());
    assert_eq!(times, [120_000, 500, 0]);
}

#[test]
fn the_environment_beats_dotenv_setting_by_setting() {
    let config = read("MCP_HTTP_PORT=1", "MCP_HTTP_PORT=2\nMCP_HTTP_HOST=127.0.0.1\nMCP_TRANSPORT=http\nMCP_DEV_MODE=0").unwrap();
    assert_eq!((config.port, config.host.as_str(), config.transport), (1, "127.0.0.1", TransportMode::Http));
    assert_eq!(config.dev_mode, Some(false));
    // What is beaten is not even looked at; an empty variable stands for the default.
    assert_eq!(read("MCP_HTTP_PORT=1", "MCP_HTTP_PORT=x").unwrap().port, 1);
    assert_eq!(read("MCP_HTTP_PORT=", "MCP_HTTP_PORT=2").unwrap().port, 3000);
    assert!(read("MCP_HTTP_TOKEN=", "MCP_HTTP_TOKEN=secret").unwrap().token.is_none());
}

#[test]
fn a_bad_value_is_an_error_that_names_variable_value_and_what_is_allowed() {
    let text = error("MCP_TRANSPORT=htpp");
    assert_eq!(text, "MCP_TRANSPORT is \"htpp\": it must be stdio or http (sse and streamable-http are taken as http)");
    assert_eq!(error("MCP_HTTP_PORT=65536"), "MCP_HTTP_PORT is \"65536\": it must be a port number from 0 (any free one) to 65535");
    let bad = "MCP_HTTP_PORT=+1 MCP_HTTP_PORT=-1 MCP_HTTP_PORT=http MCP_HTTP_HOST=http://x MCP_HTTP_HOST=* MCP_HTTP_HOST=a:80 \
        MCP_HTTP_HOST=[a] MCP_ALLOW_HOST=https://a MCP_ALLOW_HOST=* MCP_ALLOW_HOST=a:b MCP_ALLOW_ORIGIN=* MCP_ALLOW_ORIGIN=null \
        MCP_ALLOW_ORIGIN=https://a/b MCP_ALLOW_ORIGIN=a.example MCP_BASE_PATH=tools MCP_BASE_PATH=/a//b MCP_BASE_PATH=/a/../b \
        MCP_BASE_PATH=/a?b MCP_BASE_PATH=/ä MCP_INSECURE=maybe MCP_MAX_CONNECTIONS=0 MCP_MAX_SESSIONS=many MCP_MAX_BODY=4MB MCP_MAX_BODY=0 \
        MCP_MAX_BODY=99999999999GiB MCP_SESSION_TIMEOUT=0 MCP_KEEP_ALIVE=0s MCP_KEEP_ALIVE=15 MCP_GRACE=5 MCP_GRACE=1.5s MCP_GRACE=s \
        MCP_GRACE=8761h MCP_GRACE=99999999999999999999s MCP_DEV_MODE=2";
    for pair in bad.split_whitespace() {
        let (name, value) = pair.split_once('=').unwrap();
        let text = error(pair);
        assert!(text.starts_with(&format!("{name} is {value:?}: it must be ")), "{text}");
    }
    let dotenv = read("", "MCP_HTTP_PORT=x").unwrap_err().to_string();
    assert!(dotenv.starts_with("MCP_HTTP_PORT in .env is \"x\""), "{dotenv}");
}

#[cfg(unix)]
#[test]
fn bytes_that_are_no_text_are_refused_and_a_token_is_not_shown() {
    use std::os::unix::ffi::OsStringExt;
    for (variable, shown) in [("MCP_HTTP_HOST", "s\u{fffd}"), ("MCP_HTTP_TOKEN", "(hidden)"), ("MCP_HTTP_TOKEN_FILE", "(hidden)")] {
        let env = |name: &str| (name == variable).then(|| OsString::from_vec(vec![b's', 0xff]));
        let error = Config::from_sources(&Sources::new(&env, Dotenv::default())).unwrap_err();
        assert_eq!(error.to_string(), format!("{variable} is {shown:?}: it must be valid UTF-8"));
        assert!(error.is_usage());
    }
}

#[test]
fn durations_sizes_and_booleans() {
    for (text, millis) in [("0", 0), ("500ms", 500), ("5s", 5000), ("2m", 120_000), ("1h", 3_600_000), ("8760h", 31_536_000_000)] {
        assert_eq!(value::duration(text), Ok(Duration::from_millis(millis)));
    }
    for (text, bytes) in [("1", 1), ("512", 512), ("64KiB", 65536), ("4MiB", 4 << 20), ("1GiB", 1 << 30), ("1gib", 1 << 30)] {
        assert_eq!(value::size(text), Ok(bytes));
    }
    for (words, good) in [("1 true on yes TRUE", true), ("0 false off no Off", false)] {
        assert!(words.split(' ').all(|word| value::boolean(word) == Ok(good)));
    }
}

#[test]
fn dotenv_values_are_read_as_written() {
    let table = [
        ("MCP_HTTP_TOKEN=a", Some("a")),
        ("\u{feff}MCP_HTTP_TOKEN=a", Some("a")),
        ("\r\n# comment\r\n\r\nMCP_HTTP_TOKEN=a\r\nX=1\r\n", Some("a")),
        ("export MCP_HTTP_TOKEN=a", Some("a")),
        ("  export\tMCP_HTTP_TOKEN = a  ", Some("a")),
        ("MCP_HTTP_TOKEN=a # comment", Some("a")),
        ("MCP_HTTP_TOKEN=a#b", Some("a#b")),
        ("MCP_HTTP_TOKEN=a=b", Some("a=b")),
        ("MCP_HTTP_TOKEN=it's", Some("it's")),
        ("MCP_HTTP_TOKEN=\"a#b\" # comment", Some("a#b")),
        ("MCP_HTTP_TOKEN='a#b'", Some("a#b")),
        ("MCP_HTTP_TOKEN='a\\n\"b'", Some("a\\n\"b")),
        ("MCP_HTTP_TOKEN=\"a\\\"b\\\\c\\$d\\q\"", Some("a\"b\\c$d\\q")),
        ("MCP_HTTP_TOKEN=\"a\\n\"", Some("a")),
        ("MCP_HTTP_TOKEN=a\nMCP_HTTP_TOKEN=b", Some("b")),
        ("KEY=\"begin\nMCP_HTTP_TOKEN=evil\nend\"\nMCP_HTTP_TOKEN=a", Some("a")),
        ("KEY=\"begin\nMCP_HTTP_TOKEN=evil\nend\"", None),
        ("QUOTE='tis\nMCP_HTTP_TOKEN=a", Some("a")),
        ("MCP_HTTP_TOKEN=", None),
        ("MCP_HTTP_TOKEN=\"\"", None),
        ("MCP_HTTP_TOKEN= # comment", None),
        ("#MCP_HTTP_TOKEN=a", None),
        ("MCP_HTTP_TOKEN", None),
        ("NOT_MCP_HTTP_TOKEN=a", None),
        ("exportMCP_HTTP_TOKEN=a", None),
        ("=a\n==\n'\n\"", None),
        ("", None),
    ];
    for (text, expected) in table {
        assert_eq!(token(text).as_deref(), expected, "{text:?}");
    }
    for bad in ["MCP_HTTP_TOKEN=\"a", "MCP_HTTP_TOKEN='a' b", "MCP_HTTP_TOKEN=\"a\\"] {
        let error = read("", bad).unwrap_err();
        assert!(error.is_usage() && error.to_string().starts_with("MCP_HTTP_TOKEN in .env is"), "{error}");
    }
}

#[test]
fn dotenv_decides_about_six_names_and_the_others_are_named_once() {
    let evil = "MCP_BUILD='rm -rf /'\nMCP_INSECURE=1\nMCP_HTTP_TOKEN_FILE=/etc/passwd\nMCP_FRONT_CHILD=1\nMCP_BUILD=x\nPATH=/evil\n";
    let text = format!("{evil}MCP_HTTP_HOST=0.0.0.0\nMCP_TRANSPORT=http\nMCP_LOG=debug");
    let config = read("", &text).unwrap();
    assert!(!config.insecure && config.token.is_none() && config.transport == TransportMode::Http);
    assert!(config.check().unwrap_err().is_usage());
    let lines = notes("MCP_TRANSPORT=http", &text);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert_eq!(lines[0], "INFO taken from .env: MCP_HTTP_HOST, MCP_LOG");
    let names = "WARN not taken from .env: MCP_BUILD, MCP_INSECURE, MCP_HTTP_TOKEN_FILE, MCP_FRONT_CHILD;";
    assert!(lines[1].starts_with(names), "{}", lines[1]);
    assert!(notes("", "PATH=/evil").is_empty());
    let many: String = (0..100).map(|n| format!("MCP_X{n}=1\n")).collect();
    assert!(notes("", &many)[0].contains("MCP_X11 and more;"));
}

#[test]
fn a_dotenv_that_is_no_settings_file_changes_nothing() {
    let path = std::env::temp_dir().join(format!("mcp-http-transport-dotenv-{}", std::process::id()));
    let from_file = || Sources::new(&|_| None, Dotenv::from_file(&path)).notes().into_iter().map(|note| note.text).collect::<Vec<_>>();
    assert!(from_file().is_empty(), "missing");
    std::fs::create_dir(&path).unwrap();
    assert!(from_file().is_empty(), "a directory");
    std::fs::remove_dir(&path).unwrap();
    std::fs::write(&path, "MCP_HTTP_PORT=1").unwrap();
    assert_eq!(from_file(), ["taken from .env: MCP_HTTP_PORT"]);
    std::fs::write(&path, b"MCP_HTTP_PORT=1\n\xff").unwrap();
    assert_eq!(from_file(), [".env is not read: it is not UTF-8"]);
    std::fs::write(&path, "MCP_HTTP_PORT=1\n".repeat(100_000)).unwrap();
    assert_eq!(from_file(), [".env is not read: it is larger than 1 MiB"]);
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_token_comes_from_the_variable_or_the_file() {
    let path = std::env::temp_dir().join(format!("mcp-http-transport-token-{}", std::process::id()));
    let from = |environment: &str, dotenv: &str| {
        let token = read(&format!("MCP_HTTP_TOKEN_FILE={} {environment}", path.display()), dotenv)?.token;
        Ok::<_, Error>(token.map(|token| String::from_utf8_lossy(token.as_bytes()).into_owned()))
    };
    std::fs::write(&path, "  from-file\r\n").unwrap();
    assert_eq!(from("", "").unwrap().as_deref(), Some("from-file"));
    assert_eq!(from("MCP_HTTP_TOKEN=direct", "").unwrap().as_deref(), Some("direct"));
    assert_eq!(from("MCP_HTTP_TOKEN=", "").unwrap().as_deref(), Some("from-file"));
    assert_eq!(from("", "MCP_HTTP_TOKEN=dotenv").unwrap().as_deref(), Some("from-file"));
    std::fs::write(&path, "two words").unwrap();
    let text = from("", "").unwrap_err().to_string();
    assert!(text.contains("visible ASCII") && !text.contains("words\""), "{text}");
    for content in ["", " \n"] {
        std::fs::write(&path, content).unwrap();
        assert!(from("", "").unwrap_err().to_string().ends_with("it is empty"));
    }
    std::fs::remove_file(&path).unwrap();
    let error = from("", "").unwrap_err();
    assert!(!error.is_usage() && error.to_string().starts_with("cannot read what MCP_HTTP_TOKEN_FILE names, "), "{error}");
    // The variable that wins spares the look at the file.
    assert_eq!(from("MCP_HTTP_TOKEN=direct", "").unwrap().as_deref(), Some("direct"));
}

#[test]
fn a_token_is_never_shown() {
    let config = Config::new().token("s3cret");
    assert!(!format!("{config:?}").contains("s3cret"));
    let text = Config::new().transport(TransportMode::Http).token("s3cret word").check().unwrap_err().to_string();
    assert!(!text.contains("s3cret"), "{text}");
    assert!(Config::new().token(" ").token.is_none());
}

#[test]
fn beyond_loopback_a_token_or_insecure_is_needed() {
    let http = |host: &str| Config::new().transport(TransportMode::Http).host(host);
    for host in ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1", "[::1]", "::ffff:127.0.0.1"] {
        assert!(http(host).check().unwrap().is_loopback(), "{host}");
    }
    for host in ["0.0.0.0", "::", "192.168.0.1", "example.com", "localhost.example.com", "127.0.0.1.nip.io"] {
        let error = http(host).check().unwrap_err();
        let text = error.to_string();
        assert!(error.is_usage() && text.starts_with(host) && text.contains("MCP_HTTP_TOKEN") && text.contains("--insecure"), "{text}");
        assert!(http(host).token("t").check().is_ok());
        assert!(http(host).insecure(true).check().is_ok());
        assert!(http(host).transport(TransportMode::Stdio).check().is_ok());
    }
}

#[test]
fn what_is_set_in_code_is_checked_like_a_variable() {
    let http = || Config::new().transport(TransportMode::Http);
    let config = http().base_path("/a/").host("[::1]").allow_host("A.example").allow_origin("https://A.example/").check().unwrap();
    assert_eq!((config.base_path.as_str(), config.host.as_str()), ("/a", "::1"));
    assert_eq!((config.allow_hosts, config.allow_origins), (vec!["a.example".to_owned()], vec!["https://a.example".to_owned()]));
    for bad in [http().base_path("/a\nb"), http().host(""), http().allow_host("a/b"), http().allow_origin("*")] {
        assert!(bad.check().unwrap_err().is_usage());
    }
    let zero = Config { max_body: 0, ..http() };
    assert_eq!(zero.check().unwrap_err().to_string(), "max_body is \"0\": it must be more than 0");
    assert!(Config { keep_alive: Duration::ZERO, ..http() }.check().is_err());
}

#[test]
fn the_child_of_a_front_speaks_stdio_whatever_is_set() {
    let config = read(
        "MCP_FRONT_CHILD=1 MCP_TRANSPORT=http MCP_DEV_MODE=1 MCP_HTTP_TOKEN=t",
        "MCP_TRANSPORT=nonsense\nMCP_HTTP_PORT=nonsense\nMCP_DEV_MODE=1",
    );
    let config = config.unwrap();
    assert_eq!((config.transport, config.dev_mode), (TransportMode::Stdio, Some(false)));
    assert!(config.token.is_none());
    assert!(notes("MCP_FRONT_CHILD=1", "MCP_BUILD=x").is_empty());
    assert_eq!(read("MCP_FRONT_CHILD=0 MCP_TRANSPORT=http", "").unwrap().transport, TransportMode::Http);
    assert_eq!(read("", "MCP_FRONT_CHILD=1\nMCP_TRANSPORT=http").unwrap().transport, TransportMode::Http);
}

#[test]
fn modes_are_words() {
    assert_eq!("Streamable-HTTP".parse::<TransportMode>().unwrap().to_string(), "http");
    assert_eq!("stdio".parse::<TransportMode>().unwrap().to_string(), "stdio");
    assert!("".parse::<TransportMode>().unwrap_err().is_usage());
}
