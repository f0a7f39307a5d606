//! Which containerd is installed.

use std::path::{Path, PathBuf};

use super::error::ContainerdError;

/// Where programs of the system lie even if PATH does not say so (services get a short one).
const USUAL_DIRECTORIES: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Major and minor version of containerd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 1 or 2.
    pub major: u32,
    /// Minor version.
    pub minor: u32,
}

impl Version {
    /// True where the configuration has version 3 (containerd 2.0 and later).
    pub fn has_config_version_3(self) -> bool {
        self.major >= 2
    }

    /// Out of `containerd --version`: "containerd REPOSITORY VERSION REVISION", where VERSION may begin
    /// with a `v` and end in a distribution's suffix.
    pub fn parse(output: &str) -> Option<Self> {
        output.split_whitespace().skip(1).find_map(|word| {
            let mut numbers = word.trim_start_matches('v').split('.');
            let major = numbers.next()?.parse().ok()?;
            let minor = numbers.next()?.parse().ok()?;
            Some(Self { major, minor })
        })
    }

    /// Asks the executable.
    pub async fn of(program: &Path) -> Result<Self, ContainerdError> {
        let failed = |message: String| ContainerdError::Version { program: program.to_owned(), message };
        let output = tokio::process::Command::new(program)
            .arg("--version")
            .output()
            .await
            .map_err(|error| failed(error.to_string()))?;
        let text = String::from_utf8_lossy(&output.stdout);
        Self::parse(&text).ok_or_else(|| failed(format!("unexpected output {:?}", text.trim())))
    }
}

/// Looks a program up in PATH and the usual directories.
pub fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(USUAL_DIRECTORIES.iter().map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|candidate| is_executable(candidate))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_distributions_and_of_upstream_are_understood() {
        let debian = "containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3";
        assert_eq!(Version::parse(debian), Some(Version { major: 1, minor: 6 }));
        let upstream = "containerd github.com/containerd/containerd/v2 v2.1.3 abcdef0123";
        assert_eq!(Version::parse(upstream), Some(Version { major: 2, minor: 1 }));
        assert!(Version { major: 2, minor: 0 }.has_config_version_3());
        assert_eq!(Version::parse("nonsense"), None);
    }
}
