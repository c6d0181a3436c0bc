//! Where COMMAND's program is: the search a shell does, with errors that say what is wrong.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use crate::error::{Error, Result};

/// Where programs are without a `PATH`.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Finds `program`: a path, relative to `cwd`, when it has a slash; else the first executable file of that name in `path`.
pub(crate) fn resolve(program: &OsStr, cwd: &Path, path: Option<&OsStr>) -> Result<PathBuf> {
    let name = || program.to_string_lossy().into_owned();
    if program.is_empty() {
        return Err(Error::command_not_found("(an empty word)"));
    }
    let cwd = std::path::absolute(cwd).map_err(|error| Error::file("cannot find", cwd, error))?;
    let candidates: Vec<PathBuf> = if program.as_bytes().contains(&b'/') {
        vec![cwd.join(program)]
    } else {
        // An empty entry stands for the working directory.
        let path = path.map_or_else(|| OsString::from(DEFAULT_PATH), OsStr::to_owned);
        std::env::split_paths(&path).map(|dir| cwd.join(dir).join(program)).collect()
    };
    let mut refused = None;
    for candidate in candidates {
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(error) if absent(&error) => {}
            // The search goes on: a later directory may have one that can be executed.
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    match refused {
        Some(error) => Err(Error::command_not_executable(name(), error)),
        None if cwd.join(program).is_file() => Err(Error::command_is_a_file(name())),
        None => Err(Error::command_not_found(name())),
    }
}

/// Nothing of that name; a directory on the way that is a file counts as that.
fn absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn executable(path: &Path) -> io::Result<()> {
    if std::fs::metadata(path)?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(access(path, AccessFlags::X_OK)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::child::tests::TempDir;

    #[test]
    fn a_plain_name_is_looked_up_in_the_path_given() {
        let dir = TempDir::new("resolve-path");
        let (bin, other) = (dir.path().join("bin"), dir.path().join("other"));
        dir.file("bin/tool", "not executable", 0o644);
        dir.file("other/tool", "#!/bin/sh\n", 0o755);
        let path = std::env::join_paths([&bin, &other]).unwrap();
        assert_eq!(resolve("tool".as_ref(), dir.path(), Some(&path)).unwrap(), other.join("tool"));
        assert_eq!(resolve("tool".as_ref(), dir.path(), Some("bin:other".as_ref())).unwrap(), other.join("tool"));
        assert_eq!(resolve("tool".as_ref(), &other, Some(":/nowhere".as_ref())).unwrap(), other.join("tool"));
        assert!(resolve("sh".as_ref(), dir.path(), None).unwrap().is_absolute());
    }

    #[test]
    fn a_path_is_relative_to_the_childs_directory() {
        let dir = TempDir::new("resolve-relative");
        dir.file("sub/tool", "#!/bin/sh\n", 0o755);
        let found = resolve("./sub/tool".as_ref(), dir.path(), Some("/bin".as_ref())).unwrap();
        assert_eq!(std::fs::read_to_string(found).unwrap(), "#!/bin/sh\n");
    }

    #[test]
    fn missing_and_not_executable_are_told_apart() {
        let dir = TempDir::new("resolve-errors");
        dir.file("plain", "text", 0o644);
        let find = |program: &str| resolve(program.as_ref(), dir.path(), Some(dir.path().as_os_str())).unwrap_err();
        for absent in ["nothing", "./nothing", "plain/nothing", ""] {
            assert!(find(absent).is_command_not_found(), "{absent}");
        }
        for refused in ["plain", "./plain", "/"] {
            assert!(find(refused).is_command_not_executable(), "{refused}");
        }
    }
}
