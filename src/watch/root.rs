//! Which directory `run` watches when nobody says.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// The default for `--watch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Root {
    Directory(PathBuf),
    /// Only what is named is watched; `why` is for the log.
    OnlyNamed {
        why: String,
    },
}

/// `--cwd`, else the directory of the first argument of COMMAND that is an existing file, else the working directory; never a directory so wide
/// that watching it makes no sense: `/`, a drive root, the home directory or one that holds it.
pub(crate) fn default_root(cwd: &Path, child_cwd: Option<&Path>, command: &[OsString], home: Option<&Path>) -> Root {
    let argument = || {
        let file = command.iter().skip(1).map(|word| cwd.join(word)).find(|path| path.is_file())?;
        file.parent().map(Path::to_path_buf)
    };
    let directory = child_cwd.map(|dir| cwd.join(dir)).or_else(argument).unwrap_or_else(|| cwd.to_path_buf());
    let directory = std::path::absolute(&directory).unwrap_or(directory);
    let resolved = resolve(&directory);
    let why = if resolved.parent().is_none() {
        "is the root of a file system"
    } else if home.filter(|home| !home.as_os_str().is_empty()).is_some_and(|home| resolve(home).starts_with(&resolved)) {
        "is or holds the home directory"
    } else {
        return Root::Directory(directory);
    };
    Root::OnlyNamed {
        why: format!("{} {why}, too much to watch: only the files of the command are; name others with --watch", directory.display()),
    }
}

fn resolve(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())
}
