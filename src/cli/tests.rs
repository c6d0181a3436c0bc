//! Command lines as words, the environment and `.env` as text: nothing of this process is read or changed.

use std::collections::HashSet;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::LevelFilter;

use super::commands::COMMANDS;
use super::logger::LogFormat;
use super::*;
use crate::config::{RUN_SETTINGS, SETTINGS, TransportMode};

fn parsed(line: &str, environment: &str, dotenv: &str) -> Result<Invocation> {
    let env = |name: &str| {
        let mut pairs = environment.split_whitespace().filter_map(|pair| pair.split_once('='));
        pairs.find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value))
    };
    parse(line.split_whitespace().map(OsString::from), &env, Dotenv::parse(dotenv))
}

fn demo(line: &str, environment: &str, dotenv: &str) -> Settings {
    match parsed(&format!("demo {line}"), environment, dotenv).unwrap() {
        Invocation::Demo(settings) => settings,
        other => panic!("{other:?}"),
    }
}

fn run(line: &str, environment: &str) -> (Settings, RunConfig, Vec<OsString>) {
    match parsed(&format!("run {line}"), environment, "").unwrap() {
        Invocation::Run { settings, run, command } => (settings, run, command),
        other => panic!("{other:?}"),
    }
}

fn refused(line: &str) -> String {
    let error = parsed(line, "", "").unwrap_err();
    assert_eq!(exit_code(&error), 2, "{error}");
    error.to_string()
}

fn url(line: &str, environment: &str) -> String {
    match parsed(line, environment, "").unwrap() {
        Invocation::Healthcheck { url, .. } => url,
        other => panic!("{other:?}"),
    }
}

/// A setting of the serving group as its flag, its variable and the field it sets: with the flag at `text`, the field shows `value`.
struct Row {
    flag: &'static str,
    variable: &'static str,
    text: &'static str,
    value: &'static str,
    default: &'static str,
    field: fn(&Settings) -> String,
}

const ROWS: &[Row] = &[
    Row {
        flag: "--transport",
        variable: "MCP_TRANSPORT",
        text: "http",
        value: "http",
        default: "stdio",
        field: |s| s.config.transport.to_string(),
    },
    Row { flag: "--host", variable: "MCP_HTTP_HOST", text: "::1", value: "::1", default: "localhost", field: |s| s.config.host.clone() },
    Row { flag: "--port", variable: "MCP_HTTP_PORT", text: "8080", value: "8080", default: "3000", field: |s| s.config.port.to_string() },
    Row {
        flag: "--allow-host",
        variable: "MCP_ALLOW_HOST",
        text: "a.b",
        value: "[\"a.b\"]",
        default: "[]",
        field: |s| format!("{:?}", s.config.allow_hosts),
    },
    Row {
        flag: "--allow-origin",
        variable: "MCP_ALLOW_ORIGIN",
        text: "https://a.b",
        value: "[\"https://a.b\"]",
        default: "[]",
        field: |s| format!("{:?}", s.config.allow_origins),
    },
    Row { flag: "--base-path", variable: "MCP_BASE_PATH", text: "/x", value: "/x", default: "", field: |s| s.config.base_path.clone() },
    Row {
        flag: "--insecure",
        variable: "MCP_INSECURE",
        text: "1",
        value: "true",
        default: "false",
        field: |s| s.config.insecure.to_string(),
    },
    Row {
        flag: "--max-connections",
        variable: "MCP_MAX_CONNECTIONS",
        text: "9",
        value: "9",
        default: "1024",
        field: |s| s.config.max_connections.to_string(),
    },
    Row {
        flag: "--max-sessions",
        variable: "MCP_MAX_SESSIONS",
        text: "9",
        value: "9",
        default: "1024",
        field: |s| s.config.max_sessions.to_string(),
    },
    Row {
        flag: "--max-body",
        variable: "MCP_MAX_BODY",
        text: "1KiB",
        value: "1024",
        default: "4194304",
        field: |s| s.config.max_body.to_string(),
    },
    Row {
        flag: "--session-timeout",
        variable: "MCP_SESSION_TIMEOUT",
        text: "2m",
        value: "120s",
        default: "3600s",
        field: |s| format!("{:?}", s.config.session_timeout),
    },
    Row {
        flag: "--keep-alive",
        variable: "MCP_KEEP_ALIVE",
        text: "9s",
        value: "9s",
        default: "15s",
        field: |s| format!("{:?}", s.config.keep_alive),
    },
    Row { flag: "--grace", variable: "MCP_GRACE", text: "0", value: "0ns", default: "5s", field: |s| format!("{:?}", s.config.grace) },
    Row { flag: "--log-level", variable: "MCP_LOG", text: "off", value: "OFF", default: "INFO", field: |s| s.logging.level.to_string() },
    Row {
        flag: "--log-format",
        variable: "MCP_LOG_FORMAT",
        text: "json",
        value: "Json",
        default: "Text",
        field: |s| format!("{:?}", s.logging.format),
    },
];

