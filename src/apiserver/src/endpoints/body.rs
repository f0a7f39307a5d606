//! Reading request bodies: size, media type, strictness (KEP-2885, server-side field validation).

use super::context::Context;
use super::negotiation::{self, MEDIA_TYPES, PROTOBUF};
use crate::body::Body;
use crate::registry::Served;
use api::Resource;
use apimachinery::gvk::Gvk;
use apimachinery::schema::{self, SchemaRef};
use apimachinery::status::{Result, Status};
use apimachinery::{decode, protobuf};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::Body as _;
use http_body_util::BodyExt;
use serde_json::Value;

/// Upstream's `--max-request-bytes`-like bound on bodies of resource requests.
pub(crate) const BODY_MAX_BYTES: usize = 3 * 1024 * 1024;

/// How much of a body that is too large is read and thrown away.
const DRAIN_MAX_BYTES: usize = 8 * BODY_MAX_BYTES;

/// What to do with unknown and duplicate fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    /// Drop them.
    Ignore,
    /// Drop them and tell the client.
    Warn,
    /// Refuse the request.
    Strict,
}

impl FieldValidation {
    /// Reads `fieldValidation`.
    ///
    /// # Errors
    /// 422 for an unknown value.
    pub(crate) fn parse(text: &str, options_kind: &str) -> Result<Self> {
        use apimachinery::field::{FieldError, Path};
        match text {
            "" | "Warn" => Ok(Self::Warn),
            "Ignore" => Ok(Self::Ignore),
            "Strict" => Ok(Self::Strict),
            other => {
                let at = Path::new("fieldValidation");
                let errors = vec![FieldError::not_supported(&at, other, &["Ignore", "Strict", "Warn"])];
                Err(Status::invalid(&Gvk::new("meta.k8s.io", "v1", options_kind), "", &errors))
            }
        }
    }
}

/// Reads a body to its end.
///
/// # Errors
/// 413 when it is too large, 400 when it breaks off.
pub(crate) async fn read(mut body: Body) -> Result<Bytes> {
    let announced = body.size_hint().lower();
    if announced > BODY_MAX_BYTES as u64 {
        return Err(too_large(body).await);
    }
    let mut whole: Option<Bytes> = None;
    let mut parts = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|e| Status::bad_request(format!("unable to read the request body: {e}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if whole.is_none() && parts.is_empty() && data.len() as u64 == announced {
            // Most bodies come in one piece.
            whole = Some(data);
            continue;
        }
        if let Some(first) = whole.take() {
            parts.extend_from_slice(&first);
        }
        if parts.len() + data.len() > BODY_MAX_BYTES {
            return Err(too_large(body).await);
        }
        parts.extend_from_slice(&data);
    }
    Ok(whole.unwrap_or_else(|| parts.freeze()))
}

/// Refuses a body once most of it has come: a client that is still sending takes an early answer for a broken
/// connection and never reads why. What is far too large is not waited for.
async fn too_large(mut body: Body) -> Status {
    let mut drained = 0;
    while drained < DRAIN_MAX_BYTES
        && let Some(Ok(frame)) = body.frame().await
    {
        drained += frame.data_ref().map_or(0, Bytes::len);
    }
    Status::too_large(BODY_MAX_BYTES)
}

/// What a body says, as JSON for the audit log; nothing when it cannot be read.
pub(crate) fn told(headers: &HeaderMap, bytes: &[u8]) -> Option<Value> {
    let media_type = negotiation::content_type(headers);
    match media_type.as_str() {
        PROTOBUF => from_protobuf(bytes, None).ok().map(|tree| tree.value),
        yaml if yaml.ends_with("yaml") => decode::yaml(bytes).ok().map(|decoded| decoded.value),
        _ => serde_json::from_slice(bytes).ok(),
    }
}

/// A decoded tree and what was odd about its text.
pub(crate) struct Tree {
    /// The tree.
    pub(crate) value: Value,
    /// `duplicate field "..."`, one per field.
    pub(crate) oddities: Vec<String>,
}

