//! The parameters of `pods/log`.

use crate::endpoints::query::Query;
use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::gvk::Gvk;
use apimachinery::status::{Result, Status};
use apimachinery::time;

/// Parameters that the kubelet understands, by the same names.
const PASSED_ON: [&str; 8] =
    ["follow", "previous", "sinceSeconds", "sinceTime", "timestamps", "tailLines", "limitBytes", "stream"];

/// The query for the kubelet.
///
/// # Errors
/// 422 for values that make no sense.
pub(crate) fn kubelet_query(query: &Query) -> Result<String> {
    let errors = check(query)?;
    if !errors.is_empty() {
        return Err(Status::invalid(&Gvk::new("", "v1", "PodLogOptions"), "", &errors));
    }
    let mut out = String::new();
    for name in PASSED_ON {
        let Some(value) = query.get(name) else { continue };
        if !out.is_empty() {
            out.push('&');
        }
        let value = if value.is_empty() { "true" } else { value };
        out.push_str(name);
        out.push('=');
        out.push_str(&super::proxy::encode(value));
    }
    Ok(out)
}

fn check(query: &Query) -> Result<ErrorList> {
    let mut errors = ErrorList::new();
    let tail = query.number("tailLines")?;
    if let Some(lines) = tail.filter(|n| *n < 0) {
        let message = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(&Path::new("tailLines"), lines, message));
    }
    for name in ["limitBytes", "sinceSeconds"] {
        if let Some(number) = query.number(name)?.filter(|n| *n < 1) {
            errors.push(FieldError::invalid(&Path::new(name), number, "must be greater than 0"));
        }
    }
    let since_time = query.text("sinceTime");
    if !since_time.is_empty() {
        if query.get("sinceSeconds").is_some() {
            let message = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            errors.push(FieldError::forbidden(&Path::new(""), message));
        }
        if time::parse(since_time).is_none() {
            errors.push(FieldError::invalid(&Path::new("sinceTime"), since_time, "must be RFC 3339"));
        }
    }
    let stream = query.text("stream");
    if !matches!(stream, "" | "All" | "Stdout" | "Stderr") {
        errors.push(FieldError::not_supported(&Path::new("stream"), stream, &["All", "Stderr", "Stdout"]));
    }
    Ok(errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_parameters_are_passed_on() {
        let query = Query::parse(Some("follow&tailLines=5&container=c&sinceTime=2026-01-01T00:00:00Z&x=y"));
        assert_eq!(
            kubelet_query(&query).unwrap(),
            "follow=true&sinceTime=2026-01-01T00%3A00%3A00Z&tailLines=5"
        );
    }

    #[test]
    fn senseless_values_are_refused() {
        for query in ["tailLines=-1", "limitBytes=0", "sinceSeconds=0", "stream=x", "sinceTime=now"] {
            assert_eq!(kubelet_query(&Query::parse(Some(query))).unwrap_err().code, 422, "{query}");
        }
    }
}
