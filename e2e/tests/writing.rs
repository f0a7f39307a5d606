//! Item 6 of a person's evening: every way in which kubectl writes. The control plane alone is enough.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, reason = "end-to-end tests")]

use anyhow::{Result, ensure};
use e2e::node::Node;
use serde_json::{Value, json};

const WEB: &str = "
apiVersion: apps/v1
kind: Deployment
metadata:
  name: web
spec:
  replicas: 2
  selector:
    matchLabels: {app: web}
  template:
    metadata:
      labels: {app: web}
    spec:
      containers:
      - name: nginx
        image: nginx:1.27
        ports:
        - containerPort: 80
";

#[test]
fn kubectl_writes_in_every_way() -> Result<()> {
    let node = Node::start_control_plane("write")?;
    create_commands(&node)?;
    client_side_apply(&node)?;
    patches(&node)?;
    metadata_commands(&node)?;
    server_side_apply(&node)?;
    deletion(&node)
}

fn create_commands(node: &Node) -> Result<()> {
    node.kubectl("create namespace made")?;
    node.kubectl("create configmap settings --from-literal=a=b -n made")?;
    node.kubectl("create secret generic key --from-literal=k=v -n made")?;
    node.kubectl("create serviceaccount robot -n made")?;
    node.kubectl("create role reader --verb=get,list --resource=pods -n made")?;
    node.kubectl("create rolebinding reads --role=reader --serviceaccount=made:robot -n made")?;
    node.kubectl("create clusterrole sees --verb=get --resource=nodes")?;
    node.kubectl("create clusterrolebinding sees --clusterrole=sees --serviceaccount=made:robot")?;
    ensure!(node.get("configmap settings -n made")?["data"]["a"] == "b");
    ensure!(node.get("secret key -n made")?["data"]["k"] == "dg==");
    ensure!(
        node.kubectl("auth can-i list pods -n made --as=system:serviceaccount:made:robot")?.trim() == "yes"
    );
    ensure!(
        node.kubectl_fails("auth can-i delete pods -n made --as=system:serviceaccount:made:robot").is_ok()
    );

    // The token is the robot's: it may do what the robot may, and nothing else.
    let token = node.kubectl("create token robot -n made")?;
    let with_token = |rest: &str| {
        format!(
            "--kubeconfig=/dev/null --server=https://127.0.0.1:6443 --insecure-skip-tls-verify --token={} {rest}",
            token.trim()
        )
    };
    node.kubectl(&with_token("get pods -n made"))?;
    let refused = node.kubectl_fails(&with_token("get secrets -n made"))?;
    ensure!(
        refused.contains("secrets is forbidden: User \"system:serviceaccount:made:robot\" cannot list resource \"secrets\" in API group \"\" in the namespace \"made\""),
        "{refused}"
    );
    // A token of a service account that is gone is worth nothing.
    node.kubectl("delete serviceaccount robot -n made")?;
    let refused = node.kubectl_fails(&with_token("get pods -n made"))?;
    ensure!(refused.contains("Unauthorized") || refused.contains("logged in"), "{refused}");
    Ok(())
}

fn client_side_apply(node: &Node) -> Result<()> {
    ensure!(node.apply(WEB)?.contains("deployment.apps/web created"));
    ensure!(node.apply(WEB)?.contains("deployment.apps/web unchanged"));
    let changed = WEB.replace("replicas: 2", "replicas: 3");
    let diff = node.kubectl_command(&["diff", "-f", "-"]);
    ensure!(diff_of(diff, &changed)?.contains("+  replicas: 3"));
    ensure!(node.apply(&changed)?.contains("deployment.apps/web configured"));
    ensure!(node.get("deployment web")?["spec"]["replicas"] == 3);
    // A field that is no longer applied goes away.
    let without = changed.replace("        ports:\n        - containerPort: 80\n", "");
    node.apply(&without)?;
    let container = &node.get("deployment web")?["spec"]["template"]["spec"]["containers"][0];
    ensure!(container.get("ports").is_none(), "{container}");
    Ok(())
}