/// Decodes a body by its media type.
///
/// # Errors
/// 415 for a type that is not known, 400 for text that is not what it says.
pub(crate) fn tree(context: &Context, bytes: &[u8]) -> Result<Tree> {
    tree_of(context, bytes, None)
}

/// The same; a protobuf body that does not say what it is, is taken for `expected`.
fn tree_of(context: &Context, bytes: &[u8], expected: Option<&Gvk>) -> Result<Tree> {
    let media_type = negotiation::content_type(&context.headers);
    let decoded = match media_type.as_str() {
        "application/json" => decode::json(bytes),
        "application/yaml" => decode::yaml(bytes),
        PROTOBUF => return from_protobuf(bytes, expected),
        _ => return Err(Status::unsupported_media_type(&MEDIA_TYPES)),
    };
    let decoded = decoded.map_err(|e| Status::bad_request(e.to_string()))?;
    let oddities = decoded.duplicates.iter().map(|path| format!("duplicate field \"{path}\"")).collect();
    Ok(Tree { value: decoded.value, oddities })
}

fn from_protobuf(bytes: &[u8], expected: Option<&Gvk>) -> Result<Tree> {
    let refused = |e: protobuf::ProtobufError| Status::bad_request(e.to_string());
    let mut envelope = protobuf::open(bytes).map_err(refused)?;
    if let Some(expected) = expected {
        if envelope.gvk.kind.is_empty() {
            envelope.gvk.kind.clone_from(&expected.kind);
        }
        if envelope.gvk.version.is_empty() {
            envelope.gvk.group.clone_from(&expected.group);
            envelope.gvk.version.clone_from(&expected.version);
        }
    }
    let schema = api::schema::schema_for(&envelope.gvk).ok_or_else(|| {
        let Gvk { kind, .. } = &envelope.gvk;
        Status::bad_request(format!(
            "no kind \"{kind}\" is registered for version \"{}\"",
            envelope.gvk.api_version()
        ))
    })?;
    let value = protobuf::decode(&schema, &envelope).map_err(refused)?;
    Ok(Tree { value, oddities: Vec::new() })
}

/// What an object is expected to be.
pub(crate) struct Expected<'a> {
    gvk: &'a Gvk,
    form: Form<'a>,
    custom: bool,
}

