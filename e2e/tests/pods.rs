//! Items 5 and 7 of a person's evening: what runs in a pod, and how one looks into it.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::unwrap_used, reason = "end-to-end tests")]

use anyhow::{Context, Result, ensure};
use e2e::node::Node;
use serde_json::Value;

#[test]
fn pods_run_as_they_are_told_and_can_be_looked_into() -> Result<()> {
    let node = Node::start("pods")?;
    shared_volume(&node)?;
    logs(&node)?;
    streams(&node)?;
    exec(&node)?;
    configuration(&node)?;
    resources(&node)?;
    failures(&node)?;
    probes(&node)?;
    waiting_for_room(&node)
}

fn phase(node: &Node, pod: &str, expected: &str) -> Result<Value> {
    node.eventually(&format!("{pod} to be {expected}"), || {
        let object = node.get(&format!("pod {pod}"))?;
        ensure!(object["status"]["phase"] == expected, "{}", object["status"]);
        Ok(object)
    })
}

fn shared_volume(node: &Node) -> Result<()> {
    node.apply(
        "
apiVersion: v1
kind: Pod
metadata: {name: pair}
spec:
  terminationGracePeriodSeconds: 1
  volumes:
  - {name: shared, emptyDir: {}}
  initContainers:
  - name: first
    image: busybox
    command: [sh, -c, 'echo prepared > /shared/file']
    volumeMounts: [{name: shared, mountPath: /shared}]
  containers:
  - name: writer
    image: busybox
    command: [sh, -c, 'cat /shared/file; i=0; while true; do i=$((i+1)); echo line $i; sleep 1; done']
    volumeMounts: [{name: shared, mountPath: /shared}]
  - name: reader
    image: busybox
    command: [sh, -c, 'cat /shared/file; sleep infinity']
    volumeMounts: [{name: shared, mountPath: /shared, readOnly: true}]
",
    )?;
    node.kubectl("wait --for=condition=Ready pod/pair --timeout=60s")?;
    ensure!(node.kubectl("logs pair -c reader")?.trim() == "prepared");
    ensure!(node.kubectl("get pods")?.contains("2/2"));
    let described = node.kubectl("describe pod pair")?;
    for event in ["Scheduled", "Pulled", "Created", "Started"] {
        ensure!(described.contains(event), "no {event}: {described}");
    }
    ensure!(node.kubectl("get events")?.contains("pod/pair"));
    Ok(())
}

fn logs(node: &Node) -> Result<()> {
    node.eventually("three lines", || {
        ensure!(node.kubectl("logs pair -c writer")?.contains("line 3"));
        Ok(())
    })?;
    ensure!(node.kubectl("logs pair -c writer --tail=1")?.lines().count() == 1);
    let stamped = node.kubectl("logs pair -c writer --timestamps --tail=1")?;
    ensure!(stamped.starts_with("20") && stamped.contains("Z line"), "{stamped}");
    // Following shows what comes after the command was started.
    let follow = node.machine.shell(&format!(
        "timeout 30 {} --kubeconfig={} logs -f pair -c writer --tail=1 | head -n 3",
        e2e::node::tool("kubectl").display(),
        node.kubeconfig().display()
    ))?;
    ensure!(follow.lines().count() == 3, "{follow}");
    let which = node.kubectl_fails("logs pair -c nobody")?;
    ensure!(which.contains("container nobody is not valid for pod pair"), "{which}");
    Ok(())
}

/// What comes out of a container, and files that go in and out.
fn streams(node: &Node) -> Result<()> {
    let kubectl =
        format!("{} --kubeconfig={}", e2e::node::tool("kubectl").display(), node.kubeconfig().display());
    let attached = node.machine.shell(&format!("timeout 30 {kubectl} attach pair -c writer | head -n 2"))?;
    ensure!(attached.lines().filter(|line| line.starts_with("line ")).count() == 2, "{attached}");

    let (sent, fetched) = (node.data_dir().join("sent"), node.data_dir().join("fetched"));
    let content: String = (0..10_000).map(|i| format!("{i}\n")).collect();
    std::fs::write(&sent, &content)?;
    node.kubectl(&format!("cp {} pair:/shared/copied -c writer", sent.display()))?;
    ensure!(node.kubectl("exec pair -c reader -- cat /shared/copied")? == content);
    node.kubectl(&format!("cp pair:/shared/copied {} -c reader", fetched.display()))?;
    ensure!(std::fs::read_to_string(&fetched)? == content);
    Ok(())
}

