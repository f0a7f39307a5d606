//! Configuration files of the API server: objects of `apiserver.config.k8s.io` in YAML, read strictly.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use apimachinery::field::ErrorList;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The group of all of them.
const GROUP: &str = "apiserver.config.k8s.io";
/// Versions that differ in nothing that is read here.
const VERSIONS: [&str; 3] = ["v1", "v1beta1", "v1alpha1"];

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigurationError {
    /// The file cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It holds something else.
    #[error("{0}")]
    Parse(String),
    /// Values in it are wrong.
    #[error("{}", shown(.0))]
    Invalid(ErrorList),
    /// Something that it refers to cannot be used.
    #[error("{0}")]
    Unusable(String),
}

fn shown(errors: &ErrorList) -> String {
    match errors.as_slice() {
        [one] => one.to_string(),
        many => format!("[{}]", many.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}

/// Reads a file that holds an object of this kind.
///
/// # Errors
/// When it does not.
pub(crate) fn load<T: DeserializeOwned>(path: &Path, kind: &str) -> Result<T, ConfigurationError> {
    parse(&read(path)?, kind).map_err(|error| match error {
        ConfigurationError::Parse(why) => ConfigurationError::Parse(format!("{}: {why}", path.display())),
        other => other,
    })
}

/// Reads a file.
///
/// # Errors
/// When it cannot be read.
pub(crate) fn read(path: &Path) -> Result<String, ConfigurationError> {
    std::fs::read_to_string(path).map_err(|source| ConfigurationError::Read { path: path.to_owned(), source })
}

/// Reads an object of this kind.
///
/// # Errors
/// When the text holds something else.
pub(crate) fn parse<T: DeserializeOwned>(text: &str, kind: &str) -> Result<T, ConfigurationError> {
    parse_of(GROUP, text, kind)
}

/// Reads an object of this kind of another group.
///
/// # Errors
/// When the text holds something else.
pub(crate) fn parse_of<T: DeserializeOwned>(
    group: &str,
    text: &str,
    kind: &str,
) -> Result<T, ConfigurationError> {
    let decoded = apimachinery::decode::yaml(text.as_bytes());
    let mut value: Value = decoded.map_err(|error| ConfigurationError::Parse(error.to_string()))?.value;
    let field = |name| value.get(name).and_then(Value::as_str).unwrap_or("");
    let known = field("apiVersion")
        .strip_prefix(group)
        .and_then(|rest| rest.strip_prefix('/'))
        .is_some_and(|version| VERSIONS.contains(&version));
    if !known || field("kind") != kind {
        return Err(ConfigurationError::Parse(format!(
            "no kind {:?} is registered for version {:?}: expected {kind} of {group}/v1",
            field("kind"),
            field("apiVersion")
        )));
    }
    api::value::remove(&mut value, "apiVersion");
    api::value::remove(&mut value, "kind");
    serde_json::from_value(value)
        .map_err(|error| ConfigurationError::Parse(format!("strict decoding error: {error}")))
}

/// Between looks at a file: soon enough for whoever waits for a change, and rare enough to cost nothing.
const PERIOD: Duration = Duration::from_secs(5);

/// A file whose changes are waited for.
pub(crate) struct Followed {
    path: PathBuf,
    seen: Option<Vec<u8>>,
}

impl Followed {
    /// What it holds now is known.
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), seen: std::fs::read(path).ok() }
    }

    /// Waits until it holds something else. A file that is not there is not looked at.
    pub(crate) async fn changed(&mut self) {
        loop {
            tokio::time::sleep(PERIOD).await;
            let now = tokio::fs::read(&self.path).await.ok();
            if now.is_some() && now != self.seen {
                self.seen = now;
                return;
            }
        }
    }
}

/// A duration as Go writes and reads it: `1m30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoDuration(pub Duration);

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl std::str::FromStr for GoDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("time: invalid duration {text:?}");
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        let parsed: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
        Duration::try_from(parsed).map(Self).map_err(|_| wrong())
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, millis) = (self.0.as_secs(), self.0.subsec_millis());
        if seconds == 0 && millis > 0 {
            return write!(f, "{millis}ms");
        }
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        if hours > 0 {
            write!(f, "{hours}h{minutes}m{seconds}s")
        } else if minutes > 0 {
            write!(f, "{minutes}m{seconds}s")
        } else {
            write!(f, "{seconds}s")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kind_that_is_asked_for_is_read() {
        let text = |version: &str, kind: &str| format!("apiVersion: {GROUP}/{version}\nkind: {kind}\n");
        assert!(parse::<Value>(&text("v1", "A"), "A").is_ok());
        assert!(parse::<Value>(&text("v1beta1", "A"), "A").is_ok());
        for wrong in [text("v2", "A"), text("v1", "B"), String::new(), "[".to_owned()] {
            assert!(parse::<Value>(&wrong, "A").is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_read_and_written_as_go_does() {
        let read = |text: &str| text.parse::<GoDuration>().map(|duration| duration.to_string());
        assert_eq!(read("90s").unwrap(), "1m30s");
        assert_eq!(read("1h").unwrap(), "1h0m0s");
        assert_eq!(read("250ms").unwrap(), "250ms");
        assert!(read("-1s").is_err() && read("soon").is_err());
    }
}
