//! Tokens of other issuers (OpenID Connect): verified by the keys that the issuer publishes, and turned into users.
//!
//! Upstream counterpart: `k8s.io/apiserver/plugin/pkg/authenticator/token/oidc`.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use ring::digest::{SHA256, digest};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::certificate::EXTRA_CREDENTIAL;
use super::distributed_claims::DistributedClaims;
use super::expressions::Expression;
use super::issuer_keys::{IssuerKeys, Web};
use super::jwt;
use super::user_info::{GROUP_AUTHENTICATED, UserInfo};
use crate::cached::Expiring;
use crate::outbound::{Outbound, Trust};

/// How long a token's user is remembered, as upstream's token cache does, and of how many tokens.
const REMEMBERED_FOR: Duration = Duration::from_secs(10);
const REMEMBERED: usize = 4096;
/// Clocks of issuers may be ahead by so much (as upstream).
const NOT_BEFORE_LEEWAY: f64 = 5.0 * 60.0;

/// What tokens of one issuer are judged by.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) issuer: String,
    pub(super) discovery: String,
    pub(super) trust: Trust,
    pub(super) audiences: Vec<String>,
    pub(super) algorithms: Vec<String>,
    pub(super) validation: Vec<Rule>,
    pub(super) username: Mapping,
    pub(super) groups: Option<Mapping>,
    pub(super) uid: Option<Mapping>,
    pub(super) extra: Vec<(String, Expression)>,
    pub(super) users: Vec<Rule>,
}

/// What has to hold.
#[derive(Debug)]
pub(super) enum Rule {
    /// A claim has this value.
    Claim { claim: String, value: String },
    /// An expression is true.
    Expression { expression: Expression, message: String },
}

/// Where a part of the user comes from.
#[derive(Debug)]
pub(super) enum Mapping {
    /// From a claim, with a prefix.
    Claim { claim: String, prefix: String },
    /// From an expression.
    Expression(Expression),
}

/// See the module.
pub(super) struct JwtIssuer {
    rules: Rules,
    keys: IssuerKeys,
    distributed: DistributedClaims,
    users: Expiring<[u8; 32], UserInfo>,
}

#[derive(Deserialize)]
struct Unverified {
    iss: Option<String>,
}

impl JwtIssuer {
    pub(super) fn new(rules: Rules, outbound: Outbound) -> Self {
        let web = Web { outbound, trust: rules.trust.clone() };
        Self {
            keys: IssuerKeys::new(&rules.issuer, &rules.discovery, web.clone()),
            distributed: DistributedClaims::new(web),
            users: Expiring::new(REMEMBERED),
            rules,
        }
    }

    /// Whose token this is; `None` when it is another issuer's.
    ///
    /// # Errors
    /// In words, when it is this issuer's and no good.
    pub(super) async fn authenticate(&self, token: &str, now: Timestamp) -> Result<Option<UserInfo>, String> {
        let issuer = jwt::unverified::<Unverified>(token).ok().and_then(|claims| claims.iss);
        if issuer.as_deref() != Some(self.rules.issuer.as_str()) {
            return Ok(None);
        }
        let mut key = [0_u8; 32];
        key.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
        if let Some(user) = self.users.get(&key) {
            return Ok(Some(user));
        }
        let payload = self.keys.verify(token, &self.rules.algorithms).await;
        let payload = payload.map_err(|why| format!("oidc: verify token: {why}"))?;
        let mut claims = jwt::read(payload).map_err(|error| format!("oidc: verify token: {error}"))?;
        let lifetime = self.rules.check(&claims, now)?;
        self.expand(&mut claims, now).await?;
        let user = self.rules.user(claims)?;
        self.users.put(key, user.clone(), lifetime.min(REMEMBERED_FOR));
        Ok(Some(user))
    }

    /// Puts groups that the token says are elsewhere into the claims.
    async fn expand(&self, claims: &mut Map<String, Value>, now: Timestamp) -> Result<(), String> {
        let Some(Mapping::Claim { claim, .. }) = &self.rules.groups else { return Ok(()) };
        let check = |claims: &Map<String, Value>| self.rules.check(claims, now).map(drop);
        let found = self.distributed.resolve(claims, claim, &self.rules.algorithms, check).await;
        let found = found.map_err(|why| format!("oidc: could not expand distributed claims: {why}"))?;
        if let Some(value) = found {
            claims.insert(claim.clone(), value);
        }
        Ok(())
    }
}

