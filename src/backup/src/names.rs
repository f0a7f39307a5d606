//! What backups that are kept are called: `BASE-NODE-TIME.tar.gz`, the time as seconds since 1970, as k3s has it.

/// How they all end.
const SUFFIX: &str = ".tar.gz";

/// The names of one node's backups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    prefix: String,
}

impl Names {
    /// Those of a node that begin with a word.
    pub fn new(base: &str, node: &str) -> Self {
        Self { prefix: format!("{base}-{node}-") }
    }

    /// What all of them begin with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The name of a backup of a time, in seconds since 1970.
    pub fn at(&self, seconds: i64) -> String {
        format!("{}{seconds}{SUFFIX}", self.prefix)
    }

    /// The time of one of them; none for other names, also those of nodes whose names begin with this one's.
    pub fn time(&self, name: &str) -> Option<i64> {
        let digits = name.strip_prefix(self.prefix.as_str())?.strip_suffix(SUFFIX)?;
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse().ok()).flatten()
    }

    /// Those that are too many when only so many of the newest are kept, the oldest first. 0 keeps all.
    pub fn superfluous(&self, names: impl IntoIterator<Item = String>, kept: usize) -> Vec<String> {
        let mut own: Vec<(i64, String)> =
            names.into_iter().filter_map(|name| Some((self.time(&name)?, name))).collect();
        own.sort_unstable();
        let count = if kept == 0 { 0 } else { own.len().saturating_sub(kept) };
        own.into_iter().take(count).map(|(_, name)| name).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_oldest_of_the_nodes_own_backups_are_too_many() {
        let names = Names::new("knarr", "n1");
        let all = [
            "knarr-n1-900.tar.gz",
            "knarr-n1-1000.tar.gz",
            "knarr-n1-80.tar.gz",
            "knarr-n1-2-5.tar.gz",
            "knarr-n1-x.tar.gz",
            "knarr-n1-1.tar.gz.partial",
            "knarr-n2-1.tar.gz",
            "notes.txt",
        ];
        let all = || all.iter().map(|name| (*name).to_owned());
        assert_eq!(names.superfluous(all(), 1), ["knarr-n1-80.tar.gz", "knarr-n1-900.tar.gz"]);
        assert!(names.superfluous(all(), 3).is_empty());
        assert!(names.superfluous(all(), 0).is_empty());
        assert_eq!(names.time(&names.at(12)), Some(12));
    }
}
