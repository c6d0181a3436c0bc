//! Newline-delimited messages over any reader and writer.

use std::io::{self, BufRead, Write};

use crate::scan::{self, first};

/// What a line turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// A line without its line end. May be blank.
    Text(String),
    /// A line of more than the limit's bytes; it was passed over to its end.
    TooLong,
    /// A line that is not UTF-8.
    NotText,
}

/// Reads the next line, holding at most `limit` bytes of it. A last line without its end counts. None at the end of the input.
pub(crate) fn read(input: &mut impl BufRead, limit: usize) -> io::Result<Option<Line>> {
    let mut line = Vec::new();
    let mut is_too_long = false;
    let mut is_empty = true;
    loop {
        let available = match input.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if available.is_empty() {
            if is_empty {
                return Ok(None);
            }
            break;
        }
        is_empty = false;
        let end = first::<scan::Byte<b'\n'>>(available);
        let part = &available[..end.unwrap_or(available.len())];
        if line.len() + part.len() > limit + 1 {
            is_too_long = true;
            line = Vec::new();
        }
        if !is_too_long {
            line.extend_from_slice(part);
        }
        let used = end.map_or(part.len(), |end| end + 1);
        input.consume(used);
        if end.is_some() {
            break;
        }
    }
    if line.last() == Some(&b'\r') {
        line.pop();
    }
    if is_too_long || line.len() > limit {
        return Ok(Some(Line::TooLong));
    }
    Ok(Some(String::from_utf8(line).map_or(Line::NotText, Line::Text)))
}

/// Writes one message and its line end in one piece.
pub(crate) fn write(output: &mut impl Write, mut text: String) -> io::Result<()> {
    debug_assert!(!text.contains('\n'), "a message is on one line");
    text.push('\n');
    output.write_all(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &[u8], limit: usize) -> Vec<Line> {
        let mut whole = io::Cursor::new(input);
        let read_whole: Vec<_> = std::iter::from_fn(|| read(&mut whole, limit).unwrap()).collect();
        let mut bytewise = io::BufReader::with_capacity(1, input);
        let read_bytewise: Vec<_> = std::iter::from_fn(|| read(&mut bytewise, limit).unwrap()).collect();
        assert_eq!(read_whole, read_bytewise);
        read_whole
    }

    #[test]
    fn lines_end_with_lf_or_crlf_or_the_input() {
        let text = |text: &str| Line::Text(text.to_owned());
        assert_eq!(lines(b"a\nb\r\n\nc", 10), [text("a"), text("b"), text(""), text("c")]);
        assert_eq!(lines(b"", 10), []);
        assert_eq!(lines(b"a\rb\n", 10), [text("a\rb")]);
    }

    #[test]
    fn what_is_too_long_or_no_text_is_passed_over_to_its_end() {
        let text = |text: &str| Line::Text(text.to_owned());
        assert_eq!(lines(b"12345\n123456\n1\n", 5), [text("12345"), Line::TooLong, text("1")]);
        assert_eq!(lines(b"12345\r\n12345678901234567890\r\nx", 5), [text("12345"), Line::TooLong, text("x")]);
        assert_eq!(lines(b"\xff\xfe\nx\n", 5), [Line::NotText, text("x")]);
    }
}
