//! ResourceQuota: nothing is created in a namespace beyond what its quotas allow.
//!
//! What a write will use is added to `status.used` before the write: two that race for the last of something cannot
//! both have it, whichever server they ask. A write that fails afterwards leaves it reserved until the controller
//! counts anew, as upstream.

use std::collections::HashMap;
use std::sync::Arc;

use api::quota::{self, Amounts, Evaluator, Quota};
use api::value;
use apimachinery::gvk::GroupResource;
use apimachinery::status::Status;
use async_trait::async_trait;
use jiff::Timestamp;
use parking_lot::Mutex;
use serde_json::Value;
use storage::Object;

use super::chain::{Operation, Plugin, Request, Validation};
use super::limited_resources::LimitedResources;
use super::support::forbidden;
use crate::cached::Memo;
use crate::registry::{Registry, decode};

/// How often a quota that somebody else changed in between is looked at again. Writers of this server take turns, so
/// that only the controller and other servers can be in the way.
const ATTEMPTS: usize = 10;

/// See the module.
pub(super) struct ResourceQuota {
    registry: Registry,
    quotas: Memo<Quota>,
    limited: Arc<LimitedResources>,
    turns: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

fn quotas() -> GroupResource {
    GroupResource::new("", "resourcequotas")
}

impl ResourceQuota {
    pub(super) fn new(registry: Registry, limited: Arc<LimitedResources>) -> Self {
        let quotas = Memo::new(registry.clone(), "", "resourcequotas");
        Self { quotas, registry, limited, turns: Mutex::default() }
    }

    /// Writers into one namespace reserve one after another: they would only run into each other.
    fn turn(&self, namespace: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut turns = self.turns.lock();
        turns.retain(|name, turn| name == namespace || Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(namespace.to_owned()).or_default())
    }

    /// Refuses what is limited where no quota covers it.
    async fn check_limited(&self, charge: &Charge<'_>) -> Result<(), Status> {
        let Charge { request, object, evaluator, now } = charge;
        let mut uses = evaluator.usage(object, *now);
        for (name, before) in request.old.map(|old| evaluator.usage(old, *now)).into_iter().flatten() {
            let more = uses.get(&name).copied().unwrap_or_else(quota::zero) - before;
            uses.insert(name, more);
        }
        uses.retain(|_, amount| amount.sign() > 0);
        if uses.is_empty() {
            return Ok(());
        }
        let quotas = self.quotas.list(request.namespace).await?;
        self.limited.check(request, object, evaluator, &quotas, &uses)
    }

    async fn reserve(&self, charge: &Charge<'_>) -> Result<(), Status> {
        let namespace = charge.request.namespace;
        if self.registry.list_recent(&quotas(), namespace).await?.items.is_empty() {
            return Ok(());
        }
        let turn = self.turn(namespace);
        let _turn = turn.lock().await;
        let mut reserved: Vec<String> = Vec::new();
        for _ in 0..ATTEMPTS {
            let due = self.due(charge, &reserved).await?;
            if charge.request.dry_run {
                return Ok(());
            }
            let mut again = false;
            for (name, object, used) in due {
                match self.write(&object, &used).await {
                    Ok(()) => reserved.push(name),
                    Err(e) if e.is_not_found() => {}
                    Err(e) if e.is_conflict() => again = true,
                    Err(e) => return Err(e),
                }
            }
            if !again {
                return Ok(());
            }
        }
        Err(Status::modified(&quotas(), namespace))
    }

    /// The quotas that are to change, with what will be used of them, unless one refuses.
    async fn due(
        &self,
        charge: &Charge<'_>,
        reserved: &[String],
    ) -> Result<Vec<(String, Arc<Object>, Amounts)>, Status> {
        let mut due = Vec::new();
        for object in self.registry.list(&quotas(), charge.request.namespace).await?.items {
            let quota = self.quotas.parse(&object)?;
            if reserved.contains(&quota.name) {
                continue;
            }
            if let Some(used) = charge.of(&quota)? {
                due.push((quota.name.clone(), object, used));
            }
        }
        Ok(due)
    }

