//! Query strings.

use apimachinery::status::{Result, Status};
use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// The parameters of a query, decoded, in their order.
pub(crate) fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query.split('&').filter(|part| !part.is_empty()).map(|part| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        (decode(key), decode(value))
    })
}

fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains(['+', '%']) {
        return Cow::Borrowed(text);
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}

/// The decoded parameters of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
}

impl Query {
    /// Decodes the query of a URI.
    pub(crate) fn parse(query: Option<&str>) -> Self {
        let pairs =
            pairs(query.unwrap_or("")).map(|(key, value)| (key.into_owned(), value.into_owned())).collect();
        Self { pairs }
    }

    /// The first value of a parameter.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All values of a parameter.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.pairs.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A parameter; empty when absent.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or("")
    }

    /// A boolean as the API reads it: absent, `false` and `0` are false, anything else is true
    /// (API conventions: a parameter without a value counts as set).
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.optional_flag(name).unwrap_or(false)
    }

    /// A boolean, or nothing when absent.
    pub(crate) fn optional_flag(&self, name: &str) -> Option<bool> {
        self.get(name).map(is_true)
    }

    /// A whole number, or nothing when absent or empty.
    ///
    /// # Errors
    /// 400 when it is not one.
    pub(crate) fn number(&self, name: &str) -> Result<Option<i64>> {
        match self.get(name) {
            None | Some("") => Ok(None),
            Some(text) => text.parse().map(Some).map_err(|_| {
                Status::bad_request(format!("strconv.ParseInt: parsing \"{text}\": invalid syntax"))
            }),
        }
    }

    /// Whether the write is to be tried without being kept.
    ///
    /// # Errors
    /// 422 for anything but `All`.
    pub(crate) fn dry_run(&self, options_kind: &str) -> Result<bool> {
        let mut asked = false;
        for value in self.all("dryRun") {
            check_dry_run(options_kind, value)?;
            asked = true;
        }
        Ok(asked)
    }
}

/// Checks one value of `dryRun`.
///
/// # Errors
/// 422 for anything but `All`.
pub(crate) fn check_dry_run(options_kind: &str, value: &str) -> Result<()> {
    use apimachinery::field::{FieldError, Path};
    use apimachinery::gvk::Gvk;
    if value == "All" {
        return Ok(());
    }
    let errors = vec![FieldError::not_supported(&Path::new("dryRun"), value, &["All"])];
    Err(Status::invalid(&Gvk::new("meta.k8s.io", "v1", options_kind), "", &errors))
}

/// How the API reads a boolean that is there.
pub(super) fn is_true(value: &str) -> bool {
    !(value == "0" || value.eq_ignore_ascii_case("false"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let query = Query::parse(Some("a=x%3Dy+z&b&c=0&limit=5"));
        assert_eq!(query.text("a"), "x=y z");
        assert!(query.flag("b"));
        assert!(!query.flag("c"));
        assert_eq!(query.number("limit").unwrap(), Some(5));
        assert!(query.number("a").is_err());
    }

    #[test]
    fn a_dry_run_is_for_all_or_refused() {
        assert!(Query::parse(Some("dryRun=All")).dry_run("CreateOptions").unwrap());
        assert!(!Query::parse(None).dry_run("CreateOptions").unwrap());
        assert_eq!(Query::parse(Some("dryRun=x")).dry_run("CreateOptions").unwrap_err().code, 422);
    }
}
