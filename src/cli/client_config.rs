//! `config`: what a client's own configuration needs to start a server, with absolute paths. Nothing is written.
//!
//! Keys and places as the clients document them:
//! - Claude Desktop: `mcpServers` in claude_desktop_config.json (modelcontextprotocol.io, Connect to local MCP servers)
//! - Claude Code: `claude mcp add [options] NAME -- COMMAND` (docs.anthropic.com, Claude Code, MCP)
//! - VS Code: `servers` in .vscode/mcp.json, each with a `type` (code.visualstudio.com, MCP configuration reference)
//! - Cursor: `mcpServers` in ~/.cursor/mcp.json (cursor.com/docs/mcp)
//! - Windsurf: `mcpServers` in ~/.codeium/windsurf/mcp_config.json (docs.windsurf.com, Cascade, MCP)
//! - Zed: `context_servers` in settings.json (zed.dev/docs/ai/mcp)

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::flags::SERVER_NAME;
use super::{Given, Invocation, NAME, nearest};
use crate::connect::Url;
use crate::error::{Error, Result};

/// A client that has a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    ClaudeDesktop,
    ClaudeCode,
    VsCode,
    Cursor,
    Windsurf,
    Zed,
}

const CLIENTS: [(&str, Client); 6] = [
    ("claude-desktop", Client::ClaudeDesktop),
    ("claude-code", Client::ClaudeCode),
    ("vscode", Client::VsCode),
    ("cursor", Client::Cursor),
    ("windsurf", Client::Windsurf),
    ("zed", Client::Zed),
];

/// File names that say nothing about a server.
const NAMELESS: [&str; 10] = ["server", "main", "index", "app", "run", "start", "src", "dist", "build", "__main__"];

/// One server in the configuration of one client.
#[derive(Debug)]
pub(crate) struct Entry {
    client: Client,
    name: String,
    program: PathBuf,
    arguments: Vec<String>,
    /// `PATH`, for clients that are not started from a shell.
    path: Option<String>,
}

/// Where things are on this machine.
struct Place<'a> {
    own: PathBuf,
    cwd: PathBuf,
    home: Option<PathBuf>,
    path: Option<&'a OsStr>,
}

pub(super) fn invocation(given: Given<'_>) -> Result<Invocation> {
    let mut words = given.operands.iter();
    let usage = |what: &str| Error::usage(format!("{what} is missing: {NAME} config claude-desktop -- python server.py"));
    let word = words.next().ok_or_else(|| usage("CLIENT"))?.to_string_lossy();
    let known = CLIENTS.iter().find(|(name, _)| *name == word);
    let client = known.map(|(_, client)| *client).ok_or_else(|| {
        let names: Vec<&str> = CLIENTS.iter().map(|(name, _)| *name).collect();
        let hint = nearest::to(&word, names.iter().copied()).map_or_else(String::new, |name| format!(", did you mean {name}?"));
        Error::usage(format!("unknown client {word}{hint} (one of {})", names.join(", ")))
    })?;
    let command: Vec<String> = words
        .map(|word| word.to_str().map(str::to_owned).ok_or_else(|| Error::usage("COMMAND is not UTF-8, which JSON needs")))
        .collect::<Result<_>>()?;
    if command.is_empty() {
        return Err(usage("COMMAND"));
    }
    let name = given.own(SERVER_NAME, |text| {
        let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
        if plain { Ok(text.to_owned()) } else { Err("letters, digits, - and _") }
    })?;
    let cwd = std::env::current_dir().map_err(|error| Error::io("cannot find the working directory", error))?;
    let own = std::env::current_exe().map_err(|error| Error::io("cannot find this program", error))?;
    let path = given.sources.environment()("PATH");
    let home = given.sources.environment()(if cfg!(windows) { "USERPROFILE" } else { "HOME" }).map(PathBuf::from);
    let place = Place { own: stable(own, path.as_deref()), cwd, home, path: path.as_deref() };
    Entry::new(client, name, command, &place).map(Invocation::ClientConfig)
}

/// The same program as a package manager shows it, which outlives an update.
fn stable(own: PathBuf, path: Option<&OsStr>) -> PathBuf {
    let real = |path: &Path| path.canonicalize().ok();
    let shown = path.into_iter().flat_map(std::env::split_paths).filter(|dir| dir.is_absolute()).map(|dir| dir.join(NAME));
    shown.into_iter().find(|shown| real(shown).is_some_and(|found| Some(found) == real(&own))).unwrap_or(own)
}

