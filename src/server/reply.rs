//! A result on its way out: the same for clients of both eras until its end is written.

use crate::json::Json;
use crate::server::object::Object;

/// A result whose last members are not written yet.
pub(super) struct Reply {
    pub object: Object,
    pub meta: Option<Json>,
    /// Whether clients may keep it, which the modern era wants to be told (2026-07-28 server/utilities/caching).
    pub is_cacheable: bool,
}

impl Reply {
    pub(super) fn new(object: Object) -> Reply {
        Reply { object, meta: None, is_cacheable: false }
    }

    /// The result of what has nothing to say.
    pub(super) fn empty() -> Reply {
        Reply::new(Object::new())
    }

    pub(super) fn with_meta(self, meta: Option<Json>) -> Reply {
        Reply { meta, ..self }
    }

    pub(super) fn cacheable(self) -> Reply {
        Reply { is_cacheable: true, ..self }
    }

    /// The result as the legacy era wants it.
    pub(super) fn into_legacy(mut self) -> Json {
        self.object.json("_meta", self.meta.as_ref());
        Json::trusted(self.object.close())
    }
}
