//! A result on its way out: the same for clients of both eras until its end is written.

use crate::json::Json;
use crate::server::object::Object;

/// A result whose last members are not written yet.
pub(super) struct Reply {
    /// An object without its closing brace.
    text: String,
    pub meta: Option<Json>,
    /// Whether clients may keep it, which the modern era wants to be told (2026-07-28 server/utilities/caching).
    pub is_cacheable: bool,
}

impl Reply {
    /// A result with the members that `write` writes.
    pub(super) fn new(write: impl FnOnce(&mut Object<'_>)) -> Reply {
        // Room for most.
        let mut text = String::with_capacity(256);
        text.push('{');
        write(&mut Object::go_on(&mut text));
        Reply { text, meta: None, is_cacheable: false }
    }

    /// The result of what has nothing to say.
    pub(super) fn empty() -> Reply {
        Reply::new(|_object| ())
    }

    pub(super) fn with_meta(self, meta: Option<Json>) -> Reply {
        Reply { meta, ..self }
    }

    pub(super) fn cacheable(self) -> Reply {
        Reply { is_cacheable: true, ..self }
    }

    /// The result as the legacy era wants it.
    pub(super) fn into_legacy(mut self) -> Json {
        let meta = self.meta.take();
        self.finish(|object| object.json("_meta", meta.as_ref()))
    }

    /// The result with these members at its end.
    pub(super) fn finish(mut self, write: impl FnOnce(&mut Object<'_>)) -> Json {
        write(&mut Object::go_on(&mut self.text));
        self.text.push('}');
        Json::trusted(self.text)
    }
}
