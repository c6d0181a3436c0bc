//! What results, prompts and resources carry: text, images, sound, the contents of resources.

use crate::json::{self, Json};
use crate::server::object::{Object, push_object};
use crate::server::resource::Resource;
use crate::version::Version;

/// One block of content in the result of a tool or the message of a prompt. Text becomes one by `into()`.
///
/// ```
/// use mcp_http_transport::{Content, Resource, ResourceContents};
///
/// let blocks = vec![
///     Content::text("a dot:"),
///     Content::image(b"GIF89a...", "image/gif"),
///     Content::resource(ResourceContents::text("{}").uri("demo://settings").mime_type("application/json")),
///     Content::link(Resource::new("file:///var/log/syslog", "the log")),
/// ];
/// # drop(blocks);
/// ```
#[derive(Clone, Debug)]
pub struct Content {
    kind: Kind,
    annotations: Option<Json>,
    meta: Option<Json>,
}

#[derive(Clone, Debug)]
enum Kind {
    Text(String),
    Image(Blob, String),
    Audio(Blob, String),
    Resource(ResourceContents),
    Link(Box<Resource>),
}

impl Content {
    fn of(kind: Kind) -> Content {
        Content { kind, annotations: None, meta: None }
    }

    /// Text.
    pub fn text(text: impl Into<String>) -> Content {
        Content::of(Kind::Text(text.into()))
    }

    /// An image, as in `Content::image(&bytes, "image/png")`.
    pub fn image(data: impl Into<Blob>, mime_type: impl Into<String>) -> Content {
        Content::of(Kind::Image(data.into(), mime_type.into()))
    }

    /// Sound. A client of 2024-11-05, which has none, gets a sentence instead.
    pub fn audio(data: impl Into<Blob>, mime_type: impl Into<String>) -> Content {
        Content::of(Kind::Audio(data.into(), mime_type.into()))
    }

    /// The contents of a resource, which should have a uri.
    pub fn resource(contents: ResourceContents) -> Content {
        Content::of(Kind::Resource(contents))
    }

    /// A resource the client may read. A client of a version before 2025-06-18, which has no links, gets its name and uri as text.
    pub fn link(resource: Resource) -> Content {
        Content::of(Kind::Link(Box::new(resource)))
    }

    /// For whom it is and how important: an object as in `json!({"audience": ["user"], "priority": 0.5})`.
    #[must_use]
    pub fn annotations(mut self, annotations: impl Into<Json>) -> Content {
        self.annotations = Some(annotations.into());
        self
    }

    /// The block's `_meta`, an object.
    #[must_use]
    pub fn meta(mut self, meta: impl Into<Json>) -> Content {
        self.meta = Some(meta.into());
        self
    }

    /// Appends it as a client of `version` understands it; no version means any.
    pub(super) fn write(&self, out: &mut String, version: Option<Version>) {
        push_object(out, |object| self.write_members(object, version));
    }

    fn write_members(&self, object: &mut Object<'_>, version: Option<Version>) {
        let lacks = |since: Version| version.is_some_and(|version| version < since);
        match &self.kind {
            Kind::Text(text) => write_text(object, text),
            Kind::Image(data, mime_type) => write_media(object, "image", data, mime_type),
            Kind::Audio(_, mime_type) if lacks(Version::V2025_03_26) => {
                write_text(object, &format!("(sound of type {mime_type}, which this version of the protocol cannot carry)"));
            }
            Kind::Audio(data, mime_type) => write_media(object, "audio", data, mime_type),
            Kind::Resource(contents) => {
                object.string("type", "resource");
                contents.write(object.member("resource"), "", None);
            }
            Kind::Link(resource) if lacks(Version::V2025_06_18) => {
                write_text(object, &format!("{}: {}", resource.name, resource.uri));
            }
            Kind::Link(resource) => {
                object.string("type", "resource_link");
                resource.write(object);
            }
        }
        object.json("annotations", self.annotations.as_ref());
        object.json("_meta", self.meta.as_ref());
    }
}

fn write_text(object: &mut Object<'_>, text: &str) {
    object.string("type", "text");
    object.string("text", text);
}

fn write_media(object: &mut Object<'_>, kind: &str, data: &Blob, mime_type: &str) {
    object.string("type", kind);
    object.string("data", &data.0);
    object.string("mimeType", mime_type);
}

impl<T: Into<String>> From<T> for Content {
    fn from(text: T) -> Content {
        Content::text(text)
    }
}

/// Bytes on their way into a message, as base64.
#[derive(Clone, Debug)]
pub struct Blob(String);

impl Blob {
    /// Bytes that are base64 already (RFC 4648, with padding).
    pub fn base64(text: impl Into<String>) -> Blob {
        Blob(text.into())
    }