/// What may stand in `.env`.
const FROM_DOTENV: [&str; 4] = ["MCP_TRANSPORT", "MCP_HTTP_HOST", "MCP_HTTP_PORT", "MCP_LOG"];

#[test]
fn every_setting_goes_through_its_four_layers() {
    for row in ROWS {
        let Row { flag, variable, text, value, default, field } = row;
        assert_eq!(field(&demo("", "", "")), *default, "{flag}");
        let given = if *flag == "--insecure" { (*flag).to_owned() } else { format!("{flag} {text}") };
        assert_eq!(field(&demo(&given, "", "")), *value, "{flag}");
        assert_eq!(field(&demo("", &format!("{variable}={text}"), "")), *value, "{variable}");
        // The flag beats a variable that could not even be read, and that one beats `.env`.
        assert_eq!(field(&demo(&given, &format!("{variable}=?"), "")), *value, "{flag}");
        let dotenv = demo("", "", &format!("{variable}={text}"));
        assert_eq!(field(&dotenv), if FROM_DOTENV.contains(variable) { *value } else { *default }, "{variable} in .env");
        assert_eq!(field(&demo("", &format!("{variable}={text}"), &format!("{variable}=?"))), *value, "{variable}");
        if *flag != "--insecure" {
            assert!(refused(&format!("demo {flag} ?")).starts_with(&format!("{flag} is \"?\": it must be ")), "{flag}");
            assert!(refused(&format!("demo {flag}")).starts_with(&format!("{flag} needs a value: ")), "{flag}");
        }
    }
    let covered: HashSet<_> = ROWS.iter().map(|row| row.flag).chain(["--help", "--version", "--http", "--stdio", ""]).collect();
    let demo = commands::find("demo".as_ref()).unwrap();
    assert_eq!(demo.flags().map(|flag| flag.long).collect::<HashSet<_>>(), covered);
}

#[test]
fn every_flag_sets_a_setting_that_exists_and_every_setting_has_a_flag() {
    let tables = SETTINGS.iter().map(|s| s.variable).chain(RUN_SETTINGS.iter().map(|s| s.variable));
    let known: HashSet<_> = tables.chain(logger::SETTINGS.iter().map(|s| s.variable)).collect();
    let mut set = HashSet::new();
    for flag in COMMANDS.iter().flat_map(Command::flags) {
        match flag.effect {
            Effect::Variable(variable) | Effect::Fixed(variable, _) => set.insert(variable),
            Effect::Run(_) if !flag.variable.is_empty() => set.insert(flag.variable),
            _ => false,
        };
    }
    assert_eq!(set, known);
}

#[test]
fn short_forms_and_words_for_the_mode() {
    assert_eq!(demo("-p 1", "", "").config.port, 1);
    assert_eq!(demo("-p1", "", "").config.port, 1);
    assert_eq!(demo("--port=1 --port 2", "", "").config.port, 2);
    for (flags, mode) in [
        ("--http", TransportMode::Http),
        ("--stdio", TransportMode::Stdio),
        ("--transport sse", TransportMode::Http),
        ("--transport streamable-http", TransportMode::Http),
        ("--http --transport stdio", TransportMode::Stdio),
    ] {
        assert_eq!(demo(flags, "MCP_TRANSPORT=http", "").config.transport, mode, "{flags}");
    }
}

