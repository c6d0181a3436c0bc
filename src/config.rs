//! Settings as plain data: default < `.env` < environment < flag.
//!
//! Every setting that has a variable stands once in the tables of `settings.rs`; a flag is the same setting with another name and
//! the highest precedence. `sources.rs` says which layer decides, `value.rs` what a text may be, `dotenv.rs` what is taken from `.env`.

mod dotenv;
mod limits;
#[cfg(feature = "run")]
mod run;
mod settings;
mod sources;
#[cfg(test)]
mod tests;
mod token;
mod value;

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use crate::error::{Error, Result};

pub(crate) use dotenv::Dotenv;
#[cfg(feature = "run")]
pub(crate) use dotenv::Note;
#[cfg(feature = "run")]
pub(crate) use dotenv::pairs as env_file;
pub use limits::Limits;
#[cfg(feature = "run")]
pub use run::RunConfig;
#[cfg(all(test, feature = "run"))]
pub(crate) use run::SETTINGS as RUN_SETTINGS;
#[cfg(feature = "run")]
pub(crate) use settings::{Setting, put};
pub(crate) use sources::Sources;
pub use token::Token;
#[cfg(feature = "run")]
pub(crate) use value::{Allowed, choice, duration, list};

pub(crate) use settings::SETTINGS;

/// How clients reach the server.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransportMode {
    /// One client, on standard input and output.
    Stdio,
    /// Any number of clients, over HTTP: server-sent events and Streamable HTTP on one port.
    Http,
}

impl fmt::Display for TransportMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TransportMode::Stdio => "stdio",
            TransportMode::Http => "http",
        })
    }
}

/// `stdio` or `http`; `sse` and `streamable-http` are taken as `http`, which serves both.
impl FromStr for TransportMode {
    type Err = Error;

    fn from_str(text: &str) -> Result<TransportMode> {
        value::transport(text).map_err(|allowed| Error::setting("transport", text, allowed))
    }
}

/// Everything that can be set about serving. [`Config::new`] is the defaults, [`Config::from_env`] and [`Config::load`] read the
/// variables named `MCP_...`; the setters and the public fields change what was read.
///
/// ```
/// use std::time::Duration;
///
/// use mcp_http_transport::{Config, TransportMode};
///
/// // What this program wants, whatever the environment says ...
/// let config = Config::new().transport(TransportMode::Http).port(0).allow_host("mcp.example.com").grace(Duration::from_secs(1));
/// assert_eq!(config.host, "localhost");
///
/// // ... or what the environment says, with one thing settled.
/// let config = Config::from_env()?.port(8080);
/// # Ok::<(), mcp_http_transport::Error>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct Config {
    /// How clients reach the server: `MCP_TRANSPORT`, default stdio.
    pub transport: TransportMode,
    /// The address to listen on: `MCP_HTTP_HOST`, default `localhost`, which is 127.0.0.1 and ::1.
    pub host: String,
    /// The port to listen on: `MCP_HTTP_PORT`, default 3000; 0 takes any free one.
    pub port: u16,
    /// `Host` values accepted besides the loopback names: `MCP_ALLOW_HOST`.
    pub allow_hosts: Vec<String>,
    /// Origins that may call from a browser (CORS): `MCP_ALLOW_ORIGIN`, default none.
    pub allow_origins: Vec<String>,
    /// The path under which a proxy shows us, without a slash at its end: `MCP_BASE_PATH`, default none.
    pub base_path: String,
    /// The bearer token that clients must show: `MCP_HTTP_TOKEN` or the content of the file `MCP_HTTP_TOKEN_FILE`, default none.
    pub token: Option<Token>,
    /// Listen beyond loopback without a token: `MCP_INSECURE`, default off.
    pub insecure: bool,
    /// HTTP connections at once: `MCP_MAX_CONNECTIONS`, default 1024.
    pub max_connections: usize,
    /// Sessions at once, then the oldest idle one goes: `MCP_MAX_SESSIONS`, default 1024.
    pub max_sessions: usize,
    /// Bytes of a request body, then 413: `MCP_MAX_BODY`, default 4 MiB.
    pub max_body: usize,
    /// How long a session without stream or call lives: `MCP_SESSION_TIMEOUT`, default one hour.
    pub session_timeout: Duration,
    /// How often a quiet event stream carries a comment: `MCP_KEEP_ALIVE`, default 15 s.
    pub keep_alive: Duration,
    /// How long running calls may go on at the end: `MCP_GRACE`, default 5 s.
    pub grace: Duration,
    /// `MCP_DEV_MODE`: `Some(true)` lets a program that calls `dev()` become its own front, `Some(false)` switches watching off;
    /// not set, `run` watches and `dev()` does nothing.
    pub dev_mode: Option<bool>,
    /// Bounds that have no variable.
    pub limits: Limits,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            transport: TransportMode::Stdio,
            host: "localhost".to_owned(),
            port: 3000,
            allow_hosts: Vec::new(),
            allow_origins: Vec::new(),
            base_path: String::new(),
            token: None,
            insecure: false,
            max_connections: 1024,
            max_sessions: 1024,
            max_body: 4 << 20,
            session_timeout: Duration::from_secs(3600),
            keep_alive: Duration::from_secs(15),
            grace: Duration::from_secs(5),
            dev_mode: None,
            limits: Limits::default(),
        }
    }
}

impl Config {
    /// The defaults; reads nothing.
    pub fn new() -> Config {
        Config::default()
    }

    /// The defaults, changed by the `MCP_...` variables of the environment. No file is read but the one `MCP_HTTP_TOKEN_FILE` names.
    pub fn from_env() -> Result<Config> {
        Config::from_sources(&Sources::new(&process_env, Dotenv::default()))
    }

