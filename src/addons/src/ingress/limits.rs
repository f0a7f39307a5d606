//! How many requests a client may make in a time: a bucket for each, as nginx's `limit_req` with a burst of five times the
//! rate. Pure.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use tokio::time::Instant;

/// How many clients are remembered: beyond it those whose buckets are full again are forgotten.
const CLIENTS: usize = 10_000;
/// How many requests may come at once, as multiples of the rate; ingress-nginx's default.
const BURST: f64 = 5.0;

/// The buckets of all clients.
#[derive(Debug, Default)]
pub struct Limits {
    buckets: Mutex<HashMap<(IpAddr, String), (f64, Instant)>>,
}

impl Limits {
    /// Whether a client may come (again) to a host; `rate` in requests a second.
    pub fn allows(&self, client: IpAddr, host: &str, rate: f64, now: Instant) -> bool {
        let full = (rate * BURST).max(1.0);
        let mut buckets = self.buckets.lock();
        if buckets.len() >= CLIENTS {
            buckets.retain(|_, (left, at)| *left + now.duration_since(*at).as_secs_f64() * rate < full);
        }
        let (left, at) = buckets.entry((client, host.to_owned())).or_insert((full, now));
        *left = (*left + now.duration_since(*at).as_secs_f64() * rate).min(full);
        *at = now;
        if *left < 1.0 {
            return false;
        }
        *left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn a_client_has_a_burst_and_then_its_rate() {
        let limits = Limits::default();
        let (one, other) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let allowed = |client, at| (0..20).filter(|_| limits.allows(client, "h", 2.0, at)).count();
        let now = Instant::now();
        assert_eq!(allowed(one, now), 10);
        assert_eq!(allowed(other, now), 10);
        assert_eq!(allowed(one, now + Duration::from_secs(1)), 2);
        assert_eq!(allowed(one, now + Duration::from_secs(100)), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_stay_away_are_forgotten() {
        let limits = Limits::default();
        let now = Instant::now();
        for client in 0..20_000_u32 {
            limits.allows(
                IpAddr::V4(client.into()),
                "h",
                1.0,
                now + Duration::from_millis(u64::from(client)),
            );
        }
        assert!(limits.buckets.lock().len() <= CLIENTS + 1);
    }
}
