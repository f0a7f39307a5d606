//! ServiceCIDR (KEP-1880).

use crate::Kind;
use crate::columns;
use crate::validation::{Errors, canonical_cidr, sloppy_network};
use crate::value;
use apimachinery::field::{ErrorList, Path};
use apimachinery::table::Column;
use jiff::Timestamp;
use serde_json::Value;

/// One network of each family.
const MAX_CIDRS: usize = 2;
const IMMUTABLE: &str = "field is immutable";

/// ServiceCIDR.
pub struct ServiceCIDR;

impl Kind for ServiceCIDR {
    fn group_kind(&self) -> (&'static str, &'static str) {
        ("networking.k8s.io", "ServiceCIDR")
    }

    fn validate(&self, object: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec").child("cidrs");
        let cidrs = cidrs(object);
        let spec = || value::field(object, "spec").clone();
        if cidrs.is_empty() {
            errors.required(&path, "at least one CIDR required");
            return errors;
        }
        if cidrs.len() > MAX_CIDRS {
            errors.invalid(&path, spec(), "may only hold up to 2 values");
            return errors;
        }
        if let [one, other] = cidrs.as_slice() {
            let family = |cidr: &str| sloppy_network(cidr).map(|(ip, _)| ip.is_ipv4());
            if !matches!((family(one), family(other)), (Some(a), Some(b)) if a != b) {
                let detail = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
                errors.invalid(&path, spec(), detail);
                return errors;
            }
        }
        for (n, cidr) in cidrs.iter().enumerate() {
            let problems = canonical_cidr(cidr);
            if !problems.is_empty() {
                errors.check_at(&path.index(n), cidr, problems);
            }
        }
        errors
    }

    /// Only a second network may come, of the other family.
    fn validate_update(&self, object: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("spec").child("cidrs");
        let (new, old) = (cidrs(object), cidrs(old));
        if new.len() == old.len() || (old.len() == 1 && new.len() == MAX_CIDRS) {
            for (n, (new, old)) in new.iter().zip(&old).enumerate() {
                if new != old {
                    errors.invalid(&path.index(n), *new, IMMUTABLE);
                }
            }
            if new.len() != old.len() {
                errors.extend(self.validate(object));
            }
        } else {
            errors.invalid(&path, new, IMMUTABLE);
        }
        errors
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::object_name(), Column::new("CIDRs"), Column::age()]
    }

    fn row(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        let cidrs = columns::joined(value::texts(value::field(object, "spec"), "cidrs"));
        vec![columns::name(object), Value::from(cidrs), columns::age(object, now)]
    }
}

fn cidrs(object: &Value) -> Vec<&str> {
    value::texts(value::field(object, "spec"), "cidrs").collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn told(errors: &ErrorList) -> Vec<String> {
        errors.iter().map(ToString::to_string).collect()
    }

    fn object(cidrs: &[&str]) -> Value {
        json!({"spec": {"cidrs": cidrs}})
    }

    #[test]
    fn networks_are_whole_and_of_two_families() {
        let check = |cidrs: &[&str]| told(&ServiceCIDR.validate(&object(cidrs)));
        assert!(check(&["10.0.0.0/24", "fd00::/112"]).is_empty());
        assert_eq!(check(&[]), ["spec.cidrs: Required value: at least one CIDR required"]);
        assert_eq!(
            check(&["10.0.0.1/24"]),
            [
                "spec.cidrs[0]: Invalid value: \"10.0.0.1/24\": must not have bits set beyond the prefix length"
            ]
        );
        assert_eq!(
            check(&["FD00::/112"]),
            ["spec.cidrs[0]: Invalid value: \"FD00::/112\": must be in canonical form (\"fd00::/112\")"]
        );
        assert_eq!(
            check(&["x"]),
            [
                "spec.cidrs[0]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
            ]
        );
        assert_eq!(
            check(&["10.0.0.0/24", "10.0.1.0/24"]),
            [
                "spec.cidrs: Invalid value: {\"cidrs\":[\"10.0.0.0/24\",\"10.0.1.0/24\"]}: may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"
            ]
        );
    }

    #[test]
    fn a_second_family_may_be_added() {
        let update =
            |old: &[&str], new: &[&str]| told(&ServiceCIDR.validate_update(&object(new), &object(old)));
        assert!(update(&["10.0.0.0/24"], &["10.0.0.0/24", "fd00::/112"]).is_empty());
        assert_eq!(
            update(&["10.0.0.0/24"], &["10.0.1.0/24"]),
            ["spec.cidrs[0]: Invalid value: \"10.0.1.0/24\": field is immutable"]
        );
        assert_eq!(update(&["10.0.0.0/24", "fd00::/112"], &["10.0.0.0/24"]).len(), 1);
    }
}
