//! Roots that go and come, loops, unreadable files, too many files, clocks that jump: all survived, all said.

use std::fs;
use std::time::{Duration, SystemTime};

use super::super::{Rules, Tier};
use super::{Stepper, Temp};

#[test]
fn a_root_that_goes_and_comes_back_is_said_and_compared_by_content() {
    let temp = Temp::new();
    temp.write_old("root/a.py", "1");
    temp.write_old("root/sub/b.py", "1");
    let root = temp.path("root");
    let mut stepper = Stepper::new(Rules { roots: vec![root.clone()], ..Rules::default() });
    // Once changed, so that they are looked at by every hot look too.
    temp.write("root/a.py", "2");
    assert_eq!(stepper.settle(&temp), ["~root/a.py"]);
    fs::rename(&root, temp.path("away")).unwrap();
    assert_eq!(stepper.settle(&temp), [""; 0]);
    for _ in 0..5 {
        assert!(!stepper.look_after(30, Tier::Hot).pending);
    }
    assert_eq!(stepper.settle(&temp), [""; 0]);
    assert_eq!((stepper.said("is gone"), stepper.said("is back")), (1, 0));
    temp.write("root/a.py", "2");
    temp.write("root/sub/b.py", "new");
    assert_eq!(stepper.settle(&temp), ["~root/sub/b.py"]);
    assert_eq!((stepper.said("is gone"), stepper.said("is back")), (1, 1));
}

#[test]
fn a_root_may_come_later() {
    let temp = Temp::new();
    let mut stepper = Stepper::new(Rules { roots: vec![temp.path("later")], ..Rules::default() });
    stepper.settle(&temp);
    assert_eq!(stepper.said("does not exist yet"), 1);
    temp.write("later/a.py", "1");
    assert_eq!(stepper.settle(&temp), ["+later/a.py"]);
}

#[test]
fn roots_inside_each_other_tell_each_file_once() {
    let temp = Temp::new();
    temp.write_old("sub/a.py", "1");
    let rules =
        Rules { roots: vec![temp.0.clone(), temp.path("sub"), temp.0.clone()], named: vec![temp.path("sub/a.py")], ..Rules::default() };
    let mut stepper = Stepper::new(rules);
    assert_eq!(stepper.watcher.summary().files, 1);
    temp.write("sub/a.py", "2");
    assert_eq!(stepper.settle(&temp), ["~sub/a.py"]);
}

#[test]
fn a_file_becomes_a_directory_and_back() {
    let temp = Temp::new();
    let path = temp.write_old("a.py", "1");
    let mut stepper = Stepper::new(temp.rules());
    fs::remove_file(&path).unwrap();
    temp.write("a.py/b.py", "1");
    assert_eq!(stepper.settle(&temp), ["+a.py/b.py", "-a.py"]);
    temp.write("a.py/b.py", "2");
    assert_eq!(stepper.settle(&temp), ["~a.py/b.py"]);
    fs::remove_dir_all(&path).unwrap();
    temp.write("a.py", "3");
    assert_eq!(stepper.settle(&temp), ["+a.py", "-a.py/b.py"]);
    assert_eq!(stepper.watcher.summary().files, 1);
}

#[test]
fn more_files_than_the_limit_are_said_and_the_first_ones_watched() {
    let temp = Temp::new();
    for n in 0..30 {
        temp.write_old(&format!("d{}/f{n}.py", n % 3), "1");
    }
    let mut stepper = Stepper::with_limit(temp.rules(), 20);
    let summary = stepper.watcher.summary();
    assert_eq!(summary.files, 20);
    assert_eq!(stepper.settle(&temp), [""; 0]);
    for n in 0..30 {
        temp.write(&format!("d{}/f{n}.py", n % 3), "2");
    }
    temp.write("d0/new.py", "2");
    assert_eq!(stepper.settle(&temp).len(), 20, "the same twenty, whatever order a directory is read in");
    assert_eq!(stepper.settle(&temp), [""; 0]);
    assert_eq!(stepper.said("only the first 20 are watched"), 1);
}