    async fn write(&self, object: &Object, used: &Amounts) -> Result<(), Status> {
        let mut object = decode(object)?;
        if let Some(status) = value::ensure_object(&mut object, "status") {
            value::set(status, "used", quota::to_value(used));
        }
        self.registry.update(&quotas(), &object).await.map(|_| ())
    }
}

/// One write and what it uses.
struct Charge<'a> {
    request: &'a Request<'a>,
    object: &'a Value,
    evaluator: Evaluator,
    now: Timestamp,
}

impl Charge<'_> {
    /// What of a quota will be used after the write; `None` when the write does not change it.
    ///
    /// # Errors
    /// 403 when that is more than there is, or cannot be told.
    fn of(&self, quota: &Quota) -> Result<Option<Amounts>, Status> {
        if !self.evaluator.matches(quota, self.object) {
            return Ok(None);
        }
        let refuse = |why: String| Err(forbidden(self.request, self.object, why));
        let name = &quota.name;
        let about: Amounts = quota
            .hard
            .iter()
            .filter(|(resource, _)| self.evaluator.is_about(resource))
            .map(|(resource, amount)| (resource.clone(), *amount))
            .collect();
        if let Err(why) = self.evaluator.constraints(&about, self.object) {
            return refuse(format!("failed quota: {name}: {why}"));
        }
        if !about.keys().all(|resource| quota.used.contains_key(resource)) {
            let resources: Vec<&str> = about.keys().map(String::as_str).collect();
            return refuse(format!("status unknown for quota: {name}, resources: {}", resources.join(",")));
        }
        let requested = quota::mask(&self.delta(quota)?, &about);
        if requested.is_empty() {
            return Ok(None);
        }
        let mut used = quota.used.clone();
        quota::add(&mut used, &requested);
        let exceeded: Amounts = requested
            .keys()
            .filter_map(|resource| {
                let (used, hard) = (used.get(resource)?, quota.hard.get(resource)?);
                (used > hard).then(|| (resource.clone(), *hard))
            })
            .collect();
        if exceeded.is_empty() {
            return Ok(Some(used));
        }
        refuse(format!(
            "exceeded quota: {name}, requested: {}, used: {}, limited: {}",
            quota::pretty(&quota::mask(&requested, &exceeded)),
            quota::pretty(&quota::mask(&quota.used, &exceeded)),
            quota::pretty(&exceeded),
        ))
    }

    /// What the write uses more than the object did before; without what does not change.
    fn delta(&self, quota: &Quota) -> Result<Amounts, Status> {
        let mut delta = self.evaluator.usage(self.object, self.now);
        let negative: Vec<&str> =
            delta.iter().filter(|(_, amount)| amount.sign() < 0).map(|(name, _)| name.as_str()).collect();
        if !negative.is_empty() {
            let why = format!("quota usage is negative for resource(s): {}", negative.join(","));
            return Err(forbidden(self.request, self.object, why));
        }
        if let Some(old) = self.request.old.filter(|old| self.evaluator.matches(quota, old)) {
            for (name, before) in self.evaluator.usage(old, self.now) {
                let left = delta.get(&name).copied().unwrap_or_else(quota::zero) - before;
                let left = if self.evaluator.may_shrink() { left } else { left.max(quota::zero()) };
                delta.insert(name, left);
            }
        }
        delta.retain(|_, amount| !amount.is_zero());
        Ok(delta)
    }
}

impl Plugin for ResourceQuota {
    fn name(&self) -> &'static str {
        "ResourceQuota"
    }

    fn validation(&self) -> Option<&dyn Validation> {
        Some(self)
    }
}

#[async_trait]
impl Validation for ResourceQuota {
    async fn validate(&self, request: &Request<'_>, object: &Value) -> Result<(), Status> {
        if request.namespace.is_empty() {
            return Ok(());
        }
        let Some(evaluator) = Evaluator::of(&request.resource.group_resource()) else { return Ok(()) };
        let counts = match request.operation {
            Operation::Create => request.subresource.is_empty(),
            Operation::Update => evaluator.counts_updates(request.subresource),
            Operation::Delete | Operation::Connect => false,
        };
        if !counts {
            return Ok(());
        }
        let charge = Charge { request, object, evaluator, now: Timestamp::now() };
        if !self.limited.is_empty() {
            self.check_limited(&charge).await?;
        }
        self.reserve(&charge).await
    }
}

#[cfg(test)]
#[path = "resource_quota_tests.rs"]
mod tests;
