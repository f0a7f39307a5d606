//! How objects are converted between versions.

use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::validation::{dns1035_label, dns1123_subdomain, port_number};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::json::{at, field, list, some, text, texts};

/// The versions of `ConversionReview` that the server speaks.
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];

/// What was there before may stay as it is.
pub(super) struct Lenient {
    review_versions: bool,
    ca_bundle: bool,
}

impl Lenient {
    pub(super) fn of(old: Option<&Value>) -> Self {
        let Some(old) = old else { return Self { review_versions: false, ca_bundle: true } };
        let webhook = at(old, &["spec", "conversion", "webhook"]);
        let mut versions = texts(webhook, "conversionReviewVersions").peekable();
        let bundle = text(field(webhook, "clientConfig"), "caBundle");
        Self {
            review_versions: versions.peek().is_some()
                && !versions.any(|version| REVIEW_VERSIONS.contains(&version)),
            ca_bundle: !super::is_established(old) || (!bundle.is_empty() && !is_bundle(bundle)),
        }
    }
}

pub(super) fn validate(spec: &Value, lenient: &Lenient, errors: &mut ErrorList) {
    let Some(conversion) = some(spec, "conversion") else { return };
    let path = Path::new("spec").child("conversion");
    let strategy = text(conversion, "strategy");
    match strategy {
        "" => errors.push(FieldError::required(&path.child("strategy"), "")),
        "None" | "Webhook" => {}
        _ => errors.push(FieldError::not_supported(&path.child("strategy"), strategy, &["None", "Webhook"])),
    }
    // Kubernetes' internal form has what is in `webhook` one level up.
    let webhook = field(conversion, "webhook");
    let client = some(webhook, "clientConfig");
    let (client_path, versions_path) =
        (path.child("webhookClientConfig"), path.child("conversionReviewVersions"));
    let versions: Vec<&str> = texts(webhook, "conversionReviewVersions").collect();
    if strategy != "Webhook" {
        let detail = "should not be set when strategy is not set to Webhook";
        if client.is_some() {
            errors.push(FieldError::forbidden(&client_path, detail));
        }
        if !versions.is_empty() {
            errors.push(FieldError::forbidden(&versions_path, detail));
        }
        return;
    }
    match client {
        None => {
            errors.push(FieldError::required(&client_path, "required when strategy is set to Webhook"));
        }
        Some(client) => client_config(client, &client_path, lenient, errors),
    }
    review_versions(&versions, &versions_path, lenient, errors);
}

fn client_config(client: &Value, path: &Path, lenient: &Lenient, errors: &mut ErrorList) {
    match (some(client, "url").and_then(Value::as_str), some(client, "service")) {
        (Some(address), None) => url(address, &path.child("url"), errors),
        (None, Some(called)) => service(called, &path.child("service"), errors),
        _ => errors.push(FieldError::required(path, "exactly one of url or service is required")),
    }
    let bundle = text(client, "caBundle");
    if !bundle.is_empty() && !lenient.ca_bundle && !is_bundle(bundle) {
        let detail = "unable to load root certificates: unable to parse bytes as PEM block";
        errors.push(FieldError::invalid(&path.child("caBundle"), bundle, detail));
    }
}

fn url(address: &str, path: &Path, errors: &mut ErrorList) {
    const FORM: &str = "; desired format: https://host[/path]";
    let Some((scheme, rest)) = address.split_once("://") else {
        let detail = format!("'https' is the only allowed URL scheme{FORM}");
        errors.push(FieldError::invalid(path, "", detail));
        errors.push(FieldError::invalid(path, "", format!("host must be specified{FORM}")));
        return;
    };
    if scheme != "https" {
        let detail = format!("'https' is the only allowed URL scheme{FORM}");
        errors.push(FieldError::invalid(path, scheme, detail));
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let authority = rest.split('/').next().unwrap_or_default();
    let (user, host) =
        authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    if host.is_empty() {
        errors.push(FieldError::invalid(path, host, format!("host must be specified{FORM}")));
    }
    for (there, what) in [
        (user.unwrap_or_default(), "user information is not permitted in the URL"),
        (fragment, "fragments are not permitted in the URL"),
        (query, "query parameters are not permitted in the URL"),
    ] {
        if !there.is_empty() {
            errors.push(FieldError::invalid(path, there, what));
        }
    }
}

fn service(service: &Value, path: &Path, errors: &mut ErrorList) {
    for (name, detail) in
        [("name", "service name is required"), ("namespace", "service namespace is required")]
    {
        if text(service, name).is_empty() {
            errors.push(FieldError::required(&path.child(name), detail));
        }
    }
    if let Some(port) = field(service, "port").as_i64() {
        let wrong = port_number(port);
        if !wrong.is_empty() {
            let detail = format!("port is not valid: {}", wrong.join(","));
            errors.push(FieldError::invalid(&path.child("port"), port, detail));
        }
    }
    let (called, path) = (text(service, "path"), path.child("path"));
    let wrong = |detail: String| FieldError::invalid(&path, called, detail);
    match called {
        "" | "/" => {}
        "//" => errors.push(wrong("segment[0] may not be empty".to_owned())),
        _ => {
            let Some(steps) = called.strip_prefix('/') else {
                return errors.push(wrong("must start with a '/'".to_owned()));
            };
            for (index, step) in steps.strip_suffix('/').unwrap_or(steps).split('/').enumerate() {
                if step.is_empty() {
                    errors.push(wrong(format!("segment[{index}] may not be empty")));
                    continue;
                }
                errors.extend(
                    dns1123_subdomain(step).into_iter().map(|why| wrong(format!("segment[{index}]: {why}"))),
                );
            }
        }
    }
}

fn review_versions(versions: &[&str], path: &Path, lenient: &Lenient, errors: &mut ErrorList) {
    if versions.is_empty() {
        return errors.push(FieldError::required(path, ""));
    }
    for (index, version) in versions.iter().enumerate() {
        if versions.iter().take(index).any(|before| before == version) {
            errors.push(FieldError::invalid(&path.index(index), *version, "duplicate version"));
            continue;
        }
        errors.extend(
            dns1035_label(version)
                .into_iter()
                .map(|why| FieldError::invalid(&path.index(index), *version, why)),
        );
    }
    if !lenient.review_versions && !versions.iter().any(|version| REVIEW_VERSIONS.contains(version)) {
        let detail = format!("must include at least one of {}", REVIEW_VERSIONS.join(", "));
        errors.push(FieldError::invalid(path, versions.to_vec(), detail));
    }
}

/// Whether the base64 of a bundle holds PEM with a certificate (RFC 7468). What is in it the TLS library will see.
fn is_bundle(bundle: &str) -> bool {
    let Ok(bytes) = STANDARD.decode(bundle) else { return false };
    let text = String::from_utf8_lossy(&bytes);
    text.split("-----BEGIN CERTIFICATE-----").skip(1).any(|after| {
        after.split_once("-----END CERTIFICATE-----").is_some_and(|(body, _)| {
            let body: String = body.chars().filter(|c| !c.is_whitespace()).collect();
            // DER of a certificate is a SEQUENCE.
            STANDARD.decode(body).is_ok_and(|der| der.first() == Some(&0x30))
        })
    })
}

/// Whether a definition's objects are converted by a webhook.
pub(super) fn by_webhook(spec: &Value) -> bool {
    !list(spec, "versions").is_empty() && text(field(spec, "conversion"), "strategy") == "Webhook"
}
