//! `metav1.Status`: how every API error is told, with the reasons, codes and wording of Kubernetes
//! (API conventions, "Response Status Kind").

use crate::field::{ErrorList, FieldError};
use crate::gvk::{GroupResource, Gvk};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// The result of an API operation.
pub type Result<T> = std::result::Result<T, Status>;

/// A `metav1.Status`. Serialises to the exact JSON of the API.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Always `Status`.
    #[serde(default = "kind_status")]
    pub kind: String,
    /// Always `v1`.
    #[serde(default = "version_v1")]
    pub api_version: String,
    /// List metadata; empty but for continue tokens of expired lists.
    #[serde(default)]
    pub metadata: ListMeta,
    /// `Success` or `Failure`.
    #[serde(default)]
    pub status: String,
    /// A sentence for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// A word for machines.
    #[serde(default, skip_serializing_if = "Reason::is_unknown")]
    pub reason: Reason,
    /// What the error is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
    /// The HTTP status code.
    #[serde(default)]
    pub code: u16,
}

/// `metav1.ListMeta` as it appears in a Status.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListMeta {
    /// Token to go on with, after 410 Expired.
    #[serde(default, rename = "continue", skip_serializing_if = "String::is_empty")]
    pub continue_token: String,
}

/// `metav1.StatusDetails`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    /// Name of the object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// API group.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// Resource or kind.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// UID of the object.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Single causes, one per field.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// Seconds to wait before a retry.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retry_after_seconds: u32,
}

/// `metav1.StatusCause`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cause {
    /// Machine-readable cause, such as `FieldValueInvalid`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// A sentence for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Path of the field.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
}

/// `metav1.StatusReason`, with Kubernetes' own reasons by their names.
macro_rules! reasons {
    ($($name:ident)*) => {
        /// `metav1.StatusReason`.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
        #[allow(missing_docs, reason = "the names are Kubernetes' own reasons")]
        pub enum Reason {
            $($name,)*
            /// None given.
            #[default]
            Unknown,
            /// One that is not Kubernetes' own, as webhooks and aggregated servers may give.
            Other(Box<str>),
        }

        impl Reason {
            /// As it is written; empty when none is given.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => stringify!($name),)*
                    Self::Unknown => "",
                    Self::Other(reason) => reason,
                }
            }
        }

        impl From<&str> for Reason {
            fn from(text: &str) -> Self {
                match text {
                    $(stringify!($name) => Self::$name,)*
                    "" => Self::Unknown,
                    other => Self::Other(other.into()),
                }
            }
        }
    };
}

reasons! {
    Unauthorized Forbidden NotFound AlreadyExists Conflict Gone Invalid ServerTimeout StoreReadError Timeout
    TooManyRequests BadRequest MethodNotAllowed NotAcceptable RequestEntityTooLarge UnsupportedMediaType InternalError
    Expired ServiceUnavailable
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        Ok(Self::from(&*text))
    }
}

impl Reason {
    /// Whether no reason is given.
    pub fn is_unknown(&self) -> bool {
        *self == Reason::Unknown
    }
}

fn kind_status() -> String {
    "Status".to_owned()
}

