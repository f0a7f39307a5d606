//! The options of lists and watches: selectors, paging, how recent (KEP-365, KEP-2523, KEP-3157).

use super::query::Query;
use apimachinery::field::{ErrorList, FieldError, Path};
use apimachinery::fields::FieldSelector;
use apimachinery::gvk::Gvk;
use apimachinery::labels::Selector;
use apimachinery::status::{Result, Status};

/// How `resourceVersion` is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    /// At this revision or later.
    NotOlderThan,
    /// At this revision.
    Exact,
}

/// The options of a list, watch or deletecollection.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListOptions {
    /// Labels to select by.
    pub(crate) labels: Selector,
    /// Fields to select by.
    pub(crate) fields: FieldSelector,
    /// `None` when not given.
    pub(crate) resource_version: Option<u64>,
    /// `None` when not given.
    pub(crate) version_match: Option<Match>,
    /// The most items; 0 is no limit.
    pub(crate) limit: usize,
    /// Token to go on with; empty for a new list.
    pub(crate) continue_token: String,
    /// Seconds that a watch may last.
    pub(crate) timeout_seconds: Option<u64>,
    /// Whether the client understands bookmarks.
    pub(crate) allow_bookmarks: bool,
    /// Whether a watch begins with the state as events.
    pub(crate) send_initial_events: Option<bool>,
}

impl ListOptions {
    /// Reads the options of a request.
    ///
    /// # Errors
    /// 400 for what cannot be read, 422 for what does not go together.
    pub(crate) fn parse(query: &Query, watch: bool) -> Result<Self> {
        let mut options = Self {
            labels: Selector::parse(query.text("labelSelector"))
                .map_err(|e| Status::bad_request(e.to_string()))?,
            fields: FieldSelector::parse(query.text("fieldSelector"))
                .map_err(|e| Status::bad_request(e.to_string()))?,
            continue_token: query.text("continue").to_owned(),
            allow_bookmarks: query.flag("allowWatchBookmarks"),
            send_initial_events: query.optional_flag("sendInitialEvents"),
            ..Self::default()
        };
        options.limit = query.number("limit")?.map_or(0, |n| usize::try_from(n).unwrap_or(0));
        options.timeout_seconds = query.number("timeoutSeconds")?.and_then(|n| u64::try_from(n).ok());
        options.resource_version = match query.text("resourceVersion") {
            "" => None,
            text => Some(parse_revision(text)?),
        };
        let match_text = query.text("resourceVersionMatch");
        let errors = options.check(match_text, watch);
        if !errors.is_empty() {
            return Err(Status::invalid(&Gvk::new("meta.k8s.io", "v1", "ListOptions"), "", &errors));
        }
        options.version_match = match match_text {
            "Exact" => Some(Match::Exact),
            "NotOlderThan" => Some(Match::NotOlderThan),
            _ => None,
        };
        Ok(options)
    }

    fn check(&self, match_text: &str, watch: bool) -> ErrorList {
        let mut errors = ErrorList::new();
        let path = Path::new("resourceVersionMatch");
        let forbid = |detail: &str| FieldError::forbidden(&path, detail);
        if watch {
            let fits = match_text == "NotOlderThan";
            if self.send_initial_events.is_some() && !fits {
                errors
                    .push(forbid("sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"));
            }
            if match_text.is_empty() {
                return errors;
            }
            if self.send_initial_events.is_none() {
                errors.push(forbid(
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
                ));
            }
            if !fits {
                errors.push(FieldError::not_supported(&path, match_text, &["NotOlderThan"]));
            }
            if !self.continue_token.is_empty() {
                errors.push(forbid("resourceVersionMatch is forbidden when continue is provided"));
            }
            return errors;
        }
        if !match_text.is_empty() {
            if self.resource_version.is_none() {
                errors.push(forbid("resourceVersionMatch is forbidden unless resourceVersion is provided"));
            }
            if !self.continue_token.is_empty() {
                errors.push(forbid("resourceVersionMatch is forbidden when continue is provided"));
            }
            if match_text != "Exact" && match_text != "NotOlderThan" {
                errors.push(FieldError::not_supported(&path, match_text, &["Exact", "NotOlderThan", ""]));
            }
            if match_text == "Exact" && self.resource_version == Some(0) {
                errors.push(forbid("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\""));
            }
        }
        if self.send_initial_events.is_some() {
            errors.push(FieldError::forbidden(
                &Path::new("sendInitialEvents"),
                "sendInitialEvents is forbidden for list",
            ));
        }
        errors
    }
}

/// Reads a `resourceVersion`.
///
/// # Errors
/// 400 when it is none of ours.
pub(crate) fn parse_revision(text: &str) -> Result<u64> {
    text.parse().map_err(|_| {
        Status::bad_request(format!(
            "invalid resource version: resourceVersion: Invalid value: \"{text}\": strconv.ParseUint: parsing \"{text}\": invalid syntax"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(query: &str, watch: bool) -> Result<ListOptions> {
        ListOptions::parse(&Query::parse(Some(query)), watch)
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        for (query, watch) in [
            ("resourceVersionMatch=Exact", false),
            ("resourceVersionMatch=Exact&resourceVersion=0", false),
            ("resourceVersionMatch=Exact&resourceVersion=5&continue=x", false),
            ("resourceVersionMatch=x&resourceVersion=5", false),
            ("sendInitialEvents=true", false),
            ("sendInitialEvents=true", true),
            ("resourceVersionMatch=NotOlderThan&resourceVersion=1", true),
        ] {
            assert_eq!(parse(query, watch).unwrap_err().code, 422, "{query}");
        }
        assert_eq!(parse("resourceVersion=x", false).unwrap_err().code, 400);
        assert_eq!(parse("labelSelector=a%3D%3D%3Db", false).unwrap_err().code, 400);
    }

    #[test]
    fn options_are_read() {
        let options =
            parse("limit=5&resourceVersion=7&resourceVersionMatch=Exact&labelSelector=a%3Db", false).unwrap();
        assert_eq!(options.limit, 5);
        assert_eq!(options.resource_version, Some(7));
        assert_eq!(options.version_match, Some(Match::Exact));
        assert!(!options.labels.is_everything());
        let watch =
            parse("sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=1", true);
        assert_eq!(watch.unwrap().send_initial_events, Some(true));
    }
}
