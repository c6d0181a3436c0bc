//! A program that is its own front: with `MCP_DEV_MODE=1` it starts itself as the child and reloads that when its executable changes.

use std::ffi::OsString;

use super::plan::Plan;
use super::start;
use crate::child::exec_step;
use crate::config::{self, Config, Dotenv, RunConfig, Sources};
use crate::error::{Error, Result};

/// Makes a program reload itself, on the first line of its `main`, before anything exclusive is opened.
///
/// With `MCP_DEV_MODE=1` (in the environment or in `.env`) this process becomes the front: it listens as the other `MCP_` settings say, starts its own
/// executable with the same arguments as the child, and starts it anew when the executable changes (`cargo build`), or a file that `MCP_WATCH` names,
/// after `MCP_BUILD`. In the front `dev` never returns; the process ends with its clients or a signal. In the child, and without the variable, it
/// returns at once, so that nothing behind it ever runs in the front.
///
/// ```no_run
/// fn main() -> mcp_http_transport::Result<()> {
///     mcp_http_transport::dev();
///     let server = mcp_http_transport::Server::new("clock", "1.0.0");
///     mcp_http_transport::serve(server, &mcp_http_transport::Config::load()?)
/// }
/// ```
pub fn dev() {
    exec_step();
    if config::is_front_child(&config::process_env) {
        return;
    }
    let done = (|| {
        let sources = Sources::new(&config::process_env, Dotenv::read());
        let config = Config::from_sources(&sources)?;
        if config.dev_mode != Some(true) {
            return Ok(false);
        }
        let mut settings = RunConfig::new();
        settings.apply(&sources)?;
        front_of_itself(&config, &settings).map(|()| true)
    })();
    match done {
        Ok(false) => {}
        Ok(true) => std::process::exit(0),
        Err(error) => {
            // Whoever embeds this may have no logger, and there is nobody to return an error to.
            eprintln!("{error}");
            std::process::exit(if error.is_usage() { 2 } else { 1 });
        }
    }
}

/// Serves this program, started anew with the same arguments, behind a front.
pub(crate) fn front_of_itself(config: &Config, settings: &RunConfig) -> Result<()> {
    let program = std::env::current_exe().map_err(|error| Error::io("cannot tell which program this is", error))?;
    let command: Vec<OsString> = std::iter::once(program.into_os_string()).chain(std::env::args_os().skip(1)).collect();
    start(config, settings, Plan::of_itself(settings, command)?)
}
