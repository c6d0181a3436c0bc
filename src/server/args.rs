//! The arguments of a call: a view of the text the client sent. Nothing is read before it is asked for.

use std::fmt;

use serde_core::de::DeserializeOwned;

use crate::json;
use crate::rpc_error::RpcError;
use crate::server::result::ToolError;
use crate::server::types::Type;

/// The arguments of a call of a tool or prompt. A failure names its argument, and `?` hands it to the client.
///
/// ```
/// use mcp_http_transport::{Args, Session, ToolError};
///
/// fn repeat(args: &Args, _session: &Session) -> Result<String, ToolError> {
///     let times = args.opt_integer("times")?.unwrap_or(2);
///     if !(0..100).contains(&times) {
///         return Err("times must be between 0 and 99".into());
///     }
///     Ok(args.string("text")?.repeat(times as usize))
/// }
/// ```
pub struct Args<'a> {
    text: &'a str,
    names: &'a [String],
    /// What stands under `names`; the text was searched for all of them at once.
    found: Vec<Option<&'a str>>,
}

impl<'a> Args<'a> {
    /// Reads the object `text`. `names` are the ones that are likely to be asked for.
    pub(super) fn read(text: &'a str, names: &'a [String]) -> Result<Args<'a>, RpcError> {
        let found = json::members_listed(text, names).ok_or_else(|| RpcError::invalid_params("arguments must be an object"))?;
        Ok(Args { text, names, found })
    }

    /// All of them: the raw JSON of an object.
    pub fn as_str(&self) -> &'a str {
        self.text
    }

    /// One of them as raw JSON, if it is there: big numbers are exact, and `null` is `"null"`.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        match self.names.iter().position(|known| known == name) {
            Some(index) => self.found[index],
            None => json::member(self.text, name),
        }
    }

    /// A number.
    ///
    /// # Errors
    /// When it is missing, something else, or beyond what an `f64` holds.
    pub fn number(&self, name: &str) -> Result<f64, ToolError> {
        as_number(name, self.required(name, Type::Number)?)
    }

    /// A number, if there is one; `null` counts as none.
    ///
    /// # Errors
    /// When it is something else.
    pub fn opt_number(&self, name: &str) -> Result<Option<f64>, ToolError> {
        self.optional(name).map(|raw| as_number(name, raw)).transpose()
    }

    /// A whole number.
    ///
    /// # Errors
    /// When it is missing, something else, or beyond 64 bits; [`get`](Args::get) has those.
    pub fn integer(&self, name: &str) -> Result<i64, ToolError> {
        as_integer(name, self.required(name, Type::Integer)?)
    }

    /// A whole number, if there is one; `null` counts as none.
    ///
    /// # Errors
    /// When it is something else.
    pub fn opt_integer(&self, name: &str) -> Result<Option<i64>, ToolError> {
        self.optional(name).map(|raw| as_integer(name, raw)).transpose()
    }

    /// A string.
    ///
    /// # Errors
    /// When it is missing or something else.
    pub fn string(&self, name: &str) -> Result<String, ToolError> {
        as_string(name, self.required(name, Type::String)?)
    }

    /// A string, if there is one; `null` counts as none.
    ///
    /// # Errors
    /// When it is something else.
    pub fn opt_string(&self, name: &str) -> Result<Option<String>, ToolError> {
        self.optional(name).map(|raw| as_string(name, raw)).transpose()
    }

    /// True or false.
    ///
    /// # Errors
    /// When it is missing or something else.
    pub fn boolean(&self, name: &str) -> Result<bool, ToolError> {
        as_boolean(name, self.required(name, Type::Boolean)?)
    }

    /// True or false, if it is there; `null` counts as not.
    ///
    /// # Errors
    /// When it is something else.
    pub fn opt_boolean(&self, name: &str) -> Result<Option<bool>, ToolError> {
        self.optional(name).map(|raw| as_boolean(name, raw)).transpose()
    }

    /// One of them read into `T`, as in `args.value::<Vec<f64>>("numbers")?`.
    ///
    /// # Errors
    /// When it is missing or does not fit.
    pub fn value<T: DeserializeOwned>(&self, name: &str) -> Result<T, ToolError> {
        let raw = self.get(name).ok_or_else(|| ToolError::from(format_args!("argument {name:?} is missing")))?;
        serde_json::from_str(raw).map_err(|error| ToolError::from(format_args!("argument {name:?}: {error}")))
    }

    /// All of them read into `T`: a map, a `serde_json::Value`, a struct of your own that derives `Deserialize`.
    ///
    /// # Errors
    /// When they do not fit.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ToolError> {
        serde_json::from_str(self.text).map_err(|error| ToolError::from(format_args!("the arguments: {error}")))
    }

    fn optional(&self, name: &str) -> Option<&'a str> {
        self.get(name).filter(|raw| *raw != "null")
    }

    fn required(&self, name: &str, wanted: Type) -> Result<&'a str, ToolError> {
        self.get(name).ok_or_else(|| ToolError::from(missing(name, wanted)))
    }
}

