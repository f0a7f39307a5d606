//! In which form a client wants its answer, and in which form a body is.

use apimachinery::status::{Result, Status};
use http::{HeaderMap, header};

/// What can be read and produced, as error messages name it.
pub(crate) const MEDIA_TYPES: [&str; 3] = [JSON, YAML, PROTOBUF];

/// What watches can be produced as.
pub(crate) const STREAM_TYPES: [&str; 2] =
    ["application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch"];

pub(crate) const JSON: &str = "application/json";
pub(crate) const YAML: &str = "application/yaml";
/// The binary form that client-go prefers for built-in kinds.
pub(crate) const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

/// What custom resources are read and shown as.
pub(crate) const TEXT_TYPES: [&str; 2] = [JSON, YAML];

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
    /// Kubernetes' protobuf.
    Protobuf,
}

impl Media {
    /// The `Content-Type`.
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Json | Self::PrettyJson => JSON,
            Self::Yaml => YAML,
            Self::Protobuf => PROTOBUF,
        }
    }

    /// The `Content-Type` of a watch.
    pub(crate) fn stream_type(self) -> &'static str {
        if self == Self::Protobuf { "application/vnd.kubernetes.protobuf;stream=watch" } else { JSON }
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

/// What an endpoint can produce.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Offer {
    /// Tables and bare metadata.
    pub(crate) transforms: bool,
    /// Whole objects as protobuf, which custom resources have no form in. Their metadata has.
    pub(crate) protobuf: bool,
}

impl Offer {
    /// Built-in objects as they are.
    pub(crate) const PLAIN: Self = Self { transforms: false, protobuf: true };

    fn shape(self, clause: &Clause<'_>, media: Media) -> Option<Shape> {
        let (kind, group, version) = (clause.parameter("as"), clause.parameter("g"), clause.parameter("v"));
        if kind.is_empty() && group.is_empty() && version.is_empty() {
            return (self.protobuf || media != Media::Protobuf).then_some(Shape::Whole);
        }
        if !self.transforms || group != "meta.k8s.io" {
            return None;
        }
        let version = match version {
            "v1" => "v1",
            "v1beta1" => "v1beta1",
            _ => return None,
        };
        match kind {
            // Cells hold any JSON, which protobuf has no form for.
            "Table" if media != Media::Protobuf => Some(Shape::Table(version)),
            "PartialObjectMetadata" | "PartialObjectMetadataList" => Some(Shape::Metadata(version)),
            _ => None,
        }
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

    fn wildcards(&self) -> usize {
        self.range.matches('*').count()
    }

    /// Whether what it asks for beyond the type can be had in this form.
    fn allows(&self, media: Media) -> bool {
        let stream = match self.parameter("stream") {
            "" => true,
            stream => stream == "watch" && media != Media::Yaml,
        };
        stream && matches!(self.parameter("sv"), "" | "v1")
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
    // Of equals, what is named comes before what is meant too.
    clauses.sort_by_key(|clause| (std::cmp::Reverse(clause.quality), clause.wildcards()));
    clauses
}

/// Picks the form of an answer.
///
/// # Errors
/// 406 when nothing that is accepted can be produced.
pub(crate) fn negotiate(headers: &HeaderMap, pretty: bool, offer: Offer) -> Result<Form> {
    // What nearly every client of this process and of kube sends.
    if !pretty && headers.get(header::ACCEPT).is_none_or(|v| v == JSON || v == "*/*") {
        return Ok(Form::default());
    }
    for clause in clauses(headers) {
        let json = if pretty || clause.parameter("pretty") == "1" { Media::PrettyJson } else { Media::Json };
        for media in [json, Media::Yaml, Media::Protobuf] {
            if clause.accepts(media.content_type())
                && clause.allows(media)
                && let Some(shape) = offer.shape(&clause, media)
            {
                return Ok(Form { media, shape });
            }
        }
    }
    Err(Status::not_acceptable(&MEDIA_TYPES))
}

/// How a failure is written: as asked for, or for people to read where that cannot be.
pub(crate) fn of_failure(headers: &HeaderMap, pretty: bool) -> Media {
    negotiate(headers, pretty, Offer::PLAIN).map_or(Media::PrettyJson, |form| form.media)
}

/// Whether an answer is to be indented: asked for, or a person is likely to read it.
pub(crate) fn wants_pretty(parameter: Option<&str>, headers: &HeaderMap) -> bool {
    match parameter {
        Some(value) if !value.is_empty() => matches!(value, "1" | "true" | "True" | "TRUE" | "t" | "T"),
        _ => headers.get(header::USER_AGENT).and_then(|v| v.to_str().ok()).is_some_and(|agent| {
            agent.starts_with("curl") || agent.starts_with("Wget") || agent.starts_with("Mozilla/5.0")
        }),
    }
}

/// The type of a request's body without its parameters, in lower case; JSON when not given.
pub(crate) fn content_type(headers: &HeaderMap) -> String {
    let given = headers.get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok()).unwrap_or("");
    let media = given.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    if media.is_empty() { JSON.to_owned() } else { media }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Offer = Offer { transforms: true, protobuf: true };
    const CUSTOM: Offer = Offer { transforms: true, protobuf: false };

    fn form(accept: &str, offer: Offer) -> Result<Form> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        negotiate(&headers, false, offer)
    }