    fn encode(bytes: &[u8]) -> Blob {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
        for chunk in bytes.chunks(3) {
            let byte = |index: usize| u32::from(chunk.get(index).copied().unwrap_or(0));
            let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
            for place in 0..4 {
                let digit = DIGITS[(bits >> (18 - 6 * place)) as usize & 63];
                text.push(if place <= chunk.len() { char::from(digit) } else { '=' });
            }
        }
        Blob(text)
    }
}

impl From<&[u8]> for Blob {
    fn from(bytes: &[u8]) -> Blob {
        Blob::encode(bytes)
    }
}

impl<const N: usize> From<&[u8; N]> for Blob {
    fn from(bytes: &[u8; N]) -> Blob {
        Blob::encode(bytes)
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Blob {
        Blob::encode(&bytes)
    }
}

/// The contents of a resource: text or bytes.
#[derive(Clone, Debug)]
pub struct ResourceContents {
    uri: Option<String>,
    mime_type: Option<String>,
    body: Body,
    meta: Option<Json>,
}

#[derive(Clone, Debug)]
enum Body {
    Text(String),
    Blob(Blob),
}

impl ResourceContents {
    fn of(body: Body) -> ResourceContents {
        ResourceContents { uri: None, mime_type: None, body, meta: None }
    }

    /// Text.
    pub fn text(text: impl Into<String>) -> ResourceContents {
        ResourceContents::of(Body::Text(text.into()))
    }

    /// Bytes.
    pub fn blob(bytes: impl Into<Blob>) -> ResourceContents {
        ResourceContents::of(Body::Blob(bytes.into()))
    }

    /// Where they come from, in place of the uri that was asked for.
    #[must_use]
    pub fn uri(mut self, uri: impl Into<String>) -> ResourceContents {
        self.uri = Some(uri.into());
        self
    }

    /// Their type, in place of that of the resource.
    #[must_use]
    pub fn mime_type(mut self, mime_type: impl Into<String>) -> ResourceContents {
        self.mime_type = Some(mime_type.into());
        self
    }

    /// Their `_meta`, an object.
    #[must_use]
    pub fn meta(mut self, meta: impl Into<Json>) -> ResourceContents {
        self.meta = Some(meta.into());
        self
    }

    /// Appends them; `uri` and `mime_type` stand in where they have none of their own.
    pub(super) fn write(&self, out: &mut String, uri: &str, mime_type: Option<&str>) {
        push_object(out, |object| {
            object.string("uri", self.uri.as_deref().unwrap_or(uri));
            object.text("mimeType", self.mime_type.as_deref().or(mime_type));
            match &self.body {
                Body::Text(text) => object.string("text", text),
                Body::Blob(blob) => object.string("blob", &blob.0),
            }
            object.json("_meta", self.meta.as_ref());
        });
    }
}

/// What a resource handler answers: usually one [`ResourceContents`], text or bytes; a directory may have several.
#[derive(Clone, Debug)]
pub struct ReadResult(pub(super) Vec<ResourceContents>);

impl From<Vec<ResourceContents>> for ReadResult {
    fn from(contents: Vec<ResourceContents>) -> ReadResult {
        ReadResult(contents)
    }
}

macro_rules! one_of_them {
    ($($from:ty => $make:expr),* $(,)?) => {$(
        impl From<$from> for ReadResult {
            fn from(from: $from) -> ReadResult {
                ReadResult(vec![$make(from)])
            }
        }
    )*};
}

one_of_them! {
    ResourceContents => |contents| contents,
    &str => ResourceContents::text,
    String => ResourceContents::text,
    Json => |json: Json| ResourceContents::text(json.as_str()),
    serde_json::Value => |value: serde_json::Value| ResourceContents::text(json::written(&value)),
    Vec<u8> => ResourceContents::blob,
    &[u8] => ResourceContents::blob,
    Blob => ResourceContents::blob,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_base64() {
        let pairs = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("\u{ff}?>", "w78/Pg==")];
        for (bytes, base64) in pairs {
            assert_eq!(Blob::from(bytes.as_bytes()).0, base64);
        }
    }

    #[test]
    fn what_a_version_lacks_becomes_text() {
        let written = |content: &Content, version| {
            let mut out = String::new();
            content.write(&mut out, version);
            out
        };
        let link = Content::link(Resource::new("demo://a", "a"));
        assert_eq!(written(&link, Some(Version::V2025_03_26)), r#"{"type":"text","text":"a: demo://a"}"#);
        assert_eq!(written(&link, None), r#"{"type":"resource_link","uri":"demo://a","name":"a"}"#);
        assert_eq!(written(&link, Some(Version::V2025_06_18)), written(&link, None));
        let sound = Content::audio(b"foo", "audio/wav");
        assert!(written(&sound, Some(Version::V2024_11_05)).starts_with(r#"{"type":"text","#));
        assert_eq!(written(&sound, Some(Version::V2025_03_26)), r#"{"type":"audio","data":"Zm9v","mimeType":"audio/wav"}"#);
    }
}
