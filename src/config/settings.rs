//! The table of settings that have a variable, and how the text of each gets into a [`Config`].

use super::Config;
use super::value::{self, Allowed};

/// One setting of a `T`, under the name of its variable.
pub(crate) struct Setting<T> {
    /// The name in the environment.
    pub(crate) variable: &'static str,
    /// Reads the text and puts the value where it belongs.
    pub(crate) set: fn(&mut T, &str) -> Result<(), Allowed>,
}

/// Puts a value that could be read into its field.
pub(crate) fn put<T>(field: &mut T, value: Result<T, Allowed>) -> Result<(), Allowed> {
    *field = value?;
    Ok(())
}

/// Serving: for embedders, `demo` and `run`. The token is not here, since two variables and a file decide about it.
pub(crate) const SETTINGS: &[Setting<Config>] = &[
    Setting { variable: "MCP_TRANSPORT", set: |config, text| put(&mut config.transport, value::transport(text)) },
    Setting { variable: "MCP_HTTP_HOST", set: |config, text| put(&mut config.host, value::host(text)) },
    Setting { variable: "MCP_HTTP_PORT", set: |config, text| put(&mut config.port, value::port(text)) },
    Setting { variable: "MCP_ALLOW_HOST", set: |config, text| put(&mut config.allow_hosts, value::list(text, value::allowed_host)) },
    Setting { variable: "MCP_ALLOW_ORIGIN", set: |config, text| put(&mut config.allow_origins, value::list(text, value::origin)) },
    Setting { variable: "MCP_BASE_PATH", set: |config, text| put(&mut config.base_path, value::base_path(text)) },
    Setting { variable: "MCP_INSECURE", set: |config, text| put(&mut config.insecure, value::boolean(text)) },
    Setting { variable: "MCP_MAX_CONNECTIONS", set: |config, text| put(&mut config.max_connections, value::count(text)) },
    Setting { variable: "MCP_MAX_SESSIONS", set: |config, text| put(&mut config.max_sessions, value::count(text)) },
    Setting { variable: "MCP_MAX_BODY", set: |config, text| put(&mut config.max_body, value::size(text)) },
    Setting { variable: "MCP_SESSION_TIMEOUT", set: |config, text| put(&mut config.session_timeout, value::some_time(text)) },
    Setting { variable: "MCP_KEEP_ALIVE", set: |config, text| put(&mut config.keep_alive, value::some_time(text)) },
    Setting { variable: "MCP_GRACE", set: |config, text| put(&mut config.grace, value::duration(text)) },
    Setting { variable: "MCP_DEV_MODE", set: |config, text| put(&mut config.dev_mode, value::boolean(text).map(Some)) },
];
