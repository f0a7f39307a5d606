//! Host names with wildcards, as the Gateway API has them: `*.example.com` is everything below. Pure.

/// How well a pattern fits a host: higher is more specific. An empty pattern fits every host.
pub fn fits(pattern: &str, host: &str) -> Option<usize> {
    match pattern.strip_prefix('*') {
        Some(suffix) => (host.len() > suffix.len() && host.ends_with(suffix)).then_some(suffix.len()),
        None if pattern.is_empty() => Some(0),
        None => (pattern == host).then_some(usize::MAX),
    }
}

/// The hosts that two patterns have in common: one of the two.
pub fn intersection<'a>(one: &'a str, other: &'a str) -> Option<&'a str> {
    let within =
        |inner: &str, outer: &str| fits(outer, inner.trim_start_matches('*')).is_some() || inner == outer;
    match (one, other) {
        ("", other) => Some(other),
        (one, "") => Some(one),
        _ if within(one, other) => Some(one),
        _ if within(other, one) => Some(other),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_fit_everything_below_and_nothing_else() {
        assert_eq!(fits("a.example", "a.example"), Some(usize::MAX));
        assert!(fits("*.example.com", "b.a.example.com") < fits("*.a.example.com", "b.a.example.com"));
        assert_eq!(fits("", "a"), Some(0));
        for (pattern, host) in
            [("*.example.com", "example.com"), ("*.example.com", "badexample.com"), ("a", "b")]
        {
            assert_eq!(fits(pattern, host), None, "{pattern} {host}");
        }
    }

    #[test]
    fn hosts_in_common_are_the_more_specific_ones() {
        for (one, other, common) in [
            ("", "a.b", Some("a.b")),
            ("*.b", "", Some("*.b")),
            ("*.example.com", "a.example.com", Some("a.example.com")),
            ("*.a.example.com", "*.example.com", Some("*.a.example.com")),
            ("*.example.com", "*.example.com", Some("*.example.com")),
            ("*.example.com", "example.com", None),
            ("a.example.com", "b.example.com", None),
            ("*.a.com", "*.b.com", None),
        ] {
            assert_eq!(intersection(one, other), common, "{one} {other}");
            assert_eq!(intersection(other, one), common, "{other} {one}");
        }
    }
}
