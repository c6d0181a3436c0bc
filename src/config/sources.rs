//! Where settings come from: flags, the environment, `.env`. The first that names a setting decides about it, and about nothing else.

use std::ffi::OsString;

use super::dotenv::{Dotenv, Note};
use super::is_front_child;
use super::settings::Setting;
use crate::error::{Error, Result};

/// Where a text was found; later ones win.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Layer {
    Dotenv,
    Environment,
    #[cfg_attr(not(feature = "run"), allow(dead_code, reason = "only the command line has flags"))]
    Flag,
}

/// The text of a setting and what a user would call it.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) layer: Layer,
    /// The variable or the flag, for errors.
    pub(crate) name: String,
    /// Without white space around it.
    pub(crate) value: String,
}

/// All layers above the defaults.
pub(crate) struct Sources<'a> {
    flags: Vec<(&'static str, &'static str, String)>,
    env: &'a dyn Fn(&str) -> Option<OsString>,
    dotenv: Dotenv,
}

impl<'a> Sources<'a> {
    /// `env` looks up a variable. In the child of a front `.env` does not count: the front has read it, and it must decide nothing twice.
    pub(crate) fn new(env: &'a dyn Fn(&str) -> Option<OsString>, dotenv: Dotenv) -> Sources<'a> {
        let dotenv = if is_front_child(env) { Dotenv::default() } else { dotenv };
        Sources { flags: Vec::new(), env, dotenv }
    }

    /// `flag` sets what `variable` sets. The last one wins; when it is `repeatable` the values make one list.
    #[cfg(feature = "run")]
    pub(crate) fn flag(&mut self, variable: &'static str, flag: &'static str, value: String, repeatable: bool) {
        match self.flags.iter_mut().find(|(known, ..)| *known == variable) {
            Some((_, _, values)) if repeatable => {
                values.push(',');
                values.push_str(&value);
            }
            Some(known) => *known = (variable, flag, value),
            None => self.flags.push((variable, flag, value)),
        }
    }

    /// The environment's own, whatever flags and `.env` say.
    #[cfg(feature = "run")]
    pub(crate) fn environment(&self) -> &'a dyn Fn(&str) -> Option<OsString> {
        self.env
    }

    /// True in a process that a front started.
    pub(crate) fn front_child(&self) -> bool {
        is_front_child(self.env)
    }

    /// The text of the highest layer that names `variable`.
    pub(crate) fn find(&self, variable: &str) -> Result<Option<Found>> {
        if let Some((_, flag, value)) = self.flags.iter().find(|(known, ..)| *known == variable) {
            return Ok(Some(Found { layer: Layer::Flag, name: (*flag).to_owned(), value: value.trim().to_owned() }));
        }
        if let Some(value) = (self.env)(variable) {
            let value = value.into_string().map_err(|value| {
                let shown = if variable.contains("TOKEN") { "(hidden)".into() } else { value.to_string_lossy() };
                Error::setting(variable, shown, "valid UTF-8")
            })?;
            return Ok(Some(Found { layer: Layer::Environment, name: variable.to_owned(), value: value.trim().to_owned() }));
        }
        let value = self.dotenv.get(variable)?;
        Ok(value.map(|value| Found { layer: Layer::Dotenv, name: format!("{variable} in .env"), value: value.trim().to_owned() }))
    }

    /// Sets in `target` what is named somewhere. An empty variable stands for the default; an empty flag is a value like others.
    pub(crate) fn apply<T: 'static>(&self, settings: impl IntoIterator<Item = &'static Setting<T>>, target: &mut T) -> Result<()> {
        for setting in settings {
            let Some(found) = self.find(setting.variable)? else { continue };
            if found.value.is_empty() && found.layer < Layer::Flag {
                continue;
            }
            (setting.set)(target, &found.value).map_err(|allowed| Error::setting(found.name, found.value, allowed))?;
        }
        Ok(())
    }

    /// What the log should say about `.env`.
    pub(crate) fn notes(&self) -> Vec<Note> {
        self.dotenv.notes(|name| (self.env)(name).is_some())
    }
}
