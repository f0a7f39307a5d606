//! How many seats each priority level has, and how many it has while levels lend to each other (KEP-1040,
//! "Dispatching").

/// What a level's configuration says about its seats.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shares {
    /// Its part of all seats, relative to other levels' parts.
    pub(super) nominal: u32,
    /// How much of that it lends when it does not need it.
    pub(super) lendable_percent: u32,
    /// How much of that it may have in addition; `None` is no limit.
    pub(super) borrowing_limit_percent: Option<u32>,
}

/// Seats of a level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Seats {
    /// While nobody lends.
    pub(super) nominal: u32,
    /// When it has lent all that it lends.
    pub(super) least: u32,
    /// When it has borrowed all that it may.
    pub(super) most: u32,
}

/// Divides all seats among the levels. Rounded up, so that they may be some more in sum.
pub(super) fn divide(total: u32, levels: &[Shares]) -> Vec<Seats> {
    let sum: u64 = levels.iter().map(|level| u64::from(level.nominal)).sum();
    let percent = |of: u32, percent: u32| (f64::from(of) * f64::from(percent) / 100.0).round() as u32;
    let seats = |level: &Shares| {
        let part = u64::from(total) * u64::from(level.nominal);
        let nominal = if sum == 0 { 0 } else { u32::try_from(part.div_ceil(sum)).unwrap_or(total) };
        Seats {
            nominal,
            least: nominal.saturating_sub(percent(nominal, level.lendable_percent)),
            most: match level.borrowing_limit_percent {
                Some(limit) => nominal.saturating_add(percent(nominal, limit)),
                None => total.max(nominal),
            },
        }
    };
    levels.iter().map(seats).collect()
}

/// Lends seats from levels that have no use for them to those that have: everyone keeps what they need of
/// their own, and the rest goes by how much is wanted. In the order of `levels`, which are seats and demand.
pub(super) fn lend(total: u32, levels: &[(Seats, u32)]) -> Vec<u32> {
    /// Halvings of the interval: enough for a seat in a thousand times all seats.
    const STEPS: u32 = 60;
    let bounds: Vec<(f64, f64, f64)> = levels
        .iter()
        .map(|(seats, demand)| {
            let least = seats.least.max(seats.nominal.min(*demand));
            (f64::from(least), f64::from(seats.most.max(least)), f64::from(least.max(*demand)).max(0.001))
        })
        .collect();
    let give =
        |(least, most, target): &(f64, f64, f64), proportion: f64| (target * proportion).clamp(*least, *most);
    let sum = |proportion: f64| bounds.iter().map(|bound| give(bound, proportion)).sum::<f64>();
    // The sum grows with the proportion: find where it is the total.
    let (mut low, mut high) = (0.0, f64::from(total.max(1)) * 1000.0);
    for _ in 0..STEPS {
        let middle = f64::midpoint(low, high);
        if sum(middle) < f64::from(total) { low = middle } else { high = middle }
    }
    bounds.iter().map(|bound| give(bound, low).round() as u32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(nominal: u32, lendable_percent: u32, borrowing_limit_percent: Option<u32>) -> Shares {
        Shares { nominal, lendable_percent, borrowing_limit_percent }
    }

    #[test]
    fn default_levels_have_the_seats_that_upstream_documents() {
        // system, node-high, leader-election, workload-high, workload-low, global-default, catch-all, exempt.
        let parts = [(30, 33), (40, 25), (10, 0), (40, 50), (100, 90), (20, 50), (5, 0), (0, 0)];
        let all: Vec<Shares> = parts.iter().map(|(n, l)| shares(*n, *l, None)).collect();
        let seats = divide(600, &all);
        let nominal: Vec<u32> = seats.iter().map(|s| s.nominal).collect();
        assert_eq!(nominal, [74, 98, 25, 98, 245, 49, 13, 0]);
        assert_eq!(seats[4], Seats { nominal: 245, least: 24, most: 600 });
    }

    #[test]
    fn a_limit_on_borrowing_holds() {
        let seats = divide(100, &[shares(1, 0, Some(50)), shares(1, 100, None)]);
        assert_eq!(seats[0], Seats { nominal: 50, least: 50, most: 75 });
        assert_eq!(lend(100, &[(seats[0], 1000), (seats[1], 0)])[0], 75);
    }

    #[test]
    fn idle_levels_lend_and_busy_ones_keep_their_own() {
        let seats = divide(100, &[shares(1, 80, None), shares(1, 80, None)]);
        assert_eq!(lend(100, &[(seats[0], 500), (seats[1], 0)]), [90, 10]);
        assert_eq!(lend(100, &[(seats[0], 500), (seats[1], 500)]), [50, 50]);
        assert_eq!(lend(100, &[(seats[0], 500), (seats[1], 30)]), [70, 30]);
        assert_eq!(lend(100, &[(seats[0], 0), (seats[1], 0)]), [50, 50]);
    }

    #[test]
    fn nobody_has_less_than_what_it_does_not_lend() {
        let seats = divide(60, &[shares(3, 0, None), shares(1, 100, None), shares(2, 50, None)]);
        for demands in [[0, 0, 0], [1000, 0, 0], [0, 1000, 0], [0, 0, 1000], [9, 9, 9], [1000, 1000, 1000]] {
            let wishes: Vec<_> = seats.iter().copied().zip(demands).collect();
            let got = lend(60, &wishes);
            assert!(got.iter().zip(&seats).all(|(got, seats)| *got >= seats.least), "{demands:?} {got:?}");
            assert!(got.iter().sum::<u32>().abs_diff(60) <= 2, "{demands:?} {got:?}");
        }
    }
}
