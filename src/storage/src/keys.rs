//! The form of keys: `/registry/{group}/{plural}/{namespace/}{name}`.

use crate::error::StorageError;

const ROOT: &str = "/registry/";

/// The prefix of all objects of a key's resource, `/registry/{group}/{plural}/`.
///
/// # Errors
/// [`StorageError::InvalidKey`] when the key does not reach below such a prefix, or holds a NUL or an empty
/// segment.
pub fn resource_prefix(key: &str) -> Result<&str, StorageError> {
    let invalid = |reason| StorageError::InvalidKey { key: key.to_owned(), reason };
    let rest = key.strip_prefix(ROOT).ok_or_else(|| invalid("it does not begin with /registry/"))?;
    let mut slashes = rest.match_indices('/').map(|(at, _)| at);
    let (Some(first), Some(second)) = (slashes.next(), slashes.next()) else {
        return Err(invalid("it does not name a group and a resource"));
    };
    if first == 0 || rest.contains("//") || key.contains('\0') {
        return Err(invalid("a segment is empty or holds a NUL"));
    }
    key.get(..ROOT.len() + second + 1).ok_or_else(|| invalid("it does not name a group and a resource"))
}

/// Checks a key that is to be written.
///
/// # Errors
/// [`StorageError::InvalidKey`] when it is a prefix rather than a key, or no key at all.
pub(crate) fn check_key(key: &str) -> Result<(), StorageError> {
    resource_prefix(key)?;
    if key.ends_with('/') {
        return Err(StorageError::InvalidKey { key: key.to_owned(), reason: "it ends with a slash" });
    }
    Ok(())
}

/// What a list or watch covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope<'a> {
    /// Everything below a prefix that ends with a slash.
    Prefix(&'a str),
    /// One key.
    Key(&'a str),
}

impl<'a> Scope<'a> {
    /// A prefix when the text ends with a slash, a single key otherwise.
    ///
    /// # Errors
    /// [`StorageError::InvalidKey`] when it is neither.
    pub fn new(text: &'a str) -> Result<Self, StorageError> {
        if text == "/" || ROOT == text {
            return Ok(Self::Prefix(ROOT));
        }
        if !text.starts_with(ROOT) {
            let reason = "it does not begin with /registry/";
            return Err(StorageError::InvalidKey { key: text.to_owned(), reason });
        }
        if text.ends_with('/') {
            return Ok(Self::Prefix(text));
        }
        check_key(text).map(|()| Self::Key(text))
    }

    /// Whether a key is within it.
    pub fn contains(&self, key: &str) -> bool {
        match self {
            Self::Prefix(prefix) => key.starts_with(prefix),
            Self::Key(only) => key == *only,
        }
    }

    /// The text it was made of.
    pub fn text(&self) -> &'a str {
        match self {
            Self::Prefix(text) | Self::Key(text) => text,
        }
    }
}

/// The scopes of watches that a key belongs to, from wide to narrow: its resource, its namespace (where it
/// has one), itself.
pub(crate) fn scopes_of<'a>(resource: &str, key: &'a str) -> impl Iterator<Item = &'a str> {
    let resource_end = resource.len();
    let namespace_end =
        key.get(resource_end..).and_then(|rest| rest.find('/')).map(|at| resource_end + at + 1);
    [Some(resource_end), namespace_end, Some(key.len())]
        .into_iter()
        .flatten()
        .filter_map(|end| key.get(..end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resource_prefix_is_the_first_two_segments() {
        assert_eq!(resource_prefix("/registry/core/pods/ns/a").unwrap(), "/registry/core/pods/");
        assert_eq!(resource_prefix("/registry/core/nodes/a").unwrap(), "/registry/core/nodes/");
        assert_eq!(resource_prefix("/registry/core/nodes/").unwrap(), "/registry/core/nodes/");
        for bad in
            ["", "/registry/", "/registry/core/nodes", "/other/a/b/c", "/registry//a/b", "/registry/a/b//c"]
        {
            assert!(resource_prefix(bad).is_err(), "{bad}");
        }
        assert!(check_key("/registry/core/nodes/").is_err());
    }

    #[test]
    fn a_key_is_in_the_scopes_of_resource_namespace_and_itself() {
        let scopes: Vec<_> = scopes_of("/registry/core/pods/", "/registry/core/pods/ns/a").collect();
        assert_eq!(scopes, ["/registry/core/pods/", "/registry/core/pods/ns/", "/registry/core/pods/ns/a"]);
        let scopes: Vec<_> = scopes_of("/registry/core/nodes/", "/registry/core/nodes/a").collect();
        assert_eq!(scopes, ["/registry/core/nodes/", "/registry/core/nodes/a"]);
    }

    #[test]
    fn a_scope_is_a_prefix_or_a_key() {
        assert_eq!(Scope::new("/registry/a/b/").unwrap(), Scope::Prefix("/registry/a/b/"));
        assert_eq!(Scope::new("/registry/a/b/c").unwrap(), Scope::Key("/registry/a/b/c"));
        assert!(Scope::new("/registry/a").is_err());
        assert!(!Scope::Key("/registry/a/b/c").contains("/registry/a/b/cd"));
    }
}
