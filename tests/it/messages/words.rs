//! The command line, the environment and `.env`.

use super::{Bench, compare, said};

/// Command line, variables, and what is said under the name of the program.
const WRONG: &[(&str, &str, &str)] = &[
    // Commands.
    ("frobnicate", "", "unknown command frobnicate (mcp-http-transport -h lists the commands)"),
    ("rnu", "", "unknown command rnu: did you mean run? (mcp-http-transport -h lists the commands)"),
    ("--http", "", "--http comes after a command: mcp-http-transport -h lists them"),
    ("demo extra", "", "\"extra\" is too much: mcp-http-transport demo takes no words"),
    ("healthcheck http://a http://b", "", "\"http://b\" is too much: mcp-http-transport healthcheck takes one word"),
    ("run", "", "COMMAND is missing: mcp-http-transport run -- python server.py"),
    ("connect", "", "URL is missing: mcp-http-transport connect http://localhost:3000/mcp"),
    ("config", "", "CLIENT is missing: mcp-http-transport config claude-desktop -- python server.py"),
    ("config cursor", "", "COMMAND is missing: mcp-http-transport config claude-desktop -- python server.py"),
    ("config emacs -- x", "", "unknown client emacs (one of claude-desktop, claude-code, vscode, cursor, windsurf, zed)"),
    // Flags.
    ("demo --hots x", "", "unknown flag --hots: did you mean --host? (mcp-http-transport demo -h lists the flags)"),
    ("demo --verbose", "", "unknown flag --verbose (mcp-http-transport demo -h lists the flags)"),
    ("demo --port", "", "--port needs a value: -p, --port N"),
    ("demo --http=1", "", "--http takes no value, not \"1\""),
    ("demo --port 99999", "", "--port is \"99999\": it must be a port number from 0 (any free one) to 65535"),
    ("demo --base-path tools", "", "--base-path is \"tools\": it must be a path such as /tools"),
    (
        "demo --allow-host http://x/",
        "",
        "--allow-host is \"http://x/\": it must be a host name or address as clients write it, such as mcp.example.com",
    ),
    ("demo --allow-origin x", "", "--allow-origin is \"x\": it must be an origin without a path, such as https://app.example.com"),
    ("run --env FOO -- cat", "", "--env is \"FOO\": it must be NAME=VALUE"),
    ("run --hold 5 -- cat", "", "--hold is \"5\": it must be 0, or a whole number and its unit, such as 500ms, 5s, 2m or 1h, up to 8760h"),
    ("connect --transport ws http://x/", "", "--transport is \"ws\": it must be auto, http or sse"),
    ("reload --pid x", "", "--pid is \"x\": it must be a process id"),
    ("config cursor --name a/b -- cat", "", "--name is \"a/b\": it must be letters, digits, - and _"),
    // Variables; the incumbent takes the first of these for stdio.
    ("demo", "MCP_TRANSPORT=htpp", "MCP_TRANSPORT is \"htpp\": it must be stdio or http (sse and streamable-http are taken as http)"),
    ("demo", "MCP_HTTP_PORT=abc", "MCP_HTTP_PORT is \"abc\": it must be a port number from 0 (any free one) to 65535"),
    ("demo", "MCP_LOG=loud", "MCP_LOG is \"loud\": it must be off, error, warn, info, debug or trace"),
    ("demo", "MCP_INSECURE=maybe", "MCP_INSECURE is \"maybe\": it must be 1, true, on or yes, or else 0, false, off or no"),
    (
        "demo",
        "MCP_MAX_BODY=4K",
        "MCP_MAX_BODY is \"4K\": it must be a size above 0, in bytes or with its unit, such as 64KiB, 4MiB or 1GiB",
    ),
    (
        "demo",
        "MCP_SESSION_TIMEOUT=3",
        "MCP_SESSION_TIMEOUT is \"3\": it must be more than 0: a whole number and its unit, such as 500ms, 5s, 2m or 1h, up to 8760h",
    ),
    // URLs and headers. A header may be a secret, and is not repeated.
    ("connect localhost:3000", "", "URL is \"localhost:3000\": it must be an http:// or https:// URL, such as http://localhost:3000/mcp"),
    ("connect http://u:p@x/", "", "a URL with a password is not taken: give --header 'Authorization: Basic ...', or MCP_HTTP_TOKEN"),
    (
        "connect --header X http://x/",
        "",
        "--header is \"X\": it must be a name, a colon and a value, such as 'Authorization: Bearer ${TOKEN}'",
    ),
    ("connect --header X:${NOPE} http://x/", "", "--header: the variable NOPE is not set in the environment"),
    (
        "healthcheck localhost",
        "",
        "URL is \"localhost\": it must be an http:// URL, such as http://localhost:3000 or http://localhost:3000/readyz",
    ),
    ("healthcheck", "MCP_HTTP_PORT=0", "MCP_HTTP_PORT is 0, any free port: name the URL to ask"),
];

