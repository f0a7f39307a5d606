//! Numbers that may be given as a percentage (`maxSurge: 25%`).

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// The value of a number or percentage of `total`; `None` when it is neither.
pub fn resolve(value: &IntOrString, total: i32, round_up: bool) -> Option<i32> {
    match value {
        IntOrString::Int(value) => Some(*value),
        IntOrString::String(text) => {
            let percent: i64 = text.strip_suffix('%')?.parse().ok()?;
            let product = percent.checked_mul(i64::from(total))?;
            let rounded =
                if round_up { product.checked_add(99)?.div_euclid(100) } else { product.div_euclid(100) };
            i32::try_from(rounded).ok()
        }
    }
}

/// `maxSurge` (rounded up) and `maxUnavailable` (rounded down) for a number of replicas.
///
/// Both zero would allow no progress; then one may be unavailable, as the API conventions of rollouts say.
pub fn resolve_fenceposts(
    max_surge: Option<&IntOrString>,
    max_unavailable: Option<&IntOrString>,
    replicas: i32,
) -> (i32, i32) {
    let zero = IntOrString::Int(0);
    let surge = resolve(max_surge.unwrap_or(&zero), replicas, true).unwrap_or(0);
    let unavailable = resolve(max_unavailable.unwrap_or(&zero), replicas, false).unwrap_or(0);
    if surge == 0 && unavailable == 0 { (0, 1) } else { (surge, unavailable) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn surge_rounds_up_and_unavailable_rounds_down() {
        let quarter = IntOrString::String("25%".into());
        assert_eq!(resolve_fenceposts(Some(&quarter), Some(&quarter), 10), (3, 2));
        assert_eq!(resolve_fenceposts(Some(&quarter), Some(&quarter), 1), (1, 0));
        assert_eq!(resolve_fenceposts(Some(&IntOrString::Int(0)), Some(&quarter), 1), (0, 1));
        assert_eq!(resolve(&IntOrString::String("many".into()), 10, true), None);
    }
}
