//! One RBAC rule (`rbac.authorization.k8s.io/v1` PolicyRule) and what it allows.

use serde::{Deserialize, Deserializer, Serialize};

use super::attributes::Attributes;

const ALL: &str = "*";

/// What may be done to what.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// API groups; `*` is all of them.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub api_groups: Vec<String>,
    /// URL paths, for non-resource requests; a `*` may end one.
    #[serde(
        rename = "nonResourceURLs",
        deserialize_with = "or_empty",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub non_resource_urls: Vec<String>,
    /// Names of objects; empty is all of them.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub resource_names: Vec<String>,
    /// `resource`, `resource/subresource`, `*/subresource` or `*`.
    #[serde(deserialize_with = "or_empty", skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<String>,
    /// Verbs; `*` is all of them.
    #[serde(deserialize_with = "or_empty")]
    pub verbs: Vec<String>,
}

/// Lists may be null where Go would write a nil slice.
pub(super) fn or_empty<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Vec<T>, D::Error> {
    Ok(Option::<Vec<T>>::deserialize(from)?.unwrap_or_default())
}

impl Rule {
    /// The rules that allow all there is.
    pub(super) fn everything() -> [Self; 2] {
        let all = || vec![ALL.to_owned()];
        let verbs = Self { verbs: all(), ..Self::default() };
        [
            Self { api_groups: all(), resources: all(), ..verbs.clone() },
            Self { non_resource_urls: all(), ..verbs },
        ]
    }

    /// Does it allow this request?
    pub fn allows(&self, attributes: &Attributes<'_>) -> bool {
        if !has(&self.verbs, attributes.verb) {
            return false;
        }
        if attributes.resource_request {
            has(&self.api_groups, attributes.api_group)
                && self.names_resource(attributes.resource, attributes.subresource)
                && (self.resource_names.is_empty()
                    || self.resource_names.iter().any(|name| name == attributes.name))
        } else {
            self.non_resource_urls.iter().any(|url| url_matches(url, attributes.path))
        }
    }

    fn names_resource(&self, resource: &str, subresource: &str) -> bool {
        self.resources.iter().any(|listed| match listed.split_once('/') {
            _ if listed == ALL => true,
            None => subresource.is_empty() && listed == resource,
            Some((left, right)) => {
                !subresource.is_empty() && right == subresource && (left == resource || left == ALL)
            }
        })
    }

    /// Does a holder of this rule hold that one too? Both of one verb, one group and one resource, or one URL:
    /// see [`Rule::break_down`].
    pub(super) fn covers(&self, other: &Self) -> bool {
        let all = |mine: &[String], theirs: &[String]| {
            mine.iter().any(|item| item == ALL) || theirs.iter().all(|item| mine.contains(item))
        };
        all(&self.verbs, &other.verbs)
            && all(&self.api_groups, &other.api_groups)
            && other.resources.iter().all(|resource| self.covers_resource(resource))
            && other.non_resource_urls.iter().all(|url| self.covers_url(url))
            && (self.resource_names.is_empty()
                || !other.resource_names.is_empty()
                    && other.resource_names.iter().all(|name| self.resource_names.contains(name)))
    }

    fn covers_resource(&self, resource: &str) -> bool {
        self.resources.iter().any(|mine| {
            mine == ALL
                || mine == resource
                || matches!((mine.split_once('/'), resource.split_once('/')),
                    (Some((ALL, my_sub)), Some((_, sub))) if my_sub == sub)
        })
    }

    fn covers_url(&self, url: &str) -> bool {
        self.non_resource_urls.iter().any(|mine| {
            mine == ALL || mine == url || mine.strip_suffix('*').is_some_and(|prefix| url.starts_with(prefix))
        })
    }

