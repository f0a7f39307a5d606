//! `patch`: JSON patch, merge patch, strategic merge patch and server-side apply.

use super::body::{self, Expected, FieldValidation};
use super::context::Context;
use super::create::{settle_namespace, to_stored, writer};
use super::negotiation;
use super::present::Presenter;
use super::update::settle_name;
use super::write_options::WriteOptions;
use crate::ApiServer;
use crate::body::Body;
use crate::customresources::Conversions;
use crate::registry::Served;
use crate::registry::writer::Change;
use apimachinery::field::{FieldError, Path};
use apimachinery::gvk::Gvk;
use apimachinery::managedfields::{self, Apply, Unfinished};
use apimachinery::schema::SchemaRef;
use apimachinery::status::{Result, Status};
use apimachinery::{meta, patch, time};
use http::Response;
use serde_json::Value;
use std::sync::Arc;

/// Operations of a JSON patch; more would let one small body keep a processor busy (upstream's bound).
const JSON_PATCH_MAX_OPERATIONS: usize = 10_000;

/// What a patch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatchType {
    /// RFC 6902.
    Json,
    /// RFC 7386.
    Merge,
    /// Merge patch that knows lists with keys.
    StrategicMerge,
    /// Server-side apply (KEP-555).
    Apply,
}

impl PatchType {
    /// The type that a request's `Content-Type` names.
    ///
    /// # Errors
    /// 415 for any other.
    pub(crate) fn of(context: &Context, served: &Served) -> Result<Self> {
        const ALL: [&str; 4] = [
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/strategic-merge-patch+json",
            "application/apply-patch+yaml",
        ];
        /// How lists of custom resources merge is not for a strategic merge patch to know.
        const CUSTOM: [&str; 3] =
            ["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];
        let known = if served.as_custom().is_some() { &CUSTOM[..] } else { &ALL[..] };
        match negotiation::content_type(&context.headers).as_str() {
            given if !known.contains(&given) => Err(Status::unsupported_media_type(known)),
            "application/json-patch+json" => Ok(Self::Json),
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/strategic-merge-patch+json" => Ok(Self::StrategicMerge),
            "application/apply-patch+yaml" => Ok(Self::Apply),
            _ => Err(Status::unsupported_media_type(known)),
        }
    }
}

/// A decoded patch.
pub(crate) struct Patch {
    kind: PatchType,
    value: Value,
    /// Fields that occur twice in its text.
    oddities: Vec<String>,
}

impl Patch {
    /// Decodes a patch.
    ///
    /// # Errors
    /// 400 when the text is no such patch, 413 when it has too many operations.
    pub(crate) fn decode(kind: PatchType, bytes: &[u8]) -> Result<Self> {
        let decoded = match kind {
            // YAML holds JSON.
            PatchType::Apply => {
                apimachinery::decode::json(bytes).or_else(|_| apimachinery::decode::yaml(bytes))
            }
            _ => apimachinery::decode::json(bytes),
        };
        let decoded = decoded.map_err(|e| Status::bad_request(format!("error decoding patch: {e}")))?;
        let operations = decoded.value.as_array().map_or(0, Vec::len);
        if kind == PatchType::Json && operations > JSON_PATCH_MAX_OPERATIONS {
            return Err(Status::failure(
                413,
                apimachinery::status::Reason::RequestEntityTooLarge,
                format!(
                    "The allowed maximum operations in a JSON patch is {JSON_PATCH_MAX_OPERATIONS}, got {operations}"
                ),
            ));
        }
        if kind != PatchType::Json && !decoded.value.is_object() {
            return Err(Status::bad_request("error decoding patch: it has to be an object"));
        }
        let oddities = decoded.duplicates.iter().map(|path| format!("duplicate field \"{path}\"")).collect();
        Ok(Self { kind, value: decoded.value, oddities })
    }

    /// Applies a patch other than server-side apply.
    ///
    /// # Errors
    /// When it does not fit the object.
    pub(crate) fn apply_to(&self, schema: &SchemaRef, object: &mut Value) -> Result<()> {
        match self.kind {
            PatchType::Json => patch::json::apply(object, &self.value),
            PatchType::Merge | PatchType::Apply => {
                patch::merge::apply(object, &self.value);
                Ok(())
            }
            PatchType::StrategicMerge => patch::strategic::apply(schema, object, &self.value),
        }
    }

