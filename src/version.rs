//! The published versions of the protocol, oldest first, and which of them a handshake may settle on.

use std::fmt;

/// A published version of the Model Context Protocol. They compare by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Version {
    /// 2024-11-05: HTTP+SSE.
    V2024_11_05,
    /// 2025-03-26: Streamable HTTP; the only version with batches.
    V2025_03_26,
    /// 2025-06-18: no batches; elicitation; the `MCP-Protocol-Version` header.
    V2025_06_18,
    /// 2025-11-25: the newest version that begins with `initialize`.
    V2025_11_25,
    /// 2026-07-28: stateless; no `initialize`.
    V2026_07_28,
}

impl Version {
    /// Every version we speak, oldest first.
    pub const ALL: [Version; 5] =
        [Version::V2024_11_05, Version::V2025_03_26, Version::V2025_06_18, Version::V2025_11_25, Version::V2026_07_28];

    /// The newest version that an `initialize` may settle on.
    pub const NEWEST_HANDSHAKE: Version = Version::V2025_11_25;

    /// The version as it is written in messages and headers, as in `2025-11-25`.
    pub fn as_str(self) -> &'static str {
        match self {
            Version::V2024_11_05 => "2024-11-05",
            Version::V2025_03_26 => "2025-03-26",
            Version::V2025_06_18 => "2025-06-18",
            Version::V2025_11_25 => "2025-11-25",
            Version::V2026_07_28 => "2026-07-28",
        }
    }

    /// The version written as `text`, if it is one we speak.
    pub fn parse(text: &str) -> Option<Version> {
        Version::ALL.into_iter().find(|version| version.as_str() == text)
    }

    /// What a server answers to an `initialize` that asks for `requested`: the same version where it is one with a handshake, else the newest
    /// with one (2025-11-25 basic/lifecycle, Version Negotiation).
    pub fn negotiate(requested: &str) -> Version {
        Version::parse(requested).filter(|version| !version.is_modern()).unwrap_or(Version::NEWEST_HANDSHAKE)
    }

    /// True for the stateless versions, 2026-07-28 and later.
    pub fn is_modern(self) -> bool {
        self >= Version::V2026_07_28
    }

    /// True where one message may be an array of messages (2025-03-26 basic, Batching).
    pub fn has_batches(self) -> bool {
        self == Version::V2025_03_26
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_is_read_as_it_is_written() {
        for version in Version::ALL {
            assert_eq!(Version::parse(version.as_str()), Some(version));
        }
        assert_eq!(Version::parse("2025-11-26"), None);
    }

    #[test]
    fn a_handshake_never_settles_on_a_version_without_one() {
        assert_eq!(Version::negotiate("2024-11-05"), Version::V2024_11_05);
        assert_eq!(Version::negotiate("2026-07-28"), Version::V2025_11_25);
        assert_eq!(Version::negotiate("next"), Version::V2025_11_25);
    }
}
