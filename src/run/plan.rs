//! What is to be run and watched, worked out once from the command line.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::child::{self, CommandLine};
use crate::config::{RunConfig, env_file};
use crate::error::{Error, Result};
use crate::reload;
use crate::watch::{self, Root, Summary};

/// COMMAND, and the files that belong to it.
pub(super) struct Plan {
    pub command: Vec<OsString>,
    /// Where the front was started; builds run here.
    pub cwd: PathBuf,
    child_cwd: PathBuf,
    /// COMMAND's program, as far as it is found, and its arguments that are files.
    own: BTreeSet<PathBuf>,
    root: Option<Root>,
}

impl Plan {
    /// Of a command somebody named. Watched is what `--watch` says, or else the directory that goes without saying.
    pub fn of_command(settings: &RunConfig, command: Vec<OsString>) -> Result<Plan> {
        let cwd = std::env::current_dir().map_err(|error| Error::io("there is no working directory", error))?;
        let home = std::env::home_dir();
        let root = settings.watch.is_empty().then(|| watch::default_root(&cwd, settings.cwd.as_deref(), &command, home.as_deref()));
        Plan::new(settings, command, cwd, root)
    }

    /// Of a program that is its own front: only its executable and what `--watch` says is watched.
    pub fn of_itself(settings: &RunConfig, command: Vec<OsString>) -> Result<Plan> {
        let cwd = std::env::current_dir().map_err(|error| Error::io("there is no working directory", error))?;
        Plan::new(settings, command, cwd, None)
    }

    fn new(settings: &RunConfig, command: Vec<OsString>, cwd: PathBuf, root: Option<Root>) -> Result<Plan> {
        let child_cwd = settings.cwd.as_ref().map_or_else(|| cwd.clone(), |dir| cwd.join(dir));
        if !child_cwd.is_dir() {
            return Err(Error::setting("--cwd", child_cwd.display().to_string(), "a directory that exists"));
        }
        let mut plan = Plan { command, cwd, child_cwd, own: BTreeSet::new(), root };
        plan.own = plan.files_of_command();
        Ok(plan)
    }

    /// Refuses a COMMAND that does not exist when nothing could bring it.
    pub fn check(&self, settings: &RunConfig) -> Result<()> {
        let can_come = settings.build.is_some() || (!settings.no_watch && self.program().to_string_lossy().contains('/'));
        match self.resolve() {
            Err(error) if can_come => {
                log::warn!("{error}; it is started when it is there");
                Ok(())
            }
            other => other.map(drop),
        }
    }

    /// What to start now; the environment file is read each time.
    pub fn command_line(&self, settings: &RunConfig) -> Result<CommandLine> {
        let from_file = match &settings.env_file {
            Some(path) => env_file(&self.cwd.join(path))?,
            None => Vec::new(),
        };
        let pairs = from_file.into_iter().chain(settings.env.iter().cloned());
        Ok(CommandLine {
            program: self.program(),
            args: self.command.iter().skip(1).cloned().collect(),
            cwd: self.child_cwd.clone(),
            env: pairs.map(|(name, value)| (name.into(), value.into())).collect(),
        })
    }

    /// What to watch.
    pub fn watched(&self, settings: &RunConfig) -> watch::Rules {
        let mut roots: Vec<PathBuf> = settings.watch.iter().map(|path| self.cwd.join(path)).collect();
        if let Some(Root::Directory(directory)) = &self.root {
            roots.push(directory.clone());
        }
        let named = self.own.iter().cloned().chain(settings.env_file.iter().map(|path| self.cwd.join(path))).collect();
        watch::Rules { roots, named, extensions: settings.extensions.clone(), ignore: settings.ignore.clone(), debounce: settings.debounce }
    }

    /// What the reload machine has to know.
    pub fn rules(&self, settings: &RunConfig) -> reload::Rules {
        let named = settings.env_file.iter().chain(&settings.watch).map(|path| self.cwd.join(path));
        reload::Rules {
            build: settings.build.is_some(),
            command: self.own.clone(),
            named: self.own.iter().cloned().chain(named).filter(|path| path.is_file()).collect(),
        }
    }

    /// Says what is watched, and loudly when that is nothing.
    pub fn announce(&self, summary: &Summary) {
        if let Some(Root::OnlyNamed { why }) = &self.root {
            log::warn!("{why}");
        }
        let places: Vec<String> = summary.roots.iter().map(|root| root.display().to_string()).collect();
        let own: Vec<String> = self.own.iter().map(|path| path.display().to_string()).collect();
        match (summary.files, places.is_empty()) {
            (_, true) => log::info!("watching {}", own.join(", ")),
            (0, false) => log::warn!(
                "watching {}, where NO FILE COUNTS: nothing there has one of the extensions that count, or all is ignored; see --watch, --ext and --ignore",
                places.join(", ")
            ),
            (1, false) => log::info!("watching {} (1 file)", places.join(", ")),
            (files, false) => log::info!("watching {} ({files} files)", places.join(", ")),
        }
    }

    fn program(&self) -> OsString {
        self.command.first().cloned().unwrap_or_default()
    }

    fn resolve(&self) -> Result<PathBuf> {
        child::resolve(&self.program(), &self.child_cwd, std::env::var_os("PATH").as_deref())
    }

    fn files_of_command(&self) -> BTreeSet<PathBuf> {
        let program = self.resolve().ok().or_else(|| {
            let program = self.program();
            program.to_string_lossy().contains('/').then(|| self.child_cwd.join(program))
        });
        let arguments = self.command.iter().skip(1).map(|word| self.child_cwd.join(word)).filter(|path| path.is_file());
        program.into_iter().chain(arguments).map(|path| absolute(&path)).collect()
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}
