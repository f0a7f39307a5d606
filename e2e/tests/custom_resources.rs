//! Custom resources with stock kubectl: from a definition to its end. The control plane alone is enough.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, reason = "end-to-end tests")]

use anyhow::{Result, ensure};
use e2e::node::Node;

const DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: crontabs.stable.example.com
spec:
  group: stable.example.com
  scope: Namespaced
  names:
    plural: crontabs
    singular: crontab
    kind: CronTab
    shortNames: [ct]
    categories: [all]
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale:
        specReplicasPath: .spec.replicas
        statusReplicasPath: .status.replicas
        labelSelectorPath: .status.labelSelector
    additionalPrinterColumns:
    - {name: Spec, type: string, jsonPath: .spec.cronSpec}
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
    - {name: Image, type: string, priority: 1, jsonPath: .spec.image}
    - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
    selectableFields:
    - jsonPath: .spec.image
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            description: What the table is to do.
            required: [cronSpec]
            properties:
              cronSpec:
                type: string
                description: When it runs.
                pattern: '^(\d+|\*)(/\d+)?(\s+(\d+|\*)(/\d+)?){4}$'
              image: {type: string}
              replicas: {type: integer, minimum: 1, maximum: 10, default: 1}
          status:
            type: object
            properties:
              replicas: {type: integer}
              labelSelector: {type: string}
"#;

const TABLE: &str = "
apiVersion: stable.example.com/v1
kind: CronTab
metadata:
  name: mine
spec:
  cronSpec: '* * * * */5'
  image: busybox
";

#[test]
fn kubectl_lives_with_custom_resources() -> Result<()> {
    let node = Node::start_control_plane("crd")?;
    node.apply(DEFINITION)?;
    let established =
        node.kubectl("wait --for condition=established --timeout=30s crd/crontabs.stable.example.com")?;
    ensure!(established.contains("condition met"), "{established}");
    discovery(&node)?;
    objects(&node)?;
    columns(&node)?;
    scaling(&node)?;
    applying(&node)?;
    the_end(&node)
}

fn discovery(node: &Node) -> Result<()> {
    ensure!(node.kubectl("get crd")?.contains("crontabs.stable.example.com"));
    let resources = node.kubectl("api-resources --api-group=stable.example.com")?;
    let row = resources.lines().nth(1).unwrap_or_default();
    let words: Vec<&str> = row.split_whitespace().collect();
    ensure!(words == ["crontabs", "ct", "stable.example.com/v1", "true", "CronTab"], "{resources}");
    let explained = node.kubectl("explain crontab.spec.cronSpec")?;
    ensure!(explained.contains("When it runs.") && explained.contains("<string>"), "{explained}");
    ensure!(node.kubectl("explain ct --recursive")?.contains("cronSpec"));
    let described = node.kubectl("describe crd crontabs.stable.example.com")?;
    ensure!(described.contains("no conflicts found"), "{described}");
    Ok(())
}

fn objects(node: &Node) -> Result<()> {
    ensure!(node.apply(TABLE)?.contains("crontab.stable.example.com/mine created"));
    let made = node.get("crontab mine")?;
    ensure!(made["spec"]["replicas"] == 1, "{made}");
    let typo = TABLE.replace("image:", "imag:").replace("mine", "typo");
    let refused = node.kubectl_stdin("apply -f -", &typo).unwrap_err().to_string();
    ensure!(refused.contains("unknown field \"spec.imag\""), "{refused}");
    let wrong = TABLE.replace("* * * * */5", "sometimes").replace("mine", "wrong");
    let refused = node.kubectl_stdin("apply -f -", &wrong).unwrap_err().to_string();
    ensure!(refused.contains("spec.cronSpec") && refused.contains("should match"), "{refused}");
    node.kubectl("patch ct mine --type=merge -p {\"spec\":{\"image\":\"nginx\"}}")?;
    let refused =
        node.kubectl_fails("patch ct mine -p {\"spec\":{\"image\":\"busybox\"}} --type=strategic")?;
    ensure!(
        refused.contains("unknown format") || refused.contains("strategic merge patch is not supported"),
        "{refused}"
    );
    node.kubectl("label ct mine kept=yes")?;
    ensure!(node.get("ct mine")?["metadata"]["generation"] == 2);
    Ok(())
}

fn columns(node: &Node) -> Result<()> {
    let table = node.kubectl("get ct")?;
    let head: Vec<&str> = table.lines().next().unwrap_or_default().split_whitespace().collect();
    ensure!(head == ["NAME", "SPEC", "REPLICAS", "AGE"], "{table}");
    ensure!(node.kubectl("get ct -o wide")?.contains("nginx"));
    ensure!(node.kubectl("get all")?.contains("crontab.stable.example.com/mine"));
    ensure!(node.kubectl("get ct --field-selector=spec.image=nginx -o name")?.contains("mine"));
    ensure!(node.kubectl("get ct --field-selector=spec.image=other -o name")?.is_empty());
    Ok(())
}

fn scaling(node: &Node) -> Result<()> {
    ensure!(node.kubectl("scale ct/mine --replicas=3")?.contains("scaled"));
    ensure!(node.get("ct mine")?["spec"]["replicas"] == 3);
    ensure!(node.kubectl("get ct mine --subresource=scale -o jsonpath={.spec.replicas}")?.trim() == "3");
    node.kubectl("patch ct mine --subresource=status --type=merge -p {\"status\":{\"replicas\":2}}")?;
    ensure!(node.get("ct mine")?["status"]["replicas"] == 2);
    Ok(())
}

fn applying(node: &Node) -> Result<()> {
    let other = TABLE.replace("mine", "other");
    ensure!(node.kubectl_stdin("apply --server-side -f -", &other)?.contains("serverside-applied"));
    let changed = other.replace("busybox", "alpine");
    ensure!(node.kubectl_stdin("diff --server-side -f -", &changed).is_err(), "diff tells of a difference");
    node.kubectl_stdin("apply --server-side -f -", &changed)?;
    ensure!(node.get("ct other")?["spec"]["image"] == "alpine");
    node.kubectl("create namespace full")?;
    node.kubectl_stdin("apply -n full -f -", TABLE)?;
    // The namespace takes what is in it along, custom or not.
    node.kubectl("delete namespace full --timeout=60s")?;
    ensure!(node.kubectl("get ct -A -o name")?.lines().count() == 2);
    Ok(())
}

fn the_end(node: &Node) -> Result<()> {
    node.kubectl("delete crd crontabs.stable.example.com --timeout=60s")?;
    let gone = node.kubectl_fails("get crontabs")?;
    ensure!(gone.contains("the server could not find the requested resource"), "{gone}");
    Ok(())
}