impl Entry {
    fn new(client: Client, name: Option<String>, command: Vec<String>, place: &Place<'_>) -> Result<Entry> {
        let name = name.unwrap_or_else(|| name_of(&command, &place.cwd));
        // What is not started from a shell gets what little PATH the system has.
        let path =
            (client != Client::ClaudeCode && !is_url(&command)).then(|| place.path.map(usable)).flatten().filter(|path| !path.is_empty());
        let own = |arguments: Vec<String>| Entry { client, name: name.clone(), program: place.own.clone(), arguments, path: path.clone() };
        if is_url(&command) {
            Url::parse(&command[0])?;
            return Ok(own(vec!["connect".to_owned(), command[0].clone()]));
        }
        let is_ours = Path::new(&command[0]).file_stem().is_some_and(|stem| stem == NAME);
        if is_ours {
            return Ok(own(command[1..].iter().map(|word| absolute(word, &place.cwd)).collect()));
        }
        let mut arguments = vec!["run".to_owned()];
        // Desktop clients start servers in `/`; without a directory of its own the server is watched where its files are.
        let is_project = place.cwd.parent().is_some() && place.home.as_ref() != Some(&place.cwd);
        if is_project && file_of(&command, &place.cwd).is_none_or(|file| file.starts_with(&place.cwd)) {
            arguments.extend(["--cwd".to_owned(), text(&place.cwd)?]);
        }
        arguments.push("--".to_owned());
        arguments.push(text(&program(&command[0], place)?)?);
        arguments.extend(command[1..].iter().map(|word| absolute(word, &place.cwd)));
        Ok(own(arguments))
    }

    /// What goes to stdout: JSON, or a command line.
    pub(super) fn text(&self) -> String {
        if self.client == Client::ClaudeCode {
            let program = self.program.to_string_lossy();
            let words: Vec<String> = std::iter::once(&*program).chain(self.arguments.iter().map(String::as_str)).map(quoted).collect();
            return format!("claude mcp add {} -- {}\n", self.name, words.join(" "));
        }
        let mut server = Map::new();
        if self.client == Client::VsCode {
            server.insert("type".to_owned(), json!("stdio"));
        }
        server.insert("command".to_owned(), json!(self.program.to_string_lossy()));
        server.insert("args".to_owned(), json!(self.arguments));
        if let Some(path) = &self.path {
            server.insert("env".to_owned(), json!({"PATH": path}));
        }
        // Written by hand, as the order of keys is for people.
        let member = |(key, value): (&String, &Value)| format!("      {}: {}", json!(key), spread(value));
        let order = ["type", "command", "args", "env"];
        let members: Vec<String> = order.iter().filter_map(|key| server.get_key_value(*key)).map(member).collect();
        let root = match self.client {
            Client::VsCode => "servers",
            Client::Zed => "context_servers",
            _ => "mcpServers",
        };
        format!("{{\n  \"{root}\": {{\n    \"{}\": {{\n{}\n    }}\n  }}\n}}\n", self.name, members.join(",\n"))
    }

    /// What goes to stderr: where it belongs, and what to do then.
    pub(super) fn advice(&self) -> String {
        let needs_tls = !cfg!(feature = "tls") && self.connects_to_https();
        let build = if needs_tls { " This build speaks http only: connect to https needs one with --features tls." } else { "" };
        let (place, then) = match self.client {
            Client::ClaudeDesktop if cfg!(windows) => (r"%APPDATA%\Claude\claude_desktop_config.json", "quit Claude and start it again"),
            Client::ClaudeDesktop if cfg!(target_os = "macos") => {
                ("~/Library/Application Support/Claude/claude_desktop_config.json", "quit Claude (Cmd-Q) and start it again")
            }
            Client::ClaudeDesktop => ("~/.config/Claude/claude_desktop_config.json", "quit Claude and start it again"),
            Client::ClaudeCode => {
                return format!("Run this in your project; with --scope user before the name it counts in every project.{build}\n\n");
            }
            Client::VsCode => {
                (".vscode/mcp.json of a project, or what `MCP: Open User Configuration` opens", "press Start above the entry")
            }
            Client::Cursor => ("~/.cursor/mcp.json, or .cursor/mcp.json of a project", "restart Cursor"),
            Client::Windsurf => ("~/.codeium/windsurf/mcp_config.json", "press Refresh in the MCP panel of Cascade"),
            Client::Zed => ("settings.json (zed: open settings file)", "look for the green dot in the agent panel's settings"),
        };
        let also =
            if self.path.is_some() { " PATH stands there because an application that no shell started has a short one." } else { "" };
        format!("Put this into {place}; where there is such a block already, add only the entry in it. Then {then}.{also}{build}\n\n")
    }

