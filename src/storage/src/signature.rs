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
}

/// The signatures of up to [`Signatures::LEN`] objects in a row, turned by a quarter: for each bit, which objects have
/// it. What covers a wanted label is what is in two of these words, however many objects there are.
#[derive(Debug)]
pub(crate) struct Signatures {
    labels: [u128; 64],
    fields: [u128; 64],
}

impl Default for Signatures {
    fn default() -> Self {
        Self { labels: [0; 64], fields: [0; 64] }
    }
}

impl Signatures {
    /// How many objects these are at most.
    pub(crate) const LEN: usize = u128::BITS as usize;

    /// Puts one before the one at `at`; the last of [`Self::LEN`] falls off.
    pub(crate) fn insert(&mut self, at: usize, signature: Signature) {
        let below = first(at);
        let it = shifted(1, at);
        self.each(signature, |word, has| (word & below) | (word & !below) << 1 | if has { it } else { 0 });
    }

    /// Another one for the object at `at`.
    pub(crate) fn set(&mut self, at: usize, signature: Signature) {
        let it = shifted(1, at);
        self.each(signature, |word, has| (word & !it) | if has { it } else { 0 });
    }

    /// Takes the one at `at` out.
    pub(crate) fn remove(&mut self, at: usize) {
        let below = first(at);
        self.each(Signature::default(), |word, _| (word & below) | (word >> 1 & !below));
    }

    /// Splits off the one at `at` and those behind it.
    pub(crate) fn split_off(&mut self, at: usize) -> Self {
        let mut right = Self::default();
        for (left, right) in self.words().zip(right.words()) {
            *right = u32::try_from(at).ok().and_then(|at| left.checked_shr(at)).unwrap_or(0);
            *left &= first(at);
        }
        right
    }

    /// Puts others behind the first `len`, which is as many as there are.
    pub(crate) fn append(&mut self, len: usize, mut others: Self) {
        for (left, right) in self.words().zip(others.words()) {
            *left |= shifted(*right, len);
        }
    }

    /// Which may have everything that `wanted` has: a bit each, the first one lowest. Where there is none, the bit says
    /// nothing.
    pub(crate) fn covering(&self, wanted: Signature) -> u128 {
        let labels = having(&self.labels, wanted.labels);
        labels & having(&self.fields, wanted.fields)
    }

    fn words(&mut self) -> impl Iterator<Item = &mut u128> {
        self.labels.iter_mut().chain(&mut self.fields)
    }

    /// Makes a new word of each one and its bit of a signature.
    fn each(&mut self, signature: Signature, change: impl Fn(u128, bool) -> u128) {
        for (words, bits) in [(&mut self.labels, signature.labels), (&mut self.fields, signature.fields)] {
            for (n, word) in words.iter_mut().enumerate() {
                *word = change(*word, bits >> n & 1 == 1);
            }
        }
    }
}

/// What is in all words whose bits are wanted.
fn having(words: &[u128; 64], mut wanted: u64) -> u128 {
    let mut found = u128::MAX;
    while let Some(word) = words.get(wanted.trailing_zeros() as usize) {
        found &= word;
        wanted &= wanted - 1;
    }
    found
}

/// The lowest bits of a word, `count` of them.
pub(crate) fn first(count: usize) -> u128 {
    shifted(1, count).wrapping_sub(1)
}

fn shifted(bits: u128, by: usize) -> u128 {
    u32::try_from(by).ok().and_then(|by| bits.checked_shl(by)).unwrap_or(0)
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

    fn object(app: &str) -> Signature {
        Signature::default().with_label("app", app).with_label("b", "2").with_field("spec.nodeName", "n")
    }

    /// Whether the first of these covers what is wanted.
    fn covers(signature: Signature, wanted: Signature) -> bool {
        let mut all = Signatures::default();
        all.insert(0, signature);
        all.covering(wanted) & 1 == 1
    }

    #[test]
    fn what_is_there_is_covered_and_most_of_the_rest_is_not() {
        let object = object("a");
        for wanted in [
            Signature::default(),
            Signature::default().with_label("b", "2"),
            Signature::default().with_label("app", "a").with_field("spec.nodeName", "n"),
        ] {
            assert!(covers(object, wanted));
        }
        let others =
            (0..1000).filter(|n| covers(object, Signature::default().with_label("c", &n.to_string())));
        assert!(others.count() < 20);
        assert!(!covers(object, Signature::default().with_field("app", "a")));
    }

    #[test]
    fn signatures_stay_with_their_objects() {
        // What a vector would do is what the words do.
        let mut expected: Vec<&str> = Vec::new();
        let mut all = Signatures::default();
        let check = |all: &Signatures, expected: &[&str]| {
            for app in ["a", "b", "c"] {
                let found = all.covering(Signature::default().with_label("app", app)) & first(expected.len());
                let wanted = expected.iter().rev().fold(0, |bits, it| bits << 1 | u128::from(*it == app));
                assert_eq!(found, wanted, "{app} of {expected:?}");
            }
        };
        for n in 0..Signatures::LEN {
            let app = ["a", "b", "c"][n % 3];
            let at = n * 7 % (n + 1);
            expected.insert(at, app);
            all.insert(at, object(app));
            check(&all, &expected);
        }
        for at in [0, 64, 127, 5] {
            expected[at] = "c";
            all.set(at, object("c"));
            check(&all, &expected);
        }
        for at in [0, 70, 125] {
            expected.remove(at);
            all.remove(at);
            check(&all, &expected);
        }
        let mut behind = expected.split_off(50);
        let right = all.split_off(50);
        check(&all, &expected);
        check(&right, &behind);
        all.append(expected.len(), right);
        expected.append(&mut behind);
        check(&all, &expected);
        assert_eq!(all.split_off(Signatures::LEN).covering(object("a")), 0);
    }
}
