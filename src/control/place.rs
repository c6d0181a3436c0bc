//! Where the sockets are: a directory that belongs to this user alone.

use std::fs::{DirBuilder, symlink_metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::unistd::geteuid;

const NAME: &str = env!("CARGO_PKG_NAME");

/// The directories a front may have its socket in, the best first.
pub(super) fn candidates() -> Vec<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let shared = std::env::temp_dir().join(format!("{NAME}-{}", geteuid()));
    runtime.map(|dir| dir.join(NAME)).into_iter().chain([shared]).collect()
}

/// Makes the directory if it is not there.
pub(super) fn prepare(place: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(place) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => check(place),
    }
}

/// In a directory that is not ours, or that others can write to, anybody could pose as a front, or as the person who asks.
pub(super) fn check(place: &Path) -> io::Result<()> {
    let found = symlink_metadata(place)?;
    let is_private = found.is_dir() && found.uid() == geteuid().as_raw() && found.permissions().mode() & 0o077 == 0;
    if is_private { Ok(()) } else { Err(io::Error::other("is not a directory of this user alone")) }
}

/// By the path that everybody calls it.
pub(super) fn working_directory() -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    here.canonicalize().unwrap_or(here)
}
