//! Which of the built-in versions and resources are served: stable ones, unless `--runtime-config` says otherwise
//! (KEP-3136: beta is off by default like alpha).

use std::str::FromStr;

use apimachinery::gvk::{Gvr, api_version};

/// How finished a version is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Stable,
    Beta,
    Alpha,
}

impl Stage {
    fn of(version: &str) -> Self {
        if version.contains("alpha") {
            Self::Alpha
        } else if version.contains("beta") {
            Self::Beta
        } else {
            Self::Stable
        }
    }
}

/// What is turned on and off besides the default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeConfig {
    all: Option<bool>,
    stable: Option<bool>,
    beta: Option<bool>,
    alpha: Option<bool>,
    /// `GROUP/VERSION` (`v1` for core).
    versions: Vec<(String, bool)>,
    /// `GROUP/VERSION/RESOURCE`.
    resources: Vec<(String, bool)>,
}

/// Why a runtime configuration cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RuntimeConfigError {
    /// The value is no boolean.
    #[error("invalid value of {0:?}: must be true or false")]
    Value(String),
    /// The key names no version of a group.
    #[error("runtime-config invalid key {0}")]
    Key(String),
    /// The key names a group that there is not.
    #[error("unknown api groups {0}")]
    Group(String),
}

impl RuntimeConfig {
    /// Reads `NAME[=BOOL]` pairs separated by commas: `api/all`, `api/ga`, `api/beta`, `api/alpha`, `GROUP/VERSION` or
    /// `GROUP/VERSION/RESOURCE`. What is more particular wins, then what stands later.
    ///
    /// # Errors
    /// When a pair has another form or names no group of ours.
    pub fn parse(text: &str) -> Result<Self, RuntimeConfigError> {
        let mut config = Self::default();
        for pair in text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, "true"));
            let on = match value {
                "" | "true" => true,
                "false" => false,
                _ => return Err(RuntimeConfigError::Value(key.to_owned())),
            };
            config.set(key, on)?;
        }
        Ok(config)
    }

    fn set(&mut self, key: &str, on: bool) -> Result<(), RuntimeConfigError> {
        let segments: Vec<&str> = key.split('/').collect();
        match segments.as_slice() {
            ["api", "all"] => self.all = Some(on),
            ["api", "ga"] => self.stable = Some(on),
            ["api", "beta"] => self.beta = Some(on),
            ["api", "alpha"] => self.alpha = Some(on),
            ["v1"] | ["api", "v1"] => self.versions.push(("v1".to_owned(), on)),
            [group, _] | [group, _, _] => {
                if api::registry().group(group).is_none() || group.is_empty() {
                    return Err(RuntimeConfigError::Group((*group).to_owned()));
                }
                let list = if segments.len() == 2 { &mut self.versions } else { &mut self.resources };
                list.push((key.to_owned(), on));
            }
            _ => return Err(RuntimeConfigError::Key(key.to_owned())),
        }
        Ok(())
    }

    /// Whether a built-in resource is served in its version.
    pub fn serves(&self, gvr: &Gvr) -> bool {
        let version = api_version(&gvr.group, &gvr.version);
        let said = |list: &[(String, bool)], key: &str| {
            list.iter().rev().find(|(known, _)| known == key).map(|(_, on)| *on)
        };
        let stage = Stage::of(&gvr.version);
        let of_stage = match stage {
            Stage::Stable => self.stable,
            Stage::Beta => self.beta,
            Stage::Alpha => self.alpha,
        };
        said(&self.resources, &format!("{version}/{}", gvr.resource))
            .or_else(|| said(&self.versions, &version))
            .or(of_stage)
            .or(self.all)
            .unwrap_or(stage == Stage::Stable)
    }
}

impl FromStr for RuntimeConfig {
    type Err = RuntimeConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(config: &str) -> Vec<bool> {
        let config = RuntimeConfig::parse(config).unwrap();
        let all = [
            Gvr::new("", "v1", "pods"),
            Gvr::new("resource.k8s.io", "v1beta2", "deviceclasses"),
            Gvr::new("resource.k8s.io", "v1beta2", "resourceclaims"),
            Gvr::new("resource.k8s.io", "v1alpha3", "devicetaintrules"),
        ];
        all.iter().map(|gvr| config.serves(gvr)).collect()
    }

    #[test]
    fn what_is_more_particular_wins() {
        assert_eq!(served(""), [true, false, false, false]);
        assert_eq!(served("api/beta"), [true, true, true, false]);
        assert_eq!(served("api/all=true, api/alpha=false"), [true, true, true, false]);
        assert_eq!(served("resource.k8s.io/v1beta2=true"), [true, true, true, false]);
        assert_eq!(
            served("resource.k8s.io/v1beta2/resourceclaims=false,api/beta=true"),
            [true, true, false, false]
        );
        assert_eq!(served("api/beta=true,resource.k8s.io/v1beta2=false"), [true, false, false, false]);
        assert_eq!(served("v1=false"), [false; 4]);
        assert_eq!(served("api/ga=false"), [false; 4]);
    }

    #[test]
    fn what_means_nothing_is_refused() {
        for (text, why) in [
            ("api/beta=yes", "invalid value of \"api/beta\": must be true or false"),
            ("nope/v1=true", "unknown api groups nope"),
            ("beta", "runtime-config invalid key beta"),
            ("a/b/c/d", "runtime-config invalid key a/b/c/d"),
        ] {
            assert_eq!(RuntimeConfig::parse(text).unwrap_err().to_string(), why);
        }
    }
}