fn version_v1() -> String {
    "v1".to_owned()
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

fn details(resource: &GroupResource, name: &str) -> Option<Details> {
    Some(Details {
        name: name.to_owned(),
        group: resource.group.clone(),
        kind: resource.resource.clone(),
        ..Details::default()
    })
}

impl Status {
    /// A failure with a code, a reason and a message.
    pub fn failure(code: u16, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            kind: kind_status(),
            api_version: version_v1(),
            metadata: ListMeta::default(),
            status: "Failure".to_owned(),
            message: message.into(),
            reason,
            details: None,
            code,
        }
    }

    /// `Success`, as a DELETE answers when nothing is left to show.
    pub fn success(details: Option<Details>) -> Self {
        let mut status = Self::failure(200, Reason::Unknown, "");
        status.status = "Success".to_owned();
        status.details = details;
        status
    }

    /// Sets the details.
    #[must_use]
    pub fn with_details(mut self, details: Details) -> Self {
        self.details = Some(details);
        self
    }

    /// Sets the name of the object that the error is about.
    #[must_use]
    pub fn about(mut self, resource: &GroupResource, name: &str) -> Self {
        self.details = details(resource, name);
        self
    }

    /// 404: the object does not exist.
    pub fn not_found(resource: &GroupResource, name: &str) -> Self {
        Self::failure(404, Reason::NotFound, format!("{resource} \"{name}\" not found")).about(resource, name)
    }

    /// 404: no such path.
    pub fn no_such_path() -> Self {
        Self::failure(404, Reason::NotFound, "the server could not find the requested resource")
            .with_details(Details::default())
    }

    /// 409: an object of that name exists.
    pub fn already_exists(resource: &GroupResource, name: &str) -> Self {
        Self::failure(409, Reason::AlreadyExists, format!("{resource} \"{name}\" already exists"))
            .about(resource, name)
    }

    /// 409: the write lost against another one.
    pub fn conflict(resource: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        Self::failure(
            409,
            Reason::Conflict,
            format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}"),
        )
        .about(resource, name)
    }

    /// 409 with the usual words for a stale `resourceVersion`.
    pub fn modified(resource: &GroupResource, name: &str) -> Self {
        Self::conflict(
            resource,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    /// 422: validation failed.
    pub fn invalid(kind: &Gvk, name: &str, errors: &ErrorList) -> Self {
        let texts: Vec<String> = errors.iter().map(FieldError::to_string).collect();
        let joined = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let shown =
            if kind.group.is_empty() { kind.kind.clone() } else { format!("{}.{}", kind.kind, kind.group) };
        Self::failure(422, Reason::Invalid, format!("{shown} \"{name}\" is invalid: {joined}")).with_details(
            Details {
                name: name.to_owned(),
                group: kind.group.clone(),
                kind: kind.kind.clone(),
                causes: errors.iter().map(FieldError::cause).collect(),
                ..Details::default()
            },
        )
    }

    /// 403: not allowed. `name` may be empty.
    pub fn forbidden(resource: &GroupResource, name: &str, why: impl fmt::Display) -> Self {
        let message = match (resource.resource.is_empty(), name.is_empty()) {
            (true, _) => format!("forbidden: {why}"),
            (false, true) => format!("{resource} is forbidden: {why}"),
            (false, false) => format!("{resource} \"{name}\" is forbidden: {why}"),
        };
        Self::failure(403, Reason::Forbidden, message).about(resource, name)
    }

    /// 401: nobody, or somebody whose credentials are not good.
    pub fn unauthorized() -> Self {
        Self::failure(401, Reason::Unauthorized, "Unauthorized")
    }

    /// 400: the request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::failure(400, Reason::BadRequest, message)
    }

    /// 405: the resource does not do that.
    pub fn method_not_allowed(resource: &GroupResource, verb: &str) -> Self {
        Self::failure(
            405,
            Reason::MethodNotAllowed,
            format!("{verb} is not supported on resources of kind \"{resource}\""),
        )
        .about(resource, "")
    }

    /// 405 for a path that does not do that.
    pub fn method_not_allowed_path() -> Self {
        Self::failure(
            405,
            Reason::MethodNotAllowed,
            "the server does not allow this method on the requested resource",
        )
        .with_details(Details::default())
    }

    /// 406: none of the accepted types can be produced.
    pub fn not_acceptable(accepted: &[&str]) -> Self {
        Self::failure(
            406,
            Reason::NotAcceptable,
            format!("only the following media types are accepted: {}", accepted.join(", ")),
        )
    }

    /// 415: the body's type is not understood.
    pub fn unsupported_media_type(accepted: &[&str]) -> Self {
        Self::failure(
            415,
            Reason::UnsupportedMediaType,
            format!(
                "the body of the request was in an unknown format - accepted media types include: {}",
                accepted.join(", ")
            ),
        )
    }

    /// 413: the body is too large.
    pub fn too_large(limit_bytes: usize) -> Self {
        Self::failure(
            413,
            Reason::RequestEntityTooLarge,
            format!("Request entity too large: limit is {limit_bytes}"),
        )
    }

    /// 410: the revision is gone.
    pub fn expired(message: impl Into<String>) -> Self {
        Self::failure(410, Reason::Expired, message)
    }

    /// 429: come back later.
    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> Self {
        Self::failure(429, Reason::TooManyRequests, message)
            .with_details(Details { retry_after_seconds, ..Details::default() })
    }

    /// 500: our fault.
    pub fn internal(err: impl fmt::Display) -> Self {
        let text = err.to_string();
        let details = Details {
            causes: vec![Cause { message: text.clone(), ..Cause::default() }],
            ..Details::default()
        };
        Self::failure(500, Reason::InternalError, format!("Internal error occurred: {text}"))
            .with_details(details)
    }

    /// 503: not now.
    pub fn service_unavailable(message: impl Into<String>) -> Self {
        Self::failure(503, Reason::ServiceUnavailable, message)
    }

    /// 504: it took too long.
    pub fn timeout(message: impl fmt::Display, retry_after_seconds: u32) -> Self {
        Self::failure(504, Reason::Timeout, format!("Timeout: {message}"))
            .with_details(Details { retry_after_seconds, ..Details::default() })
    }

    /// Whether this is a 404.
    pub fn is_not_found(&self) -> bool {
        self.reason == Reason::NotFound
    }

    /// Whether this is a 409 for a stale write.
    pub fn is_conflict(&self) -> bool {
        self.reason == Reason::Conflict
    }

    /// Whether this is a 409 for a taken name.
    pub fn is_already_exists(&self) -> bool {
        self.reason == Reason::AlreadyExists
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Status {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Path;

    #[test]
    fn not_found_reads_as_kubernetes_words_it() {
        let status = Status::not_found(&GroupResource::new("apps", "deployments"), "web");
        let json = serde_json::to_value(&status).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "deployments.apps \"web\" not found", "reason": "NotFound",
                "details": {"name": "web", "group": "apps", "kind": "deployments"}, "code": 404,
            })
        );
    }

    #[test]
    fn invalid_carries_a_cause_for_each_field() {
        let errors = vec![
            FieldError::required(&Path::new("spec").child("a"), ""),
            FieldError::forbidden(&Path::new("spec").child("b"), "no"),
        ];
        let status = Status::invalid(&Gvk::new("", "v1", "Pod"), "p", &errors);
        assert_eq!(status.message, "Pod \"p\" is invalid: [spec.a: Required value, spec.b: Forbidden: no]");
        let causes = status.details.unwrap().causes;
        assert_eq!(causes.len(), 2);
        assert_eq!(causes[0].reason, "FieldValueRequired");
        assert_eq!(causes[0].message, "Required value");
        assert_eq!(causes[1].field, "spec.b");
    }

    #[test]
    fn a_reason_of_somebody_else_is_kept() {
        let status: Status = serde_json::from_str(r#"{"reason":"Novel","code":499}"#).unwrap();
        assert_eq!(status.reason, Reason::Other("Novel".into()));
        assert_eq!(status.kind, "Status");
        assert_eq!(serde_json::to_value(&status).unwrap()["reason"], "Novel");
        let none: Status = serde_json::from_str(r#"{"reason":""}"#).unwrap();
        assert!(none.reason.is_unknown());
    }
}
