//! One line of a `.gitignore` file or one `--ignore` glob, compiled, and matched against a path without recursion.
//!
//! What is understood, and means what it means to git:
//! - blank lines and lines that start with `#` say nothing; `\#` and `\!` start a name with that character; unescaped blanks at the end go;
//! - `!` in front takes back what an earlier line left out (not below a directory that is itself left out);
//! - `/` at the end: directories only; `/` in front or in the middle: the path counts from the directory of the file, else any depth;
//! - `*` any run and `?` any one byte but `/`; `[a-z]`, `[!a-z]`, `[^a-z]` one byte of a set; `\x` the byte x itself;
//! - `**/` in front or between: any number of directories, none too; `/**` at the end: everything inside.
//!
//! Not understood: POSIX classes as `[[:alpha:]]`, `core.ignoreCase`, `.git/info/exclude` and the user's global excludes file. A line that makes no
//! sense (an open `[`, a `\` at the end) matches nothing, as in git.

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// `?`
    One,
    /// `*`
    Star,
    /// `**/`
    Dirs,
    /// `**` after the last `/`
    Rest,
    /// `[...]`
    Set {
        negated: bool,
        ranges: Vec<(u8, u8)>,
    },
}

/// One compiled line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    tokens: Vec<Token>,
    /// `!` in front: what matches is not left out.
    pub(super) negated: bool,
    only_directories: bool,
    /// Matched against the whole path from the base, not only against the last name.
    anchored: bool,
}

impl Pattern {
    /// Compiles one line; `None` when it says nothing or makes no sense.
    pub(super) fn parse(line: &str) -> Option<Pattern> {
        let mut text = trim_end(line.strip_suffix('\r').unwrap_or(line));
        if text.is_empty() || text.starts_with('#') {
            return None;
        }
        let negated = text.starts_with('!');
        if negated {
            text = &text[1..];
        }
        let only_directories = text.ends_with('/');
        if only_directories {
            text = &text[..text.len() - 1];
        }
        let anchored = text.contains('/');
        let text = text.strip_prefix('/').unwrap_or(text);
        if text.is_empty() {
            return None;
        }
        Some(Pattern { tokens: compile(text.as_bytes(), anchored)?, negated, only_directories, anchored })
    }

    /// Whether the line speaks of `path`, given from the base with `/` between names.
    pub(super) fn matches(&self, path: &[u8], is_directory: bool) -> bool {
        if self.only_directories && !is_directory {
            return false;
        }
        let text = if self.anchored { path } else { path.rsplit(|&b| b == b'/').next().unwrap_or(path) };
        matches(&self.tokens, text)
    }
}

/// Blanks at the end are no part of the pattern unless a backslash says so.
fn trim_end(line: &str) -> &str {
    let trimmed = line.trim_end_matches(' ');
    let escapes = trimmed.bytes().rev().take_while(|&b| b == b'\\').count();
    if escapes % 2 == 1 && trimmed.len() < line.len() { &line[..=trimmed.len()] } else { trimmed }
}

fn compile(text: &[u8], anchored: bool) -> Option<Vec<Token>> {
    let mut tokens = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let rest = &text[at..];
        let starts_name = anchored && (at == 0 || text[at - 1] == b'/');
        if starts_name && rest.starts_with(b"**/") {
            if tokens.last() != Some(&Token::Dirs) {
                tokens.push(Token::Dirs);
            }
            at += 3;
            continue;
        }
        if starts_name && rest == b"**" {
            tokens.push(Token::Rest);
            break;
        }
        at += 1;
        tokens.push(match byte {
            b'*' => {
                at += rest[1..].iter().take_while(|&&b| b == b'*').count();
                Token::Star
            }
            b'?' => Token::One,
            b'\\' => {
                at += 1;
                Token::Byte(*rest.get(1)?)
            }
            b'[' => {
                let (set, length) = compile_set(&rest[1..])?;
                at += length;
                set
            }
            byte => Token::Byte(byte),
        });
    }
    Some(tokens)
}

