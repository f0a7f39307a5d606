//! What objects count against ResourceQuotas: used by admission, which reserves, and by the controller, which counts
//! anew.
//!
//! Upstream counterpart: `k8s.io/apiserver/pkg/quota` and `pkg/quota/v1/evaluator`.

mod claim;
mod evaluator;
mod pod;
mod resource_claim;
mod scopes;
mod service;

pub use evaluator::Evaluator;
pub use pod::counts as pod_counts;
pub use scopes::Scopes;

use crate::validation::{quantity, quantity_text};
use crate::value::{at, entries};
use apimachinery::meta;
use apimachinery::quantity::Quantity;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// Quantities by the name of what is limited.
pub type Amounts = BTreeMap<String, Quantity>;

/// What of a ResourceQuota matters.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(from = "Value")]
pub struct Quota {
    /// Its name.
    pub name: String,
    /// Which objects it is about.
    pub scopes: Scopes,
    /// `spec.hard`.
    pub wanted: Amounts,
    /// `status.hard`; nothing until the controller has seen the quota.
    pub hard: Amounts,
    /// `status.used`.
    pub used: Amounts,
}

impl From<Value> for Quota {
    fn from(object: Value) -> Self {
        Self {
            name: meta::name(&object).to_owned(),
            scopes: Scopes::of(at(&object, &["spec"])),
            wanted: amounts(at(&object, &["spec"]), "hard"),
            hard: amounts(at(&object, &["status"]), "hard"),
            used: amounts(at(&object, &["status"]), "used"),
        }
    }
}

/// A map of quantities in an object.
pub fn amounts(object: &Value, field: &str) -> Amounts {
    entries(object, field).filter_map(|(name, value)| Some((name.to_owned(), quantity(value)?))).collect()
}

/// Quantities as an object holds them.
pub fn to_value(amounts: &Amounts) -> Value {
    Value::Object(
        amounts.iter().map(|(name, amount)| (name.clone(), amount.to_string().into())).collect::<Map<_, _>>(),
    )
}

/// Adds one map of quantities to another.
pub fn add(to: &mut Amounts, more: &Amounts) {
    for (name, amount) in more {
        let sum = to.get(name).map_or(*amount, |before| *before + *amount);
        to.insert(name.clone(), sum);
    }
}

/// Only those of these names.
pub fn mask(amounts: &Amounts, names: &Amounts) -> Amounts {
    amounts
        .iter()
        .filter(|(name, _)| names.contains_key(*name))
        .map(|(name, amount)| (name.clone(), *amount))
        .collect()
}

/// `pods=1,requests.cpu=2`, as refusals have it.
pub fn pretty(amounts: &Amounts) -> String {
    let texts: Vec<String> = amounts.iter().map(|(name, amount)| format!("{name}={amount}")).collect();
    texts.join(",")
}

/// Nothing.
pub fn zero() -> Quantity {
    count(0)
}

fn one() -> Quantity {
    Quantity::from_units(1, apimachinery::quantity::Format::DecimalSi)
}

fn count(n: usize) -> Quantity {
    Quantity::from_units(i64::try_from(n).unwrap_or(i64::MAX), apimachinery::quantity::Format::DecimalSi)
}

/// The quantity in a field, zero when there is none.
fn amount(value: &Value) -> Quantity {
    quantity_text(value).parse().unwrap_or_else(|_| zero())
}