#[test]
fn what_is_said_wrong_is_named_with_what_would_be_right() {
    compare(&Bench::new(), WRONG.iter().map(|(line, variables, text)| (*line, *variables, 2, format!("mcp-http-transport: {text}"))));
}

#[test]
fn nobody_is_let_in_from_other_machines_unasked() {
    let (code, text) = said(&Bench::new(), &["demo", "--http", "--host", "0.0.0.0", "-p", "0"], &[]);
    let wanted = "ERROR 0.0.0.0 can be reached from other machines and no token is set: set MCP_HTTP_TOKEN (or MCP_HTTP_TOKEN_FILE), \
                  listen on localhost, or say --insecure (MCP_INSECURE=1) to let everybody in";
    assert_eq!((code, text.as_str()), (Some(2), wanted));
}

#[test]
fn nothing_at_all_is_answered_by_the_list_of_commands() {
    let (code, text) = said(&Bench::new(), &[], &[]);
    assert_eq!(code, Some(2));
    assert!(text.contains("usage: mcp-http-transport COMMAND [FLAGS] ...") && text.contains("  demo  "), "{text}");
}

#[test]
fn a_token_that_cannot_be_one_is_refused_and_not_shown() {
    let (code, text) = said(&Bench::new(), &["demo", "--http", "-p", "0"], &[("MCP_HTTP_TOKEN", "s3cret with blanks")]);
    let wanted = "mcp-http-transport: MCP_HTTP_TOKEN (or the token in MCP_HTTP_TOKEN_FILE) is \"(hidden)\": \
                  it must be at most 4096 visible ASCII characters without spaces";
    assert_eq!((code, text.as_str()), (Some(2), wanted));
}

/// The file of a cloned repository may set six names; the log says which it did, and which it did not.
#[test]
fn a_dotenv_file_is_read_reported_and_held_to_the_same_rules() {
    let bench = Bench::new();
    let ends = |variables: &[(&str, &str)]| said(&bench, &["demo"], variables);
    bench.write(".env", "# ours\n\nexport MCP_LOG='info'\nMCP_TRANSPORT=\"stdio\" # default\nOTHER=1\n");
    assert_eq!(ends(&[]), (Some(0), "INFO  taken from .env: MCP_LOG, MCP_TRANSPORT".to_owned()));
    bench.write(".env", "MCP_HTTP_PORT=abc\n");
    let text = "mcp-http-transport: MCP_HTTP_PORT in .env is \"abc\": it must be a port number from 0 (any free one) to 65535";
    assert_eq!(ends(&[]), (Some(2), text.to_owned()));
    assert_eq!(ends(&[("MCP_HTTP_PORT", "0")]), (Some(0), String::new()), "the environment is above it");
    bench.write(".env", "MCP_LOG=\"info\n");
    let text = "mcp-http-transport: MCP_LOG in .env is \"(unreadable)\": it must be in quotes that are closed, with nothing but a comment behind them";
    assert_eq!(ends(&[]), (Some(2), text.to_owned()));
    bench.write(".env", "MCP_BUILD=rm -rf x\nMCP_INSECURE=1\n");
    let text = "WARN  not taken from .env: MCP_BUILD, MCP_INSECURE; set them in the environment or by flag \
                (only MCP_TRANSPORT, MCP_HTTP_HOST, MCP_HTTP_PORT, MCP_HTTP_TOKEN, MCP_DEV_MODE, MCP_LOG count there)";
    assert_eq!(ends(&[]), (Some(0), text.to_owned()));
    bench.write(".env", "MCP_TRANSPORT=http\nMCP_HTTP_HOST=0.0.0.0\nMCP_HTTP_PORT=0\n");
    let (code, text) = ends(&[]);
    assert_eq!(code, Some(2), "no port without a token: {text}");
}
