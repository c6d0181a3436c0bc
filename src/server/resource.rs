//! Resources under a fixed uri, and those that a template (RFC 6570, level 1) stands for.

use crate::handler::Session;
use crate::json::Json;
use crate::server::content::ReadResult;
use crate::server::object::{Object, object};
use crate::server::registry::Listed;
use crate::server::result::ToolError;

macro_rules! described {
    ($name:ident, $uri:ident, $key:literal, $what:literal) => {
        #[doc = concat!("The description of ", $what, ".")]
        #[derive(Clone, Debug)]
        pub struct $name {
            pub(super) $uri: String,
            pub(super) name: String,
            title: Option<String>,
            description: Option<String>,
            mime_type: Option<String>,
            size: Option<u64>,
            icons: Option<Json>,
            annotations: Option<Json>,
            meta: Option<Json>,
        }

        impl $name {
            #[doc = concat!("The description of ", $what, ".")]
            pub fn new($uri: impl Into<String>, name: impl Into<String>) -> $name {
                $name {
                    $uri: $uri.into(),
                    name: name.into(),
                    title: None,
                    description: None,
                    mime_type: None,
                    size: None,
                    icons: None,
                    annotations: None,
                    meta: None,
                }
            }

            /// A name for people.
            #[must_use]
            pub fn title(mut self, title: impl Into<String>) -> $name {
                self.title = Some(title.into());
                self
            }

            /// What it is, for the model.
            #[must_use]
            pub fn description(mut self, description: impl Into<String>) -> $name {
                self.description = Some(description.into());
                self
            }

            /// The type of the contents, as in `text/plain`.
            #[must_use]
            pub fn mime_type(mut self, mime_type: impl Into<String>) -> $name {
                self.mime_type = Some(mime_type.into());
                self
            }

            /// Icons: an array as in `json!([{"src": "https://example.com/icon.png"}])`.
            #[must_use]
            pub fn icons(mut self, icons: impl Into<Json>) -> $name {
                self.icons = Some(icons.into());
                self
            }

            /// For whom it is and how important: an object as in `json!({"audience": ["user"], "priority": 0.5})`.
            #[must_use]
            pub fn annotations(mut self, annotations: impl Into<Json>) -> $name {
                self.annotations = Some(annotations.into());
                self
            }

            /// Its `_meta`, an object.
            #[must_use]
            pub fn meta(mut self, meta: impl Into<Json>) -> $name {
                self.meta = Some(meta.into());
                self
            }

            /// Adds its members to `object`.
            pub(super) fn write(&self, object: &mut Object<'_>) {
                object.string($key, &self.$uri);
                object.string("name", &self.name);
                object.text("title", self.title.as_deref());
                object.text("description", self.description.as_deref());
                object.text("mimeType", self.mime_type.as_deref());
                if let Some(size) = self.size {
                    object.raw("size", &size.to_string());
                }
                object.json("icons", self.icons.as_ref());
                object.json("annotations", self.annotations.as_ref());
                object.json("_meta", self.meta.as_ref());
            }
        }
    };
}

described!(Resource, uri, "uri", "a resource: something a client may read under its uri");
described!(
    ResourceTemplate,
    uri_template,
    "uriTemplate",
    "a family of resources, whose uris a template of RFC 6570, level 1, describes: `logs://{day}/{service}`"
);

impl Resource {
    /// How many bytes it has.
    #[must_use]
    pub fn size(mut self, bytes: u64) -> Resource {
        self.size = Some(bytes);
        self
    }
}

/// A uri that fits a template, and what stands where the template has its variables.
#[derive(Clone, Debug)]
pub struct UriMatch<'a> {
    uri: &'a str,
    variables: Vec<(&'a str, String)>,
}

impl UriMatch<'_> {
    /// The whole uri.
    pub fn uri(&self) -> &str {
        self.uri
    }

    /// What stands for the variable of this name, percent-decoded; empty when the template has none. Where it names a file, remember that it
    /// may be `..`, or have a `/` in it.
    pub fn get(&self, name: &str) -> &str {
        self.variables.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }
}

