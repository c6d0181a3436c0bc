//! What is decided before anything runs.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::*;

/// A directory with an executable `bin/tool`, a `server.py`, a `plain` file and an `.env.dev`.
struct Temp(PathBuf);

impl Temp {
    fn new(name: &str) -> Temp {
        let dir = std::env::temp_dir().canonicalize().unwrap().join(format!("mcp-run-{name}-{}", std::process::id()));
        fs::create_dir_all(dir.join("bin")).unwrap();
        for (name, text) in [("bin/tool", "#!/bin/sh\n"), ("server.py", ""), ("plain", ""), (".env.dev", "A=1\nB='x y'\nMCP_X=2")] {
            fs::write(dir.join(name), text).unwrap();
        }
        fs::set_permissions(dir.join("bin/tool"), fs::Permissions::from_mode(0o755)).unwrap();
        Temp(dir)
    }

    fn plan(&self, run: &RunConfig, command: &str) -> Result<Plan> {
        Plan::of_command(run, command.split(' ').map(OsString::from).collect(), &self.0)
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn named(plan: &Plan) -> Vec<PathBuf> {
    plan.reload.command.iter().cloned().collect()
}

#[test]
fn what_the_command_names_is_watched() {
    let temp = Temp::new("named");
    let plan = temp.plan(&RunConfig::new(), "bin/tool server.py --port missing.py").unwrap();
    assert_eq!(named(&plan), [temp.0.join("bin/tool"), temp.0.join("server.py")]);
    let rules = plan.watch.as_ref().unwrap();
    assert_eq!(rules.roots, [temp.0.as_path()]);
    assert_eq!(rules.named, [temp.0.join("bin/tool"), temp.0.join("server.py")]);
    assert_eq!(plan.shown(), "bin/tool server.py --port missing.py");
    let run = RunConfig { watch: vec!["src".into(), "/etc".into()], env_file: Some(".env.dev".into()), ..RunConfig::new() };
    let plan = temp.plan(&run, "sh server.py").unwrap();
    let rules = plan.watch.as_ref().unwrap();
    assert_eq!(rules.roots, [temp.0.join("src"), PathBuf::from("/etc")]);
    assert!(rules.named.contains(&temp.0.join(".env.dev")) && plan.reload.named.contains(&temp.0.join("src")));
    assert!(temp.plan(&RunConfig { no_watch: true, ..RunConfig::new() }, "sh").unwrap().watch.is_none());
}

#[test]
fn the_environment_is_that_of_the_file_then_that_of_the_flags() {
    let temp = Temp::new("env");
    let run = RunConfig { env_file: Some(".env.dev".into()), env: vec![("A".into(), "2".into())], ..RunConfig::new() };
    let env = temp.plan(&run, "sh").unwrap().command.env;
    let pairs: Vec<String> = env.iter().map(|(name, value)| format!("{}={}", name.to_string_lossy(), value.to_string_lossy())).collect();
    assert_eq!(pairs, ["A=1", "B=x y", "MCP_X=2", "A=2"]);
    let run = RunConfig { env_file: Some("nowhere".into()), ..RunConfig::new() };
    assert!(temp.plan(&run, "sh").map(|_| ()).unwrap_err().to_string().contains("nowhere"));
}

#[test]
fn a_command_that_is_not_there_is_an_error_unless_it_can_come() {
    let temp = Temp::new("missing");
    let (watching, blind) = (RunConfig::new(), RunConfig { no_watch: true, ..RunConfig::new() });
    let build = RunConfig { build: Some("make".into()), ..blind.clone() };
    let refused = |run: &RunConfig, command: &str| temp.plan(run, command).map(|_| ()).unwrap_err();
    assert!(refused(&watching, "no-such-command").is_command_not_found());
    assert!(refused(&blind, "./no-such-command").is_command_not_found());
    assert!(refused(&watching, "no/such/command").is_command_not_found());
    assert!(refused(&blind, "./plain").is_command_not_executable());
    for plan in [temp.plan(&watching, "./no-such-command"), temp.plan(&build, "./no-such-command")] {
        let plan = plan.unwrap();
        assert!(plan.missing.unwrap().is_command_not_found());
        assert_eq!(plan.reload.command.iter().next().map(PathBuf::as_path), Some(temp.0.join("./no-such-command").as_path()));
    }
    assert!(temp.plan(&watching, "./plain").unwrap().missing.unwrap().is_command_not_executable());
    assert!(temp.plan(&build, "no-such-command").unwrap().missing.is_some());
}

#[test]
fn in_the_root_directory_only_what_is_named_is_watched() {
    let plan = Plan::of_command(&RunConfig::new(), vec!["sh".into()], Path::new("/")).unwrap();
    assert!(plan.why_no_root.is_some() && plan.watch.unwrap().roots.is_empty());
}

#[test]
fn a_program_that_is_its_own_server_is_watched_alone() {
    let temp = Temp::new("own");
    let plan = Plan::of_program(&RunConfig::new(), temp.0.join("bin/tool"), vec!["demo".into()], &temp.0).unwrap();
    assert_eq!(named(&plan), [temp.0.join("bin/tool")]);
    assert!(plan.watch.unwrap().roots.is_empty());
}
