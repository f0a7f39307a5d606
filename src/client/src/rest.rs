//! Typed requests whose generic part is only serialising and deserialising.
//!
//! `kube::Api` compiles its whole request machinery once per kind; here everything between is shared, which
//! keeps the binary small. Deserialising always goes through `serde_json::from_str`, as `kube` does: a second
//! kind of reader would compile every kind a second time.

use http::{Method, Request, header};
use kube::{Client, Error, Resource, core::Status};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::ObjectKey;

/// What may not stand in a path segment as it is.
const SEGMENT: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'/').add(b'<').add(b'>').add(b'?');

/// A built-in kind as `k8s-openapi` defines it. Implemented for all of them.
pub trait Object:
    Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + Send + Sync + 'static
{
}
impl<K: Resource<DynamicType = ()> + Serialize + DeserializeOwned + Clone + Send + Sync + 'static> Object
    for K
{
}

/// The body and kind of a PATCH.
#[derive(Clone, Debug)]
pub enum Patch {
    /// RFC 7386 merge patch.
    Merge(Value),
    /// Kubernetes' strategic merge patch (built-in kinds only).
    Strategic(Value),
    /// RFC 6902 JSON patch: an array of operations.
    Json(Value),
    /// Server-side apply by a field manager.
    Apply {
        /// The configuration, with `apiVersion`, `kind` and `metadata.name`.
        config: Value,
        /// The field manager.
        manager: String,
        /// Take over fields that others own.
        force: bool,
    },
}

/// `metav1.DeleteOptions`: how to delete one object.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeleteOptions {
    /// What must hold for the deletion to happen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preconditions: Option<Preconditions>,
    /// `Orphan`, `Background` or `Foreground`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub propagation_policy: Option<&'static str>,
    /// Seconds for graceful deletion; 0 deletes at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grace_period_seconds: Option<i64>,
}

/// `metav1.Preconditions`.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Preconditions {
    /// The object must have this uid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The object must have this resourceVersion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
}

impl DeleteOptions {
    /// Delete only the object with this uid, never one that took its name since.
    pub fn uid(uid: impl Into<String>) -> Self {
        let preconditions = Preconditions { uid: Some(uid.into()), resource_version: None };
        Self { preconditions: Some(preconditions), ..Self::default() }
    }

    /// Sets the propagation policy.
    pub fn propagation(mut self, policy: &'static str) -> Self {
        self.propagation_policy = Some(policy);
        self
    }

    /// Sets the grace period in seconds.
    pub fn grace(mut self, seconds: i64) -> Self {
        self.grace_period_seconds = Some(seconds);
        self
    }
}

/// Requests on behalf of one component.
#[derive(Clone)]
pub struct Rest {
    client: Client,
}

