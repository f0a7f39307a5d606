//! Issuing tokens: the subresource `serviceaccounts/token` (`authentication.k8s.io/v1` TokenRequest).

use apimachinery::field::{FieldError, Path};
use apimachinery::gvk::{GroupResource, Gvk};
use apimachinery::meta;
use apimachinery::status::{Result, Status};
use apimachinery::time::rfc3339;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::jwt;
use super::service_account::ServiceAccountTokens;

/// Shorter would be renewed all the time.
const SHORTEST: i64 = 10 * 60;
/// The API's own limit: 2^32 seconds.
const LONGEST: i64 = 1 << 32;
/// When none is asked for.
const DEFAULT: i64 = 60 * 60;
/// The lifetime that the ServiceAccount admission plugin puts into pods: an odd number, by which such tokens
/// are recognized.
pub(crate) const PROJECTED_LIFETIME: i64 = 60 * 60 + 7;
/// What those tokens really live, for clients that never read their token file again.
const EXTENDED: i64 = 365 * 24 * 60 * 60;

/// What a token is bound to besides its account.
#[derive(Default)]
struct Bound {
    claims: Map<String, Value>,
    is_pod: bool,
}

impl ServiceAccountTokens {
    /// Answers a TokenRequest for an account: fills in its status and metadata.
    ///
    /// # Errors
    /// 404 when the account or the bound object does not exist, 409 when its uid differs, 422 and 400 for
    /// requests that make no sense, worded as upstream.
    pub async fn request(
        &self,
        namespace: &str,
        name: &str,
        request: &mut Value,
        now: Timestamp,
    ) -> Result<()> {
        let accounts = GroupResource::new("", "serviceaccounts");
        let account = self.service_account(namespace, name).await?;
        let account = account.ok_or_else(|| Status::not_found(&accounts, name))?;
        let asked = meta::name(request);
        if !asked.is_empty() && asked != name {
            let message =
                format!("the name of the object ({asked}) does not match the name on the URL ({name})");
            return Err(Status::bad_request(message));
        }
        let spec = request.get("spec").cloned().unwrap_or_default();
        let seconds = match spec.get("expirationSeconds").filter(|seconds| !seconds.is_null()) {
            Some(seconds) => validate_expiration(name, seconds)?,
            None => DEFAULT,
        };
        let audiences: Vec<String> = strings(spec.get("audiences"));
        let audiences = if audiences.is_empty() { self.settings.api_audiences.clone() } else { audiences };
        let bound = match spec.get("boundObjectRef").filter(|reference| !reference.is_null()) {
            Some(reference) => self.bind(namespace, name, reference).await?,
            None => Bound::default(),
        };
        let longest = self.settings.max_expiration.map_or(LONGEST, |longest| longest.as_secs());
        let seconds = seconds.min(longest);
        let for_api = audiences.iter().all(|audience| self.settings.api_audiences.contains(audience));
        let extended =
            self.settings.extend_expiration && bound.is_pod && for_api && seconds == PROJECTED_LIFETIME;
        let lifetime = if extended { EXTENDED.min(longest) } else { seconds };

        let issued_at = now.as_second();
        let mut kubernetes = json!({
            "namespace": namespace,
            "serviceaccount": {"name": name, "uid": account.metadata.uid},
        });
        if let Some(kubernetes) = kubernetes.as_object_mut() {
            kubernetes.extend(bound.claims);
            if extended {
                kubernetes.insert("warnafter".into(), json!(issued_at + seconds));
            }
        }
        let claims = json!({
            "aud": audiences,
            "exp": issued_at + lifetime,
            "iat": issued_at,
            "iss": self.settings.issuer,
            "jti": Uuid::new_v4().to_string(),
            "kubernetes.io": kubernetes,
            "nbf": issued_at,
            "sub": format!("system:serviceaccount:{namespace}:{name}"),
        });
        let token = jwt::encode(&self.keys, &claims).map_err(Status::internal)?;
        // Clients are told the lifetime they asked for, so that they renew in time.
        let expires = now.checked_add(SignedDuration::from_secs(seconds)).map_err(Status::internal)?;
        meta::set(request, "name", name);
        meta::set(request, "namespace", namespace);
        meta::set(request, "creationTimestamp", rfc3339(now));
        if let Some(request) = request.as_object_mut() {
            let spec = request.entry("spec").or_insert_with(|| json!({}));
            if let Some(spec) = spec.as_object_mut() {
                spec.insert("audiences".into(), json!(audiences));
                spec.insert("expirationSeconds".into(), json!(seconds));
            }
            let status = json!({"token": token, "expirationTimestamp": rfc3339(expires)});
            request.insert("status".into(), status);
        }
        Ok(())
    }

