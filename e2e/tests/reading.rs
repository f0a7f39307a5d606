//! Item 2 of a person's evening, and what a person gets wrong. The control plane alone is enough.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, reason = "end-to-end tests")]

use anyhow::{Result, ensure};
use e2e::node::Node;

#[test]
fn kubectl_reads_and_mistakes_are_told() -> Result<()> {
    let node = Node::start_control_plane("read")?;
    overviews(&node)?;
    explanations(&node)?;
    mistakes(&node)?;
    bad_requests(&node)
}

fn overviews(node: &Node) -> Result<()> {
    let resources = node.kubectl("api-resources")?;
    for row in
        ["pods  ", "deploy ", "ingresses", "customresourcedefinitions", "horizontalpodautoscalers", "apps/v1"]
    {
        ensure!(resources.contains(row), "no {row}: {resources}");
    }
    ensure!(node.kubectl("api-versions")?.lines().any(|l| l == "rbac.authorization.k8s.io/v1"));
    ensure!(node.kubectl("cluster-info")?.contains("is running at"));
    let version = node.kubectl("version")?;
    ensure!(version.contains("Server Version: v1.36."), "{version}");
    ensure!(!version.contains("WARNING"), "{version}");
    let namespaces = node.kubectl("get namespaces")?;
    ensure!(
        namespaces.lines().next().is_some_and(|l| l.starts_with("NAME") && l.contains("STATUS")),
        "{namespaces}"
    );
    for name in ["default", "kube-system", "kube-public", "kube-node-lease"] {
        ensure!(namespaces.contains(name), "{namespaces}");
    }
    let all = node.kubectl("get all -A")?;
    ensure!(all.contains("service/kubernetes"), "{all}");
    ensure!(node.kubectl("describe service kubernetes")?.contains("10.152.183.1"));
    ensure!(node.kubectl("auth can-i create pods")?.trim() == "yes");
    ensure!(node.kubectl("auth whoami")?.contains("system:masters"));
    ensure!(node.kubectl("get --raw /readyz")? == "ok");
    ensure!(node.kubectl("get --raw /livez?verbose")?.contains("[+]ping ok"));
    ensure!(node.machine.shell("curl -ks https://127.0.0.1:6443/readyz")? == "ok");
    // Every resource can be listed, watched and shown as a table.
    for resource in node.kubectl("api-resources --verbs=list -o name")?.split_whitespace() {
        node.kubectl(&format!("get {resource} -A"))?;
    }
    Ok(())
}

fn explanations(node: &Node) -> Result<()> {
    let text = node.kubectl("explain pod.spec.containers --recursive")?;
    ensure!(text.contains("image\t<string>") && text.contains("livenessProbe"), "{text}");
    ensure!(node.kubectl("explain deployment.spec.replicas")?.contains("Number of desired pods"));
    Ok(())
}

fn mistakes(node: &Node) -> Result<()> {
    for (what, told) in [
        ("get pods nobody", "pods \"nobody\" not found"),
        ("get nonsense", "the server doesn't have a resource type \"nonsense\""),
        ("create namespace default", "namespaces \"default\" already exists"),
        ("create namespace Big_Name", "Invalid value: \"Big_Name\""),
        ("create deployment x --image=i -n nowhere", "namespaces \"nowhere\" not found"),
        ("get pods -l =", "unable to parse"),
        ("get pods --field-selector spec.nope=1", "field label not supported"),
        (
            "get secrets --as=nobody",
            "secrets is forbidden: User \"nobody\" cannot list resource \"secrets\" in API group \"\" in the namespace \"default\"",
        ),
    ] {
        let said = node.kubectl_fails(what)?;
        ensure!(said.contains(told), "kubectl {what}: {said}");
    }
    let pod = |spec: &str| format!("apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\nspec:\n{spec}");
    for (manifest, told) in [
        (pod("  containers:\n  - name: c\n"), "spec.containers[0].image: Required value"),
        (pod("  containers: []\n"), "spec.containers: Required value"),
        (pod("  containers:\n  - name: C\n    image: i\n"), "spec.containers[0].name: Invalid value: \"C\""),
        (
            pod("  containers:\n  - name: c\n    image: i\n    imag: x\n"),
            "unknown field \"spec.containers[0].imag\"",
        ),
        (pod("  containers:\n  - name: c\n    image: i\n    ports: x\n"), "unmarshal"),
        (
            pod("  restartPolicy: Sometimes\n  containers:\n  - name: c\n    image: i\n"),
            "spec.restartPolicy: Unsupported value: \"Sometimes\"",
        ),
        ("a: [".to_owned(), "error"),
        (
            "apiVersion: v9\nkind: Pod\nmetadata:\n  name: p\n".to_owned(),
            "no matches for kind \"Pod\" in version \"v9\"",
        ),
    ] {
        let said = node.kubectl_stdin("create -f -", &manifest).unwrap_err().to_string();
        ensure!(said.contains(told), "{manifest}: {said}");
    }
    Ok(())
}

/// What no kubectl would send.
fn bad_requests(node: &Node) -> Result<()> {
    let folder = node.data_dir();
    let token = node.kubectl("create token default -n kube-system")?;
    node.kubectl(
        "create clusterrolebinding all --clusterrole=cluster-admin --serviceaccount=kube-system:default",
    )?;
    let curl = |rest: &str| {
        node.machine.shell(&format!("curl -ks -H 'Authorization: Bearer {}' {rest}", token.trim()))
    };
    let url = "https://127.0.0.1:6443/api/v1/namespaces/default/configmaps";
    for (request, code, reason) in [
        (format!("-X POST {url} -H 'Content-Type: application/json' -d '{{'"), 400, "BadRequest"),
        (format!("-X POST {url} -H 'Content-Type: text/plain' -d x"), 415, "UnsupportedMediaType"),
        (format!("-H 'Accept: image/png' {url}"), 406, "NotAcceptable"),
        (
            format!(
                "-X POST {url} -H 'Content-Type: application/json' -d '{{\"kind\":\"Secret\",\"apiVersion\":\"v1\"}}'"
            ),
            400,
            "BadRequest",
        ),
        (format!("{url}/none"), 404, "NotFound"),
        ("https://127.0.0.1:6443/nothing".to_owned(), 404, "NotFound"),
        ("-X PUT https://127.0.0.1:6443/api/v1/namespaces".to_owned(), 405, "MethodNotAllowed"),
        ("-X DELETE https://127.0.0.1:6443/version".to_owned(), 405, "MethodNotAllowed"),
        (format!("'{url}?watch=1&resourceVersion=banana'"), 400, "BadRequest"),
        (format!("'{url}?limit=1&continue=banana'"), 400, "BadRequest"),
    ] {
        let text = curl(&request)?;
        let status: serde_json::Value = serde_json::from_str(&text)?;
        ensure!(status["kind"] == "Status", "{request}: {text}");
        ensure!(status["code"] == code && status["reason"] == reason, "{request}: {text}");
    }
    let big = folder.join("big.json");
    let data = "x".repeat(4 * 1024 * 1024);
    std::fs::write(
        &big,
        format!(
            r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"big"}},"data":{{"k":"{data}"}}}}"#
        ),
    )?;
    let text = curl(&format!(
        "-X POST {url} -H 'Content-Type: application/json' -H 'Expect:' --data-binary @{}",
        big.display()
    ))?;
    ensure!(text.contains("RequestEntityTooLarge"), "{text}");
    ensure!(
        node.machine
            .shell(&format!("curl -ks -H 'Authorization: Bearer nonsense' {url}"))?
            .contains("Unauthorized")
    );
    Ok(())
}
