//! Tests of what helm is told.

use super::*;
use serde_json::json;

fn chart(spec: Value) -> Value {
    json!({"metadata": {"name": "web", "namespace": "kube-system"}, "spec": spec})
}

fn planned(chart: &Value, config: Option<&Value>, found: &Found) -> Result<Plan, PlanError> {
    plan(chart, config, found, Path::new("/none"))
}

fn arguments(spec: Value) -> Vec<String> {
    planned(&chart(spec), None, &Found::default()).unwrap().arguments
}

fn refused(spec: Value) -> String {
    match planned(&chart(spec), None, &Found::default()) {
        Err(PlanError::Refused(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_chart_of_a_repository_is_named_with_its_version() {
    let given = json!({"chart": "nginx", "repo": "https://charts.example", "version": "1.2.3",
        "targetNamespace": "web", "createNamespace": true, "timeout": "1m30s", "takeOwnership": true,
        "insecureSkipTLSVerify": true, "plainHTTP": false});
    assert_eq!(
        arguments(given),
        [
            "upgrade",
            "--install",
            "--namespace=web",
            "--timeout=90s",
            "--repo=https://charts.example",
            "--version=1.2.3",
            "--create-namespace",
            "--take-ownership",
            "--insecure-skip-tls-verify",
            "web",
            "nginx"
        ]
    );
    let registry = json!({"chart": "oci://registry.example/charts/nginx", "version": "1"});
    assert_eq!(arguments(registry).last().unwrap(), "oci://registry.example/charts/nginx");
}

#[test]
fn values_that_count_most_come_last() {
    let chart = chart(
        json!({"chart": "https://x.example/a.tgz", "valuesContent": "a: 1", "values": {"b": 2},
        "valuesSecrets": [{"name": "s", "keys": ["k"]}, {"name": "maybe", "keys": ["k"], "ignoreUpdates": true}],
        "set": {"text": "a,b\\,c", "number": 3, "flag": "true", "none": "null"}}),
    );
    let config = json!({"spec": {"valuesContent": "a: 4", "failurePolicy": "abort", "forceConflicts": true}});
    let secret = BTreeMap::from([("k".to_owned(), b"c: 3".to_vec())]);
    let found = Found { secrets: BTreeMap::from([("s".to_owned(), secret)]), ..Found::default() };
    let plan = planned(&chart, Some(&config), &found).unwrap();
    let texts: Vec<&str> = plan.files.iter().map(|(_, bytes)| std::str::from_utf8(bytes).unwrap()).collect();
    assert_eq!(texts, ["a: 1", "{\"b\":2}", "c: 3", "a: 4"]);
    let files: Vec<String> = plan.files.iter().map(|(name, _)| format!("--values={name}")).collect();
    let from = plan.arguments.iter().position(|one| *one == files[0]).unwrap();
    assert_eq!(plan.arguments[from..from + 4], files);
    assert_eq!(
        plan.arguments[from + 4..from + 8],
        ["--set=flag=true", "--set=none=null", "--set=number=3", "--set-string=text=a\\,b\\,c"]
    );
    assert!(plan.arguments.contains(&"--force-conflicts".to_owned()));
    assert_eq!((plan.policy, plan.follows_others, plan.attempts), (Policy::Abort, true, 1000));

    let needs = needs(&chart, Some(&config));
    assert_eq!(needs.secrets, BTreeMap::from([("maybe".to_owned(), false), ("s".to_owned(), true)]));
    let error = planned(&chart, None, &Found::default()).unwrap_err();
    assert_eq!(error, PlanError::Missing("there is no Secret s".to_owned()));
}

#[test]
fn the_digest_changes_with_all_that_counts_and_nothing_else() {
    let spec = json!({"chart": "https://x.example/a.tgz",
        "valuesSecrets": [{"name": "s", "keys": ["k"], "ignoreUpdates": true}, {"name": "t", "keys": ["k"]}]});
    let hash = |spec: &Value, config: Option<&Value>, s: &str, t: &str| {
        let secret = |text: &str| BTreeMap::from([("k".to_owned(), text.as_bytes().to_vec())]);
        let secrets = BTreeMap::from([("s".to_owned(), secret(s)), ("t".to_owned(), secret(t))]);
        planned(&chart(spec.clone()), config, &Found { secrets, ..Found::default() }).unwrap().hash
    };
    let first = hash(&spec, None, "1", "1");
    assert_eq!(first, hash(&spec, None, "2", "1"));
    assert_ne!(first, hash(&spec, None, "1", "2"));
    assert_ne!(first, hash(&spec, Some(&json!({"spec": {"valuesContent": "a: 1"}})), "1", "1"));
    let mut other = spec.clone();
    other["timeout"] = json!("1m");
    assert_ne!(first, hash(&other, None, "1", "1"));
}

#[test]
fn the_archive_within_the_object_counts_before_all() {
    let given = json!({"chart": "nginx", "chartContent": "aGVs\nbG8=", "version": "1"});
    let plan = planned(&chart(given), None, &Found::default()).unwrap();
    assert_eq!(plan.files, [("chart.tgz".to_owned(), b"hello".to_vec())]);
    assert_eq!(plan.arguments[4..], ["web", "./chart.tgz"]);
    assert!(refused(json!({"chartContent": "%"})).contains("no base64"));
}

#[test]
fn charts_of_the_folder_need_no_network() {
    let statics = tempfile::tempdir().unwrap();
    let charts = statics.path().join("charts");
    std::fs::create_dir(&charts).unwrap();
    let last = |spec: Value| {
        plan(&chart(spec), None, &Found::default(), statics.path())
            .map(|plan| plan.arguments.last().cloned().unwrap())
    };
    let repository = json!({"chart": "nginx", "version": "1", "repo": "https://charts.example"});
    let stock = json!({"chart": "https://%{KUBERNETES_API}%/static/charts/nginx-1.tgz"});
    let bare = json!({"chart": "nginx-1.tgz"});
    assert_eq!(last(repository.clone()).unwrap(), "nginx");
    assert!(matches!(last(stock.clone()), Err(PlanError::Missing(_))));
    assert!(matches!(last(bare.clone()), Err(PlanError::Missing(_))));
    let file = charts.join("nginx-1.tgz");
    std::fs::write(&file, "").unwrap();
    for spec in [repository, stock, bare, json!({"chart": "nginx", "version": "1"})] {
        assert_eq!(last(spec.clone()).unwrap(), file.display().to_string(), "{spec}");
    }
    for path in ["../x.tgz", "charts/../../x", "", "/etc/passwd"] {
        let spec = json!({"chart": format!("https://%{{KUBERNETES_API}}%/static/{path}")});
        assert!(matches!(last(spec), Err(PlanError::Refused(_))), "{path}");
    }
}

#[test]
fn what_would_be_an_option_or_a_path_of_the_node_is_refused() {
    for (spec, why) in [
        (json!({}), "neither"),
        (json!({"chart": "--post-renderer=x", "repo": "https://a"}), "cannot begin"),
        (json!({"chart": "a", "repo": "https://a", "version": "-x"}), "cannot begin"),
        (json!({"chart": "a", "repo": "file:///etc"}), "no https URL"),
        (json!({"chart": "a", "repo": "oci://a"}), "spec.chart alone"),
        (json!({"chart": "https://a/b.tgz", "repo": "https://a"}), "needs no spec.repo"),
        (json!({"chart": "/etc/secret"}), "neither a URL"),
        (json!({"chart": "../x.tgz"}), "neither a URL"),
        (json!({"chart": "a"}), "needs spec.repo"),
        (json!({"chart": "https://a", "helmVersion": "v2"}), "only v3"),
        (json!({"chart": "https://a", "timeout": "soon"}), "no time"),
        (json!({"chart": "https://a", "values": [1]}), "no object"),
        (json!({"chart": "https://a", "authSecret": {"name": "s"}}), "needs spec.repo"),
    ] {
        let said = refused(spec.clone());
        assert!(said.contains(why), "{spec}: {said}");
    }
}

#[test]
fn passwords_and_authorities_are_in_files() {
    let chart =
        chart(json!({"chart": "a", "repo": "https://charts.example", "version": "1", "repoCA": "PEM1",
        "repoCAConfigMap": {"name": "more"}, "authSecret": {"name": "login"}, "authPassCredentials": true,
        "dockerRegistrySecret": {"name": "docker"}}));
    let needed = needs(&chart, None);
    assert_eq!(needed.secrets, BTreeMap::from([("login".to_owned(), true), ("docker".to_owned(), true)]));
    assert_eq!(needed.config_map.as_deref(), Some("more"));
    let keys = |all: &[(&str, &str)]| {
        all.iter().map(|(k, v)| ((*k).to_owned(), v.as_bytes().to_vec())).collect::<BTreeMap<_, _>>()
    };
    let found = Found {
        secrets: BTreeMap::from([
            ("login".to_owned(), keys(&[("username", "me"), ("password", "secret-word")])),
            ("docker".to_owned(), keys(&[(".dockerconfigjson", "{}")])),
        ]),
        config_map: Some(BTreeMap::from([("a".to_owned(), "PEM2".to_owned())])),
    };
    let plan = planned(&chart, None, &found).unwrap();
    assert!(!format!("{:?}", plan.arguments).contains("secret-word"));
    assert_eq!(plan.before.unwrap(), ["repo", "update", "repository"]);
    assert_eq!(plan.arguments.last().unwrap(), "repository/a");
    let file = |name: &str| {
        let (_, bytes) = plan.files.iter().find(|(file, _)| file == name).unwrap();
        String::from_utf8(bytes.clone()).unwrap()
    };
    assert_eq!(file("ca.pem"), "PEM1\nPEM2");
    assert_eq!(file("registry.json"), "{}");
    let repositories: Value = serde_json::from_str(&file("repositories.yaml")).unwrap();
    let entry = &repositories["repositories"][0];
    assert_eq!(
        (&entry["url"], &entry["password"]),
        (&json!("https://charts.example"), &json!("secret-word"))
    );
    assert_eq!((&entry["caFile"], &entry["pass_credentials_all"]), (&json!("ca.pem"), &json!(true)));
}

#[test]
fn what_says_nothing_here_is_noted() {
    let spec = json!({"chart": "https://a/b.tgz", "jobImage": "x", "securityContext": {}, "podSecurityContext": null});
    let plan = planned(&chart(spec), None, &Found::default()).unwrap();
    assert_eq!(plan.notes.len(), 2, "{:?}", plan.notes);
    assert!(plan.notes[0].contains("spec.jobImage"));
    let advice = plan.offline.unwrap();
    assert!(
        advice.contains("helm pull https://a/b.tgz") && advice.contains("/none/charts/b.tgz"),
        "{advice}"
    );
}
