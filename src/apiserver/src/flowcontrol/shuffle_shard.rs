//! Dealing flows onto queues: each flow gets a small hand of all queues, so that two flows seldom share their
//! whole hand, and a noisy one fills only its own.

/// The largest hand. More would need more than the 60 bits of hash that validation allows.
pub(super) const MAX_HAND: usize = 32;

/// The hand of a flow: distinct numbers of queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hand {
    cards: [u32; MAX_HAND],
    size: usize,
}

impl Hand {
    /// Deals `size` of `queues` queues by the flow's hash, each hand as likely as any other.
    pub(super) fn deal(hash: u64, queues: u32, size: u32) -> Self {
        let queues = queues.max(1);
        let size = (size.max(1).min(queues) as usize).min(MAX_HAND);
        let mut hand = Self { cards: [0; MAX_HAND], size };
        let mut left = hash;
        // In ascending order, as far as they are dealt.
        let mut sorted = [u32::MAX; MAX_HAND];
        for dealt in 0..size {
            let rest = u64::from(queues) - dealt as u64;
            let mut card = (left % rest) as u32;
            left /= rest;
            // The n-th of those that are not dealt yet.
            let mut place = 0;
            for taken in sorted.iter().take(dealt) {
                if *taken > card {
                    break;
                }
                card += 1;
                place += 1;
            }
            if let Some(tail) = sorted.get_mut(place..=dealt) {
                tail.rotate_right(1);
                if let Some(first) = tail.first_mut() {
                    *first = card;
                }
            }
            if let Some(slot) = hand.cards.get_mut(dealt) {
                *slot = card;
            }
        }
        hand
    }

    /// The queues in it.
    pub(super) fn cards(&self) -> &[u32] {
        self.cards.get(..self.size).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_hand_holds_distinct_queues_and_depends_on_the_hash() {
        let mut seen = HashSet::new();
        for hash in 0..5000_u64 {
            let hand = Hand::deal(hash.wrapping_mul(0x9e37_79b9_7f4a_7c15), 64, 6);
            let distinct: HashSet<u32> = hand.cards().iter().copied().collect();
            assert_eq!(distinct.len(), 6);
            assert!(distinct.iter().all(|queue| *queue < 64));
            seen.insert(hand.cards().to_vec());
        }
        assert!(seen.len() > 4900);
    }

    #[test]
    fn every_queue_is_dealt_about_as_often() {
        let mut count = [0_u32; 16];
        // 16 * 15 * 14 hands of three: every one of them once.
        for hash in 0..16 * 15 * 14 {
            for queue in Hand::deal(hash, 16, 3).cards() {
                count[*queue as usize] += 1;
            }
        }
        assert!(count.iter().all(|n| *n == 16 * 15 * 14 * 3 / 16), "{count:?}");
    }

    #[test]
    fn a_hand_is_never_larger_than_the_deck() {
        assert_eq!(Hand::deal(u64::MAX, 1, 8).cards(), [0]);
        assert_eq!(Hand::deal(7, 0, 0).cards(), [0]);
        assert_eq!(Hand::deal(7, 1000, 1000).cards().len(), MAX_HAND);
    }
}
