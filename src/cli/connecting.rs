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

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cli::parse;
    use crate::config::Dotenv;

    fn options(words: &[&str], variables: &[(&str, &str)]) -> Result<Options> {
        let env = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| OsString::from(value));
        let words = ["connect"].into_iter().chain(words.iter().copied()).map(OsString::from);
        match parse(words, &env, Dotenv::default())? {
            Invocation::Connect { options, .. } => Ok(options),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn flags_have_defaults_and_say_what_they_take() {
        let plain = options(&["http://localhost:3000/mcp"], &[]).unwrap();
        assert_eq!((plain.protocol, plain.timeout, plain.headers.len()), (Protocol::Auto, Duration::from_secs(30), 0));
        let all = ["--transport", "sse", "--timeout", "5s", "--header", "X: a, b", "--header", "Y: ${V}", "http://localhost/"];
        let all = options(&all, &[("V", "v")]).unwrap();
        assert_eq!((all.protocol, all.timeout), (Protocol::Sse, Duration::from_secs(5)));
        assert!(all.headers.iter().any(|header| header.is("x")) && all.headers.iter().any(|header| header.is("y")));
        for wrong in [&["--timeout", "5"][..], &["--transport", "ws"], &["--header", "X"]] {
            let words: Vec<&str> = wrong.iter().copied().chain(["http://localhost/"]).collect();
            assert!(options(&words, &[]).unwrap_err().is_usage(), "{wrong:?}");
        }
    }

    #[test]
    fn the_token_of_the_environment_gives_way_to_a_header() {
        let token = [("MCP_HTTP_TOKEN", "s3cret")];
        let url = "http://localhost/";
        let from_variable = options(&[url], &token).unwrap();
        assert!(from_variable.headers[0].is("authorization"));
        let both = options(&["--header", "authorization: Basic x", url], &token).unwrap();
        assert_eq!(both.headers, [Header::parse("authorization: Basic x", &|_| None).unwrap()]);
        assert!(!format!("{from_variable:?}").contains("s3cret"));
    }
}