    async fn bind(&self, namespace: &str, account: &str, reference: &Value) -> Result<Bound> {
        let text = |field: &str| reference.get(field).and_then(Value::as_str).unwrap_or("");
        let (kind, name, uid) = (text("kind"), text("name"), text("uid"));
        let (resource, claim, scope) = match (text("apiVersion"), kind) {
            ("v1", "Pod") => ("pods", "pod", namespace),
            ("v1", "Secret") => ("secrets", "secret", namespace),
            ("v1", "Node") => ("nodes", "node", ""),
            (version, kind) => {
                let (group, version) = apimachinery::gvk::parse_api_version(version);
                let kind = Gvk::new(group, version, kind);
                return Err(Status::bad_request(format!("cannot bind token to object of type {kind}")));
            }
        };
        let resource = GroupResource::new("", resource);
        let found = match name.is_empty() {
            true => None,
            false => self.registry.get_value(&resource, scope, name).await?,
        };
        let object = found.ok_or_else(|| Status::not_found(&resource, name))?;
        let found = meta::uid(&object);
        if !uid.is_empty() && uid != found {
            let why = format!(
                "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have been deleted and then recreated"
            );
            return Err(Status::conflict(&GroupResource::new("", kind), name, why));
        }
        let mut bound = Bound { is_pod: kind == "Pod", ..Bound::default() };
        bound.claims.insert(claim.into(), json!({"name": name, "uid": found}));
        if bound.is_pod {
            let spec = |field: &str| object.pointer(&format!("/spec/{field}")).and_then(Value::as_str);
            if spec("serviceAccountName") != Some(account) {
                return Err(Status::bad_request(format!(
                    "cannot bind token for serviceaccount {account:?} to pod running with different serviceaccount name."
                )));
            }
            if let Some(node) = spec("nodeName").filter(|node| !node.is_empty()) {
                let nodes = GroupResource::new("", "nodes");
                let found = self.registry.get_value(&nodes, "", node).await?;
                let mut told = json!({"name": node});
                if let (Some(told), Some(found)) = (told.as_object_mut(), &found) {
                    told.insert("uid".into(), json!(meta::uid(found)));
                }
                bound.claims.insert("node".into(), told);
            }
        }
        Ok(bound)
    }
}

fn validate_expiration(name: &str, seconds: &Value) -> Result<i64> {
    let path = Path::new("spec").child("expirationSeconds");
    let refused = |detail: &str| {
        let errors = vec![FieldError::invalid(&path, seconds.clone(), detail)];
        Status::invalid(&Gvk::new("authentication.k8s.io", "v1", "TokenRequest"), name, &errors)
    };
    match seconds.as_i64() {
        None => Err(refused("must be an integer")),
        Some(seconds) if seconds < SHORTEST => {
            Err(refused("may not specify a duration less than 10 minutes"))
        }
        Some(seconds) if seconds > LONGEST => {
            Err(refused("may not specify a duration larger than 2^32 seconds"))
        }
        Some(seconds) => Ok(seconds),
    }
}

fn strings(list: Option<&Value>) -> Vec<String> {
    let items = list.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}
