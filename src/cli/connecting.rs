//! What `connect` makes of its flags.

use std::time::Duration;

use super::flags::{HEADER, PROTOCOL, TIMEOUT};
use super::{Given, Invocation, NAME};
use crate::config::{choice, duration};
use crate::connect::{Header, Options, Protocol, Url};
use crate::error::{Error, Result};

const PROTOCOLS: &[(&str, Protocol)] =
    &[("auto", Protocol::Auto), ("http", Protocol::Http), ("streamable-http", Protocol::Http), ("sse", Protocol::Sse)];

pub(super) fn invocation(given: Given<'_>) -> Result<Invocation> {
    let url = given.operands.first().ok_or_else(|| Error::usage(format!("URL is missing: {NAME} connect http://localhost:3000/mcp")))?;
    let settings = given.settings()?;
    let mut options = Options {
        url: Url::parse(&url.to_string_lossy())?,
        protocol: Protocol::Auto,
        headers: Vec::new(),
        timeout: Duration::from_secs(30),
        limit: settings.config.limits.max_line,
    };
    for (flag, value) in &given.own {
        // A header may hold a secret: what is wrong with it is said without it.
        let text = value.to_str().ok_or_else(|| Error::setting(flag.long, "(not shown)", "valid UTF-8"))?;
        let refuse = |allowed| flag.refuse(value, allowed);
        match flag.long {
            HEADER => options.headers.push(Header::parse(text, given.sources.environment())?),
            PROTOCOL => options.protocol = choice(text, PROTOCOLS, "auto, http or sse").map_err(refuse)?,
            TIMEOUT => options.timeout = duration(text).map_err(refuse)?,
            _ => {}
        }
    }
    if let Some(token) = settings.config.token.as_ref().filter(|_| !options.headers.iter().any(|header| header.is("authorization"))) {
        options.headers.push(Header::bearer(token));
    }
    Ok(Invocation::Connect { settings, options })
}