type Read = dyn Fn(&str, &Session) -> Result<ReadResult, ToolError> + Send + Sync;
type ReadMatch = dyn Fn(&UriMatch<'_>, &Session) -> Result<ReadResult, ToolError> + Send + Sync;

/// A resource as a server has it.
pub(super) struct ResourceEntry {
    listing: String,
    pub mime_type: Option<String>,
    pub read: Box<Read>,
}

impl ResourceEntry {
    /// The uri and the resource.
    pub(super) fn new<F, R>(resource: Resource, read: F) -> (String, ResourceEntry)
    where
        F: Fn(&str, &Session) -> Result<R, ToolError> + Send + Sync + 'static,
        R: Into<ReadResult>,
    {
        let listing = object(|object| resource.write(object));
        let read = Box::new(move |uri: &str, session: &Session| read(uri, session).map(Into::into));
        (resource.uri, ResourceEntry { listing, mime_type: resource.mime_type, read })
    }
}

/// A template as a server has it.
pub(super) struct TemplateEntry {
    listing: String,
    template: Template,
    pub mime_type: Option<String>,
    pub read: Box<ReadMatch>,
}

impl TemplateEntry {
    /// The template's text and the template.
    pub(super) fn new<F, R>(template: ResourceTemplate, read: F) -> (String, TemplateEntry)
    where
        F: Fn(&UriMatch<'_>, &Session) -> Result<R, ToolError> + Send + Sync + 'static,
        R: Into<ReadResult>,
    {
        let listing = object(|object| template.write(object));
        let read = Box::new(move |found: &UriMatch<'_>, session: &Session| read(found, session).map(Into::into));
        let parsed = Template::parse(&template.uri_template);
        (template.uri_template, TemplateEntry { listing, template: parsed, mime_type: template.mime_type, read })
    }

    /// The values of the variables, when `uri` fits.
    pub(super) fn values(&self, uri: &str) -> Option<Vec<String>> {
        self.template.values(uri)
    }

    pub(super) fn matched<'a>(&'a self, uri: &'a str, values: Vec<String>) -> UriMatch<'a> {
        UriMatch { uri, variables: self.template.variables.iter().map(|(name, _)| name.as_str()).zip(values).collect() }
    }
}

impl Listed for ResourceEntry {
    fn listing(&self) -> &str {
        &self.listing
    }
}

impl Listed for TemplateEntry {
    fn listing(&self) -> &str {
        &self.listing
    }
}

/// A literal, and then variables with the literal behind each. What is no variable is a literal, a lone brace too.
struct Template {
    start: String,
    variables: Vec<(String, String)>,
}

impl Template {
    fn parse(text: &str) -> Template {
        let (mut start, mut variables) = (String::new(), Vec::<(String, String)>::new());
        let mut rest = text;
        while let Some(open) = rest.find('{') {
            let Some(length) = rest[open..].find('}') else { break };
            variables.last_mut().map_or(&mut start, |(_, literal)| literal).push_str(&rest[..open]);
            variables.push((rest[open + 1..open + length].to_owned(), String::new()));
            rest = &rest[open + length + 1..];
        }
        variables.last_mut().map_or(&mut start, |(_, literal)| literal).push_str(rest);
        Template { start, variables }
    }

    /// Each variable takes as little as it can, but something, and never one of the characters that expansion would have encoded, such as `/`.
    fn values(&self, uri: &str) -> Option<Vec<String>> {
        let mut rest = uri.strip_prefix(&self.start)?;
        let mut values = Vec::with_capacity(self.variables.len());
        for (index, (_, literal)) in self.variables.iter().enumerate() {
            let is_last = index + 1 == self.variables.len();
            let end = if is_last {
                rest.len().checked_sub(literal.len()).filter(|at| rest.as_bytes()[*at..] == *literal.as_bytes())?
            } else {
                let first = rest.chars().next()?.len_utf8();
                first + rest[first..].find(literal.as_str())?
            };
            let value = &rest[..end];
            if value.is_empty() || !value.chars().all(may_stand_for_itself) {
                return None;
            }
            values.push(decode(value)?);
            rest = &rest[end + literal.len()..];
        }
        rest.is_empty().then_some(values)
    }
}

/// Unreserved characters (RFC 3986), `%`, and what is not ASCII, which many do not encode.
fn may_stand_for_itself(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~' | '%') || !c.is_ascii()
}

/// Undoes percent-encoding; none when what comes out is not UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
            bytes.push((digit()? * 16 + digit()?) as u8);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(template: &str, uri: &str) -> Option<Vec<String>> {
        Template::parse(template).values(uri)
    }

    #[test]
    fn variables_are_what_stands_in_their_place() {
        let template = "logs://{day}/{service}.txt";
        assert_eq!(values(template, "logs://mon%20day/a.b.txt"), Some(vec!["mon day".to_owned(), "a.b".to_owned()]));
        for other in [
            "logs:///a.txt",
            "logs://mon/a",
            "logs://mon/a/b.txt",
            "logs://mon/.txt",
            "log://mon/a.txt",
            "logs://m%zz/a.txt",
            "",
            "logs://%ff/a.txt",
        ] {
            assert_eq!(values(template, other), None, "{other}");
        }
        assert_eq!(values("a{x}{y}", "aéb"), Some(vec!["é".to_owned(), "b".to_owned()]));
        assert_eq!(values("a{x}", "a"), None);
        assert_eq!(values("plain", "plain"), Some(Vec::new()));
        assert_eq!(values("plain{", "plain{"), Some(Vec::new()));
        assert_eq!(values("plain", "plainer"), None);
        assert_eq!(values("{x}é", "a\u{a9}"), None);
    }
}
