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
        // Without a branch between the two: this is asked of each object that a list passes.
        (wanted.labels & !self.labels) | (wanted.fields & !self.fields) == 0
    }

    /// Which of the first 64 cover what is wanted: a bit each, the first one lowest.
    pub(crate) fn covering(signatures: &[Self], wanted: Self) -> u64 {
        let bits = signatures.iter().take(64).rev();
        bits.fold(0, |found, signature| found << 1 | u64::from(signature.covers(wanted)))
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

    #[test]
    fn bits_tell_which_of_many_cover_what_is_wanted() {
        let wanted = Signature::default().with_label("a", "1");
        let mut many = vec![Signature::default(); 70];
        for at in [0, 3, 63, 64] {
            many[at] = wanted;
        }
        assert_eq!(Signature::covering(&many, wanted), 1 | 1 << 3 | 1 << 63);
        assert_eq!(Signature::covering(&many[60..], wanted), 1 << 3 | 1 << 4);
        assert_eq!(Signature::covering(&[], wanted), 0);
    }
}
