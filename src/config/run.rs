//! Settings of the front that watches and reloads: `run` and `dev()`.

use std::path::PathBuf;
use std::time::Duration;

use super::settings::{Setting, put};
use super::sources::Sources;
use super::value;
use crate::error::Result;

/// Everything that can be set about watching, building and swapping the server behind a front.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct RunConfig {
    /// Files and directories to watch: `MCP_WATCH`; none: see the README for the root that is taken then.
    pub watch: Vec<PathBuf>,
    /// Watch nothing, reload only when asked: `MCP_DEV_MODE=0`.
    pub no_watch: bool,
    /// Extensions that count, without the dot; `None`: source and configuration files.
    pub extensions: Option<Vec<String>>,
    /// Globs left out besides the built-in ones and `.gitignore`.
    pub ignore: Vec<String>,
    /// How long files must be quiet before they count as saved; `None`: it adapts.
    pub debounce: Option<Duration>,
    /// Shell line that runs before the new server starts: `MCP_BUILD`.
    pub build: Option<String>,
    /// Working directory of the child.
    pub cwd: Option<PathBuf>,
    /// Variables for the child, besides those it inherits.
    pub env: Vec<(String, String)>,
    /// File with variables for the child; it is watched.
    pub env_file: Option<PathBuf>,
    /// One child for all sessions: `MCP_SHARED`.
    pub shared: bool,
    /// Children at once, idle ones are parked first: `MCP_MAX_CHILDREN`, default 32.
    pub max_children: usize,
    /// Stop the old child before the new one starts.
    pub stop_first: bool,
    /// How long a call made after a save waits for that save to be live: `MCP_HOLD`, default 10 s; 0: never.
    pub hold: Duration,
    /// How long calls in flight may go on at the old child, default 60 s.
    pub drain: Duration,
    /// How long a child may take until `initialize` is answered, default 30 s; `None`: for ever.
    pub start_timeout: Option<Duration>,
    /// From SIGTERM to SIGKILL when a child is stopped at a reload, default 5 s.
    pub stop_timeout: Duration,
    /// Say in a tool result that the last edit is not live; default on.
    pub note: bool,
    /// Add the tools `dev_status` and `dev_call`: `MCP_DEV_TOOLS`.
    pub dev_tools: bool,
}

impl Default for RunConfig {
    fn default() -> RunConfig {
        RunConfig {
            watch: Vec::new(),
            no_watch: false,
            extensions: None,
            ignore: Vec::new(),
            debounce: None,
            build: None,
            cwd: None,
            env: Vec::new(),
            env_file: None,
            shared: false,
            max_children: 32,
            stop_first: false,
            hold: Duration::from_secs(10),
            drain: Duration::from_secs(60),
            start_timeout: Some(Duration::from_secs(30)),
            stop_timeout: Duration::from_secs(5),
            note: true,
            dev_tools: false,
        }
    }
}

impl RunConfig {
    /// The defaults; reads nothing.
    pub fn new() -> RunConfig {
        RunConfig::default()
    }

    /// Adds what `sources` say to what flags without a variable have set already.
    pub(crate) fn apply(&mut self, sources: &Sources<'_>) -> Result<()> {
        sources.apply(SETTINGS, self)
    }
}

/// The settings of a front that have a variable. `MCP_DEV_MODE` belongs to serving; who starts the front looks at both.
pub(crate) const SETTINGS: &[Setting<RunConfig>] = &[
    Setting {
        variable: "MCP_WATCH",
        // Paths given by flag may hold commas or bytes that are no text, so they are here already, and win.
        set: |run, text| if run.watch.is_empty() { put(&mut run.watch, value::list(text, |path| Ok(path.into()))) } else { Ok(()) },
    },
    Setting { variable: "MCP_BUILD", set: |run, text| put(&mut run.build, Ok(Some(text.to_owned()).filter(|line| !line.is_empty()))) },
    Setting { variable: "MCP_SHARED", set: |run, text| put(&mut run.shared, value::boolean(text)) },
    Setting { variable: "MCP_MAX_CHILDREN", set: |run, text| put(&mut run.max_children, value::count(text)) },
    Setting { variable: "MCP_HOLD", set: |run, text| put(&mut run.hold, value::duration(text)) },
    Setting { variable: "MCP_DEV_TOOLS", set: |run, text| put(&mut run.dev_tools, value::boolean(text)) },
];