impl Rules {
    /// Checks audience and times; returns how long the token is still good.
    fn check(&self, claims: &Map<String, Value>, now: Timestamp) -> Result<Duration, String> {
        let audiences: Vec<&str> = match claims.get("aud") {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        if !audiences.iter().any(|audience| self.audiences.iter().any(|wanted| wanted == audience)) {
            return Err(format!(
                "oidc: verify token: oidc: expected audience in {:?} got {audiences:?}",
                self.audiences
            ));
        }
        let seconds = |name: &str| claims.get(name).and_then(Value::as_f64);
        let now = now.as_duration().as_secs_f64();
        let expires = seconds("exp").ok_or("oidc: verify token: oidc: token has no expiry")?;
        if expires <= now {
            return Err("oidc: verify token: oidc: token is expired".to_owned());
        }
        if seconds("nbf").is_some_and(|begins| begins > now + NOT_BEFORE_LEEWAY) {
            return Err("oidc: verify token: oidc: current time before the nbf (not before) time".to_owned());
        }
        Ok(Duration::try_from_secs_f64(expires - now).unwrap_or(REMEMBERED_FOR))
    }

    /// The user that claims say.
    fn user(&self, claims: Map<String, Value>) -> Result<UserInfo, String> {
        let email_unverified = claims.get("email_verified").is_some_and(|v| v != &Value::Bool(true));
        let claims = Value::Object(claims);
        let name = match &self.username {
            Mapping::Claim { claim, prefix } => {
                let name = claims.get(claim).and_then(Value::as_str).filter(|name| !name.is_empty());
                let name =
                    name.ok_or_else(|| format!("oidc: parse username claims {claim:?}: claim not present"))?;
                if claim == "email" && email_unverified {
                    return Err("oidc: email not verified".to_owned());
                }
                format!("{prefix}{name}")
            }
            Mapping::Expression(expression) => text(expression, &claims, "username claim")?,
        };
        if name.is_empty() {
            return Err("oidc: username claim expression returned an empty string".to_owned());
        }
        let groups = match &self.groups {
            None => Vec::new(),
            Some(Mapping::Claim { claim, prefix }) => {
                let found = claims.get(claim).filter(|value| !value.is_null());
                let found = found.map(|value| strings(value, false)).transpose();
                let found = found.map_err(|why| format!("oidc: parse groups claim {claim:?}: {why}"))?;
                found.unwrap_or_default().iter().map(|group| format!("{prefix}{group}")).collect()
            }
            Some(Mapping::Expression(expression)) => texts(expression, &claims, "groups claim")?,
        };
        let uid = match &self.uid {
            None => String::new(),
            Some(Mapping::Claim { claim, .. }) => {
                let uid = claims.get(claim).and_then(Value::as_str);
                uid.ok_or_else(|| format!("oidc: parse uid claim {claim:?}: claim not present"))?.to_owned()
            }
            Some(Mapping::Expression(expression)) => text(expression, &claims, "uid claim")?,
        };
        let mut extra = BTreeMap::new();
        for (key, expression) in &self.extra {
            let values = texts(expression, &claims, "extra claim")?;
            if !values.is_empty() {
                extra.insert(key.clone(), values);
            }
        }
        if let Some(id) = claims.get("jti").and_then(Value::as_str).filter(|id| !id.is_empty()) {
            extra.insert(EXTRA_CREDENTIAL.to_owned(), vec![format!("JTI={id}")]);
        }
        let mut user = UserInfo { name, uid, groups, extra };
        for rule in &self.validation {
            rule.check(&claims, "claim validation")?;
        }
        let value =
            json!({"username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra});
        for rule in &self.users {
            rule.check(&value, "user info validation")?;
        }
        if !user.in_group(GROUP_AUTHENTICATED) {
            user.groups.push(GROUP_AUTHENTICATED.into());
        }
        Ok(user)
    }
}

impl Rule {
    fn check(&self, of: &Value, what: &str) -> Result<(), String> {
        match self {
            Self::Claim { claim, value } => match of.get(claim) {
                None => Err(format!("oidc: required claim {claim} not present in ID token")),
                Some(Value::String(found)) if found == value => Ok(()),
                Some(Value::String(found)) => Err(format!(
                    "oidc: required claim {claim} value does not match. Got = {found}, want = {value}"
                )),
                Some(_) => Err(format!("oidc: parse claim {claim}: is no string")),
            },
            Self::Expression { expression, message } => match expression.evaluate(of) {
                Ok(Value::Bool(true)) => Ok(()),
                Ok(_) if !message.is_empty() => {
                    Err(format!("oidc: error evaluating {what} expression: {message}"))
                }
                Ok(_) => Err(format!(
                    "oidc: error evaluating {what} expression: validation expression '{}' failed",
                    expression.text
                )),
                Err(why) => Err(format!("oidc: error evaluating {what} expression: {why}")),
            },
        }
    }
}

fn text(expression: &Expression, claims: &Value, what: &str) -> Result<String, String> {
    match expression.evaluate(claims) {
        Ok(Value::String(text)) => Ok(text),
        Ok(_) => Err(format!("oidc: error evaluating {what} expression: expected a string")),
        Err(why) => Err(format!("oidc: error evaluating {what} expression: {why}")),
    }
}

fn texts(expression: &Expression, claims: &Value, what: &str) -> Result<Vec<String>, String> {
    let failed = |why: String| format!("oidc: error evaluating {what} expression: {why}");
    strings(&expression.evaluate(claims).map_err(failed)?, true).map_err(failed)
}

/// One string or several; an empty one counts as none where `drop_empty`.
fn strings(value: &Value, drop_empty: bool) -> Result<Vec<String>, String> {
    let wrong = || "expected a string or a list of strings".to_owned();
    let all: Vec<String> = match value {
        Value::Null => Vec::new(),
        Value::String(one) => vec![one.clone()],
        Value::Array(many) => many
            .iter()
            .map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong))
            .collect::<Result<_, _>>()?,
        _ => return Err(wrong()),
    };
    Ok(all.into_iter().filter(|text| !(drop_empty && text.is_empty())).collect())
}