#[test]
fn times_from_before_the_epoch_and_from_the_future_are_survived() {
    let temp = Temp::new();
    let path = temp.write("a.py", "1");
    let set = |time: SystemTime| fs::OpenOptions::new().append(true).open(&path).unwrap().set_modified(time).unwrap();
    let far = Duration::from_secs(60 * 60 * 24 * 365 * 30);
    set(SystemTime::UNIX_EPOCH - far);
    let mut stepper = Stepper::new(temp.rules());
    for (content, time) in [("2", SystemTime::now() + far), ("3", SystemTime::UNIX_EPOCH - far), ("4", SystemTime::UNIX_EPOCH)] {
        temp.write("a.py", content);
        set(time);
        assert_eq!(stepper.settle(&temp), ["~a.py"]);
        set(time + Duration::from_secs(1));
        assert_eq!(stepper.settle(&temp), [""; 0]);
    }
}

#[cfg(unix)]
mod unix {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn symlink_loops_end_and_linked_directories_are_watched() {
        let temp = Temp::new();
        let outside = Temp::new();
        outside.write_old("lib/c.py", "1");
        temp.write_old("a/b.py", "1");
        symlink(&temp.0, temp.path("a/up")).unwrap();
        symlink(temp.path("a"), temp.path("again")).unwrap();
        symlink(outside.path("lib"), temp.path("lib")).unwrap();
        symlink("self.py", temp.path("self.py")).unwrap();
        symlink("nowhere.py", temp.path("broken.py")).unwrap();
        let mut stepper = Stepper::new(temp.rules());
        assert_eq!(stepper.watcher.summary().files, 2);
        outside.write("lib/c.py", "2");
        temp.write("a/b.py", "2");
        assert_eq!(stepper.settle(&temp), ["~a/b.py", "~lib/c.py"]);
        fs::write(temp.path("nowhere.py"), "1").unwrap();
        assert_eq!(stepper.settle(&temp), ["+broken.py", "+nowhere.py"]);
    }

    #[test]
    fn a_link_that_is_turned_to_another_file_is_an_edit() {
        let temp = Temp::new();
        temp.write_old("v1.txt", "1");
        temp.write_old("v2.txt", "2");
        symlink("v1.txt", temp.path("conf.toml")).unwrap();
        let mut stepper = Stepper::new(temp.rules());
        symlink("v2.txt", temp.path("conf.tmp")).unwrap();
        fs::rename(temp.path("conf.tmp"), temp.path("conf.toml")).unwrap();
        assert_eq!(stepper.settle(&temp), ["~conf.toml"]);
    }

    #[test]
    fn what_is_no_regular_file_is_not_opened() {
        let temp = Temp::new();
        let path = temp.write_old("pipe.py", "1");
        let mut stepper = Stepper::new(temp.rules());
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(stepper.settle(&temp), ["-pipe.py"]);
    }

    /// The owner of the machine may read everything: then there is nothing to test.
    fn can_read_all(path: &std::path::Path) -> bool {
        fs::File::open(path).is_ok()
    }

    #[test]
    fn an_unreadable_file_or_directory_is_said_once_and_seen_when_it_opens() {
        let temp = Temp::new();
        let file = temp.write_old("secret.py", "1");
        let dir = temp.path("closed");
        temp.write_old("closed/in.py", "1");
        let mode = |path: &std::path::Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        mode(&file, 0);
        if can_read_all(&file) {
            return;
        }
        mode(&dir, 0);
        let mut stepper = Stepper::new(temp.rules());
        stepper.settle(&temp);
        stepper.settle(&temp);
        assert_eq!((stepper.said("secret.py"), stepper.said("closed")), (1, 1));
        assert_eq!(stepper.watcher.summary().unreadable, 2);
        mode(&file, 0o600);
        mode(&dir, 0o700);
        assert_eq!(stepper.settle(&temp), ["+closed/in.py", "~secret.py"]);
        assert_eq!(stepper.watcher.summary().unreadable, 0);
        mode(&dir, 0);
        assert_eq!(stepper.settle(&temp), [""; 0], "nobody knows whether they are gone");
        mode(&dir, 0o700);
        assert_eq!(stepper.settle(&temp), [""; 0]);
        fs::create_dir(temp.path("empty")).unwrap();
        mode(&temp.path("empty"), 0);
        stepper.settle(&temp);
        assert_eq!(stepper.watcher.summary().unreadable, 1);
        fs::remove_dir(temp.path("empty")).unwrap();
        stepper.settle(&temp);
        assert_eq!(stepper.watcher.summary().unreadable, 0);
    }
}