/// `kubectl diff` exits 1 when there is a difference.
fn diff_of(mut command: std::process::Command, input: &str) -> Result<String> {
    use std::io::Write as _;
    use std::process::Stdio;
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    child.stdin.take().expect("stdin was asked for").write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    ensure!(output.status.code() == Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn patches(node: &Node) -> Result<()> {
    let replicas =
        |node: &Node| -> Result<Value> { Ok(node.get("deployment web")?["spec"]["replicas"].clone()) };
    node.kubectl_args(&["patch", "deployment", "web", "--type=merge", "-p", r#"{"spec":{"replicas":4}}"#])?;
    ensure!(replicas(node)? == 4);
    node.kubectl_args(&[
        "patch",
        "deployment",
        "web",
        "--type=json",
        "-p",
        r#"[{"op":"replace","path":"/spec/replicas","value":5}]"#,
    ])?;
    ensure!(replicas(node)? == 5);
    // Strategic: the container is found by its name, and a second one joins it.
    let patch = r#"{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"busybox"}]}}}}"#;
    node.kubectl_args(&["patch", "deployment", "web", "-p", patch])?;
    let containers = node.get("deployment web")?["spec"]["template"]["spec"]["containers"].clone();
    ensure!(containers.as_array().map(Vec::len) == Some(2), "{containers}");
    node.kubectl("scale deployment web --replicas=1")?;
    ensure!(replicas(node)? == 1);
    // Replace, as `kubectl edit` does it too, with an editor that is a program.
    let mut object = node.get("deployment web")?;
    object["spec"]["replicas"] = json!(2);
    node.kubectl_stdin("replace -f -", &object.to_string())?;
    ensure!(replicas(node)? == 2);
    let mut edit = node.kubectl_command(&["edit", "deployment", "web"]);
    edit.env("KUBE_EDITOR", "sed -i s/replicas:\\ 2/replicas:\\ 6/");
    ensure!(edit.output()?.status.success());
    ensure!(replicas(node)? == 6);
    // An update that lost the race is told so.
    let stale = node.kubectl_stdin("replace -f -", &object.to_string()).unwrap_err().to_string();
    ensure!(
        stale.contains(
            "the object has been modified; please apply your changes to the latest version and try again"
        ),
        "{stale}"
    );
    Ok(())
}

fn metadata_commands(node: &Node) -> Result<()> {
    node.kubectl("label deployment web tier=front")?;
    node.kubectl("annotate deployment web note=hello")?;
    ensure!(node.kubectl("get deployments -l tier=front -o name")?.trim() == "deployment.apps/web");
    ensure!(node.kubectl("get deployments -l tier!=front -o name")?.trim().is_empty());
    ensure!(node.kubectl_fails("label deployment web tier=back")?.contains("already has a value"));
    node.kubectl("label deployment web tier-")?;
    ensure!(node.get("deployment web")?["metadata"]["labels"].get("tier").is_none());
    node.kubectl("wait --for=jsonpath={.spec.replicas}=6 deployment/web --timeout=10s")?;
    Ok(())
}

fn server_side_apply(node: &Node) -> Result<()> {
    let config = |value: &str| {
        format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: shared\ndata:\n  key: {value}\n")
    };
    node.kubectl_stdin("apply --server-side --field-manager=one -f -", &config("a"))?;
    let conflict = node
        .kubectl_stdin("apply --server-side --field-manager=two -f -", &config("b"))
        .unwrap_err()
        .to_string();
    ensure!(conflict.contains("conflict with \"one\"") && conflict.contains(".data.key"), "{conflict}");
    ensure!(node.get("configmap shared")?["data"]["key"] == "a");
    node.kubectl_stdin("apply --server-side --field-manager=two --force-conflicts -f -", &config("b"))?;
    ensure!(node.get("configmap shared")?["data"]["key"] == "b");
    let fields = node.kubectl("get configmap shared -o json --show-managed-fields")?;
    ensure!(fields.contains("\"operation\": \"Apply\""), "{fields}");
    // What nobody applies any more goes away.
    node.kubectl_stdin(
        "apply --server-side --field-manager=two -f -",
        &config("b").replace("data:\n  key: b\n", ""),
    )?;
    ensure!(node.get("configmap shared")?.get("data").is_none());
    node.kubectl_stdin(
        "apply --server-side --dry-run=server -f -",
        &config("z").replace("shared", "imagined"),
    )?;
    ensure!(node.kubectl_fails("get configmap imagined")?.contains("configmaps \"imagined\" not found"));
    Ok(())
}

fn deletion(node: &Node) -> Result<()> {
    // The controllers run: the Deployment has its ReplicaSet, and that its pods.
    let owned = |kind: &str| -> Result<usize> {
        Ok(node.get(&format!("{kind} -l app=web"))?["items"].as_array().map_or(0, Vec::len))
    };
    // Without nodes no pod becomes Ready, and a rolling update stays half way: begin anew.
    node.kubectl("delete deployment web")?;
    node.eventually("nothing left of the old one", || {
        let left = owned("replicasets")? + owned("pods")?;
        ensure!(left == 0, "{left} left");
        Ok(())
    })?;
    node.apply(WEB)?;
    node.eventually("two pods", || {
        let pods = owned("pods")?;
        ensure!(pods == 2, "{pods} pods");
        Ok(())
    })?;
    // Orphans stay.
    node.kubectl("delete deployment web --cascade=orphan")?;
    ensure!(owned("replicasets")? >= 1);
    node.eventually("the ReplicaSets to have no owner", || {
        let sets = node.get("replicasets -l app=web")?;
        ensure!(!sets.to_string().contains("ownerReferences"), "{sets}");
        Ok(())
    })?;
    // Foreground: when the command returns, everything is gone.
    node.kubectl("delete replicasets -l app=web --cascade=foreground --timeout=60s")?;
    ensure!(owned("pods")? == 0);
    // Background: gone a moment later.
    node.apply(WEB)?;
    node.eventually("pods again", || {
        let pods = owned("pods")?;
        ensure!(pods == 2, "{pods} pods");
        Ok(())
    })?;
    node.kubectl("delete deployment web --cascade=background")?;
    node.eventually("nothing left", || {
        let left = owned("replicasets")? + owned("pods")?;
        ensure!(left == 0, "{left} left");
        Ok(())
    })?;
    // A namespace goes with all that is in it.
    node.kubectl("delete namespace made --timeout=60s")?;
    ensure!(node.kubectl_fails("get namespace made")?.contains("namespaces \"made\" not found"));
    Ok(())
}