    /// The arguments are ours: a server behind `run` may speak https by itself.
    fn connects_to_https(&self) -> bool {
        let is_https = |word: &String| word.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://"));
        self.arguments.first().is_some_and(|word| word == "connect") && self.arguments.iter().any(is_https)
    }
}

fn is_url(command: &[String]) -> bool {
    command.len() == 1 && command[0].contains("://")
}

/// The first argument that is a file, as an absolute path: where the server is.
fn file_of(command: &[String], cwd: &Path) -> Option<PathBuf> {
    let is_file = |word: &&String| !word.starts_with('-') && cwd.join(word).is_file();
    command.iter().skip(1).find(is_file).map(|word| PathBuf::from(absolute(word, cwd)))
}

/// The program as an absolute path. Links are kept: a virtual environment is known by its own.
fn program(word: &str, place: &Place<'_>) -> Result<PathBuf> {
    #[cfg(unix)]
    return crate::child::resolve(OsStr::new(word), &place.cwd, place.path);
    #[cfg(not(unix))]
    return Ok(PathBuf::from(absolute(word, &place.cwd)));
}

/// An argument that is an existing file, as an absolute path; anything else as it is.
fn absolute(word: &str, cwd: &Path) -> String {
    let path = Path::new(word);
    if word.starts_with('-') || word.is_empty() || path.is_absolute() || !cwd.join(path).exists() {
        return word.to_owned();
    }
    let plain: PathBuf = cwd.join(path).components().collect();
    plain.to_str().map_or_else(|| word.to_owned(), str::to_owned)
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| Error::usage(format!("{} is not UTF-8, which JSON needs", path.display())))
}

/// The directories of a PATH that mean the same everywhere, once each.
fn usable(path: &OsStr) -> String {
    let mut seen = HashSet::new();
    let dirs = std::env::split_paths(path).filter(|dir| dir.is_absolute() && dir.is_dir() && seen.insert(dir.clone()));
    std::env::join_paths(dirs).map(OsString::into_string).ok().and_then(std::result::Result::ok).unwrap_or_default()
}

/// A name for the server: of its host, its file, or the directory when the file's says nothing.
fn name_of(command: &[String], cwd: &Path) -> String {
    let plain = |text: &str| {
        let dashed: String = text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
        dashed.trim_matches('-').to_owned()
    };
    let url = command.iter().find(|word| word.contains("://")).and_then(|word| word.split("://").nth(1));
    if let Some(rest) = url {
        return plain(rest.split(['/', ':', '?']).next().unwrap_or(rest));
    }
    let file = file_of(command, cwd);
    let stem = |path: &Path| path.file_stem().map(|stem| plain(&stem.to_string_lossy()));
    let module = command.iter().position(|word| word == "-m").and_then(|at| command.get(at + 1)).map(|module| plain(module));
    let last = || command.last().filter(|word| !word.starts_with('-')).and_then(|word| stem(Path::new(word)));
    let named = file.as_deref().and_then(stem).or(module).or_else(last);
    let says = |name: &String| !name.is_empty() && !NAMELESS.contains(&name.as_str());
    let home = file.as_deref().and_then(Path::parent).unwrap_or(cwd);
    let directory = || home.file_name().map(|name| plain(&name.to_string_lossy())).filter(says);
    named.filter(says).or_else(directory).unwrap_or_else(|| "server".to_owned())
}

/// JSON with a blank behind each comma and colon, on one line.
fn spread(value: &Value) -> String {
    match value {
        Value::Array(items) => format!("[{}]", items.iter().map(spread).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => {
            let members: Vec<String> = members.iter().map(|(key, value)| format!("{}: {}", json!(key), spread(value))).collect();
            format!("{{ {} }}", members.join(", "))
        }
        other => other.to_string(),
    }
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let is_plain = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&byte));
    match () {
        () if is_plain => word.to_owned(),
        () if cfg!(windows) => format!("\"{}\"", word.replace('"', "\\\"")),
        () => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests;
