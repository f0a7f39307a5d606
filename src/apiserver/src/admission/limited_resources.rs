//! What may be used only where a quota allows it (`ResourceQuotaConfiguration` of `apiserver.config.k8s.io`).

use super::support::forbidden;
use crate::admission::chain::Request;
use crate::settings_file::{self, ConfigurationError};
use api::quota::{Amounts, Evaluator, Quota, Scopes};
use apimachinery::status::{Reason, Status};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The configuration; by default nothing is limited where no quota says so.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct LimitedResources {
    #[serde(default)]
    limited_resources: Vec<Limited>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Limited {
    #[serde(default)]
    api_group: String,
    resource: String,
    /// Parts of the names of what is limited.
    #[serde(default)]
    match_contains: Vec<String>,
    /// Scopes whose objects are limited, as a quota's `scopeSelector.matchExpressions`.
    #[serde(default, deserialize_with = "scopes")]
    match_scopes: Vec<Scopes>,
}

fn scopes<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<Scopes>, D::Error> {
    let given = Vec::<Value>::deserialize(deserializer)?;
    Ok(Scopes::of(&json!({"scopeSelector": {"matchExpressions": given}})).apart())
}

impl LimitedResources {
    /// Reads the configuration.
    ///
    /// # Errors
    /// When the text holds something else.
    pub(super) fn parse(text: &str) -> Result<Self, ConfigurationError> {
        settings_file::parse(text, "ResourceQuotaConfiguration")
    }

    /// Whether nothing is limited.
    pub(super) fn is_empty(&self) -> bool {
        self.limited_resources.is_empty()
    }

    /// Whether the quotas of the namespace cover what an object uses of what is limited. `uses` is what it uses more
    /// than before.
    ///
    /// # Errors
    /// 403 for amounts that no quota limits, 500 (as upstream has it) for scopes that none is about.
    pub(super) fn check(
        &self,
        request: &Request<'_>,
        object: &Value,
        evaluator: &Evaluator,
        quotas: &[std::sync::Arc<Quota>],
        uses: &Amounts,
    ) -> Result<(), Status> {
        let of = request.resource.group_resource();
        let own =
            self.limited_resources.iter().filter(|l| l.api_group == of.group && l.resource == of.resource);
        let parts: Vec<&String> = own.flat_map(|limited| &limited.match_contains).collect();
        let limited = uses.keys().filter(|name| parts.iter().any(|part| name.contains(part.as_str())));
        let covered = |name: &str| {
            quotas.iter().any(|quota| quota.hard.contains_key(name) && evaluator.matches(quota, object))
        };
        let uncovered: Vec<&str> = limited.map(String::as_str).filter(|name| !covered(name)).collect();
        if !uncovered.is_empty() {
            let why = format!("insufficient quota to consume: {}", uncovered.join(","));
            return Err(forbidden(request, object, why));
        }
        let names: BTreeSet<String> = quotas
            .iter()
            .flat_map(|quota| quota.scopes.apart())
            .filter(|scope| evaluator.in_scopes(scope, object))
            .map(|scope| scope.name().to_owned())
            .collect();
        let scopes = self.limited_resources.iter().flat_map(|limited| &limited.match_scopes);
        let uncovered: Vec<String> = scopes
            .filter(|scope| evaluator.in_scopes(scope, object) && !names.contains(scope.name()))
            .map(ToString::to_string)
            .collect();
        if uncovered.is_empty() {
            return Ok(());
        }
        let why = format!("insufficient quota to match these scopes: [{}]", uncovered.join(" "));
        Err(Status::failure(500, Reason::Unknown, why))
    }
}
