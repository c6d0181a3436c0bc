//! The bearer token: it may come from a variable or a file, and is never shown.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use super::sources::{Layer, Sources};
use crate::error::{Error, Result};

/// More is no token, and a file without end must not fill the memory.
const MOST_BYTES: u64 = 4096;

/// A secret that clients show as `Authorization: Bearer ...`. Its `Debug` form hides it.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// The token, without white space around it; `None` when nothing is left.
    pub fn new(text: impl Into<String>) -> Option<Token> {
        let text = text.into().trim().to_owned();
        (!text.is_empty()).then_some(Token(text))
    }

    /// The secret itself, to compare in constant time.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Refuses what no client could send in a header. The error never quotes it.
    pub(super) fn check(&self, name: &str) -> Result<()> {
        let fits = self.0.len() as u64 <= MOST_BYTES && self.0.bytes().all(|b| b.is_ascii_graphic());
        if fits { Ok(()) } else { Err(Error::setting(name, "(hidden)", "at most 4096 visible ASCII characters without spaces")) }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(hidden)")
    }
}

/// The variable beats the file, except that a file named in the environment beats a token from `.env`. An empty variable means none.
pub(super) fn from_sources(sources: &Sources<'_>) -> Result<Option<Token>> {
    let direct = sources.find("MCP_HTTP_TOKEN")?.filter(|found| !found.value.is_empty());
    let file = sources.find("MCP_HTTP_TOKEN_FILE")?.filter(|found| !found.value.is_empty());
    let token = match (direct, file) {
        (Some(direct), file) if file.is_none() || direct.layer > Layer::Dotenv => Token::new(direct.value),
        (_, Some(file)) => Some(
            read(Path::new(&file.value))
                .map_err(|why| Error::file("cannot read what MCP_HTTP_TOKEN_FILE names,", Path::new(&file.value), why))?,
        ),
        _ => None,
    };
    if let Some(token) = &token {
        token.check("MCP_HTTP_TOKEN (or the token in MCP_HTTP_TOKEN_FILE)")?;
    }
    Ok(token)
}

/// A file that is named and empty is a mistake, not the wish to let everybody in.
fn read(path: &Path) -> io::Result<Token> {
    let mut text = String::new();
    File::open(path)?.take(MOST_BYTES + 3).read_to_string(&mut text)?;
    Token::new(text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is empty"))
}
