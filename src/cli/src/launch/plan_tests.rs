use super::*;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn plan(texts: &[&str]) -> Result<Option<Plan>> {
    let source = |(n, text): (usize, &&str)| Source {
        path: format!("/etc/{n}.yaml").into(),
        text: (*text).to_owned(),
    };
    let sources: Vec<Source> = texts.iter().enumerate().map(source).collect();
    Plan::read(&sources, Path::new("/data"))
}

fn refused(text: &str) -> String {
    format!("{:#}", plan(&[text]).unwrap_err())
}

/// The flags of a server without a configuration file.
fn flags(plan: &Plan) -> Value {
    let mut entries = serde_json::Map::new();
    let known =
        ["event-ttl", "node-name", "tls-san", "disable", "encryption-provider-config", "containerd-env"];
    plan.flags.apply(&mut entries, &known.map(str::to_owned).into());
    Value::Object(entries)
}

#[test]
fn a_whole_file_becomes_flags_files_and_steps() {
    let text = format!(
        r#"---
version: 0.1.0
persistentClusterToken: {TOKEN}
join: {{url: "a:6443/{TOKEN}/{TOKEN}"}}
extraSANs: [10.10.10.10, knarr.example.com]
extraKubeAPIServerArgs:
  --event-ttl: 5m
  --encryption-provider-config: $SNAP_DATA/args/encryption.yaml
extraKubeletArgs: {{--hostname-override: one}}
extraKubeSchedulerArgs: {{}}
extraContainerdEnv: {{HTTPS_PROXY: "http://p:3128"}}
extraDqliteArgs:
extraConfigFiles:
  encryption.yaml: |
    kind: EncryptionConfiguration
    ---
addons:
- {{name: dns, disable: true}}
- {{name: ingress, args: [--default-ssl-certificate, a/b]}}
- {{name: mine/thing, args: [20, true]}}
addonRepositories:
- {{name: mine, url: https://example.com/mine, reference: "1.30"}}
containerdRegistryConfigs:
  docker.io: server = "http://p:5000"
"#
    );
    let plan = plan(&[&text]).unwrap().unwrap();
    assert_eq!(
        flags(&plan),
        serde_json::json!({
            "event-ttl": ["5m"],
            "node-name": ["one"],
            "tls-san": ["10.10.10.10", "knarr.example.com"],
            "disable": ["dns"],
            "encryption-provider-config": ["/data/args/encryption.yaml"],
            "containerd-env": ["HTTPS_PROXY=http://p:3128"],
        })
    );
    // What is indented is no beginning of a document.
    assert_eq!(plan.files["encryption.yaml"], "kind: EncryptionConfiguration\n---\n");
    assert_eq!(plan.registries["docker.io"], "server = \"http://p:5000\"");
    let addon = |name: &str, disable, arguments: &[&str]| {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Step::Addon(Addon { name: name.to_owned(), disable, arguments })
    };
    assert_eq!(
        plan.steps,
        [
            Step::Join(Join { target: format!("a:6443/{TOKEN}/{TOKEN}"), worker: false }),
            Step::Token(TOKEN.to_owned()),
            Step::Repository(Repository {
                name: "mine".to_owned(),
                url: "https://example.com/mine".to_owned(),
                reference: "1.30".to_owned()
            }),
            addon("dns", true, &[]),
            addon("ingress", false, &["--default-ssl-certificate", "a/b"]),
            addon("mine/thing", false, &["20", "true"]),
        ]
    );
}

#[test]
fn documents_and_files_count_one_after_the_other() {
    let one = "version: 0.1.0\nextraKubeAPIServerArgs: {--event-ttl: 5m}\naddons: [{name: dns, disable: true}]\n---\n# none\n---\nversion: 0.2.0\nextraKubeAPIServerArgs: {--event-ttl: 6m}\n";
    let two = "version: 0.1.0\naddons: [{name: dns}]\nextraSANs: [a]\n";
    let plan_of = |texts: &[&str]| plan(texts).unwrap().unwrap();
    let both = plan_of(&[one, "", two]);
    assert_eq!(
        flags(&both),
        serde_json::json!({"event-ttl": ["6m"], "tls-san": ["a"]}),
        "dns is wanted in the end"
    );
    assert_eq!(both.steps.len(), 2);
    assert_eq!(both.shown, "/etc/0.yaml, /etc/2.yaml");
    assert_ne!(both.digest, plan_of(&[one]).digest);
    assert_eq!(both.digest, plan_of(&[one, two]).digest, "where they lie does not matter");
    assert!(plan(&[]).unwrap().is_none() && plan(&["", "# none\n", "---\n"]).unwrap().is_none());
}

#[test]
fn what_cannot_be_done_is_refused_with_the_file_and_the_key() {
    let good = format!("a:6443/{TOKEN}/{TOKEN}");
    for (text, told) in [
        ("addons: []", "version: it is missing; say `version: 0.2.0`"),
        ("version: 0.3.0", "version: 0.3.0 is not understood, only 0.1.0 to 0.2.0"),
        ("version: 0.0.9", "not understood"),
        ("version: 1", "version: 1 is none"),
        ("version: 0.1", "version: 0.1 is none"),
        ("- a", "must be a map"),
        ("version: 0.1.0\nextraFIPSEnv: {GOFIPS: 1}", "extraFIPSEnv: Knarr has no FIPS mode"),
        ("version: 0.1.0\nextraDqliteArgs: {--disk-mode: true}", "extraDqliteArgs: Knarr has no Dqlite"),
        ("version: 0.1.0\nextraFlanneldArgs: {-a: b}", "extraFlanneldArgs: "),
        ("version: 0.1.0\nextraKubeAPIServerArg: {}", "extraKubeAPIServerArg: unknown field"),
        ("version: 0.1.0\naddons: [{nam: dns}]", "addons: unknown field `nam`"),
        ("version: 0.1.0\naddons: [{name: dns:1.1.1.1}]", "belongs into `args`"),
        ("version: 0.1.0\naddonRepositories: [{name: a, url: b, reference: 1.30}]", "in quotes"),
        (
            "version: 0.1.0\nextraKubeAPIServerArgs: {--feature-gates: A=true}",
            "extraKubeAPIServerArgs: Knarr has no",
        ),
        (
            "version: 0.1.0\nextraKubeAPIServerArgs: {--event-ttl: [1]}",
            "extraKubeAPIServerArgs: [1] is no text",
        ),
        (
            "version: 0.1.0\nextraKubeAPIServerArgs: {--client-ca-file: $SNAP_DATA/certs/ca.crt}",
            "--client-ca-file: $SNAP_DATA/certs",
        ),
        ("version: 0.1.0\npersistentClusterToken: my-token", "persistentClusterToken: a token is 32"),
        ("version: 0.1.0\njoin: {worker: true}", "join: missing field `url`"),
        (
            &format!("version: 0.1.0\njoin: {{url: \"a:25000/{TOKEN}\"}}"),
            "join.url: the CHECK behind the token",
        ),
        (
            &format!("version: 0.1.0\njoin: {{url: {good}, worker: true}}\naddons: [{{name: dns}}]"),
            "addons: a worker",
        ),
        ("version: 0.1.0\nextraConfigFiles: {../x: z}", "extraConfigFiles: \"../x\""),
        ("version: 0.1.0\ncontainerdRegistryConfigs: {.x: z}", "containerdRegistryConfigs: \".x\""),
        ("version: 0.1.0\nextraCNIEnv: {IPv6_SUPPORT: true}", "extraCNIEnv: IPv4_CLUSTER_CIDR is missing"),
    ] {
        let error = refused(text);
        assert!(error.starts_with("/etc/0.yaml: ") && error.contains(told), "{text}: {error}");
    }
}

#[test]
fn what_is_no_yaml_is_told_with_its_line_in_the_file() {
    let error = refused("version: 0.1.0\n---\nversion: 0.1.0\naddons: [\n");
    assert!(
        error.starts_with("/etc/0.yaml: ") && (error.contains("line 4") || error.contains("line 5")),
        "{error}"
    );
}

#[test]
fn every_key_that_has_no_equivalent_is_none_that_is_read() {
    for (key, _) in WITHOUT_EQUIVALENT {
        assert!(refused(&format!("version: 0.2.0\n{key}: {{a: b}}")).contains(&format!("{key}: ")), "{key}");
        assert!(serde_json::from_value::<Part>(serde_json::json!({key: {}})).is_err(), "{key}");
    }
}