#[test]
fn a_flag_that_repeats_makes_a_list_that_replaces_the_variable() {
    let config = demo("--allow-host a --allow-host b,c", "MCP_ALLOW_HOST=x,y", "").config;
    assert_eq!(config.allow_hosts, ["a", "b", "c"]);
    assert_eq!(run("-w a,b --watch c -- x", "MCP_WATCH=x,y").1.watch, [Path::new("a,b"), Path::new("c")]);
    assert_eq!(run("x", "MCP_WATCH=x,y").1.watch, [Path::new("x"), Path::new("y")]);
}

#[test]
fn the_flags_of_run() {
    let (settings, run_defaults, command) = run("server", "");
    assert_eq!(format!("{run_defaults:?}"), format!("{:?}", RunConfig::new()));
    assert_eq!((settings.config.dev_mode, command), (None, vec!["server".into()]));
    let (_, run, _) = run(
        "--no-watch -e .py,*.toml,rs -i *.log --ignore {a,b} -d 50ms -b make --cwd sub --env A=b=c --env B= --env-file .env.dev --shared \
         --max-children 3 --stop-first --hold 0 --drain 1m --start-timeout 0 --stop-timeout 1s --no-note --dev-tools server",
        "MCP_HOLD=1s MCP_BUILD=other",
    );
    assert!(run.no_watch && run.shared && run.stop_first && run.dev_tools && !run.note);
    assert_eq!(run.extensions.unwrap(), ["py", "toml", "rs"]);
    assert_eq!(run.ignore, ["*.log", "{a,b}"]);
    assert_eq!((run.debounce, run.build.as_deref()), (Some(Duration::from_millis(50)), Some("make")));
    assert_eq!((run.cwd, run.env_file), (Some(PathBuf::from("sub")), Some(PathBuf::from(".env.dev"))));
    assert_eq!(run.env, [("A".to_owned(), "b=c".to_owned()), ("B".to_owned(), String::new())]);
    assert_eq!((run.max_children, run.hold, run.drain), (3, Duration::ZERO, Duration::from_secs(60)));
    assert_eq!((run.start_timeout, run.stop_timeout), (None, Duration::from_secs(1)));
    for bad in ["--debounce 5", "--drain x", "--env A", "--env =b", "--max-children 0", "--hold 5"] {
        let flag = bad.split(' ').next().unwrap();
        assert!(refused(&format!("run {bad} -- x")).starts_with(&format!("{flag} is ")), "{bad}");
    }
}

#[test]
fn the_variables_of_run() {
    let (_, run_set, _) = run("x", "MCP_DEV_MODE=0 MCP_BUILD=make MCP_SHARED=1 MCP_MAX_CHILDREN=2 MCP_HOLD=3s MCP_DEV_TOOLS=on");
    assert!(run_set.no_watch && run_set.shared && run_set.dev_tools);
    assert_eq!((run_set.build.as_deref(), run_set.max_children, run_set.hold), (Some("make"), 2, Duration::from_secs(3)));
    let (_, beaten, _) = run("--hold 1s --build cc --max-children 4 x", "MCP_HOLD=? MCP_BUILD=make MCP_MAX_CHILDREN=?");
    assert_eq!((beaten.build.as_deref(), beaten.max_children, beaten.hold), (Some("cc"), 4, Duration::from_secs(1)));
    assert!(!run("x", "MCP_DEV_MODE=1").1.no_watch);
    let dotenv = parsed("run x", "", "MCP_BUILD=evil\nMCP_WATCH=/\nMCP_DEV_TOOLS=1").unwrap();
    assert!(matches!(dotenv, Invocation::Run { run, .. } if run.build.is_none() && run.watch.is_empty() && !run.dev_tools));
}

#[test]
fn the_command_of_run_starts_at_the_first_word() {
    let words = |line: &str| run(line, "").2.into_iter().map(|word| word.into_string().unwrap()).collect::<Vec<_>>().join(" ");
    assert_eq!(words("python server.py --http -p 1"), "python server.py --http -p 1");
    assert_eq!(words("--http -- python -- -x"), "python -- -x");
    assert_eq!(words("--http npx -y -- thing"), "npx -y -- thing");
    assert_eq!(words("-- --odd-name -h"), "--odd-name -h");
    assert!(refused("run").starts_with("COMMAND is missing"));
    assert!(refused("run --http --").starts_with("COMMAND is missing"));
    assert!(refused("run --build -- make").starts_with("--build needs a value"));
}

