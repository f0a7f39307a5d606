//! Claims that a token does not hold but says where to get: as tokens, maybe of other issuers (OpenID Connect Core 1.0,
//! section 5.6.2). Upstream resolves that of the groups.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::issuer_keys::{IssuerKeys, Web};
use super::jwt;

/// Issuers whose keys are remembered: tokens of a configured issuer name them, which are few.
const ISSUERS: usize = 32;

/// Gets claims from where tokens say that they are.
pub(super) struct DistributedClaims {
    web: Web,
    issuers: Mutex<HashMap<String, Arc<IssuerKeys>>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Source {
    endpoint: String,
    access_token: String,
}

#[derive(Deserialize)]
struct Unverified {
    #[serde(default)]
    iss: String,
}

impl DistributedClaims {
    pub(super) fn new(web: Web) -> Self {
        Self { web, issuers: Mutex::default() }
    }

    /// The value of a claim that is elsewhere; `None` when the token holds it, or does not have it at all. `check`
    /// judges the claims that were fetched: audience and times.
    ///
    /// # Errors
    /// In words, when it cannot be had.
    pub(super) async fn resolve(
        &self,
        claims: &Map<String, Value>,
        claim: &str,
        algorithms: &[String],
        check: impl Fn(&Map<String, Value>) -> Result<(), String>,
    ) -> Result<Option<Value>, String> {
        let Some(source) = source(claims, claim)? else { return Ok(None) };
        let url = source.endpoint.as_str();
        let got = self.web.get(url, &source.access_token).await;
        let got = got.map_err(|why| format!("while getting distributed claim {claim:?}: {why}"))?;
        let token = std::str::from_utf8(&got).unwrap_or("").trim();
        let issuer = jwt::unverified::<Unverified>(token).map(|claims| claims.iss);
        let issuer = issuer.map_err(|error| {
            format!("getting untrusted issuer from endpoint {url} failed for claim {claim:?}: {error}")
        })?;
        let payload = self.keys_of(&issuer).verify(token, algorithms).await;
        let wrong = |why: String| format!("verify distributed claim token: {why}");
        let found = jwt::read::<Map<String, Value>>(payload.map_err(wrong)?);
        let mut found = found.map_err(|error| wrong(error.to_string()))?;
        check(&found).map_err(wrong)?;
        found.remove(claim).map(Some).ok_or_else(|| {
            format!("jwt returned by distributed claim endpoint {url:?} did not contain claim: {claim}")
        })
    }

    fn keys_of(&self, issuer: &str) -> Arc<IssuerKeys> {
        let mut issuers = self.issuers.lock();
        if issuers.len() >= ISSUERS && !issuers.contains_key(issuer) {
            issuers.clear();
        }
        let new = || {
            let discovery = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
            Arc::new(IssuerKeys::new(issuer, &discovery, self.web.clone()))
        };
        Arc::clone(issuers.entry(issuer.to_owned()).or_insert_with(new))
    }
}

/// Where a claim is, if it is not in the token.
fn source(claims: &Map<String, Value>, claim: &str) -> Result<Option<Source>, String> {
    let (false, Some(names)) = (claims.contains_key(claim), claims.get("_claim_names")) else {
        return Ok(None);
    };
    let names: HashMap<String, String> = serde_json::from_value(names.clone())
        .map_err(|error| format!("oidc: error parsing distributed claim names: {error}"))?;
    let sources = claims.get("_claim_sources").ok_or("oidc: no claim sources")?;
    let mut sources: HashMap<String, Source> = serde_json::from_value(sources.clone())
        .map_err(|error| format!("oidc: could not parse claim sources: {error}"))?;
    let Some(name) = names.get(claim) else { return Ok(None) };
    let source = sources.remove(name).ok_or_else(|| {
        format!("id token _claim_names contained a source {name} missing in _claims_sources")
    })?;
    // Without an endpoint it is an aggregated claim, which upstream does not look at.
    Ok((!source.endpoint.is_empty()).then_some(source))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_claim_is_elsewhere_only_if_the_token_does_not_hold_it() {
        let found = |claims: Value| {
            let Value::Object(claims) = claims else { panic!() };
            source(&claims, "groups").map(|source| source.map(|source| source.endpoint))
        };
        let names = json!({"groups": "one"});
        let sources = json!({"one": {"endpoint": "https://e", "access_token": "t"}, "two": {"JWT": "x"}});
        let both = json!({"_claim_names": names, "_claim_sources": sources});
        assert_eq!(found(both.clone()), Ok(Some("https://e".to_owned())));
        let mut held = both.clone();
        held["groups"] = json!([]);
        assert_eq!(found(held), Ok(None));
        assert_eq!(found(json!({"_claim_names": {"other": "one"}, "_claim_sources": sources})), Ok(None));
        assert_eq!(found(json!({"_claim_names": {"groups": "two"}, "_claim_sources": sources})), Ok(None));
        assert_eq!(found(json!({"_claim_names": names})), Err("oidc: no claim sources".to_owned()));
        let missing = found(json!({"_claim_names": {"groups": "x"}, "_claim_sources": sources})).unwrap_err();
        assert_eq!(missing, "id token _claim_names contained a source x missing in _claims_sources");
    }
}