impl fmt::Debug for Args<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text)
    }
}

pub(super) fn missing(name: &str, wanted: Type) -> String {
    format!("argument {name:?} is missing: it must be {wanted}")
}

/// Says what is wrong with an argument, if something is.
pub(super) fn fault(name: &str, raw: &str, wanted: Type) -> Option<String> {
    if wanted.takes(raw) { None } else { Some(format!("argument {name:?} must be {wanted}, and not {}", described(raw))) }
}

/// What `raw` is; short values themselves, long ones by their kind.
fn described(raw: &str) -> String {
    match raw.as_bytes().first() {
        _ if raw.len() <= 40 => raw.to_owned(),
        Some(b'"') => "a string".to_owned(),
        Some(b'[') => "an array".to_owned(),
        Some(b'{') => "an object".to_owned(),
        _ => "a long number".to_owned(),
    }
}

fn checked(name: &str, raw: &str, wanted: Type) -> Result<(), ToolError> {
    fault(name, raw, wanted).map_or(Ok(()), |fault| Err(ToolError::from(fault)))
}

fn as_number(name: &str, raw: &str) -> Result<f64, ToolError> {
    checked(name, raw, Type::Number)?;
    let number = raw.parse().ok().filter(|number: &f64| number.is_finite());
    number.ok_or_else(|| ToolError::from(format_args!("argument {name:?} is too large")))
}

fn as_integer(name: &str, raw: &str) -> Result<i64, ToolError> {
    checked(name, raw, Type::Integer)?;
    let whole = || raw.parse().ok().filter(|number: &f64| number.abs() < 9e15).map(|number| number as i64);
    raw.parse().ok().or_else(whole).ok_or_else(|| ToolError::from(format_args!("argument {name:?} is too large")))
}

fn as_string(name: &str, raw: &str) -> Result<String, ToolError> {
    checked(name, raw, Type::String)?;
    let text = json::unquote(raw).ok_or_else(|| ToolError::from(format_args!("argument {name:?} is not valid Unicode")))?;
    Ok(text.into_owned())
}

fn as_boolean(name: &str, raw: &str) -> Result<bool, ToolError> {
    checked(name, raw, Type::Boolean)?;
    Ok(raw == "true")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(error: ToolError) -> String {
        error.into_rpc().message().to_owned()
    }

    #[test]
    fn arguments_are_read_exactly() {
        let names = ["n".to_owned(), "gone".to_owned()];
        let text =
            r#"{"n": 1.5, "i": 9007199254740993, "w": 3.0, "big": 123456789012345678901234567890, "s": "a\nb", "b": true, "z": null}"#;
        let args = Args::read(text, &names).unwrap();
        assert_eq!(args.number("n").unwrap(), 1.5);
        assert_eq!(args.integer("i").unwrap(), 9_007_199_254_740_993);
        assert_eq!(args.integer("w").unwrap(), 3);
        assert_eq!(args.get("big"), Some("123456789012345678901234567890"));
        assert_eq!(args.string("s").unwrap(), "a\nb");
        assert!(args.boolean("b").unwrap());
        assert_eq!(args.opt_string("z").unwrap(), None);
        assert_eq!(args.opt_number("gone").unwrap(), None);
        assert_eq!(args.value::<f64>("n").unwrap(), 1.5);
        assert_eq!(args.parse::<serde_json::Value>().unwrap()["s"], "a\nb");
    }

    #[test]
    fn a_failure_names_its_argument() {
        let args = Args::read(r#"{"a": "x", "f": 1.5, "big": 1e999, "huge": 99999999999999999999, "bad": "\ud800"}"#, &[]).unwrap();
        assert_eq!(said(args.number("a").unwrap_err()), r#"argument "a" must be a number, and not "x""#);
        assert_eq!(said(args.integer("f").unwrap_err()), r#"argument "f" must be an integer, and not 1.5"#);
        assert_eq!(said(args.string("c").unwrap_err()), r#"argument "c" is missing: it must be a string"#);
        assert_eq!(said(args.number("big").unwrap_err()), r#"argument "big" is too large"#);
        assert_eq!(said(args.integer("huge").unwrap_err()), r#"argument "huge" is too large"#);
        assert_eq!(said(args.string("bad").unwrap_err()), r#"argument "bad" is not valid Unicode"#);
        assert!(said(args.value::<bool>("a").unwrap_err()).starts_with("argument \"a\": "));
        assert_eq!(Args::read("[1]", &[]).unwrap_err().code(), RpcError::INVALID_PARAMS);
    }
}
