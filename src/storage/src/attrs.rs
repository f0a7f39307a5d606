//! Labels and selectable fields of an object, extracted once when it enters the cache, so that a selector
//! never parses JSON.

use crate::signature::Signature;
use apimachinery::labels::Labels;

/// Separates names from values. Neither label keys and values nor anything a selector can name holds a NUL.
const SEPARATOR: char = '\0';

/// Labels and selectable fields, packed in one allocation (a cache of 10,000 pods holds as many of these).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attrs {
    /// `key NUL value NUL ...`, the labels first.
    packed: Box<str>,
    /// Where the fields begin.
    fields_at: u32,
}

impl Attrs {
    /// Starts to collect labels and fields.
    pub fn builder() -> AttrsBuilder {
        AttrsBuilder::default()
    }

    /// The value of a label.
    pub fn label(&self, key: &str) -> Option<&str> {
        find(self.halves().0, key)
    }

    /// The value of a selectable field, such as `metadata.name` or `spec.nodeName`.
    pub fn field(&self, path: &str) -> Option<&str> {
        find(self.halves().1, path)
    }

    /// All labels, in the order they were added.
    pub fn labels(&self) -> impl Iterator<Item = (&str, &str)> {
        pairs(self.halves().0)
    }

    /// All selectable fields, in the order they were added.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &str)> {
        pairs(self.halves().1)
    }

    /// What a selector looks at first.
    pub(crate) fn signature(&self) -> Signature {
        let labels = self.labels().fold(Signature::default(), |all, (key, value)| all.with_label(key, value));
        self.fields().fold(labels, |all, (path, value)| all.with_field(path, value))
    }

    /// The heap memory in use, in bytes.
    pub fn heap_bytes(&self) -> usize {
        self.packed.len()
    }

    fn halves(&self) -> (&str, &str) {
        self.packed.split_at_checked(self.fields_at as usize).unwrap_or((&self.packed, ""))
    }
}

impl Labels for Attrs {
    fn label(&self, key: &str) -> Option<&str> {
        Attrs::label(self, key)
    }
}

fn pairs(packed: &str) -> impl Iterator<Item = (&str, &str)> {
    let mut parts = packed.split_terminator(SEPARATOR);
    std::iter::from_fn(move || Some((parts.next()?, parts.next()?)))
}

/// What lists by selector do most. Names and values are short: going by bytes is faster than to search in words.
fn find<'a>(packed: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = packed;
    loop {
        if let Some(value) = rest.strip_prefix(name).and_then(|rest| rest.strip_prefix(SEPARATOR)) {
            return Some(part(value)?.0);
        }
        rest = part(part(rest)?.1)?.1;
    }
}

/// What comes before the next separator, and behind it.
fn part(packed: &str) -> Option<(&str, &str)> {
    let end = packed.bytes().position(|byte| byte == SEPARATOR as u8)?;
    Some((packed.get(..end)?, packed.get(end + 1..)?))
}

/// Collects [`Attrs`].
#[derive(Clone, Debug, Default)]
pub struct AttrsBuilder {
    labels: String,
    fields: String,
}

impl AttrsBuilder {
    /// Adds a label.
    #[must_use]
    pub fn label(mut self, key: &str, value: &str) -> Self {
        push(&mut self.labels, key, value);
        self
    }

    /// Adds a selectable field.
    #[must_use]
    pub fn field(mut self, path: &str, value: &str) -> Self {
        push(&mut self.fields, path, value);
        self
    }

    /// What has been collected.
    pub fn build(self) -> Attrs {
        let Ok(fields_at) = u32::try_from(self.labels.len()) else { return Attrs::default() };
        let mut packed = self.labels;
        packed.reserve_exact(self.fields.len());
        packed.push_str(&self.fields);
        Attrs { packed: packed.into_boxed_str(), fields_at }
    }
}

/// A pair with a NUL in it could not be told from two pairs; no selector can name it, so it is left out.
fn push(to: &mut String, name: &str, value: &str) {
    if name.contains(SEPARATOR) || value.contains(SEPARATOR) {
        return;
    }
    to.push_str(name);
    to.push(SEPARATOR);
    to.push_str(value);
    to.push(SEPARATOR);
}

/// Knows how to find the labels and selectable fields of the objects under a key.
pub trait Extractor: Send + Sync + 'static {
    /// The attributes of a value stored under a key. Has to be a function of its arguments. Bytes that
    /// cannot be understood have no attributes.
    fn extract(&self, key: &str, value: &[u8]) -> Attrs;
}

/// Extracts what every kind has: labels, `metadata.name` and `metadata.namespace`.
#[derive(Clone, Copy, Debug, Default)]
pub struct MetadataExtractor;

#[derive(serde::Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, default)]
    metadata: Metadata<'a>,
}

#[derive(serde::Deserialize, Default)]
struct Metadata<'a> {
    #[serde(borrow, default)]
    name: std::borrow::Cow<'a, str>,
    #[serde(borrow, default)]
    namespace: std::borrow::Cow<'a, str>,
    #[serde(default)]
    labels: std::collections::BTreeMap<String, String>,
}

impl Extractor for MetadataExtractor {
    fn extract(&self, _key: &str, value: &[u8]) -> Attrs {
        let Ok(Envelope { metadata }) = serde_json::from_slice(value) else { return Attrs::default() };
        let mut attrs = Attrs::builder();
        for (key, value) in &metadata.labels {
            attrs = attrs.label(key, value);
        }
        attrs.field("metadata.name", &metadata.name).field("metadata.namespace", &metadata.namespace).build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_fields_are_found_by_name_and_kept_apart() {
        let attrs = Attrs::builder()
            .field("status.phase", "Running")
            .label("app", "web")
            .label("empty", "")
            .field("spec.nodeName", "")
            .build();
        assert_eq!(attrs.label("app"), Some("web"));
        assert_eq!(attrs.label("empty"), Some(""));
        assert_eq!(attrs.label("web"), None);
        assert_eq!(attrs.label("status.phase"), None);
        assert_eq!(attrs.field("status.phase"), Some("Running"));
        assert_eq!(attrs.field("spec.nodeName"), Some(""));
        assert_eq!(attrs.fields().count(), 2);
        assert_eq!(attrs.labels().collect::<Vec<_>>(), [("app", "web"), ("empty", "")]);
    }

    #[test]
    fn a_pair_with_the_separator_in_it_is_left_out() {
        let attrs = Attrs::builder().field("a", "x\0b\0y").field("c", "z").build();
        assert_eq!(attrs.fields().collect::<Vec<_>>(), [("c", "z")]);
    }

    #[test]
    fn metadata_is_extracted_and_nonsense_has_no_attributes() {
        let value = br#"{"kind":"X","metadata":{"labels":{"k":"v"},"name":"n","namespace":"s"},"spec":{}}"#;
        let attrs = MetadataExtractor.extract("", value);
        assert_eq!(attrs.label("k"), Some("v"));
        assert_eq!(attrs.field("metadata.name"), Some("n"));
        assert_eq!(attrs.field("metadata.namespace"), Some("s"));
        assert_eq!(MetadataExtractor.extract("", b"nonsense"), Attrs::default());
    }
}
