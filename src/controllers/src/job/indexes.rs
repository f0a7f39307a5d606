//! Sets of completion indexes, written as `0-2,5,7-9`.

use std::{collections::BTreeSet, fmt};

/// A set of indexes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Indexes(BTreeSet<i32>);

impl Indexes {
    /// Reads the text form; what is beyond `completions` or not a number is left out.
    pub(super) fn parse(text: &str, completions: i32) -> Self {
        let mut indexes = BTreeSet::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (Ok(first), Ok(last)) = (first.trim().parse::<i32>(), last.trim().parse::<i32>()) else {
                continue;
            };
            indexes.extend(first.max(0)..last.saturating_add(1).min(completions));
        }
        Self(indexes)
    }

    pub(super) fn insert(&mut self, index: i32) {
        self.0.insert(index);
    }

    pub(super) fn contains(&self, index: i32) -> bool {
        self.0.contains(&index)
    }

    pub(super) fn len(&self) -> i32 {
        i32::try_from(self.0.len()).unwrap_or(i32::MAX)
    }

    /// How many of these are also in `other`.
    pub(super) fn common(&self, other: &Self) -> i32 {
        i32::try_from(self.0.intersection(&other.0).count()).unwrap_or(i32::MAX)
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut runs: Vec<(i32, i32)> = Vec::new();
        for index in &self.0 {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == *index => *last = *index,
                _ => runs.push((*index, *index)),
            }
        }
        let text = |(first, last): (i32, i32)| match last - first {
            0 => first.to_string(),
            // Two neighbours are listed, as upstream writes them.
            1 => format!("{first},{last}"),
            _ => format!("{first}-{last}"),
        };
        formatter.write_str(&runs.into_iter().map(text).collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_written_as_runs_and_read_back() {
        for (text, completions, expected) in [
            ("", 5, ""),
            ("0,1,2,5", 10, "0-2,5"),
            ("3-4,1", 10, "1,3,4"),
            ("0-9", 4, "0-3"),
            ("x,2", 5, "2"),
        ] {
            assert_eq!(Indexes::parse(text, completions).to_string(), expected);
        }
    }
}
