//! The one error type: what can end a program or keep it from starting, with what to do about it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A fatal failure of ours: a setting that makes no sense, a port that is taken, a command that does not exist.
///
/// What goes wrong with one message or one client is never an `Error`: it is answered as an [`RpcError`](crate::RpcError) or
/// written to the log, and the process goes on. The text of an `Error` says what happened and, where something can be done, what to do.
pub struct Error(Box<Kind>);

/// The result of everything that can fail with our own [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

#[cfg_attr(not(feature = "run"), allow(dead_code, reason = "only a front starts a COMMAND"))]
enum Kind {
    Usage { message: String },
    Setting { name: String, value: String, allowed: String },
    File { doing: &'static str, path: PathBuf, source: io::Error },
    PortTaken { port: u16, source: io::Error },
    Listen { address: String, source: io::Error },
    CommandNotFound { program: String, is_a_file_here: bool },
    CommandNotExecutable { program: String, source: io::Error },
    Io { doing: String, source: io::Error },
}

impl Error {
    /// The command line or the combination of settings makes no sense; `message` says what would.
    pub(crate) fn usage(message: impl Into<String>) -> Error {
        Kind::Usage { message: message.into() }.into()
    }

    /// The setting `name` (a variable or a flag) has a `value` that is not one of `allowed`.
    pub(crate) fn setting(name: impl Into<String>, value: impl Into<String>, allowed: impl Into<String>) -> Error {
        Kind::Setting { name: name.into(), value: value.into(), allowed: allowed.into() }.into()
    }

    /// `doing` (as in "cannot read") failed on the file at `path`.
    pub(crate) fn file(doing: &'static str, path: &Path, source: io::Error) -> Error {
        Kind::File { doing, path: path.to_path_buf(), source }.into()
    }

    /// Another process listens on `port` already.
    pub(crate) fn port_taken(port: u16, source: io::Error) -> Error {
        Kind::PortTaken { port, source }.into()
    }

    /// Listening on `address` failed for a reason other than a taken port.
    pub(crate) fn listen(address: impl Into<String>, source: io::Error) -> Error {
        Kind::Listen { address: address.into(), source }.into()
    }

    /// COMMAND's program does not exist.
    #[cfg_attr(not(feature = "run"), allow(dead_code, reason = "only a front starts a COMMAND"))]
    pub(crate) fn command_not_found(program: impl Into<String>) -> Error {
        Kind::CommandNotFound { program: program.into(), is_a_file_here: false }.into()
    }

    /// The same, and a file of that name lies in the working directory, where nobody looks for programs.
    #[cfg_attr(not(feature = "run"), allow(dead_code, reason = "only a front starts a COMMAND"))]
    pub(crate) fn command_is_a_file(program: impl Into<String>) -> Error {
        Kind::CommandNotFound { program: program.into(), is_a_file_here: true }.into()
    }

    /// COMMAND's program exists and cannot be executed.
    #[cfg_attr(not(feature = "run"), allow(dead_code, reason = "only a front starts a COMMAND"))]
    pub(crate) fn command_not_executable(program: impl Into<String>, source: io::Error) -> Error {
        Kind::CommandNotExecutable { program: program.into(), source }.into()
    }

    /// The system refused something else; `doing` says what, as in "cannot start a thread".
    pub(crate) fn io(doing: impl Into<String>, source: io::Error) -> Error {
        Kind::Io { doing: doing.into(), source }.into()
    }

    /// True when the caller asked for something that makes no sense: a bad value, flag or combination. Exit status 2.
    pub fn is_usage(&self) -> bool {
        matches!(*self.0, Kind::Usage { .. } | Kind::Setting { .. })
    }

    /// True when the port to listen on is taken.
    pub fn is_port_taken(&self) -> bool {
        matches!(*self.0, Kind::PortTaken { .. })
    }

    /// True when COMMAND does not exist. Exit status 127.
    pub fn is_command_not_found(&self) -> bool {
        matches!(*self.0, Kind::CommandNotFound { .. })
    }

    /// True when COMMAND exists and cannot be executed. Exit status 126.
    pub fn is_command_not_executable(&self) -> bool {
        matches!(*self.0, Kind::CommandNotExecutable { .. })
    }
}

impl From<Kind> for Error {
    fn from(kind: Kind) -> Error {
        Error(Box::new(kind))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0 {
            Kind::Usage { message } => f.write_str(message),
            Kind::Setting { name, value, allowed } => write!(f, "{name} is {value:?}: it must be {allowed}"),
            Kind::File { doing, path, source } => write!(f, "{doing} {}: {source}", path.display()),
            Kind::PortTaken { port, .. } => write!(
                f,
                "port {port} is taken: set MCP_HTTP_PORT or --port to another one (0 takes any free one), or find the holder with lsof -ti:{port}"
            ),
            Kind::Listen { address, source } => {
                let hint = match source.kind() {
                    io::ErrorKind::AddrNotAvailable => ": it is no address of this machine, as localhost and 0.0.0.0 always are",
                    io::ErrorKind::PermissionDenied => ": ports below 1024 are for root, set MCP_HTTP_PORT or --port to another one",
                    _ => "",
                };
                write!(f, "cannot listen on {address}: {source}{hint}")
            }
            Kind::CommandNotFound { program, is_a_file_here: true } => {
                write!(f, "{program}: command not found, but it is a file here: name its interpreter before it, or say ./{program}")
            }
            Kind::CommandNotFound { program, .. } => {
                write!(f, "{program}: command not found: check the spelling and PATH, or give an absolute path")
            }
            Kind::CommandNotExecutable { program, source } => {
                let hint = match source.kind() {
                    io::ErrorKind::IsADirectory => "name the program in it",
                    _ => "set its executable bit (chmod +x), or name its interpreter before it",
                };
                write!(f, "{program} cannot be executed: {source}: {hint}")
            }
            Kind::Io { doing, source } => write!(f, "{doing}: {source}"),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({self})")
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &*self.0 {
            Kind::Usage { .. } | Kind::Setting { .. } | Kind::CommandNotFound { .. } => None,
            Kind::File { source, .. }
            | Kind::PortTaken { source, .. }
            | Kind::Listen { source, .. }
            | Kind::CommandNotExecutable { source, .. }
            | Kind::Io { source, .. } => Some(source),
        }
    }
}
