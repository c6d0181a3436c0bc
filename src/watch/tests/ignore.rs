//! What does not count: the pattern language, the files that use it, the built-in lists, the flags.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::Rules;
use super::super::glob::Pattern;
use super::super::names::Names;
use super::{Stepper, Temp};

/// `pattern path`, a path with `/` at the end is a directory; `!` before the pair: does not match.
const TABLE: &str = r"
*.py a.py
*.py x/y/a.py
! *.py a.pyc
foo foo
foo a/foo
foo a/foo/
! foo food
! foo foo/bar
foo/ foo/
foo/ a/foo/
! foo/ foo
/foo foo
! /foo a/foo
a/b a/b
! a/b x/a/b
/a/*.py a/x.py
! /a/*.py a/b/x.py
*/x a/x
! */x a/b/x
**/x x
**/x a/b/x
! **/x a/bx
**/a/b q/r/a/b
a/** a/x
a/** a/x/y
! a/** a
! a/** b/a/x
a/**/b a/b
a/**/b a/x/b
a/**/b a/x/y/b
! a/**/b a/xb
a/**/*.py a/b/c.py
a/**/c/*.py a/c/x/c/z.py
! a/**/c/*.py a/c/x/z.py
a** abc
! a**b/c axx/yb/c
?.py a.py
! ?.py ab.py
! a?b a/b
[abc].py b.py
! [abc].py d.py
[a-c]x bx
[!a-c]x dx
! [!a-c]x bx
[^a]x bx
! a[/]b a/b
[]a]x ]x
[a-]x -x
\*x *x
! \*x ax
\!x !x
\#x #x
a\ b a_b_is_not_this
*a*b*c xaybzc
! *a*b*c xaybz
*.* a.b
";

#[test]
fn the_table_of_patterns() {
    for line in TABLE.lines().filter(|line| !line.is_empty() && !line.contains("is_not_this")) {
        let (expected, pair) = line.strip_prefix("! ").map_or((true, line), |pair| (false, pair));
        let (pattern, path) = pair.split_once(' ').unwrap();
        let name = path.strip_suffix('/').unwrap_or(path);
        let found = Pattern::parse(pattern).unwrap().matches(name.as_bytes(), path.ends_with('/'));
        assert_eq!(found, expected, "{line}");
    }
}

#[test]
fn lines_that_say_nothing_and_blanks_at_the_end() {
    for line in ["", "   ", "# comment", "/", "!", "[abc", "a\\", "[z", "\r"] {
        assert!(Pattern::parse(line).is_none(), "{line:?}");
    }
    let matches = |line: &str, path: &str| Pattern::parse(line).unwrap().matches(path.as_bytes(), false);
    assert!(matches("a.py   ", "a.py"));
    assert!(matches("a.py\r", "a.py"));
    assert!(matches("a\\ ", "a "));
    assert!(matches("a b", "a b"));
    assert!(Pattern::parse("!x").unwrap().negated);
}

#[test]
fn a_nasty_pattern_is_quick() {
    let text = "a".repeat(2000);
    assert!(!Pattern::parse(&"*a".repeat(100).replace("*a", "*a*")).unwrap().matches(format!("{text}/b").as_bytes(), false));
    assert!(!Pattern::parse(&format!("{}b", "**/a*".repeat(50))).unwrap().matches("aa/".repeat(600).as_bytes(), false));
}

#[test]
fn names_that_count() {
    let names = Names::new(None);
    for name in ["a.py", "A.PY", "x.test.ts", "Cargo.toml", "Makefile", "Dockerfile", ".env", ".env.local", "conf.YAML", "a.sbt", "z.zsh"] {
        assert!(names.file(name.as_bytes()), "{name}");
    }
    for name in [
        "a.pyc",
        "README.md",
        "notes.txt",
        "a",
        ".py",
        "data.csv",
        "x.log",
        "Cargo.lock",
        ".a.py.swp",
        "a.py~",
        ".#a.py",
        "#a.py#",
        "4913",
        "a.py.tmp",
    ] {
        assert!(!names.file(name.as_bytes()), "{name}");
    }
    let list = [".md".to_string(), "*.TXT".to_string()];
    let names = Names::new(Some(&list));
    assert!(names.file(b"a.md") && names.file(b"b.txt") && !names.file(b"a.py") && !names.file(b"Makefile"));
    let all = Names::new(Some(&["*".to_string()]));
    assert!(all.file(b"anything") && !all.file(b"a.swp"));
    assert!(!Names::directory(b"node_modules") && !Names::directory(b"x.egg-info") && Names::directory(b"dist"));
}

fn changed_by_writing(rules: Rules, temp: &Temp, files: &[&str]) -> Vec<String> {
    let mut stepper = Stepper::new(rules);
    for file in files {
        temp.write(file, "new");
    }
    stepper.settle(temp)
}

#[test]
fn built_in_directories_and_other_extensions_are_left_out() {
    let temp = Temp::new();
    let files = ["target/a.py", "x/node_modules/b.js", ".git/config.toml", "__pycache__/c.py", ".venv/d.py", "e.bin", "f.py", ".#g.py"];
    assert_eq!(changed_by_writing(temp.rules(), &temp, &files), ["+f.py"]);
}

