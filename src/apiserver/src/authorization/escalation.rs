//! Does somebody already hold what they want to grant?

use super::rule::Rule;

/// What of the wanted rules the owner's rules do not cover; empty when nobody gains anything.
pub(crate) fn covers(owner: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    let mut missing: Vec<Rule> = wanted
        .iter()
        .flat_map(Rule::break_down)
        .filter(|rule| !owner.iter().any(|held| held.covers(rule)))
        .collect();
    missing.sort();
    missing.dedup();
    missing
}

/// The missing rules as error messages list them: those that differ in their verbs only are joined.
pub(crate) fn describe_missing(missing: &[Rule]) -> String {
    let mut joined: Vec<Rule> = Vec::new();
    for rule in missing {
        let same = |other: &&mut Rule| {
            other.api_groups == rule.api_groups
                && other.resources == rule.resources
                && other.resource_names == rule.resource_names
                && other.non_resource_urls == rule.non_resource_urls
        };
        match joined.iter_mut().find(same) {
            Some(other) => other.verbs.extend(rule.verbs.iter().cloned()),
            None => joined.push(rule.clone()),
        }
    }
    let mut lines: Vec<String> = joined.iter().map(describe).collect();
    lines.sort();
    lines.join("\n")
}

fn describe(rule: &Rule) -> String {
    let mut parts = Vec::new();
    let mut part = |name: &str, items: &[String]| {
        if !items.is_empty() {
            let items: Vec<String> = items.iter().map(|item| format!("{item:?}")).collect();
            parts.push(format!("{name}:[{}]", items.join(" ")));
        }
    };
    part("APIGroups", &rule.api_groups);
    part("Resources", &rule.resources);
    part("NonResourceURLs", &rule.non_resource_urls);
    part("ResourceNames", &rule.resource_names);
    part("Verbs", &rule.verbs);
    format!("{{{}}}", parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> Vec<Rule> {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_is_held_is_covered_whatever_its_form() {
        for (owner, wanted, covered) in [
            (
                r#"[{"verbs":["*"],"apiGroups":["*"],"resources":["*"]}]"#,
                r#"[{"verbs":["get"],"apiGroups":["a"],"resources":["b/c"],"resourceNames":["d"]}]"#,
                true,
            ),
            (
                r#"[{"verbs":["get"],"apiGroups":[""],"resources":["pods"]},{"verbs":["list"],"apiGroups":[""],"resources":["pods"]}]"#,
                r#"[{"verbs":["get","list"],"apiGroups":[""],"resources":["pods"]}]"#,
                true,
            ),
            (
                r#"[{"verbs":["get"],"apiGroups":[""],"resources":["pods"]}]"#,
                r#"[{"verbs":["get","list"],"apiGroups":[""],"resources":["pods"]}]"#,
                false,
            ),
            (
                r#"[{"verbs":["get"],"apiGroups":[""],"resources":["pods"],"resourceNames":["a"]}]"#,
                r#"[{"verbs":["get"],"apiGroups":[""],"resources":["pods"]}]"#,
                false,
            ),
            (
                r#"[{"verbs":["get"],"apiGroups":[""],"resources":["pods"],"resourceNames":["a"]}]"#,
                r#"[{"verbs":["get"],"apiGroups":[""],"resources":["pods"],"resourceNames":["a"]}]"#,
                true,
            ),
            (
                r#"[{"verbs":["get"],"apiGroups":["apps"],"resources":["*/scale"]}]"#,
                r#"[{"verbs":["get"],"apiGroups":["apps"],"resources":["deployments/scale"]}]"#,
                true,
            ),
            (
                r#"[{"verbs":["get"],"apiGroups":["apps"],"resources":["*/scale"]}]"#,
                r#"[{"verbs":["get"],"apiGroups":["apps"],"resources":["deployments"]}]"#,
                false,
            ),
            (
                r#"[{"verbs":["get"],"nonResourceURLs":["/a/*"]}]"#,
                r#"[{"verbs":["get"],"nonResourceURLs":["/a/b","/a/*"]}]"#,
                true,
            ),
            (
                r#"[{"verbs":["get"],"nonResourceURLs":["/a/*"]}]"#,
                r#"[{"verbs":["get"],"nonResourceURLs":["*"]}]"#,
                false,
            ),
        ] {
            assert_eq!(covers(&rules(owner), &rules(wanted)).is_empty(), covered, "{owner} {wanted}");
        }
    }

    #[test]
    fn what_is_missing_is_listed_compactly() {
        let wanted = rules(
            r#"[{"verbs":["list","get"],"apiGroups":[""],"resources":["secrets","pods"]},{"verbs":["get"],"nonResourceURLs":["/x"]}]"#,
        );
        assert_eq!(
            describe_missing(&covers(&[], &wanted)),
            "{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"get\" \"list\"]}\n\
             {APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"list\"]}\n\
             {NonResourceURLs:[\"/x\"], Verbs:[\"get\"]}"
        );
    }
}