#[test]
fn a_front_child_is_no_front_whatever_the_flags_say() {
    let settings = demo("--http --port 1", "MCP_FRONT_CHILD=1 MCP_DEV_MODE=1", "MCP_TRANSPORT=http");
    assert_eq!((settings.config.transport, settings.config.dev_mode), (TransportMode::Stdio, Some(false)));
}

#[test]
fn a_misspelled_word_is_met_with_the_right_one() {
    assert!(refused("demo --hots x").starts_with("unknown flag --hots: did you mean --host?"));
    assert!(refused("demo --prot=1").contains("did you mean --port?"));
    assert!(refused("run --stop-frist x").contains("did you mean --stop-first?"));
    assert!(refused("dmeo").starts_with("unknown command dmeo: did you mean demo?"));
    assert!(refused("healthchek").contains("did you mean healthcheck?"));
    assert_eq!(refused("demo -x"), "unknown flag -x (mcp-http-transport demo -h lists the flags)");
    assert!(!refused("frobnicate").contains("did you mean"));
}

#[test]
fn what_does_not_belong_is_refused() {
    assert!(refused("--http demo").starts_with("--http comes after a command"));
    assert_eq!(refused("demo --http=1"), "--http takes no value, not \"1\"");
    assert!(refused("demo x").starts_with("\"x\" is too much"));
    assert!(refused("healthcheck http://a http://b").starts_with("\"http://b\" is too much"));
    assert!(refused("demo --token x").starts_with("unknown flag --token"));
}

#[test]
fn help_and_version_are_asked_for_anywhere() {
    for line in ["-h", "--help", "demo -h", "demo --http --help", "run -h", "healthcheck -h"] {
        assert!(matches!(parsed(line, "MCP_HTTP_PORT=?", ""), Ok(Invocation::Help(_))), "{line}");
    }
    for line in ["-V", "--version", "demo -V", "run --version"] {
        assert!(matches!(parsed(line, "", ""), Ok(Invocation::Version)), "{line}");
    }
    assert!(matches!(parsed("", "", ""), Ok(Invocation::Usage(text)) if text.contains("usage: mcp-http-transport")));
    assert!(matches!(parsed("run -- x -h", "", ""), Ok(Invocation::Run { .. })));
}

#[test]
fn healthcheck_asks_what_the_settings_name() {
    assert_eq!(url("healthcheck", ""), "http://127.0.0.1:3000/healthz");
    assert_eq!(url("healthcheck", "MCP_HTTP_HOST=0.0.0.0 MCP_HTTP_PORT=80 MCP_GRACE=?"), "http://127.0.0.1:80/healthz");
    assert_eq!(url("healthcheck", "MCP_HTTP_HOST=::"), "http://[::1]:3000/healthz");
    assert_eq!(url("healthcheck", "MCP_HTTP_HOST=fd00::1"), "http://[fd00::1]:3000/healthz");
    assert_eq!(url("healthcheck http://a:1/readyz", "MCP_HTTP_PORT=?"), "http://a:1/readyz");
    assert!(parsed("healthcheck", "MCP_HTTP_PORT=0", "").unwrap_err().is_usage());
}

#[test]
fn the_log_is_set_from_dotenv_and_its_notes_are_kept() {
    let settings = demo("", "", "MCP_LOG=debug\nMCP_LOG_FORMAT=json\nMCP_BUILD=x");
    assert_eq!((settings.logging.level, settings.logging.format), (LevelFilter::Debug, LogFormat::Text));
    assert_eq!(settings.notes.len(), 2);
    assert!(settings.notes[1].text.contains("MCP_LOG_FORMAT, MCP_BUILD"));
}

#[test]
fn each_failure_has_its_exit_code() {
    let io = || io::Error::other("x");
    assert_eq!(exit_code(&Error::usage("x")), 2);
    assert_eq!(exit_code(&Error::setting("a", "b", "c")), 2);
    assert_eq!(exit_code(&Error::command_not_executable("x", io())), 126);
    assert_eq!(exit_code(&Error::command_not_found("x")), 127);
    for failure in [Error::port_taken(1, io()), Error::listen("x", io()), Error::io("x", io()), Error::file("x", Path::new("x"), io())] {
        assert_eq!(exit_code(&failure), 1);
    }
}