fn exec(node: &Node) -> Result<()> {
    ensure!(node.kubectl("exec pair -c reader -- cat /shared/file")?.trim() == "prepared");
    // Standard input is closed when it ends: cat would wait for ever otherwise.
    let echoed = node.kubectl_stdin("exec -i pair -c reader -- cat", "through stdin")?;
    ensure!(echoed == "through stdin", "{echoed}");
    let mut failing = node.kubectl_command(&[
        "exec",
        "pair",
        "-c",
        "reader",
        "--",
        "sh",
        "-c",
        "echo out; echo err >&2; exit 7",
    ]);
    let output = failing.output()?;
    ensure!(output.status.code() == Some(7), "{output:?}");
    ensure!(
        output.stdout == b"out\n" && String::from_utf8_lossy(&output.stderr).contains("err"),
        "{output:?}"
    );
    let missing = node.kubectl_fails("exec pair -c reader -- /no/such/program")?;
    ensure!(missing.contains("no such file"), "{missing}");
    // A terminal: `script` gives kubectl one.
    let kubectl =
        format!("{} --kubeconfig={}", e2e::node::tool("kubectl").display(), node.kubeconfig().display());
    let tty = node
        .machine
        .shell(&format!("script -qec '{kubectl} exec -it pair -c reader -- tty' /dev/null < /dev/null"))?;
    ensure!(tty.contains("/dev/pts/"), "{tty}");
    node.kubectl("delete pod pair")?;
    ensure!(node.kubectl_fails("get pod pair")?.contains("not found"));
    Ok(())
}