    /// Like [`from_env`](Config::from_env), and what the environment leaves open may stand in `.env` in the working directory. Only
    /// `MCP_TRANSPORT`, `MCP_HTTP_HOST`, `MCP_HTTP_PORT`, `MCP_HTTP_TOKEN`, `MCP_DEV_MODE` and `MCP_LOG` are taken from there, so that
    /// a cloned repository can neither run a command nor open a port without a token. What was taken and what was not goes to the log.
    pub fn load() -> Result<Config> {
        let sources = Sources::new(&process_env, Dotenv::read());
        for note in sources.notes() {
            note.log();
        }
        Config::from_sources(&sources)
    }

    /// The settings as `sources` have them, layer by layer.
    pub(crate) fn from_sources(sources: &Sources<'_>) -> Result<Config> {
        let mut config = Config::new();
        sources.apply(SETTINGS, &mut config)?;
        config.token = token::from_sources(sources)?;
        Ok(if sources.front_child() { config.into_child() } else { config })
    }

    /// What really counts in this process: in the child of a front that is stdio and nothing else, whatever was set in code.
    pub(crate) fn effective(&self) -> Config {
        if is_front_child(&process_env) { self.clone().into_child() } else { self.clone() }
    }

    /// The child of a front speaks stdio on its own descriptors; it never listens and never is a front.
    fn into_child(self) -> Config {
        Config { transport: TransportMode::Stdio, dev_mode: Some(false), token: None, ..self }
    }

    /// Sets how clients reach the server.
    #[must_use]
    pub fn transport(mut self, transport: TransportMode) -> Config {
        self.transport = transport;
        self
    }

    /// Sets the address to listen on; one beyond loopback needs a [`token`](Config::token) or [`insecure`](Config::insecure).
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Config {
        self.host = host.into();
        self
    }

    /// Sets the port to listen on; 0 takes any free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Config {
        self.port = port;
        self
    }

    /// Sets the bearer token that clients must show; an empty one means none.
    #[must_use]
    pub fn token(mut self, token: impl Into<String>) -> Config {
        self.token = Token::new(token);
        self
    }

    /// Accepts one more `Host` value besides the loopback names.
    #[must_use]
    pub fn allow_host(mut self, host: impl Into<String>) -> Config {
        self.allow_hosts.push(host.into());
        self
    }

    /// Lets pages of one more origin call from a browser.
    #[must_use]
    pub fn allow_origin(mut self, origin: impl Into<String>) -> Config {
        self.allow_origins.push(origin.into());
        self
    }

    /// Sets the path under which a proxy shows us, such as `/tools`.
    #[must_use]
    pub fn base_path(mut self, path: impl Into<String>) -> Config {
        self.base_path = path.into();
        self
    }

    /// Allows, or not, to listen beyond loopback without a token.
    #[must_use]
    pub fn insecure(mut self, insecure: bool) -> Config {
        self.insecure = insecure;
        self
    }

    /// Sets how long running calls may go on at the end.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Config {
        self.grace = grace;
        self
    }

    /// Sets the bounds that have no variable.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Config {
        self.limits = limits;
        self
    }

    /// True when only this machine can reach the address to listen on. Names other than `localhost` are not looked up, hence not trusted.
    pub(crate) fn is_loopback(&self) -> bool {
        let bare = value::unbracketed(&self.host);
        bare.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|ip: IpAddr| ip.to_canonical().is_loopback())
    }

    /// Puts what was set in code into the form it has when it comes from a variable, and refuses what makes no sense, alone or together.
    pub(crate) fn check(mut self) -> Result<Config> {
        if self.transport == TransportMode::Stdio {
            return Ok(self);
        }
        self.host = checked("host", &self.host, value::host)?;
        self.base_path = checked("base_path", &self.base_path, value::base_path)?;
        for host in &mut self.allow_hosts {
            *host = checked("allow_hosts", host, value::allowed_host)?;
        }
        for origin in &mut self.allow_origins {
            *origin = checked("allow_origins", origin, value::origin)?;
        }
        let zeros = [
            ("max_connections", self.max_connections == 0),
            ("max_sessions", self.max_sessions == 0),
            ("max_body", self.max_body == 0),
            ("session_timeout", self.session_timeout.is_zero()),
            ("keep_alive", self.keep_alive.is_zero()),
        ];
        if let Some((name, _)) = zeros.into_iter().find(|&(_, zero)| zero) {
            return Err(Error::setting(name, "0", "more than 0"));
        }
        if let Some(token) = &self.token {
            token.check("token")?;
        }
        if !self.is_loopback() && self.token.is_none() && !self.insecure {
            return Err(Error::usage(format!(
                "{} can be reached from other machines and no token is set: set MCP_HTTP_TOKEN (or MCP_HTTP_TOKEN_FILE), listen on \
                 localhost, or say --insecure (MCP_INSECURE=1) to let everybody in",
                self.host
            )));
        }
        Ok(self)
    }
}

/// A field as its variable would have it.
fn checked(name: &str, text: &str, read: fn(&str) -> std::result::Result<String, value::Allowed>) -> Result<String> {
    read(text).map_err(|allowed| Error::setting(name, text, allowed))
}

/// True in a process that a front started (`MCP_FRONT_CHILD=1`), which must not become a front or open a port itself.
pub(crate) fn is_front_child(env: &dyn Fn(&str) -> Option<std::ffi::OsString>) -> bool {
    env("MCP_FRONT_CHILD").is_some_and(|value| value == "1")
}

/// The environment of this process, in the form [`Sources`] asks for.
pub(crate) fn process_env(name: &str) -> Option<std::ffi::OsString> {
    std::env::var_os(name)
}
