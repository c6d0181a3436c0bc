//! What a setting's text may be. Each reader gives the value, or the words for what is allowed; who calls it knows the setting's name.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::TransportMode;

/// The end of the sentence "NAME is VALUE: it must be ...".
pub(crate) type Allowed = &'static str;

type Value<T> = Result<T, Allowed>;

/// A year: longer is a mistake, and adding it to a point in time must never overflow.
const LONGEST: Duration = Duration::from_secs(8760 * 3600);

pub(super) fn transport(text: &str) -> Value<TransportMode> {
    match text.to_ascii_lowercase().as_str() {
        "stdio" => Ok(TransportMode::Stdio),
        "http" | "sse" | "streamable-http" => Ok(TransportMode::Http),
        _ => Err("stdio or http (sse and streamable-http are taken as http)"),
    }
}

pub(super) fn port(text: &str) -> Value<u16> {
    whole(text).and_then(|n| u16::try_from(n).ok()).ok_or("a port number from 0 (any free one) to 65535")
}

pub(super) fn count(text: &str) -> Value<usize> {
    whole(text).and_then(|n| usize::try_from(n).ok()).filter(|n| (1..=1_000_000).contains(n)).ok_or("a whole number from 1 to 1000000")
}

pub(crate) fn boolean(text: &str) -> Value<bool> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "on" | "yes" => Ok(true),
        "0" | "false" | "off" | "no" => Ok(false),
        _ => Err("1, true, on or yes, or else 0, false, off or no"),
    }
}

pub(crate) fn duration(text: &str) -> Value<Duration> {
    let (number, unit) = number_and_unit(text);
    let factor = match unit {
        "ms" => Some(1),
        "s" => Some(1000),
        "m" => Some(60_000),
        "h" => Some(3_600_000),
        "" if whole(number) == Some(0) => Some(0),
        _ => None,
    };
    let millis = factor.and_then(|factor| whole(number)?.checked_mul(factor));
    let time = millis.map(Duration::from_millis).filter(|&time| time <= LONGEST);
    time.ok_or("0, or a whole number and its unit, such as 500ms, 5s, 2m or 1h, up to 8760h")
}

/// For what would spin or end at once with 0.
pub(super) fn some_time(text: &str) -> Value<Duration> {
    let allowed = "more than 0: a whole number and its unit, such as 500ms, 5s, 2m or 1h, up to 8760h";
    duration(text).ok().filter(|time| !time.is_zero()).ok_or(allowed)
}

pub(super) fn size(text: &str) -> Value<usize> {
    let (number, unit) = number_and_unit(text);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" => Some(0),
        "kib" => Some(10),
        "mib" => Some(20),
        "gib" => Some(30),
        _ => None,
    };
    let bytes = shift.and_then(|shift| whole(number)?.checked_mul(1 << shift));
    let size = bytes.and_then(|bytes| usize::try_from(bytes).ok()).filter(|&size| size > 0);
    size.ok_or("a size above 0, in bytes or with its unit, such as 64KiB, 4MiB or 1GiB")
}

pub(super) fn host(text: &str) -> Value<String> {
    let bare = unbracketed(text);
    let good = bare.parse::<IpAddr>().is_ok() || (bare.len() == text.len() && is_name(bare));
    good.then(|| bare.to_owned())
        .ok_or("localhost, an IP address such as 127.0.0.1, 0.0.0.0 (every IPv4 address) or ::, or a host name, without scheme and port")
}

/// A `Host` header value: a name or an address, with or without a port.
pub(super) fn allowed_host(text: &str) -> Value<String> {
    let (name, end) = match text.rsplit_once(':') {
        Some((name, end)) if !name.contains(':') || name.ends_with(']') => (name, Some(end)),
        _ => (text, None),
    };
    let bare = unbracketed(name);
    let good_name = bare.parse::<IpAddr>().is_ok() || (bare.len() == name.len() && is_name(bare));
    let good_port = end.is_none_or(|end| port(end).is_ok());
    (good_name && good_port).then(|| text.to_ascii_lowercase()).ok_or("a host name or address as clients write it, such as mcp.example.com")
}

/// An `Origin` header value. `*` and `null` are refused: they would let every page of the web in.
pub(super) fn origin(text: &str) -> Value<String> {
    let text = text.strip_suffix('/').unwrap_or(text);
    let good = text.split_once("://").is_some_and(|(scheme, rest)| {
        let scheme = scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b)) && !scheme.is_empty();
        scheme && !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]".contains(&b))
    });
    good.then(|| text.to_ascii_lowercase()).ok_or("an origin without a path, such as https://app.example.com")
}

/// Empty, or a path from `/` without a slash at its end. It is written into an event and a header, so nothing strange may be in it.
pub(super) fn base_path(text: &str) -> Value<String> {
    let path = text.trim_end_matches('/');
    let plain = path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:@".contains(&b));
    let segments = path.split('/').skip(1).all(|segment| !segment.is_empty() && segment != "." && segment != "..");
    let good = path.is_empty() || (path.starts_with('/') && plain && segments);
    good.then(|| path.to_owned()).ok_or("a path such as /tools")
}

/// A comma-separated list; empty items are skipped.
pub(crate) fn list<T>(text: &str, item: fn(&str) -> Value<T>) -> Value<Vec<T>> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(item).collect()
}

/// One of `words`, in any case.
#[cfg(feature = "run")]
pub(crate) fn choice<T: Copy>(text: &str, words: &[(&str, T)], allowed: Allowed) -> Value<T> {
    words.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)).map(|&(_, value)| value).ok_or(allowed)
}

/// `[::1]` as `::1`; everything else as it is.
pub(super) fn unbracketed(host: &str) -> &str {
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    inner.filter(|inner| inner.parse::<Ipv6Addr>().is_ok()).unwrap_or(host)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= 253 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b))
}

/// Digits only: `parse` alone would take a `+`.
fn whole(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

fn number_and_unit(text: &str) -> (&str, &str) {
    text.split_at(text.bytes().take_while(u8::is_ascii_digit).count())
}