/// What follows a `[`: the set, and how many bytes it takes with its `]`.
fn compile_set(text: &[u8]) -> Option<(Token, usize)> {
    let negated = matches!(text.first(), Some(b'!' | b'^'));
    let mut at = usize::from(negated);
    let first = at;
    let mut ranges = Vec::new();
    loop {
        if text.get(at) == Some(&b']') && at > first {
            return Some((Token::Set { negated, ranges }, at + 1));
        }
        let low = set_byte(text, &mut at)?;
        let is_range = text.get(at) == Some(&b'-') && text.get(at + 1).is_some_and(|&b| b != b']');
        let high = if is_range {
            at += 1;
            set_byte(text, &mut at)?
        } else {
            low
        };
        ranges.push((low, high));
    }
}

fn set_byte(text: &[u8], at: &mut usize) -> Option<u8> {
    if text.get(*at) == Some(&b'\\') {
        *at += 1;
    }
    let byte = *text.get(*at)?;
    *at += 1;
    Some(byte)
}

impl Token {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Token::Byte(own) => *own == byte,
            Token::One => byte != b'/',
            Token::Set { negated, ranges } => byte != b'/' && ranges.iter().any(|&(low, high)| (low..=high).contains(&byte)) != *negated,
            Token::Star | Token::Dirs | Token::Rest => false,
        }
    }
}

/// Only the last `*` and the last `**/` are ever tried again: what stands before them has matched as early as it can, and a longer match of an
/// earlier one could only leave less. So no pattern, however nasty, costs more than the square of the path's length.
fn matches(tokens: &[Token], text: &[u8]) -> bool {
    let (mut token, mut at) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    let mut dirs: Option<(usize, usize)> = None;
    loop {
        match tokens.get(token) {
            Some(Token::Star) => {
                token += 1;
                star = Some((token, at));
                continue;
            }
            Some(Token::Dirs) => {
                token += 1;
                dirs = Some((token, at));
                star = None;
                continue;
            }
            Some(Token::Rest) if at < text.len() => return true,
            Some(one) if text.get(at).is_some_and(|&byte| one.takes(byte)) => {
                token += 1;
                at += 1;
                continue;
            }
            None if at == text.len() => return true,
            _ => {}
        }
        if let Some((after, from)) = star.filter(|&(_, from)| text.get(from).is_some_and(|&byte| byte != b'/')) {
            (token, at) = (after, from + 1);
            star = Some((token, at));
        } else if let Some((after, slash)) =
            dirs.and_then(|(after, from)| Some((after, from + text[from..].iter().position(|&b| b == b'/')?)))
        {
            (token, at) = (after, slash + 1);
            dirs = Some((token, at));
            star = None;
        } else {
            return false;
        }
    }
}

/// Asserts that [`Pattern::matches`] agrees with a matcher that tries every way, by a table instead of looking back.
#[cfg(any(test, fuzzing))]
pub(crate) fn check(line: &str, path: &[u8]) {
    let Some(pattern) = Pattern::parse(line) else { return };
    let text = if pattern.anchored { path } else { path.rsplit(|&b| b == b'/').next().unwrap_or(path) };
    // rest[at]: the tokens behind the present one match the text from `at` on.
    let mut rest = vec![false; text.len() + 1];
    rest[text.len()] = true;
    for token in pattern.tokens.iter().rev() {
        let mut here = vec![false; text.len() + 1];
        for at in (0..=text.len()).rev() {
            here[at] = match token {
                Token::Star => rest[at] || text.get(at).is_some_and(|&b| b != b'/' && here[at + 1]),
                Token::Dirs => rest[at] || text[at..].iter().position(|&b| b == b'/').is_some_and(|slash| here[at + slash + 1]),
                Token::Rest => at < text.len(),
                one => text.get(at).is_some_and(|&b| one.takes(b) && rest[at + 1]),
            };
        }
        rest = here;
    }
    assert_eq!(pattern.matches(path, true), rest[0], "{line:?} and {path:?}");
    assert_eq!(pattern.matches(path, false), rest[0] && !pattern.only_directories, "{line:?} and {path:?}");
}