    /// The same permissions, each rule of one verb, one group, one resource and one name, or one URL.
    pub(super) fn break_down(&self) -> Vec<Self> {
        let one = |item: &str| vec![item.to_owned()];
        let mut out = Vec::new();
        for verb in &self.verbs {
            for url in &self.non_resource_urls {
                out.push(Self { verbs: one(verb), non_resource_urls: one(url), ..Self::default() });
            }
            for group in &self.api_groups {
                for resource in &self.resources {
                    let rule = Self {
                        verbs: one(verb),
                        api_groups: one(group),
                        resources: one(resource),
                        ..Self::default()
                    };
                    if self.resource_names.is_empty() {
                        out.push(rule);
                        continue;
                    }
                    for name in &self.resource_names {
                        out.push(Self { resource_names: one(name), ..rule.clone() });
                    }
                }
            }
        }
        out
    }
}

/// Is the item, or `*`, in the list?
fn has(list: &[String], item: &str) -> bool {
    list.iter().any(|listed| listed == ALL || listed == item)
}

fn url_matches(pattern: &str, path: &str) -> bool {
    pattern == ALL
        || pattern == path
        || pattern.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authentication::UserInfo;

    fn rule(groups: &[&str], resources: &[&str], names: &[&str], verbs: &[&str]) -> Rule {
        let list = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect();
        Rule {
            api_groups: list(groups),
            resources: list(resources),
            resource_names: list(names),
            verbs: list(verbs),
            ..Rule::default()
        }
    }

    #[test]
    fn resources_subresources_and_names_match_as_rbac_has_it() {
        let user = UserInfo::new("u", &[]);
        // resources, names | resource, subresource, name | allowed
        type Case<'a> = (&'a [&'a str], &'a [&'a str], &'a str, &'a str, &'a str, bool);
        let cases: &[Case<'_>] = &[
            (&["pods"], &[], "pods", "", "", true),
            (&["pods"], &[], "pods", "log", "a", false),
            (&["pods/log"], &[], "pods", "log", "a", true),
            (&["pods/log"], &[], "pods", "", "a", false),
            (&["*"], &[], "pods", "log", "a", true),
            (&["*/scale"], &[], "deployments", "scale", "a", true),
            (&["*/scale"], &[], "deployments", "", "a", false),
            (&["*/scale"], &[], "deployments", "status", "a", false),
            (&["pods"], &["a"], "pods", "", "a", true),
            (&["pods"], &["a"], "pods", "", "b", false),
            (&["pods"], &["a"], "pods", "", "", false),
            (&["pods/*"], &[], "pods", "log", "a", false),
        ];
        for (resources, names, resource, subresource, name, allowed) in cases {
            let attributes = Attributes {
                verb: "get",
                resource,
                subresource,
                name,
                resource_request: true,
                ..Attributes::non_resource(&user, "", "")
            };
            let rule = rule(&[""], resources, names, &["get"]);
            assert_eq!(
                rule.allows(&attributes),
                *allowed,
                "{resources:?} {names:?} {resource}/{subresource} {name}"
            );
        }
    }

    #[test]
    fn urls_match_whole_or_by_prefix() {
        let user = UserInfo::anonymous();
        for (url, path, allowed) in [
            ("/healthz", "/healthz", true),
            ("/healthz", "/healthz/ping", false),
            ("/apis/*", "/apis/apps", true),
            ("/apis/*", "/apis", false),
            ("*", "/anything", true),
        ] {
            let rule =
                Rule { verbs: vec!["get".into()], non_resource_urls: vec![url.into()], ..Rule::default() };
            assert_eq!(rule.allows(&Attributes::non_resource(&user, "get", path)), allowed, "{url} {path}");
            assert!(!rule.allows(&Attributes::non_resource(&user, "post", path)));
        }
    }

    #[test]
    fn a_rule_is_read_with_null_lists() {
        let read: Rule =
            serde_json::from_str(r#"{"verbs":["get"],"apiGroups":null,"nonResourceURLs":["/a"]}"#).unwrap();
        assert_eq!(read.non_resource_urls, ["/a"]);
        assert_eq!(serde_json::to_string(&read).unwrap(), r#"{"nonResourceURLs":["/a"],"verbs":["get"]}"#);
    }
}
