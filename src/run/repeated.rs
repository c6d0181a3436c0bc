//! A file of data that alone brings about one reload after the other: nobody can tell whether a person edits it or the server writes it in its
//! calls, so it goes on counting; but whoever wonders why the server forgets everything is told which file it is.

use std::path::{Path, PathBuf};

/// So many in a row are worth a line.
const TIMES: u32 = 5;
/// What servers keep things in, of the extensions that count.
const DATA: [&str; 9] = ["cfg", "conf", "ini", "json", "jsonc", "toml", "xml", "yaml", "yml"];

#[derive(Default)]
pub(super) struct Repeated {
    file: PathBuf,
    times: u32,
}

impl Repeated {
    /// These files have changed together. Returns the one to be named, once in a row.
    pub(super) fn changed<'a>(&mut self, mut paths: impl Iterator<Item = &'a Path>) -> Option<&Path> {
        let is_data = |path: &&Path| path.extension().and_then(|ext| ext.to_str()).is_some_and(|ext| DATA.contains(&ext));
        let (Some(only), None) = (paths.next().filter(is_data), paths.next()) else {
            self.times = 0;
            return None;
        };
        if self.times == 0 || self.file != only {
            (self.file, self.times) = (only.to_path_buf(), 0);
        }
        self.times = self.times.saturating_add(1);
        (self.times == TIMES).then_some(self.file.as_path())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_data_that_changes_alone_again_and_again_is_named_once() {
        let mut repeated = Repeated::default();
        let mut named = |paths: &[&str]| repeated.changed(paths.iter().map(Path::new)).is_some();
        assert!(!(0..20).any(|_| named(&["/a/server.py"])), "that is what people edit");
        assert!(!(0..4).any(|_| named(&["/a/memory.json"])) && !named(&["/a/memory.json", "/a/server.py"]));
        assert!(!(0..4).any(|_| named(&["/a/memory.json"])) && named(&["/a/memory.json"]));
        assert!(!(0..20).any(|_| named(&["/a/memory.json"])), "once");
        assert!(!(0..4).any(|_| named(&["/a/other.json"])) && named(&["/a/other.json"]));
    }
}
