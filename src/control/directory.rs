//! Where the sockets are: a directory that is the user's alone.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use nix::unistd::Uid;

/// `$XDG_RUNTIME_DIR/mcp-http-transport`, else one in the temporary directory.
pub(super) fn path() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|place| Path::new(place).is_absolute()) {
        Some(place) => PathBuf::from(place).join("mcp-http-transport"),
        None => std::env::temp_dir().join(format!("mcp-http-transport-{}", Uid::current())),
    }
}

/// The directory, made if need be. One that is somebody else's, or that others may enter, is refused: a stranger could answer in our name.
pub(super) fn own() -> io::Result<PathBuf> {
    let path = path();
    match DirBuilder::new().mode(0o700).create(&path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    check(&path).map(|()| path)
}

/// Whether the directory can be trusted.
pub(super) fn check(path: &Path) -> io::Result<()> {
    let stat = fs::symlink_metadata(path)?;
    if !stat.is_dir() || stat.uid() != Uid::current().as_raw() || stat.mode() & 0o077 != 0 {
        return Err(io::Error::other(format!("{} is not a directory of this user's alone", path.display())));
    }
    Ok(())
}

/// The sockets there are, with the pid each belongs to.
pub(super) fn sockets(directory: &Path) -> Vec<(u32, PathBuf)> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let pid = |path: &Path| path.file_name()?.to_str()?.strip_suffix(".sock")?.parse().ok();
    let mut found: Vec<_> = entries.flatten().filter_map(|entry| Some((pid(&entry.path())?, entry.path()))).collect();
    found.sort();
    found
}

/// Removes the sockets of fronts that are gone.
pub(super) fn sweep(directory: &Path) {
    for (_, path) in sockets(directory) {
        if UnixStream::connect(&path).is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused) {
            drop(fs::remove_file(path));
        }
    }
}