    fn media(accept: &str) -> Media {
        form(accept, ALL).unwrap().media
    }

    #[test]
    fn kubectl_gets_a_table_and_others_what_they_ask_for() {
        let kubectl = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(form(kubectl, ALL).unwrap().shape, Shape::Table("v1"));
        assert_eq!(form(kubectl, Offer::PLAIN).unwrap(), Form::default());
        assert_eq!(media("application/yaml"), Media::Yaml);
        assert_eq!(form("text/html,*/*;q=0.1", ALL).unwrap(), Form::default());
        let bare = form("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", ALL);
        assert_eq!(bare.unwrap().shape, Shape::Metadata("v1"));
    }

    #[test]
    fn protobuf_is_for_what_has_such_a_form() {
        let client_go = "application/vnd.kubernetes.protobuf,application/json";
        assert_eq!(media(client_go), Media::Protobuf);
        assert_eq!(media("application/vnd.kubernetes.protobuf;stream=watch"), Media::Protobuf);
        assert_eq!(form(client_go, CUSTOM).unwrap(), Form::default());
        assert_eq!(form("application/vnd.kubernetes.protobuf", CUSTOM).unwrap_err().code, 406);
        let metadata = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
        assert_eq!(form(metadata, CUSTOM).unwrap().media, Media::Protobuf);
        let table = "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1";
        let refused = form(table, ALL).unwrap_err();
        assert_eq!(
            (refused.code, refused.message.as_str()),
            (
                406,
                "only the following media types are accepted: application/json, application/yaml, \
                 application/vnd.kubernetes.protobuf"
            )
        );
        assert_eq!(form(&format!("{table},application/json"), ALL).unwrap(), Form::default());
    }

    #[test]
    fn what_is_asked_for_beyond_the_type_has_to_be_known() {
        for accept in [
            "application/json;as=Table;v=v7;g=meta.k8s.io",
            "application/json;as=Table;v=v1",
            "application/json;g=meta.k8s.io;v=v1",
            "application/json;stream=other",
            "application/yaml;stream=watch",
            "application/json;sv=v2",
            "application/json;q=0",
        ] {
            assert_eq!(form(accept, ALL).unwrap_err().code, 406, "{accept}");
        }
        assert_eq!(media("application/json;pretty=1"), Media::PrettyJson);
        assert_eq!(media("application/json;charset=utf-8"), Media::Json);
    }

    #[test]
    fn the_most_wanted_comes_first_and_of_equals_the_one_that_is_named() {
        assert_eq!(media("application/json;q=0.5, application/yaml"), Media::Yaml);
        assert_eq!(media("*/*, application/vnd.kubernetes.protobuf"), Media::Protobuf);
        assert_eq!(media("application/*"), Media::Json);
    }

    #[test]
    fn failures_are_told_in_some_form_in_any_case() {
        let of = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            of_failure(&headers, false)
        };
        assert_eq!(of("application/vnd.kubernetes.protobuf"), Media::Protobuf);
        assert_eq!(of("application/json;as=Table;v=v1;g=meta.k8s.io,application/json"), Media::Json);
        assert_eq!(of("image/png"), Media::PrettyJson);
    }
}