fn configuration(node: &Node) -> Result<()> {
    node.kubectl("create configmap settings --from-literal=color=blue --from-literal=file.txt=content")?;
    node.kubectl("create secret generic key --from-literal=password=hidden")?;
    std::fs::create_dir_all(node.data_dir().join("hostpath"))?;
    std::fs::write(node.data_dir().join("hostpath/here"), "host")?;
    let manifest = "
apiVersion: v1
kind: Pod
metadata: {name: configured, labels: {app: configured}}
spec:
  terminationGracePeriodSeconds: 0
  volumes:
  - {name: files, configMap: {name: settings, defaultMode: 0440}}
  - {name: secret, secret: {secretName: key}}
  - {name: host, hostPath: {path: HOSTPATH, type: Directory}}
  - name: info
    downwardAPI: {items: [{path: labels, fieldRef: {fieldPath: metadata.labels}}]}
  containers:
  - name: c
    image: busybox
    command: [sleep, infinity]
    env:
    - {name: COLOR, valueFrom: {configMapKeyRef: {name: settings, key: color}}}
    - {name: PASSWORD, valueFrom: {secretKeyRef: {name: key, key: password}}}
    - {name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}
    - {name: IP, valueFrom: {fieldRef: {fieldPath: status.podIP}}}
    - {name: BOTH, value: '$(COLOR)-$(NODE)'}
    - {name: LIMIT, valueFrom: {resourceFieldRef: {resource: limits.memory}}}
    resources: {limits: {memory: 64Mi}}
    volumeMounts:
    - {name: files, mountPath: /files}
    - {name: secret, mountPath: /secret}
    - {name: host, mountPath: /host}
    - {name: info, mountPath: /info}
    - {name: files, mountPath: /single.txt, subPath: file.txt}
";
    node.apply(&manifest.replace("HOSTPATH", &node.data_dir().join("hostpath").display().to_string()))?;
    node.kubectl("wait --for=condition=Ready pod/configured --timeout=60s")?;
    let run = |script: &str| node.kubectl_args(&["exec", "configured", "--", "sh", "-c", script]);
    let pod = node.get("pod configured")?;
    let ip = pod["status"]["podIP"].as_str().context("an address")?.to_owned();
    ensure!(
        run("echo $COLOR $PASSWORD $NODE $IP $BOTH $LIMIT")?.trim()
            == format!("blue hidden node-1 {ip} blue-node-1 67108864")
    );
    ensure!(
        run("cat /files/file.txt /secret/password /host/here /single.txt")?.trim()
            == "contenthiddenhostcontent"
    );
    ensure!(run("cat /info/labels")?.contains("app=\"configured\""));
    ensure!(run("stat -Lc %a /files/color")?.trim() == "440");
    // The service account's token works inside the pod.
    let answer = run("T=/var/run/secrets/kubernetes.io/serviceaccount; curl -s --cacert $T/ca.crt \
        -H \"Authorization: Bearer $(cat $T/token)\" https://kubernetes.default.svc/api/v1/namespaces/$(cat $T/namespace)/pods")?;
    ensure!(
        answer.contains("system:serviceaccount:default:default") && answer.contains("forbidden"),
        "{answer}"
    );
    // A mounted ConfigMap follows its object.
    node.kubectl_args(&["patch", "configmap", "settings", "-p", r#"{"data":{"color":"green"}}"#])?;
    node.eventually("the mounted file to follow", || {
        let color = run("cat /files/color")?;
        ensure!(color == "green", "{color}");
        Ok(())
    })?;
    node.kubectl("delete pod configured")?;
    Ok(())
}

fn resources(node: &Node) -> Result<()> {
    node.apply(
        "
apiVersion: v1
kind: Pod
metadata: {name: limited}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: busybox
    command: [sleep, infinity]
    resources: {requests: {cpu: 100m, memory: 32Mi}, limits: {cpu: 500m, memory: 64Mi}}
",
    )?;
    node.kubectl("wait --for=condition=Ready pod/limited --timeout=60s")?;
    ensure!(node.get("pod limited")?["status"]["qosClass"] == "Burstable");
    let uid = node.get("pod limited")?["metadata"]["uid"].as_str().context("a uid")?.to_owned();
    // v1 and v2 name the file differently; the pod's own cgroup is found by its uid.
    let limits = node.machine.shell(&format!(
        "find /sys/fs/cgroup -path '*{uid}*' \\( -name memory.max -o -name memory.limit_in_bytes \\) -exec cat {{}} +"
    ))?;
    ensure!(limits.lines().any(|l| l == "67108864"), "{limits}");
    let quotas = node.machine.shell(&format!(
        "find /sys/fs/cgroup -path '*{uid}*' \\( -name cpu.max -o -name cpu.cfs_quota_us \\) -exec cat {{}} +"
    ))?;
    ensure!(quotas.lines().any(|l| l.starts_with("50000")), "{quotas}");
    node.kubectl("delete pod limited")?;
    Ok(())
}

fn failures(node: &Node) -> Result<()> {
    node.kubectl("run broken --image=no-such-image --restart=Never")?;
    let crashing = ["run", "crashing", "--image=busybox", "--", "sh", "-c", "echo last words; exit 3"];
    node.kubectl_args(&crashing)?;
    node.kubectl("run done --image=busybox --restart=Never -- true")?;
    node.kubectl("run once --image=busybox --restart=Never -- false")?;
    phase(node, "done", "Succeeded")?;
    phase(node, "once", "Failed")?;
    node.eventually("CrashLoopBackOff", || {
        let table = node.kubectl("get pods")?;
        ensure!(table.contains("CrashLoopBackOff"), "{table}");
        Ok(())
    })?;
    node.eventually("ImagePullBackOff", || {
        let table = node.kubectl("get pods")?;
        ensure!(table.contains("ImagePullBackOff"), "{table}");
        Ok(())
    })?;
    let pod = node.get("pod crashing")?;
    let status = &pod["status"]["containerStatuses"][0];
    ensure!(status["restartCount"].as_i64() >= Some(1), "{status}");
    ensure!(status["lastState"]["terminated"]["exitCode"] == 3, "{status}");
    ensure!(node.kubectl("logs crashing --previous")?.trim() == "last words");
    let described = node.kubectl("describe pod crashing")?;
    ensure!(described.contains("Back-off restarting failed container"), "{described}");
    node.kubectl("delete pod broken crashing done once --force --grace-period=0")?;
    Ok(())
}

fn probes(node: &Node) -> Result<()> {
    node.apply(
        "
apiVersion: v1
kind: Pod
metadata: {name: probed}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: web
    image: nginx
    readinessProbe: {httpGet: {path: /, port: 80}, periodSeconds: 1}
    livenessProbe: {tcpSocket: {port: 80}, periodSeconds: 1}
  - name: file
    image: busybox
    command: [sh, -c, 'touch /tmp/alive; sleep infinity']
    livenessProbe: {exec: {command: [cat, /tmp/alive]}, periodSeconds: 1, failureThreshold: 2}
    readinessProbe: {exec: {command: [cat, /tmp/alive]}, periodSeconds: 1}
",
    )?;
    node.kubectl("wait --for=condition=Ready pod/probed --timeout=60s")?;
    node.kubectl("exec probed -c file -- rm /tmp/alive")?;
    node.eventually("a restart by the liveness probe", || {
        let pod = node.get("pod probed")?;
        let statuses = pod["status"]["containerStatuses"].as_array().cloned().unwrap_or_default();
        let restarts =
            |name: &str| statuses.iter().find(|s| s["name"] == name).map(|s| s["restartCount"].clone());
        ensure!(restarts("file") == Some(1.into()), "{statuses:?}");
        ensure!(restarts("web") == Some(0.into()), "{statuses:?}");
        Ok(())
    })?;
    ensure!(node.kubectl("describe pod probed")?.contains("Liveness probe failed"));
    node.kubectl("wait --for=condition=Ready pod/probed --timeout=60s")?;
    node.kubectl("delete pod probed")?;
    Ok(())
}

/// A pod that fits nowhere says why, and is scheduled as soon as it fits.
fn waiting_for_room(node: &Node) -> Result<()> {
    node.kubectl("cordon node-1")?;
    node.kubectl("run waiting --image=busybox --restart=Never -- true")?;
    node.eventually("an event that says why", || {
        let described = node.kubectl("describe pod waiting")?;
        ensure!(described.contains("0/1 nodes are available: 1 node(s) were unschedulable"), "{described}");
        Ok(())
    })?;
    node.kubectl("uncordon node-1")?;
    phase(node, "waiting", "Succeeded")?;
    node.kubectl("delete pod waiting")?;
    Ok(())
}
