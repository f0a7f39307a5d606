//! A few bits that tell most objects apart by their labels and fields.

use std::hash::{DefaultHasher, Hasher as _};

/// Bits that one label or field sets. With two of 64, an object of five labels is taken for one with another label
/// in one case of forty.
const BITS: u32 = 2;

/// A Bloom filter of labels and one of fields: what an object has, or what a selector asks for. Where the one does
/// not cover the other, the object is not selected; where it does, the selector has to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    labels: u64,
    fields: u64,
}

impl Signature {
    /// With a label of this value.
    #[must_use]
    pub fn with_label(mut self, key: &str, value: &str) -> Self {
        self.labels |= bits(key, value);
        self
    }

    /// With a field of this value.
    #[must_use]
    pub fn with_field(mut self, path: &str, value: &str) -> Self {
        self.fields |= bits(path, value);
        self
    }

    /// Whether everything that `wanted` has may be here.
    pub fn covers(self, wanted: Self) -> bool {
        self.labels & wanted.labels == wanted.labels && self.fields & wanted.fields == wanted.fields
    }
}

fn bits(name: &str, value: &str) -> u64 {
    // Somebody who makes labels collide only makes the scan as slow as it would be without.
    let mut hasher = DefaultHasher::new();
    hasher.write(name.as_bytes());
    hasher.write_u8(0);
    hasher.write(value.as_bytes());
    let hash = hasher.finish();
    (0..BITS).fold(0, |bits, n| bits | 1 << (hash >> (n * 6) & 63))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_is_covered_and_most_of_the_rest_is_not() {
        let object = Signature::default().with_label("a", "1").with_label("b", "2").with_field("a", "3");
        for wanted in [
            Signature::default(),
            Signature::default().with_label("b", "2"),
            Signature::default().with_label("a", "1").with_field("a", "3"),
        ] {
            assert!(object.covers(wanted));
        }
        let others =
            (0..1000).filter(|n| object.covers(Signature::default().with_label("c", &n.to_string())));
        assert!(others.count() < 20);
        assert!(!object.covers(Signature::default().with_field("a", "1")));
    }
}
