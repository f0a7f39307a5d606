//! Who comes in by a password. Most hashes take long by design: they are worked out beside the event loop, few at a time,
//! and what was right is remembered for a while, so that a page with fifty pictures costs one of them.

use super::passwords::{hashes, is, is_slow};
use parking_lot::Mutex;
use ring::hmac;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// The longest password that is looked at: some algorithms work through it thousands of times.
const LONGEST: usize = 255;
/// So many are worked out at once: whoever tries passwords does not take all cores.
const WORKERS: usize = 2;
/// So many requests wait for that; more are told to come again.
const WAITING: usize = 64;
/// How long a password is remembered as right.
const REMEMBERED: Duration = Duration::from_secs(60);
/// How many are remembered: beyond it those whose time is over are forgotten, or all.
const MOST: usize = 4096;

/// What became of a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the user's.
    Right,
    /// It is not, or there is no such user.
    Wrong,
    /// Too many others are being worked out.
    Busy,
}

/// Tells whether a password has a hash.
type Compare = dyn Fn(&str, &[u8]) -> bool + Send + Sync;

/// Judges passwords.
pub struct Logins {
    compare: Arc<Compare>,
    memory: Arc<Memory>,
    working: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Default for Logins {
    fn default() -> Self {
        Self::new(Arc::new(is))
    }
}

impl Logins {
    fn new(compare: Arc<Compare>) -> Self {
        Self {
            compare,
            memory: Arc::new(Memory { key: rand::random(), right: Mutex::default() }),
            working: Arc::new(Semaphore::new(WORKERS)),
            waiting: Semaphore::new(WAITING),
        }
    }

    /// Whether a user of a htpasswd file has this password. As soon as the file says otherwise, what is remembered of it
    /// counts no more.
    ///
    /// Cancel safe: what was begun for a request that is gone is finished, and counted as long as it takes.
    pub async fn judge(&self, lines: &str, user: &str, password: &str) -> Verdict {
        if password.len() > LONGEST {
            return Verdict::Wrong;
        }
        for hash in hashes(lines, user) {
            match self.matches(hash, password).await {
                Verdict::Wrong => {}
                verdict => return verdict,
            }
        }
        Verdict::Wrong
    }

    async fn matches(&self, hash: &str, password: &str) -> Verdict {
        let verdict = |right| if right { Verdict::Right } else { Verdict::Wrong };
        if !is_slow(hash) {
            return verdict((self.compare)(hash, password.as_bytes()));
        }
        let digest = self.memory.digest(hash, password);
        if self.memory.knows(&digest) {
            return Verdict::Right;
        }
        let Ok(_place) = self.waiting.try_acquire() else { return Verdict::Busy };
        let Ok(permit) = Arc::clone(&self.working).acquire_owned().await else { return Verdict::Busy };
        // Another request with the same password may have been first.
        if self.memory.knows(&digest) {
            return Verdict::Right;
        }
        let (compare, memory) = (Arc::clone(&self.compare), Arc::clone(&self.memory));
        let (hash, password) = (hash.to_owned(), password.to_owned());
        let work = tokio::task::spawn_blocking(move || {
            let right = compare(&hash, password.as_bytes());
            if right {
                memory.remember(digest);
            }
            // Not earlier: whoever comes next with the same has to find it remembered.
            drop(permit);
            right
        });
        verdict(work.await.unwrap_or(false))
    }
}

/// What was found to be right.
struct Memory {
    /// Of this process: what is remembered is of use to nobody else.
    key: [u8; 32],
    /// Since when, by what a hash and its password are digested to.
    right: Mutex<HashMap<[u8; 32], Instant>>,
}

impl Memory {
    fn digest(&self, hash: &str, password: &str) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.key);
        let mut context = hmac::Context::with_key(&key);
        // The length says where the one ends.
        context.update(&(hash.len() as u64).to_le_bytes());
        context.update(hash.as_bytes());
        context.update(password.as_bytes());
        let mut digest = [0; 32];
        digest.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
        digest
    }

    fn knows(&self, digest: &[u8; 32]) -> bool {
        self.right.lock().get(digest).is_some_and(|since| since.elapsed() < REMEMBERED)
    }

    fn remember(&self, digest: [u8; 32]) {
        let mut right = self.right.lock();
        if right.len() >= MOST {
            right.retain(|_, since| since.elapsed() < REMEMBERED);
        }
        if right.len() >= MOST {
            right.clear();
        }
        right.insert(digest, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    /// Takes the password `right` for every hash, and counts how often it is asked.
    fn counting() -> (Logins, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        let counted = count.clone();
        let compare = move |_: &str, password: &[u8]| {
            counted.fetch_add(1, Ordering::SeqCst);
            password == b"right"
        };
        (Logins::new(Arc::new(compare)), count)
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_right_is_remembered_for_a_while_and_only_that() {
        let (logins, count) = counting();
        let lines = "me:$a\nyou:$b\n";
        let asked = async |lines: &str, user: &str, password: &str| {
            let before = count.load(Ordering::SeqCst);
            (logins.judge(lines, user, password).await, count.load(Ordering::SeqCst) - before)
        };
        assert_eq!(asked(lines, "me", "right").await, (Verdict::Right, 1));
        assert_eq!(asked(lines, "me", "right").await, (Verdict::Right, 0));
        assert_eq!(asked(lines, "me", "wrong").await, (Verdict::Wrong, 1));
        assert_eq!(asked(lines, "me", "wrong").await, (Verdict::Wrong, 1));
        assert_eq!(asked(lines, "you", "right").await, (Verdict::Right, 1), "another hash");
        assert_eq!(asked(lines, "nobody", "right").await, (Verdict::Wrong, 0));
        assert_eq!(asked("me:$c", "me", "right").await, (Verdict::Right, 1), "the password was changed");
        assert_eq!(asked("", "me", "right").await, (Verdict::Wrong, 0), "the user was removed");
        assert_eq!(asked(lines, "me", &"x".repeat(256)).await, (Verdict::Wrong, 0));
        tokio::time::advance(REMEMBERED).await;
        assert_eq!(asked(lines, "me", "right").await, (Verdict::Right, 1));
    }

    #[tokio::test]
    async fn few_are_worked_out_at_once_and_more_than_can_wait_are_sent_away() {
        let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
        let (go, goes) = mpsc::channel::<()>();
        let goes = Mutex::new(goes);
        let compare = move |_: &str, _: &[u8]| {
            begun.send(()).unwrap();
            goes.lock().recv().is_ok()
        };
        let logins = Arc::new(Logins::new(Arc::new(compare)));
        let judged = |password: String| {
            let logins = logins.clone();
            tokio::spawn(async move { logins.judge("me:$a", "me", &password).await })
        };
        let mut first: Vec<_> = (0..WORKERS).map(|_| judged("same".to_owned())).collect();
        for _ in 0..WORKERS {
            begins.recv().await.unwrap();
        }
        first.extend((WORKERS..WAITING).map(|_| judged("same".to_owned())));
        while logins.waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        assert_eq!(logins.judge("me:$a", "me", "other").await, Verdict::Busy);
        // All who waited with the same password get by with what the first of them cost.
        (0..WORKERS).for_each(|_| go.send(()).unwrap());
        for request in first {
            assert_eq!(request.await.unwrap(), Verdict::Right);
        }
        assert!(begins.try_recv().is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_has_a_limit() {
        let (logins, _) = counting();
        for number in 0..=MOST {
            logins.memory.remember(logins.memory.digest(&number.to_string(), "x"));
        }
        assert!(logins.memory.right.lock().len() <= MOST);
    }
}
