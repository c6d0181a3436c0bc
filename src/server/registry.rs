//! What a server offers under one name each (tools, resources, templates, prompts), in the order of the names, page by page.
//!
//! A page's cursor is the name of its last item, so it stays good while items come and go, and after a restart of the server.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::json;
use crate::rpc_error::RpcError;
use crate::server::object::push_array;

/// Items by name. The lock is held to find and to list, never while a handler runs.
pub(super) struct Registry<T>(RwLock<BTreeMap<Box<str>, Arc<T>>>);

/// One page of a list.
pub(super) struct Page {
    /// The array, as raw JSON.
    pub items: String,
    pub next_cursor: Option<String>,
}

/// An item as it stands in a list.
pub(super) trait Listed {
    /// Raw JSON.
    fn listing(&self) -> &str;
}

impl<T: Listed> Registry<T> {
    pub(super) fn new() -> Registry<T> {
        Registry(RwLock::default())
    }

    fn items(&self) -> RwLockReadGuard<'_, BTreeMap<Box<str>, Arc<T>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<Box<str>, Arc<T>>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an item; one of the same name is replaced.
    pub(super) fn insert(&self, name: &str, item: T) {
        let replaced = self.write().insert(name.into(), Arc::new(item));
        // Only here, without the lock: with the item goes a function of a stranger's, whose values may do anything when they are dropped.
        drop(replaced);
    }

    /// Removes an item. False when there was none.
    pub(super) fn remove(&self, name: &str) -> bool {
        let removed = self.write().remove(name);
        removed.is_some()
    }

    pub(super) fn get(&self, name: &str) -> Option<Arc<T>> {
        self.items().get(name).cloned()
    }

    /// The first item of which `pick` makes something, and what it made of it.
    pub(super) fn find<R>(&self, pick: impl Fn(&T) -> Option<R>) -> Option<(Arc<T>, R)> {
        self.items().values().find_map(|item| pick(item).map(|picked| (Arc::clone(item), picked)))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items().is_empty()
    }

    /// The page behind `cursor`, which is raw JSON as the client sent it.
    pub(super) fn page(&self, cursor: Option<&str>, size: usize) -> Result<Page, RpcError> {
        let after = cursor.map(read_cursor).transpose()?;
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let items = self.items();
        let rest = items.range::<str, _>((from, Bound::Unbounded));
        let listings: Vec<(&str, &str)> = rest.take(size.saturating_add(1)).map(|(name, item)| (&**name, item.listing())).collect();
        Ok(page(&listings, size))
    }
}

/// The first `size` of these items, of which there is one more when another page follows.
fn page(listings: &[(&str, &str)], size: usize) -> Page {
    let shown = &listings[..size.min(listings.len())];
    let mut items = String::new();
    push_array(&mut items, shown, |out, (_, listing)| out.push_str(listing));
    let next_cursor = shown.last().filter(|_| listings.len() > size).map(|(name, _)| write_cursor(name));
    Page { items, next_cursor }
}

fn write_cursor(name: &str) -> String {
    name.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn read_cursor(raw: &str) -> Result<String, RpcError> {
    let name = json::unquote(raw).and_then(|hex| {
        let pairs = hex.as_bytes().chunks(2).map(|pair| match pair {
            [high, low] => Some((nibble(*high)? << 4) | nibble(*low)?),
            _ => None,
        });
        String::from_utf8(pairs.collect::<Option<Vec<u8>>>()?).ok().filter(|name| !name.is_empty())
    });
    name.ok_or_else(|| RpcError::invalid_params("cursor is not one that this server gave"))
}

fn nibble(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Listed for String {
        fn listing(&self) -> &str {
            self
        }
    }

    #[test]
    fn pages_follow_each_other_while_items_come_and_go() {
        let registry = Registry::new();
        for number in [3, 1, 4, 2, 5] {
            registry.insert(&format!("n{number}"), number.to_string());
        }
        let first = registry.page(None, 2).unwrap();
        assert_eq!(first.items, "[1,2]");
        registry.remove("n2");
        registry.insert("n2b", "22".to_owned());
        let cursor = json::string(&first.next_cursor.unwrap());
        let second = registry.page(Some(&cursor), 2).unwrap();
        assert_eq!(second.items, "[22,3]");
        let cursor = json::string(&second.next_cursor.unwrap());
        let last = registry.page(Some(&cursor), 2).unwrap();
        assert_eq!((last.items.as_str(), last.next_cursor), ("[4,5]", None));
    }

    #[test]
    fn a_cursor_that_was_never_given_is_refused() {
        let registry = Registry::<String>::new();
        for bad in ["\"\"", "\"zz\"", "\"6\"", "\"ff\"", "7", "null", "{}"] {
            assert_eq!(registry.page(Some(bad), 2).err().map(|error| error.code()), Some(RpcError::INVALID_PARAMS), "{bad}");
        }
    }
}
