//! What is an image reference. Pure; the rules are those of the OCI distribution reference grammar.

/// The longest repository name that registries accept.
const MAX_NAME: usize = 255;

/// Whether `image` can be pulled at all: `[domain[:port]/]path[:tag][@digest]`.
pub fn is_valid_reference(image: &str) -> bool {
    let (rest, digest) = match image.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (image, None),
    };
    if digest.is_some_and(|digest| !is_digest(digest)) {
        return false;
    }
    // A colon after the last slash begins the tag; one before it a port.
    let (name, tag) = match rest.rfind(':') {
        Some(at) if !rest.get(at..).unwrap_or("").contains('/') => {
            (rest.get(..at).unwrap_or(""), rest.get(at + 1..))
        }
        _ => (rest, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) || name.is_empty() || name.len() > MAX_NAME {
        return false;
    }
    let mut parts: Vec<&str> = name.split('/').collect();
    if let Some(first) = parts.first()
        && parts.len() > 1
        && is_domain_like(first)
    {
        if !is_domain(first) {
            return false;
        }
        parts.remove(0);
    }
    parts.iter().all(|part| is_path_component(part))
}

/// The registry that a reference names, `docker.io` when it names none.
pub fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((first, _)) if is_domain_like(first) => first,
        _ => "docker.io",
    }
}

fn is_domain_like(part: &str) -> bool {
    part.contains(['.', ':']) || part == "localhost" || part.chars().any(|c| c.is_ascii_uppercase())
}

fn is_domain(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => {
            return host.parse::<std::net::Ipv6Addr>().is_ok() && is_port(port.strip_prefix(':'));
        }
        None => match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    host.split('.').all(label) && is_port(port)
}

fn is_port(port: Option<&str>) -> bool {
    port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// Lower-case words joined by one dot, one or two underscores, or dashes.
fn is_path_component(part: &str) -> bool {
    let bytes = part.as_bytes();
    let word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if !bytes.first().is_some_and(word) || !bytes.last().is_some_and(word) {
        return false;
    }
    let separators = part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    separators
        .filter(|run| !run.is_empty())
        .all(|run| matches!(run, "." | "_" | "__") || run.bytes().all(|b| b == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let first = tag.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
    first
        && tag.len() <= 128
        && tag.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

fn is_digest(digest: &str) -> bool {
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        algorithm.bytes().next().is_some_and(|b| b.is_ascii_alphabetic())
            && hex.len() >= 32
            && hex.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_told_from_nonsense() {
        for good in [
            "nginx",
            "nginx:1.27",
            "localhost:5000/a/b__c",
            "REG.example.com/x:T_1",
            "a.b/c@sha256:0123456789abcdef0123456789abcdef",
        ] {
            assert!(is_valid_reference(good), "{good}");
        }
        for bad in
            ["", "Nginx", "nginx:", "a//b", "nginx:-x", "nginx@sha256:12", "a/b:c/d:e f", "-a", "a_-_b/"]
        {
            assert!(!is_valid_reference(bad), "{bad}");
        }
    }

    #[test]
    fn short_names_mean_docker_hub() {
        assert_eq!(registry("library/nginx"), "docker.io");
        assert_eq!(registry("ghcr.io/a/b"), "ghcr.io");
        assert_eq!(registry("localhost/a"), "localhost");
    }
}