impl Rest {
    /// Requests through `client`.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The client underneath.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Reads an object; `None` when it does not exist.
    ///
    /// # Errors
    /// Any failure but 404.
    pub async fn get<K: Object>(&self, key: &ObjectKey) -> Result<Option<K>, Error> {
        match self.raw(Method::GET, &path::<K>(key, ""), None).await {
            Ok(text) => decode(&text).map(Some),
            Err(error) if is_not_found(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Lists every object of a kind in a namespace (all namespaces when empty), with optional selectors.
    ///
    /// # Errors
    /// Any failure of the request.
    pub async fn list<K: Object>(&self, namespace: &str, label_selector: &str) -> Result<Vec<K>, Error> {
        let mut path = collection::<K>(namespace);
        if !label_selector.is_empty() {
            path.push_str("?labelSelector=");
            path.extend(utf8_percent_encode(label_selector, percent_encoding::NON_ALPHANUMERIC));
        }
        #[derive(Deserialize)]
        struct List<K> {
            items: Vec<K>,
        }
        let text = self.raw(Method::GET, &path, None).await?;
        Ok(decode::<List<K>>(&text)?.items)
    }

    /// Creates an object in the namespace of its metadata.
    ///
    /// # Errors
    /// Any failure; see [`is_already_exists`].
    pub async fn create<K: Object>(&self, object: &K) -> Result<K, Error> {
        let namespace = object.meta().namespace.as_deref().unwrap_or_default();
        let text = self.raw(Method::POST, &collection::<K>(namespace), Some(json(object)?)).await?;
        decode(&text)
    }

    /// Replaces an object; a `resourceVersion` in it must still be current.
    ///
    /// # Errors
    /// Any failure; see [`is_conflict`].
    pub async fn replace<K: Object>(&self, object: &K) -> Result<K, Error> {
        self.put(object, "").await
    }

    /// Replaces the status of an object; a `resourceVersion` in it must still be current.
    ///
    /// # Errors
    /// Any failure; see [`is_conflict`].
    pub async fn replace_status<K: Object>(&self, object: &K) -> Result<K, Error> {
        self.put(object, "status").await
    }

    /// Replaces a subresource that has the kind of its parent (`status`, `finalize`, `approval`).
    ///
    /// # Errors
    /// Any failure; see [`is_conflict`].
    pub async fn put<K: Object>(&self, object: &K, subresource: &str) -> Result<K, Error> {
        let path = path::<K>(&ObjectKey::of(object), subresource);
        let text = self.raw(Method::PUT, &path, Some(json(object)?)).await?;
        decode(&text)
    }

    /// Patches an object or, with a non-empty name, one of its subresources.
    ///
    /// # Errors
    /// Any failure of the request.
    pub async fn patch<K: Object>(
        &self,
        key: &ObjectKey,
        subresource: &str,
        patch: &Patch,
    ) -> Result<K, Error> {
        let text = self.raw_patch(&path::<K>(key, subresource), patch).await?;
        decode(&text)
    }

    /// Deletes an object. An object that is already gone is a success; a uid precondition that fails is not.
    ///
    /// # Errors
    /// Any failure but 404.
    pub async fn delete<K: Object>(&self, key: &ObjectKey, options: &DeleteOptions) -> Result<(), Error> {
        match self.raw(Method::DELETE, &path::<K>(key, ""), Some(json(options)?)).await {
            Ok(_) => Ok(()),
            Err(error) if is_not_found(&error) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Reads, changes and replaces an object until there is no conflict, at most five times.
    ///
    /// `change` returns false when nothing needs to be written. Returns `None` when the object does not exist.
    ///
    /// # Errors
    /// Any failure, and a conflict that persists.
    pub async fn update<K: Object>(
        &self,
        key: &ObjectKey,
        subresource: &str,
        mut change: impl FnMut(&mut K) -> bool + Send,
    ) -> Result<Option<K>, Error> {
        // As client-go's DefaultRetry: more attempts mean that somebody else should win.
        const ATTEMPTS: u32 = 5;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let Some(mut object) = self.get::<K>(key).await? else { return Ok(None) };
            if !change(&mut object) {
                return Ok(Some(object));
            }
            match self.put(&object, subresource).await {
                Err(error) if is_conflict(&error) && attempt < ATTEMPTS => {}
                result => return result.map(Some),
            }
        }
    }

    /// A PATCH to any path; returns the response's body.
    ///
    /// # Errors
    /// Any failure of the request.
    pub async fn raw_patch(&self, path: &str, patch: &Patch) -> Result<String, Error> {
        let (content_type, body, query) = match patch {
            Patch::Merge(body) => ("application/merge-patch+json", body, String::new()),
            Patch::Strategic(body) => ("application/strategic-merge-patch+json", body, String::new()),
            Patch::Json(body) => ("application/json-patch+json", body, String::new()),
            Patch::Apply { config, manager, force } => {
                let manager = utf8_percent_encode(manager, percent_encoding::NON_ALPHANUMERIC);
                ("application/apply-patch+yaml", config, format!("?fieldManager={manager}&force={force}"))
            }
        };
        let request = Request::builder()
            .method(Method::PATCH)
            .uri(format!("{path}{query}"))
            .header(header::ACCEPT, "application/json")
            .header(header::CONTENT_TYPE, content_type)
            .body(json(body)?)
            .map_err(Error::HttpError)?;
        self.client.request_text(request).await
    }

    /// Any request with a JSON body; returns the response's body.
    ///
    /// # Errors
    /// Any failure; statuses of 400 and above are [`Error::Api`].
    pub async fn raw(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<String, Error> {
        let mut request =
            Request::builder().method(method).uri(path).header(header::ACCEPT, "application/json");
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let request = request.body(body.unwrap_or_default()).map_err(Error::HttpError)?;
        self.client.request_text(request).await
    }
}

/// The path of a collection; all namespaces when `namespace` is empty.
pub fn collection<K: Resource<DynamicType = ()>>(namespace: &str) -> String {
    K::url_path(&(), Some(namespace).filter(|namespace| !namespace.is_empty()))
}

/// The path of an object, or of a subresource of it when that is not empty.
pub fn path<K: Resource<DynamicType = ()>>(key: &ObjectKey, subresource: &str) -> String {
    item_path(&collection::<K>(&key.namespace), &key.name, subresource)
}

/// The path of a named item below a collection.
pub fn item_path(collection: &str, name: &str, subresource: &str) -> String {
    let name = utf8_percent_encode(name, SEGMENT);
    if subresource.is_empty() {
        format!("{collection}/{name}")
    } else {
        format!("{collection}/{name}/{subresource}")
    }
}

/// An object as a JSON tree, without compiling a second serialiser for its kind.
///
/// # Errors
/// When the object cannot be expressed in JSON.
pub fn to_value<T: Serialize>(object: &T) -> Result<Value, Error> {
    let bytes = json(object)?;
    serde_json::from_slice(&bytes).map_err(Error::SerdeError)
}

fn json<T: Serialize>(object: &T) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(object).map_err(Error::SerdeError)
}

fn decode<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(Error::SerdeError)
}

/// The `metav1.Status` of an error that the API server answered.
pub fn status(error: &Error) -> Option<&Status> {
    match error {
        Error::Api(status) => Some(status),
        _ => None,
    }
}

/// The object does not exist (404).
pub fn is_not_found(error: &Error) -> bool {
    status(error).is_some_and(|status| status.code == 404)
}

/// The write lost against another one, or a precondition failed (409 Conflict).
pub fn is_conflict(error: &Error) -> bool {
    status(error).is_some_and(|status| status.code == 409 && status.reason != "AlreadyExists")
}

/// The name is taken (409 AlreadyExists).
pub fn is_already_exists(error: &Error) -> bool {
    status(error).is_some_and(|status| status.reason == "AlreadyExists")
}

/// The object is invalid (422).
pub fn is_invalid(error: &Error) -> bool {
    status(error).is_some_and(|status| status.code == 422)
}

/// The request is not allowed (403).
pub fn is_forbidden(error: &Error) -> bool {
    status(error).is_some_and(|status| status.code == 403)
}

/// The server no longer has the requested revision (410).
pub fn is_gone(error: &Error) -> bool {
    status(error).is_some_and(|status| status.code == 410)
}

/// The namespace is being deleted, so that nothing can be created in it (403 with cause NamespaceTerminating).
pub fn is_namespace_terminating(error: &Error) -> bool {
    let details = status(error).and_then(|status| status.details.as_ref());
    details.is_some_and(|details| details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating"))
}
