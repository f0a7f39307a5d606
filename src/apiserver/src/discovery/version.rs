//! `/version`.

use apimachinery::platform::platform;
use serde_json::{Value, json};

/// The version of Kubernetes whose API this is.
const KUBERNETES_MAJOR: &str = "1";
const KUBERNETES_MINOR: &str = "36";
/// The patch release whose behaviour was the reference.
const KUBERNETES_PATCH: &str = "0";

/// `v1.36.0+knarr-0.1.0`: what comes before the plus is what clients check their version against.
pub fn git_version() -> String {
    format!("v{KUBERNETES_MAJOR}.{KUBERNETES_MINOR}.{KUBERNETES_PATCH}+knarr-{}", env!("CARGO_PKG_VERSION"))
}

/// The answer of `/version`.
pub fn version() -> Value {
    json!({
        "major": KUBERNETES_MAJOR,
        "minor": KUBERNETES_MINOR,
        "emulationMajor": KUBERNETES_MAJOR,
        "emulationMinor": KUBERNETES_MINOR,
        "minCompatibilityMajor": KUBERNETES_MAJOR,
        "minCompatibilityMinor": "35",
        "gitVersion": git_version(),
        "gitCommit": option_env!("KNARR_GIT_COMMIT").unwrap_or("unknown"),
        "gitTreeState": "clean",
        "buildDate": option_env!("KNARR_BUILD_DATE").unwrap_or("1970-01-01T00:00:00Z"),
        // The field is called so by the API; a value has to be there.
        "goVersion": "none",
        "compiler": "rustc",
        "platform": platform(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kubectl_finds_the_version_it_knows() {
        assert!(git_version().starts_with("v1.36.0+knarr"));
        assert_eq!(version()["minor"], "36");
    }
}
