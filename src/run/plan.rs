//! From settings and COMMAND to what is started and what is watched, before anything of it happens.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::child::{self, CommandLine};
use crate::config::{self, RunConfig};
use crate::error::{Error, Result};
use crate::{reload, watch};

/// What a front is to do.
pub(crate) struct Plan {
    pub(super) command: CommandLine,
    /// None: nothing is watched.
    pub(super) watch: Option<watch::Rules>,
    pub(super) reload: reload::Rules,
    /// Why no directory is watched, for the log.
    pub(super) why_no_root: Option<String>,
    /// COMMAND cannot be started yet, and is waited for.
    pub(super) missing: Option<Error>,
    pub(super) env_file: Option<PathBuf>,
    /// What stands in `--env`.
    given_env: Vec<(OsString, OsString)>,
}

impl Plan {
    /// For `run`: COMMAND, with what is watched by default.
    pub(crate) fn of_command(run: &RunConfig, words: Vec<OsString>, cwd: &Path) -> Result<Plan> {
        let child_cwd = run.cwd.as_ref().map_or_else(|| cwd.to_path_buf(), |dir| cwd.join(dir));
        if !child_cwd.is_dir() {
            return Err(Error::setting("--cwd", child_cwd.display().to_string(), "a directory that exists"));
        }
        let mut words = words.into_iter();
        let program = words.next().unwrap_or_default();
        let mut plan = Plan::new(run, CommandLine { program, args: words.collect(), cwd: child_cwd, env: Vec::new() }, cwd)?;
        let line: Vec<OsString> = std::iter::once(&plan.command.program).chain(&plan.command.args).cloned().collect();
        if run.watch.is_empty() {
            let home = std::env::var_os("HOME").map(PathBuf::from);
            let child_cwd = run.cwd.as_ref().map(|_| plan.command.cwd.as_path());
            match watch::default_root(cwd, child_cwd, &line, home.as_deref()) {
                watch::Root::Directory(root) => plan.add_root(root),
                watch::Root::OnlyNamed { why } => plan.why_no_root = Some(why),
            }
        }
        plan.find_program(run)?;
        Ok(plan)
    }

    /// For `dev()`: a program that is its own server, and is watched with nothing else unless that is named.
    pub(crate) fn of_program(run: &RunConfig, program: PathBuf, args: Vec<OsString>, cwd: &Path) -> Result<Plan> {
        let command = CommandLine { program: program.clone().into(), args, cwd: cwd.to_path_buf(), env: Vec::new() };
        let mut plan = Plan::new(run, command, cwd)?;
        plan.add_command_file(program);
        Ok(plan)
    }

    fn new(run: &RunConfig, command: CommandLine, cwd: &Path) -> Result<Plan> {
        let named: BTreeSet<PathBuf> = run.watch.iter().chain(&run.env_file).map(|path| cwd.join(path)).collect();
        let rules = watch::Rules {
            roots: run.watch.iter().map(|path| cwd.join(path)).collect(),
            named: run.env_file.iter().map(|path| cwd.join(path)).collect(),
            extensions: run.extensions.clone(),
            ignore: run.ignore.clone(),
            debounce: run.debounce,
        };
        let mut plan = Plan {
            command,
            watch: (!run.no_watch).then_some(rules),
            reload: reload::Rules { build: run.build.is_some(), command: BTreeSet::new(), named },
            why_no_root: None,
            missing: None,
            env_file: run.env_file.as_ref().map(|path| cwd.join(path)),
            given_env: run.env.iter().map(|(name, value)| (name.into(), value.into())).collect(),
        };
        plan.command.env = plan.environment()?;
        Ok(plan)
    }

    /// The variables of the child: those of the env file as it is now, then those given by flag.
    pub(super) fn environment(&self) -> Result<Vec<(OsString, OsString)>> {
        let mut env = Vec::new();
        if let Some(file) = &self.env_file {
            let pairs = config::env_file(file).map_err(|error| Error::file("cannot read what --env-file names,", file, error))?;
            env.extend(pairs.into_iter().map(|(name, value)| (name.into(), value.into())));
        }
        env.extend(self.given_env.iter().cloned());
        Ok(env)
    }

    fn add_root(&mut self, root: PathBuf) {
        if let Some(rules) = &mut self.watch {
            rules.roots.push(root);
        }
    }

    fn add_command_file(&mut self, path: PathBuf) {
        let path = std::path::absolute(&path).unwrap_or(path);
        self.reload.command.insert(path.clone());
        self.reload.named.insert(path.clone());
        if let Some(rules) = self.watch.as_mut().filter(|rules| !rules.named.contains(&path)) {
            rules.named.push(path);
        }
    }

    /// COMMAND must be there, unless a build or a save can bring it.
    fn find_program(&mut self, run: &RunConfig) -> Result<()> {
        let CommandLine { program, args, cwd, env } = &self.command;
        let path = env.iter().rev().find(|(name, _)| name == "PATH").map(|(_, value)| value.clone()).or_else(|| std::env::var_os("PATH"));
        let by_path = program.as_bytes().contains(&b'/');
        let found = child::resolve(program, cwd, path.as_deref());
        let files: Vec<PathBuf> =
            args.iter().filter(|word| !word.is_empty()).map(|word| cwd.join(word)).filter(|path| path.is_file()).collect();
        match found {
            Ok(program) => self.add_command_file(program),
            Err(error) => {
                let place = cwd.join(program);
                let can_come = self.watch.is_some() && by_path && place.parent().is_some_and(Path::is_dir);
                if !can_come && run.build.is_none() {
                    return Err(error);
                }
                self.missing = Some(error);
                if by_path {
                    self.add_command_file(place);
                }
            }
        }
        files.into_iter().for_each(|file| self.add_command_file(file));
        Ok(())
    }

    /// Where somebody is who means this front: the server's directory, and the watched ones.
    pub(super) fn places(&self) -> Vec<PathBuf> {
        let roots = self.watch.iter().flat_map(|rules| &rules.roots);
        roots.chain([&self.command.cwd]).filter_map(|place| place.canonicalize().ok()).filter(|place| place.is_dir()).collect()
    }

    /// COMMAND as it was given, for people.
    pub(super) fn shown(&self) -> String {
        let words = std::iter::once(&self.command.program).chain(&self.command.args);
        words.map(|word: &OsString| OsStr::to_string_lossy(word)).collect::<Vec<_>>().join(" ")
    }
}
