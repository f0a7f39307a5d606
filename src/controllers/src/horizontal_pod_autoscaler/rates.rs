//! How fast replicas may change: stabilization windows and policies of `spec.behavior` (KEP-853). Pure.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::{HPAScalingPolicy, HPAScalingRules, HorizontalPodAutoscalerBehavior};

/// What was decided lately about one autoscaler; lost at a restart, as upstream's is.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    recommendations: Vec<(Timestamp, i32)>,
    ups: Vec<(Timestamp, i32)>,
    downs: Vec<(Timestamp, i32)>,
}

/// A reason with its message, for a condition.
pub type Reason = (&'static str, &'static str);

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// How many replicas there should be.
    pub replicas: i32,
    /// Why there are not as many as the metrics call for; none when there are.
    pub limited: Option<Reason>,
    /// Earlier recommendations hold it back.
    pub stabilized: Option<Reason>,
}

/// Bounds of replicas.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// At least.
    pub min: i32,
    /// At most.
    pub max: i32,
}

const TOO_MANY: Reason =
    ("TooManyReplicas", "the desired replica count is more than the maximum replica count");
const TOO_FEW: Reason =
    ("TooFewReplicas", "the desired replica count is less than the minimum replica count");
const UP_LIMIT: Reason =
    ("ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate");
const DOWN_LIMIT: Reason =
    ("ScaleDownLimit", "the desired replica count is decreasing faster than the maximum scale rate");

impl Memory {
    /// Brings what the metrics call for within the bounds, the windows and the policies.
    pub fn decide(
        &mut self,
        current: i32,
        wanted: i32,
        bounds: Bounds,
        behavior: Option<&HorizontalPodAutoscalerBehavior>,
        now: Timestamp,
    ) -> Decision {
        let up = Rules::up(behavior.and_then(|b| b.scale_up.as_ref()));
        let down = Rules::down(behavior.and_then(|b| b.scale_down.as_ref()));
        let stable = self.stabilize(current, wanted, up.window, down.window, now);
        let stabilized = (stable != wanted).then_some(match wanted > current {
            true => (
                "ScaleUpStabilized",
                "recent recommendations were lower than current one, applying the lowest recent recommendation",
            ),
            false => (
                "ScaleDownStabilized",
                "recent recommendations were higher than current one, applying the highest recent recommendation",
            ),
        });
        let (replicas, limited) = self.limit(current, stable, bounds, &up, &down, now);
        Decision { replicas, limited, stabilized }
    }

    /// Notes that replicas changed.
    pub fn changed(&mut self, from: i32, to: i32, now: Timestamp) {
        // No policy looks back further than half an hour.
        const LONGEST: SignedDuration = SignedDuration::from_secs(1800);
        for events in [&mut self.ups, &mut self.downs] {
            events.retain(|(at, _)| now.duration_since(*at) <= LONGEST);
        }
        if to > from {
            self.ups.push((now, to - from));
        } else {
            self.downs.push((now, from - to));
        }
    }

    fn stabilize(
        &mut self,
        current: i32,
        wanted: i32,
        up: SignedDuration,
        down: SignedDuration,
        now: Timestamp,
    ) -> i32 {
        let within = |window: SignedDuration| {
            let recent = self.recommendations.iter().filter(move |(at, _)| now.duration_since(*at) < window);
            recent.map(|(_, replicas)| *replicas)
        };
        let lowest = within(up).fold(wanted, i32::min);
        let highest = within(down).fold(wanted, i32::max);
        self.recommendations.retain(|(at, _)| now.duration_since(*at) < up.max(down));
        self.recommendations.push((now, wanted));
        current.max(lowest).min(highest)
    }

    fn limit(
        &self,
        current: i32,
        wanted: i32,
        bounds: Bounds,
        up: &Rules<'_>,
        down: &Rules<'_>,
        now: Timestamp,
    ) -> (i32, Option<Reason>) {
        let sum = |events: &[(Timestamp, i32)], seconds: i32| -> i32 {
            let period = SignedDuration::from_secs(i64::from(seconds));
            events.iter().filter(|(at, _)| now.duration_since(*at) < period).map(|(_, change)| change).sum()
        };
        // What there was when a policy's period began.
        let began = |seconds| current - sum(&self.ups, seconds) + sum(&self.downs, seconds);
        if wanted > current {
            let limits = up.policies.iter().map(|policy| {
                let began = began(policy.period_seconds);
                match policy.type_.as_str() {
                    "Percent" => part(began, 100 + i64::from(policy.value), true),
                    _ => began.saturating_add(policy.value),
                }
            });
            let limit = match up.select {
                "Disabled" => Some(current),
                "Min" => limits.min(),
                _ => limits.max(),
            };
            let limit = limit.unwrap_or(bounds.max).max(current);
            let (most, reason) = if bounds.max > limit { (limit, UP_LIMIT) } else { (bounds.max, TOO_MANY) };
            if wanted > most {
                return (most, Some(reason));
            }
        } else if wanted < current {
            let limits = down.policies.iter().map(|policy| {
                let began = began(policy.period_seconds);
                match policy.type_.as_str() {
                    "Percent" => part(began, 100 - i64::from(policy.value), false),
                    _ => began.saturating_sub(policy.value),
                }
            });
            let limit = match down.select {
                "Disabled" => Some(current),
                "Min" => limits.max(),
                _ => limits.min(),
            };
            let limit = limit.unwrap_or(bounds.min).min(current);
            let (least, reason) =
                if bounds.min < limit { (limit, DOWN_LIMIT) } else { (bounds.min, TOO_FEW) };
            if wanted < least {
                return (least, Some(reason));
            }
        }
        (wanted.clamp(bounds.min, bounds.max), None)
    }
}

/// Percent of replicas, whole ones.
fn part(replicas: i32, percent: i64, up: bool) -> i32 {
    let hundredths = i64::from(replicas).saturating_mul(percent);
    i32::try_from(if up { (hundredths + 99).div_euclid(100) } else { hundredths.div_euclid(100) })
        .unwrap_or(i32::MAX)
}

/// The rules of one direction, with the defaults of the API's documentation.
struct Rules<'a> {
    window: SignedDuration,
    select: &'a str,
    policies: Vec<HPAScalingPolicy>,
}

impl<'a> Rules<'a> {
    fn up(rules: Option<&'a HPAScalingRules>) -> Self {
        Self::new(rules, 0, &[("Pods", 4), ("Percent", 100)])
    }

    fn down(rules: Option<&'a HPAScalingRules>) -> Self {
        Self::new(rules, 300, &[("Percent", 100)])
    }

    fn new(rules: Option<&'a HPAScalingRules>, window: i64, policies: &[(&str, i32)]) -> Self {
        let default = |(type_, value): &(&str, i32)| HPAScalingPolicy {
            type_: (*type_).to_owned(),
            value: *value,
            period_seconds: 15,
        };
        let given = rules.and_then(|r| r.stabilization_window_seconds).map_or(window, i64::from);
        Self {
            window: SignedDuration::from_secs(given),
            select: rules.and_then(|r| r.select_policy.as_deref()).unwrap_or("Max"),
            policies: rules
                .and_then(|r| r.policies.clone())
                .unwrap_or_else(|| policies.iter().map(default).collect()),
        }
    }
}
