//! The machine in Go's words, which are the API's and those of image configurations.

/// The architecture of this machine: `amd64`, `arm64`, ...
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// System and architecture: `linux/amd64`.
pub fn platform() -> String {
    format!("{}/{}", std::env::consts::OS, architecture())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    fn names_are_those_of_go() {
        assert_eq!(platform(), "linux/amd64");
    }
}
