//! Names of groups, versions and kinds as paths, identifiers and descriptions have them.

/// The path of a group and version.
pub(super) fn base(group: &str, version: &str) -> String {
    if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") }
}

/// A group as identifiers have it: `RbacAuthorization`.
pub(super) fn group_words(group: &str) -> String {
    if group.is_empty() {
        return "Core".to_owned();
    }
    let name = group.strip_suffix(".k8s.io").unwrap_or(group);
    name.split(['.', '-']).map(capitalized).collect()
}

/// A word with a capital letter.
pub(super) fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
}

/// What documentation sorts a group's operations under: `rbacAuthorization`.
pub(super) fn group_tag(group: &str) -> String {
    let words = group_words(group);
    let mut letters = words.chars();
    letters.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(letters).collect()
}

/// Kind with an article; kinds in the plural have none.
pub(super) fn with_article(kind: &str) -> String {
    if kind.ends_with('s') && !kind.ends_with("ss") {
        kind.to_owned()
    } else if kind.starts_with(['A', 'E', 'I', 'O', 'U']) {
        format!("an {kind}")
    } else {
        format!("a {kind}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_kinds_are_worded_as_identifiers() {
        assert_eq!(group_words("rbac.authorization.k8s.io"), "RbacAuthorization");
        assert_eq!(group_tag("rbac.authorization.k8s.io"), "rbacAuthorization");
        assert_eq!(group_words("stable.example.com"), "StableExampleCom");
        assert_eq!(group_tag(""), "core");
    }

    #[test]
    fn kinds_have_the_right_article() {
        for (kind, worded) in
            [("Pod", "a Pod"), ("Event", "an Event"), ("Endpoints", "Endpoints"), ("Ingress", "an Ingress")]
        {
            assert_eq!(with_article(kind), worded);
        }
    }
}
