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
    let url = Url::parse(&url.to_string_lossy())?;
    let protocol = given.own(PROTOCOL, |text| choice(text, PROTOCOLS, "auto, http or sse"))?.unwrap_or(Protocol::Auto);
    let timeout = given.own(TIMEOUT, duration)?.unwrap_or(Duration::from_secs(30));
    let mut headers = Vec::new();
    for (flag, value) in given.own.iter().filter(|(flag, _)| flag.long == HEADER) {
        // A header may hold a secret: what is wrong with it is said without it.
        let text = value.to_str().ok_or_else(|| Error::setting(flag.long, "(not shown)", "valid UTF-8"))?;
        headers.push(Header::parse(text, given.sources.environment())?);
    }
    if let Some(token) = settings.config.token.as_ref().filter(|_| !headers.iter().any(|header| header.is("authorization"))) {
        headers.push(Header::bearer(token));
    }
    let limit = settings.config.limits.max_line;
    Ok(Invocation::Connect { settings, options: Options { url, protocol, headers, timeout, limit } })
}