    /// Tells the client of fields that are not known, as strictly as it asked for.
    pub(crate) fn report(
        &self,
        context: &Context,
        validation: FieldValidation,
        unknown: Vec<String>,
    ) -> Result<()> {
        let mut oddities = self.oddities.clone();
        oddities.extend(unknown);
        if oddities.is_empty() || validation == FieldValidation::Ignore {
            return Ok(());
        }
        if validation == FieldValidation::Warn {
            oddities.into_iter().for_each(|o| context.warnings.add(o));
            return Ok(());
        }
        let detail = format!("strict decoding error: {}", oddities.join(", "));
        let error = FieldError::invalid(&Path::new("patch"), self.value.clone(), detail);
        Err(Status::invalid(&Gvk::default(), "", &vec![error]))
    }
}

/// Answers a patch.
pub(crate) async fn patch(
    server: &ApiServer,
    context: &Context,
    served: &Arc<Served>,
    request_body: Body,
) -> Result<Response<Body>> {
    let kind = PatchType::of(context, served)?;
    let presenter = Presenter::new(context, served)?;
    let options = WriteOptions::parse(context, "PatchOptions")?;
    options.check_patch(context, kind == PatchType::Apply)?;
    let bytes = body::read(request_body).await?;
    let patch = Patch::decode(kind, &bytes)?;
    if kind == PatchType::Apply {
        return apply(server, context, served, &presenter, &options, &patch).await;
    }
    let writer = writer(server, context, served, &options);
    let namespace = if served.namespaced { context.info.namespace.as_str() } else { "" };
    let expected = Expected::of(served);
    let stored = writer
        .update(namespace, &context.info.name, |old| {
            let mut object = old.clone();
            served.from_storage(&mut object)?;
            patch.apply_to(&served.schema, &mut object)?;
            body::identify(&mut object, &served.gvk)?;
            let unknown = body::conform(&mut object, &expected)?;
            patch.report(context, options.validation, unknown)?;
            to_stored(served, &mut object)?;
            Ok(Change { object, tracked: false })
        })
        .await?;
    presenter.object(200, &stored)
}

async fn apply(
    server: &ApiServer,
    context: &Context,
    served: &Arc<Served>,
    presenter: &Presenter,
    options: &WriteOptions,
    patch: &Patch,
) -> Result<Response<Body>> {
    let config = configuration(context, served, options, patch)?;
    let writer = writer(server, context, served, options);
    let namespace = if served.namespaced { context.info.namespace.as_str() } else { "" };
    let name = context.info.name.as_str();
    let now = time::rfc3339(context.now);
    let conversions = Conversions::new(served.as_custom());
    let merge = |live: Option<&Value>| -> Result<Change> {
        let how = Apply {
            manager: &options.manager,
            force: options.force,
            api_version: served.stored_api_version(),
            subresource: &context.info.subresource,
            now: &now,
        };
        let schema = &served.hub().schema;
        let applied = managedfields::apply_to_versions(schema, live, config.clone(), &how, &conversions);
        let mut object = applied.map_err(|unfinished| match unfinished {
            Unfinished::Refused(status) => *status,
            // It is made below, and then this is done again.
            Unfinished::Pending => Status::internal("a conversion is pending"),
        })?;
        body::conform(&mut object, &Expected::hub(served))?;
        served.rules().default(&mut object);
        Ok(Change { object, tracked: true })
    };
    // Creating races with others who create; updating with others who delete.
    const ATTEMPTS: usize = 5;
    let mut last = Status::modified(&served.group_resource(), name);
    let mut attempts = 0;
    while attempts < ATTEMPTS {
        let updated = writer.update(namespace, name, |old| merge(Some(old))).await;
        if updated.is_err() && conversions.settle().await? {
            continue;
        }
        attempts += 1;
        match updated {
            Ok(stored) => return presenter.object(200, &stored),
            Err(e) if e.is_not_found() && context.info.subresource.is_empty() => {}
            Err(e) => return Err(e),
        }
        if !meta::uid(&config).is_empty() || !meta::resource_version(&config).is_empty() {
            return Err(Status::modified(&served.group_resource(), name));
        }
        if let Some(version) = served.as_custom() {
            version.check_verb("create")?;
        }
        server.authorize_verb(context, "create").await?;
        match writer.create(merge(None)?).await {
            Ok(stored) => return presenter.object(201, &stored),
            Err(e) if e.is_already_exists() => last = e,
            Err(e) => return Err(e),
        }
    }
    Err(last)
}

/// Checks the configuration of an apply and turns it into the stored version.
fn configuration(context: &Context, served: &Served, options: &WriteOptions, patch: &Patch) -> Result<Value> {
    let mut config = patch.value.clone();
    for field in ["kind", "apiVersion"] {
        if config.get(field).and_then(Value::as_str).unwrap_or("").is_empty() {
            return Err(Status::bad_request(format!(
                "error decoding YAML: Object '{}' is missing",
                if field == "kind" { "Kind" } else { "apiVersion" }
            )));
        }
    }
    body::identify(&mut config, &served.gvk)?;
    if meta::metadata(&config).is_some_and(|m| m.get("managedFields").is_some_and(|f| !f.is_null())) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    settle_name(context, &mut config)?;
    settle_namespace(context, served, &mut config)?;
    // Only to find out what is unknown or of the wrong type: an apply must not come to own defaults.
    let mut probe = config.clone();
    let unknown = body::conform(&mut probe, &Expected::of(served))?;
    if options.validation == FieldValidation::Strict && !(unknown.is_empty() && patch.oddities.is_empty()) {
        let oddities: Vec<String> = patch.oddities.iter().cloned().chain(unknown).collect();
        return Err(Status::bad_request(format!(
            "{} in version \"{}\" cannot be handled as a {}: strict decoding error: {}",
            served.gvk.kind,
            served.gvk.version,
            served.gvk.kind,
            oddities.join(", ")
        )));
    }
    if let Some(first) = unknown.first() {
        let path = first.trim_start_matches("unknown field ").trim_matches('"');
        return Err(Status::bad_request(format!(
            "failed to create typed patch object ({}/{}; {}, Kind={}): .{path}: field not declared in schema",
            meta::namespace(&config),
            meta::name(&config),
            served.gvr.api_version(),
            served.gvk.kind
        )));
    }
    patch.report(context, options.validation, Vec::new())?;
    served.to_storage(&mut config)?;
    Ok(config)
}
