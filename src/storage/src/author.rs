//! Who makes a change, and when.
//!
//! Whoever serves a request says so once, around all that it does ([`Author::acting`]); the store asks when a change is
//! proposed ([`Author::current`]). So nothing between the two has to hand it on.

use std::future::Future;
use std::sync::{Arc, LazyLock};

/// The server itself, as upstream calls it.
const SERVER: &str = "system:apiserver";

/// Bytes of a name that are kept, so that nobody fills the disk with a name. Those of service accounts, which are the
/// longest that are made by a rule, have 339.
const MAX_BYTES: usize = 512;

tokio::task_local! {
    static CURRENT: Author;
}

/// Who makes a change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Author {
    /// The user as whom it is made.
    pub user: Arc<str>,
    /// Who acts as that user, if it is somebody else.
    pub impersonator: Option<Arc<str>>,
}

impl Author {
    /// A user, and who impersonates it.
    pub fn new(user: &str, impersonator: Option<&str>) -> Self {
        Self { user: kept(user).into(), impersonator: impersonator.map(|name| kept(name).into()) }
    }

    /// The server itself.
    pub fn server() -> Self {
        static AUTHOR: LazyLock<Author> = LazyLock::new(|| Author::new(SERVER, None));
        AUTHOR.clone()
    }

    /// Who makes the changes of this task: whoever it was said to act for, or else the server itself.
    pub fn current() -> Self {
        CURRENT.try_with(Self::clone).unwrap_or_else(|_| Self::server())
    }

    /// Does something for this author. What it spawns is the server's own again.
    pub fn acting<F: Future>(self, work: F) -> impl Future<Output = F::Output> {
        // No `async fn`, which would hold the work twice.
        CURRENT.scope(self, work)
    }
}

fn kept(name: &str) -> &str {
    let mut end = name.len().min(MAX_BYTES);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    name.get(..end).unwrap_or_default()
}

/// Who made a change, and when.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Made {
    /// Who.
    pub by: Author,
    /// When it was proposed, by the clock of the node where that was: milliseconds since 1970.
    pub at_millis: u64,
}

/// A change, with who made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authored {
    /// Its revision.
    pub revision: u64,
    /// The key that it changed.
    pub key: Arc<str>,
    /// Who made it, and when.
    pub made: Made,
}

/// Who made the changes of a stretch of revisions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authors {
    /// In the order of revisions. Changes of which nobody has noted it are left out.
    pub changes: Vec<Authored>,
    /// The revision up to which all are there.
    pub up_to: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_acts_is_known_within_and_forgotten_after() {
        let alice = Author::new("alice", Some("root"));
        assert_eq!(Author::current(), Author::server());
        let (outer, inner, spawned) = alice
            .clone()
            .acting(async {
                let inner = Author::server().acting(async { Author::current() }).await;
                let spawned = tokio::spawn(async { Author::current() }).await.unwrap();
                (Author::current(), inner, spawned)
            })
            .await;
        assert_eq!((outer, inner, spawned), (alice, Author::server(), Author::server()));
        assert_eq!(Author::current(), Author::server());
    }

    #[test]
    fn long_names_are_cut_between_characters() {
        let author = Author::new(&"ü".repeat(MAX_BYTES), Some(&format!("x{}", "ü".repeat(MAX_BYTES))));
        assert_eq!(author.user.len(), MAX_BYTES);
        assert_eq!(author.impersonator.map(|name| name.len()), Some(MAX_BYTES - 1));
    }
}
