//! What a backup says of itself.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The form of archives that this version writes. Raised when an older version would misunderstand one.
pub const FORMAT: u32 = 1;

/// The first member of every archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Manifest {
    /// The form of the archive.
    pub format_version: u32,
    /// The version of the program that made it.
    pub knarr_version: String,
    /// The Kubernetes that it behaved like.
    pub kubernetes_version: String,
    /// The format of the datastore's tables.
    pub datastore_format: i64,
    /// When it was made (RFC 3339).
    pub time: String,
    /// The cluster that it is of.
    pub cluster: String,
    /// The node that made it.
    pub node: String,
    /// The revision whose state it holds.
    pub revision: u64,
    /// How many objects it holds.
    pub objects: u64,
    /// The flags that the server ran with.
    pub arguments: Vec<String>,
    /// Everything else in the archive, in its order.
    pub members: Vec<MemberEntry>,
}

/// A member of an archive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MemberEntry {
    /// Its path in the archive.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: String,
    /// Where it belongs, for files from outside the data directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// A version of the program, to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u64, u64, u64);

impl FromStr for Version {
    type Err = String;

    /// Reads `MAJOR.MINOR.PATCH`, with anything behind `-` or `+` left out.
    fn from_str(text: &str) -> Result<Self, String> {
        let core = text.split(['-', '+']).next().unwrap_or_default();
        let mut numbers = core.split('.').map(str::parse::<u64>);
        match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch)), None) => Ok(Self(major, minor, patch)),
            _ => Err(format!("{text:?} is no version")),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.0, self.1, self.2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_their_numbers() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        assert!(version("0.10.0") > version("0.9.7"));
        assert!(version("1.0.0-rc.1+x") == version("1.0.0"));
        for wrong in ["", "1", "1.2", "1.2.x", "1.2.3.4"] {
            assert!(wrong.parse::<Version>().is_err(), "{wrong}");
        }
    }
}