enum Form<'a> {
    Schema(&'a SchemaRef),
    Resource(&'a Resource),
}

impl<'a> Expected<'a> {
    /// An object of a kind, in the form of a schema.
    pub(crate) fn new(gvk: &'a Gvk, schema: &'a SchemaRef) -> Self {
        Self { gvk, form: Form::Schema(schema), custom: false }
    }

    /// An object of a resource, as clients see it.
    pub(crate) fn of(served: &'a Served) -> Self {
        Self { gvk: &served.gvk, form: Form::Resource(served), custom: served.as_custom().is_some() }
    }

    /// Custom resources have no protobuf form.
    fn check_text(&self, context: &Context) -> Result<()> {
        if self.custom && negotiation::content_type(&context.headers) == PROTOBUF {
            return Err(Status::unsupported_media_type(&negotiation::TEXT_TYPES));
        }
        Ok(())
    }

    /// Nor is it known what a custom resource without a kind would be.
    fn check_identity(&self, value: &Value) -> Result<()> {
        let lacks = |field: &str| value.get(field).and_then(Value::as_str).is_none_or(str::is_empty);
        for (field, shown) in [("kind", "Kind"), ("apiVersion", "apiVersion")] {
            if self.custom && value.is_object() && lacks(field) {
                return Err(Status::bad_request(format!("Object '{shown}' is missing in '{value}'")));
            }
        }
        Ok(())
    }

    /// An object of a resource, in the version that the write pipeline works on.
    pub(crate) fn hub(served: &'a Served) -> Self {
        Self {
            gvk: &served.hub().gvk,
            form: Form::Resource(served.hub()),
            custom: served.as_custom().is_some(),
        }
    }
}

/// Reads and checks a body of a built-in kind that is no resource's own, such as Eviction.
///
/// # Errors
/// As [`read`] and [`object`].
pub(crate) async fn of_kind(
    context: &Context,
    body: Body,
    gvk: &Gvk,
    validation: FieldValidation,
) -> Result<Value> {
    let bytes = read(body).await?;
    let schema = api::schema::schema_for(gvk)
        .ok_or_else(|| Status::internal(format!("{} has no schema", gvk.kind)))?;
    object(context, &bytes, &Expected::new(gvk, &schema), validation)
}

/// Decodes an object: the right kind, known fields, the right types, the schema's defaults.
///
/// # Errors
/// 400 when it is something else, or strict and not clean.
pub(crate) fn object(
    context: &Context,
    bytes: &[u8],
    expected: &Expected<'_>,
    validation: FieldValidation,
) -> Result<Value> {
    expected.check_text(context)?;
    let mut tree = tree_of(context, bytes, Some(expected.gvk))?;
    expected.check_identity(&tree.value)?;
    identify(&mut tree.value, expected.gvk)?;
    context.annotations.about(&tree.value);
    let unknown = conform(&mut tree.value, expected)?;
    tree.oddities.extend(unknown);
    match validation {
        FieldValidation::Ignore => {}
        FieldValidation::Warn => tree.oddities.into_iter().for_each(|o| context.warnings.add(o)),
        FieldValidation::Strict if tree.oddities.is_empty() => {}
        FieldValidation::Strict => {
            return Err(Status::bad_request(format!(
                "{}: strict decoding error: {}",
                cannot_be_handled(expected.gvk),
                tree.oddities.join(", ")
            )));
        }
    }
    Ok(tree.value)
}

/// Prunes a tree by its schema. Answers `unknown field "..."` for what was dropped.
///
/// # Errors
/// 400 when a field has the wrong type.
pub(crate) fn conform(value: &mut Value, expected: &Expected<'_>) -> Result<Vec<String>> {
    let pruned = match expected.form {
        Form::Schema(schema) => schema::prune(schema, value).map_err(|e| e.to_string()),
        Form::Resource(resource) => match resource.kind.conform(value) {
            Some(pruned) => pruned,
            None => schema::prune(&resource.schema, value).map_err(|e| e.to_string()),
        },
    };
    match pruned {
        Ok(paths) => Ok(paths.iter().map(|path| format!("unknown field \"{path}\"")).collect()),
        Err(e) => Err(Status::bad_request(format!("{}: {e}", cannot_be_handled(expected.gvk)))),
    }
}

/// Checks that a tree is of this kind; what does not say what it is, is taken for it.
///
/// # Errors
/// 400 when it is of another kind.
pub(crate) fn identify(value: &mut Value, gvk: &Gvk) -> Result<()> {
    let Some(map) = value.as_object_mut() else {
        return Err(Status::bad_request(format!(
            "couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go value of type struct {{ APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}",
            type_name(value)
        )));
    };
    let text = |map: &serde_json::Map<String, Value>, field: &str| {
        map.get(field).and_then(Value::as_str).unwrap_or("").to_owned()
    };
    let (api_version, kind) = (text(map, "apiVersion"), text(map, "kind"));
    if api_version.is_empty() && kind.is_empty() {
        map.insert("apiVersion".to_owned(), Value::from(gvk.api_version()));
        map.insert("kind".to_owned(), Value::from(gvk.kind.clone()));
        return Ok(());
    }
    if api_version.is_empty() || kind.is_empty() {
        let what = if kind.is_empty() { "Kind" } else { "apiVersion" };
        return Err(Status::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): Object '{what}' is missing",
            gvk.kind
        )));
    }
    let given = Gvk::from_api_version(&api_version, kind);
    if given.kind != gvk.kind {
        return Err(Status::bad_request(format!(
            "{} in version \"{}\" cannot be handled as a {}: converting to {} is not possible",
            given.kind, given.version, gvk.kind, gvk.kind
        )));
    }
    if given != *gvk {
        return Err(Status::bad_request(format!(
            "the API version in the data ({}) does not match the expected API version ({})",
            given.api_version(),
            gvk.api_version()
        )));
    }
    Ok(())
}

fn cannot_be_handled(gvk: &Gvk) -> String {
    format!("{} in version \"{}\" cannot be handled as a {}", gvk.kind, gvk.version, gvk.kind)
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}
