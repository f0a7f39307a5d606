//! Image names in their full form, as containerd stores them.

use super::error::ImageError;

/// `nginx` -> `docker.io/library/nginx:latest`, `a.example/b` -> `a.example/b:latest`; digests stay.
pub fn normalize(name: &str) -> Result<String, ImageError> {
    let invalid = || ImageError::Name(name.to_owned());
    let acceptable = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@[]".contains(&byte);
    if name.is_empty() || !name.bytes().all(acceptable) {
        return Err(invalid());
    }
    let (first, rest) = name.split_once('/').unwrap_or(("", name));
    let has_domain = first.contains(['.', ':']) || first == "localhost";
    let mut full = match (has_domain, first) {
        (true, _) => name.to_owned(),
        (false, "") => format!("docker.io/library/{rest}"),
        (false, _) => format!("docker.io/{name}"),
    };
    let last = full.rsplit('/').next().unwrap_or_default();
    if last.is_empty() || last.starts_with([':', '@']) {
        return Err(invalid());
    }
    if !last.contains([':', '@']) {
        full.push_str(":latest");
    }
    Ok(full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_completed_and_full_ones_kept() {
        let cases = [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1", "docker.io/library/nginx:1"),
            ("user/app", "docker.io/user/app:latest"),
            ("localhost/app", "localhost/app:latest"),
            ("host:5000/app:2", "host:5000/app:2"),
            ("knarr.local/knarr:0.1.0", "knarr.local/knarr:0.1.0"),
            ("a.example/b@sha256:00", "a.example/b@sha256:00"),
        ];
        for (short, full) in cases {
            assert_eq!(normalize(short).unwrap(), full);
        }
        for bad in ["", "a b", "x/:tag"] {
            assert!(normalize(bad).is_err(), "{bad}");
        }
    }
}