#[test]
fn gitignore_files_at_every_level() {
    let temp = Temp::new();
    temp.write(".gitignore", "*.json\n/out/\n!keep.json\n");
    temp.write("sub/.gitignore", "!back.json\nlocal.py\n");
    let files =
        ["a.json", "keep.json", "out/a.py", "sub/out/a.py", "sub/back.json", "sub/a.json", "sub/local.py", "sub/x/local.py", "local.py"];
    assert_eq!(changed_by_writing(temp.rules(), &temp, &files), ["+keep.json", "+local.py", "+sub/back.json", "+sub/out/a.py"]);
}

#[test]
fn gitignore_files_above_the_root_up_to_the_top_of_git() {
    let temp = Temp::new();
    temp.write(".gitignore", "a.py\n");
    temp.write("repo/.git/HEAD", "");
    temp.write("repo/.gitignore", "b.py\n/src/c.py\n/gen/\n");
    temp.write("repo/src/x.py", "");
    temp.write("repo/gen/x.py", "");
    let rules = Rules { roots: vec![temp.path("repo/src"), temp.path("repo/gen")], ..Rules::default() };
    let files = ["repo/src/a.py", "repo/src/b.py", "repo/src/c.py", "repo/gen/b.py"];
    // `gen` is left out by the file above, but somebody named it: then that file says nothing about what is in it.
    assert_eq!(changed_by_writing(rules, &temp, &files), ["+repo/gen/b.py", "+repo/src/a.py"]);
}

#[test]
fn globs_of_the_flag_beat_gitignore() {
    let temp = Temp::new();
    temp.write(".gitignore", "a.json\n");
    let rules = Rules { ignore: vec!["/gen/**".into(), "*_test.py".into(), "!a.json".into()], ..temp.rules() };
    let files = ["gen/x.py", "y_test.py", "sub/z_test.py", "a.json", "b.py"];
    assert_eq!(changed_by_writing(rules, &temp, &files), ["+a.json", "+b.py"]);
}

#[test]
fn what_is_named_is_watched_whatever_the_rules_say() {
    let temp = Temp::new();
    temp.write(".gitignore", "*.py\ndata/\n");
    let named = vec![temp.path("server.py"), temp.path("data/a.bin"), temp.path("target/debug/server")];
    let rules = Rules { named, ..temp.rules() };
    let files = ["server.py", "data/a.bin", "data/b.py", "target/debug/server", "other.py"];
    assert_eq!(changed_by_writing(rules, &temp, &files), ["+data/a.bin", "+server.py", "+target/debug/server"]);
}

#[test]
fn a_file_as_root_is_named() {
    let temp = Temp::new();
    let file = temp.write("notes.txt", "1");
    let rules = Rules { roots: vec![file], ..Rules::default() };
    assert_eq!(changed_by_writing(rules, &temp, &["notes.txt", "a.py"]), ["~notes.txt"]);
}

#[test]
fn a_changed_gitignore_counts_from_then_on_and_is_no_removal() {
    let temp = Temp::new();
    temp.write_old("a.py", "1");
    temp.write_old("gen/b.py", "1");
    let mut stepper = Stepper::new(temp.rules());
    assert_eq!(stepper.watcher.summary().files, 2);
    temp.write(".gitignore", "gen/\n");
    assert_eq!(stepper.settle(&temp), [""; 0]);
    assert_eq!(stepper.watcher.summary().files, 1);
    temp.write("gen/b.py", "2");
    assert_eq!(stepper.settle(&temp), [""; 0]);
    fs::remove_file(temp.path(".gitignore")).unwrap();
    assert_eq!(stepper.settle(&temp), ["+gen/b.py"]);
}

#[test]
fn the_default_root() {
    use super::super::{Root, default_root};
    let temp = Temp::new();
    temp.write("src/server.py", "");
    let cwd = temp.0.as_path();
    let words = |text: &str| text.split(' ').map(Into::into).collect::<Vec<_>>();
    let home = Path::new("/nonexistent-home");
    let root = |cwd: &Path, child: Option<&Path>, command: &str, home: &Path| default_root(cwd, child, &words(command), Some(home));
    let directory = |path: &Path| Root::Directory(path.to_path_buf());
    assert_eq!(root(cwd, None, "python src/server.py", home), directory(&temp.path("src")));
    assert_eq!(root(cwd, None, "python -m server", home), directory(cwd));
    assert_eq!(root(cwd, None, "src/server.py --x", home), directory(cwd), "the program itself is no argument");
    assert_eq!(root(cwd, Some(Path::new("other")), "python src/server.py", home), directory(&temp.path("other")));
    let only_named = |root: Root| matches!(root, Root::OnlyNamed { why } if why.contains("--watch"));
    assert!(only_named(root(Path::new("/"), None, "python -m server", home)));
    assert!(only_named(root(cwd, None, "python -m server", cwd)));
    assert!(only_named(root(cwd, None, "python -m server", &temp.path("src"))), "holds the home directory");
    assert!(only_named(root(Path::new("/"), Some(cwd), "python", cwd)));
    assert_eq!(root(Path::new("/"), None, &format!("python {}", temp.path("src/server.py").display()), home), directory(&temp.path("src")));
    assert_eq!(default_root(cwd, None, &[], None), Root::Directory(PathBuf::from(cwd)));
    assert_eq!(root(cwd, None, "python", Path::new("")), directory(cwd));
}
