//! In which form a client wants its answer, and in which form a body is.

use apimachinery::status::{Result, Status};
use http::{HeaderMap, header};

/// What can be produced, as error messages name it.
pub(crate) const MEDIA_TYPES: [&str; 2] = ["application/json", "application/yaml"];

/// The binary form in which client-go sends built-in kinds. It is read, not produced yet.
pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// What custom resources are read and shown as.
pub(crate) const TEXT_TYPES: [&str; 2] = ["application/json", "application/yaml"];

/// What can be read, as error messages name it.
pub(crate) const BODY_TYPES: [&str; 3] = ["application/json", "application/yaml", PROTOBUF];

/// How an answer is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Media {
    /// Compact JSON.
    #[default]
    Json,
    /// JSON with indentation.
    PrettyJson,
    /// YAML.
    Yaml,
}

impl Media {
    /// The `Content-Type`.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json | Self::PrettyJson => "application/json",
            Self::Yaml => "application/yaml",
        }
    }
}

/// What an answer holds of its objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The whole objects.
    #[default]
    Whole,
    /// `meta.k8s.io` Table, of this version.
    Table(&'static str),
    /// `meta.k8s.io` PartialObjectMetadata(List), of this version.
    Metadata(&'static str),
}

/// The form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Form {
    /// How it is written.
    pub(crate) media: Media,
    /// What it holds.
    pub(crate) shape: Shape,
}

impl Form {
    /// Whether stored bytes can go out as they are.
    pub(crate) fn is_stored(self) -> bool {
        self == Self::default()
    }
}

/// One clause of an `Accept` header: the media range and its parameters.
pub(crate) struct Clause<'a> {
    /// `application/json`, `*/*`, ...
    pub(crate) range: &'a str,
    parameters: &'a str,
    quality: u16,
}

impl<'a> Clause<'a> {
    /// A parameter; empty when absent.
    pub(crate) fn parameter(&self, name: &str) -> &'a str {
        self.parameters
            .split(';')
            .filter_map(|p| p.trim().split_once('='))
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map_or("", |(_, value)| value.trim_matches('"'))
    }

    /// Whether it accepts this type.
    pub(crate) fn accepts(&self, media_type: &str) -> bool {
        self.range.eq_ignore_ascii_case(media_type)
            || self.range == "*/*"
            || self.range == "*"
            || self.range.strip_suffix("/*").is_some_and(|prefix| {
                media_type.split_once('/').is_some_and(|(kind, _)| kind.eq_ignore_ascii_case(prefix))
            })
    }
}

/// The clauses of an `Accept` header, the most wanted first. Nothing given is `*/*`.
pub(crate) fn clauses(headers: &HeaderMap) -> Vec<Clause<'_>> {
    let mut clauses: Vec<Clause<'_>> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|clause| !clause.is_empty())
        .map(|clause| {
            let (range, parameters) = clause.split_once(';').unwrap_or((clause, ""));
            let mut clause = Clause { range: range.trim(), parameters, quality: 1000 };
            if let Ok(q) = clause.parameter("q").parse::<f32>() {
                // Three digits is all that RFC 9110 section 12.4.2 allows.
                clause.quality = (q.clamp(0.0, 1.0) * 1000.0) as u16;
            }
            clause
        })
        .collect();
    if clauses.is_empty() {
        clauses.push(Clause { range: "*/*", parameters: "", quality: 1000 });
    }
    clauses.retain(|clause| clause.quality > 0);
    clauses.sort_by_key(|clause| std::cmp::Reverse(clause.quality));
    clauses
}

/// Picks the form of an answer.
///
/// # Errors
/// 406 when nothing that is accepted can be produced.
pub(crate) fn negotiate(headers: &HeaderMap, pretty: bool, transforms: bool) -> Result<Form> {
    // What nearly every client of this process and of kube sends.
    if !pretty && headers.get(header::ACCEPT).is_none_or(|v| v == "application/json" || v == "*/*") {
        return Ok(Form::default());
    }
    let json = if pretty { Media::PrettyJson } else { Media::Json };
    for clause in clauses(headers) {
        let media = if clause.accepts("application/json") {
            json
        } else if clause.accepts("application/yaml") {
            Media::Yaml
        } else {
            continue;
        };
        if let Some(shape) = shape(&clause, transforms) {
            return Ok(Form { media, shape });
        }
    }
    Err(Status::not_acceptable(&MEDIA_TYPES))
}

fn shape(clause: &Clause<'_>, transforms: bool) -> Option<Shape> {
    let wanted = clause.parameter("as");
    if wanted.is_empty() {
        return Some(Shape::Whole);
    }
    if !transforms || clause.parameter("g") != "meta.k8s.io" {
        return None;
    }
    let version = match clause.parameter("v") {
        "v1" => "v1",
        "v1beta1" => "v1beta1",
        _ => return None,
    };
    match wanted {
        "Table" => Some(Shape::Table(version)),
        "PartialObjectMetadata" | "PartialObjectMetadataList" => Some(Shape::Metadata(version)),
        _ => None,
    }
}

/// Whether an answer is to be indented: asked for, or a person is likely to read it.
pub(crate) fn wants_pretty(parameter: Option<&str>, headers: &HeaderMap) -> bool {
    match parameter {
        Some(value) => matches!(value, "" | "1" | "true" | "True" | "TRUE" | "t" | "T"),
        None => headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).is_some_and(|agent| {
            agent.starts_with("curl") || agent.starts_with("Wget") || agent.starts_with("Mozilla/5.0")
        }),
    }
}

/// The type of a request's body without its parameters, in lower case; JSON when not given.
pub(crate) fn content_type(headers: &HeaderMap) -> String {
    let given = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let media = given.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    if media.is_empty() { "application/json".to_owned() } else { media }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(accept: &str) -> Result<Form> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        negotiate(&headers, false, true)
    }

    #[test]
    fn kubectl_gets_a_table_and_others_what_they_ask_for() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(form(kubectl).unwrap().shape, Shape::Table("v1"));
        assert_eq!(form("application/yaml").unwrap().media, Media::Yaml);
        assert_eq!(form("text/html,*/*;q=0.1").unwrap(), Form::default());
        assert_eq!(
            form("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1").unwrap().shape,
            Shape::Metadata("v1")
        );
    }

    #[test]
    fn protobuf_falls_back_to_json_where_that_is_accepted_too() {
        assert_eq!(form("application/vnd.kubernetes.protobuf,application/json").unwrap(), Form::default());
        assert_eq!(form("application/vnd.kubernetes.protobuf").unwrap_err().code, 406);
        assert_eq!(form("application/json;as=Table;v=v7;g=meta.k8s.io").unwrap_err().code, 406);
    }

    #[test]
    fn the_most_wanted_comes_first() {
        assert_eq!(form("application/json;q=0.5, application/yaml").unwrap().media, Media::Yaml);
    }
}
