//! Who has which address of the ranges. Pure.

use super::plan::{families, given, requested};
use super::ranges::Ranges;
use apimachinery::family::Family;
use k8s_openapi::api::core::v1::Service;
use std::collections::BTreeSet;
use std::net::IpAddr;

/// The ranges, and what of them is taken.
pub struct Pool<'a> {
    ranges: &'a Ranges,
    taken: BTreeSet<IpAddr>,
}

impl<'a> Pool<'a> {
    /// Nothing is taken yet.
    pub fn new(ranges: &'a Ranges) -> Self {
        Self { ranges, taken: BTreeSet::new() }
    }

    /// Takes what a Service has and may keep, at most one address of each of its families. It keeps none that is not the
    /// one that it asks for.
    pub fn keep(&mut self, service: &Service) -> Vec<IpAddr> {
        let Ok(wanted) = requested(service) else { return Vec::new() };
        let given = given(service);
        let may = |address: &IpAddr, family: Family| {
            let other = |wanted: &IpAddr| family.has(wanted) && wanted != address;
            family.has(address) && self.ranges.contains(*address) && !wanted.iter().any(other)
        };
        let kept = families(service)
            .into_iter()
            .filter_map(|family| given.iter().copied().find(|address| may(address, family)));
        kept.filter(|address| self.taken.insert(*address)).collect()
    }

    /// Completes what a Service kept: it gets addresses as its families and their policy demand. When it gets none, those
    /// that it kept are free.
    ///
    /// # Errors
    /// Tells what is lacking.
    pub fn complete(&mut self, service: &Service, kept: &[IpAddr]) -> Result<Vec<IpAddr>, String> {
        let found = self.find(service, kept);
        match &found {
            Ok(addresses) => self.taken.extend(addresses),
            Err(_) => self.taken.retain(|address| !kept.contains(address)),
        }
        found
    }

    fn find(&self, service: &Service, kept: &[IpAddr]) -> Result<Vec<IpAddr>, String> {
        let wanted = requested(service)?;
        for address in &wanted {
            if !self.ranges.contains(*address) {
                return Err(format!("{address} is in no range"));
            }
            if self.taken.contains(address) && !kept.contains(address) {
                return Err(format!("{address} is taken"));
            }
        }
        of_each_family(service, |family| {
            let fixed = wanted.iter().chain(kept).copied().find(|address| family.has(address));
            let found = fixed.or_else(|| self.ranges.iter(family).find(|a| !self.taken.contains(a)));
            found.map(|address| vec![address]).ok_or_else(|| format!("no {family} address is free"))
        })
    }
}

/// What is found for each family of a Service, when that is enough for it: all, unless it only prefers to have both.
///
/// # Errors
/// What was not found.
pub fn of_each_family(
    service: &Service,
    find: impl Fn(Family) -> Result<Vec<IpAddr>, String>,
) -> Result<Vec<IpAddr>, String> {
    let policy = service.spec.as_ref().and_then(|spec| spec.ip_family_policy.as_deref());
    let (mut found, mut lacking) = (Vec::new(), None);
    for family in families(service) {
        match find(family) {
            Ok(addresses) => found.extend(addresses),
            Err(why) => lacking = lacking.or(Some(why)),
        }
    }
    match lacking {
        Some(why) if found.is_empty() || policy != Some("PreferDualStack") => Err(why),
        _ => Ok(found),
    }
}
