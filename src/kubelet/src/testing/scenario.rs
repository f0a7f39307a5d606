//! The whole kubelet against a simulated runtime: what people see of their pods.

use super::World;
use super::runtime::Behaviour;
use base64::Engine;
use serde_json::{Value, json};

fn phase(status: &Value) -> &str {
    status["phase"].as_str().unwrap_or("")
}

fn is_ready(status: &Value) -> bool {
    let conditions = status["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

fn reason(status: &Value) -> &str {
    status["containerStatuses"][0]["state"]["waiting"]["reason"].as_str().unwrap_or("")
}

fn simple() -> Value {
    json!({"containers": [{"name": "a", "image": "nginx"}], "terminationGracePeriodSeconds": 7})
}

#[tokio::test]
async fn the_node_registers_and_becomes_ready() {
    let world = World::new();
    let node = world
        .api
        .wait("a ready node", |api| {
            let node = api.get("nodes", "", "n")?;
            let conditions = node["status"]["conditions"].as_array()?.clone();
            conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True").then_some(node)
        })
        .await;
    assert_eq!(node["status"]["addresses"][0], json!({"type": "InternalIP", "address": "192.0.2.7"}));
    assert_eq!(node["metadata"]["labels"]["kubernetes.io/hostname"], "n");
    assert_eq!(node["status"]["nodeInfo"]["containerRuntimeVersion"], "containerd://0.0.0");
    assert_eq!(node["status"]["capacity"]["pods"], "110");
    let lease = world.api.wait("a lease", |api| api.get("leases", "kube-node-lease", "n")).await;
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 40);
}

#[tokio::test]
async fn a_node_that_was_taken_for_dead_says_that_it_lives() {
    let world = World::new();
    let ready =
        |api: &super::api::FakeApi| api.get("nodes", "", "n").filter(|node| is_ready(&node["status"]));
    world.api.wait("a ready node", ready).await;
    world.api.edit("nodes", "", "n", |node| {
        for condition in node["status"]["conditions"].as_array_mut().unwrap() {
            condition["status"] = json!("Unknown");
            condition["lastTransitionTime"] = json!("2020-01-01T00:00:00Z");
        }
    });
    let node = world.api.wait("a ready node again", ready).await;
    for condition in node["status"]["conditions"].as_array().unwrap() {
        assert_ne!(condition["status"], "Unknown");
        assert_ne!(condition["lastTransitionTime"], "2020-01-01T00:00:00Z", "{condition}");
    }
}

#[tokio::test]
async fn a_pod_that_was_taken_out_of_service_is_put_back() {
    let world = World::new();
    world.create("p", simple());
    world.status("p", "ready", is_ready).await;
    world.api.edit("pods", "ns", "p", |pod| {
        for condition in pod["status"]["conditions"].as_array_mut().unwrap() {
            if condition["type"] == "Ready" {
                condition["status"] = json!("False");
            }
        }
    });
    world.status("p", "ready again, before it is looked at again", is_ready).await;
}

#[tokio::test]
async fn a_pod_runs_and_is_deleted() {
    let world = World::new();
    world.create("p", simple());
    let status = world.status("p", "ready", is_ready).await;
    assert_eq!(status["hostIP"], "192.0.2.7");
    assert!(status["podIP"].as_str().unwrap().starts_with("10.1.0."));
    assert_eq!(status["qosClass"], "BestEffort");
    assert_eq!(status["observedGeneration"], 1);
    assert_eq!(world.event("Pulling").await, "Pulling image \"nginx\"");
    assert!(world.event("Pulled").await.ends_with("including waiting). Image size: 42 bytes."));
    world.delete("p", 5);
    world.gone("p").await;
    assert_eq!(world.event("Killing").await, "Stopping container a");
    assert!(world.runtime.calls().contains(&"stop(5s) a".to_owned()));
    assert!(!world.directory.path().join("kubelet/pods/uid-p").exists());
}

#[tokio::test]
async fn init_containers_and_sidecars_come_first() {
    let world = World::new();
    world.runtime.behave("i", Behaviour::Exit(0));
    world.create("p", json!({"initContainers": [{"name": "i", "image": "x"},
        {"name": "s", "image": "x", "restartPolicy": "Always"}], "containers": [{"name": "a", "image": "x"}]}));
    world.status("p", "ready", is_ready).await;
    let calls = world.runtime.calls();
    let started: Vec<&str> = calls.iter().filter_map(|call| call.strip_prefix("start ")).collect();
    assert_eq!(started, ["i", "s", "a"]);
    world.delete("p", 30);
    world.gone("p").await;
    let calls = world.runtime.calls();
    let stopped: Vec<&str> =
        calls.iter().filter(|call| call.starts_with("stop(")).map(|call| &call[call.len() - 1..]).collect();
    assert_eq!(stopped, ["a", "s"]);
}

#[tokio::test]
async fn a_finished_pod_succeeds_and_frees_its_sandbox() {
    let world = World::new();
    world.runtime.behave("a", Behaviour::Exit(0));
    world.create("p", json!({"restartPolicy": "Never", "containers": [{"name": "a", "image": "x"}]}));
    let status = world.status("p", "succeeded", |status| phase(status) == "Succeeded").await;
    assert_eq!(status["containerStatuses"][0]["state"]["terminated"]["reason"], "Completed");
    world.status("p", "completed", |status| status["conditions"].to_string().contains("PodCompleted")).await;
}

#[tokio::test]
async fn a_crashing_container_backs_off() {
    let world = World::new();
    world.runtime.behave("a", Behaviour::Exit(3));
    world.create("p", simple());
    let status = world.status("p", "backing off", |status| reason(status) == "CrashLoopBackOff").await;
    let container = &status["containerStatuses"][0];
    assert_eq!(container["restartCount"], 1);
    assert_eq!(container["lastState"]["terminated"]["exitCode"], 3);
    assert_eq!(
        container["state"]["waiting"]["message"],
        "back-off 10s restarting failed container=a pod=p_ns(uid-p)"
    );
    assert_eq!(phase(&status), "Running");
    assert_eq!(world.event("BackOff").await, "Back-off restarting failed container a in pod p_ns(uid-p)");
}

#[tokio::test]
async fn an_image_that_is_not_there_backs_off() {
    let world = World::new();
    world.runtime.image("nginx", false);
    world.create("p", simple());
    let status = world.status("p", "not pulled", |status| reason(status) == "ErrImagePull").await;
    assert_eq!(reason(&status), "ErrImagePull");
    assert_eq!(phase(&status), "Pending");
    assert!(world.event("Failed").await.starts_with("Failed to pull image \"nginx\""));
}

#[tokio::test]
async fn a_sandbox_that_cannot_be_made_is_not_tried_again_at_once() {
    let world = World::new();
    world.runtime.refuse("p");
    world.create("p", simple());
    assert!(world.event("FailedCreatePodSandBox").await.starts_with("Failed to create pod sandbox: "));
    for other in ["q", "r", "s"] {
        world.create(other, simple());
        world.status(other, "ready", is_ready).await;
        world.delete(other, 0);
        world.gone(other).await;
    }
    // The pauses grow from a quarter of a second.
    let attempts = world.runtime.calls().iter().filter(|call| *call == "run-sandbox p").count();
    assert!(attempts <= 4, "{attempts}");
}

#[tokio::test]
async fn a_missing_secret_holds_the_container_until_it_comes() {
    let world = World::new();
    world.create(
        "p",
        json!({"containers": [{"name": "a", "image": "x",
        "env": [{"name": "K", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}]}),
    );
    let status = world.status("p", "held", |status| reason(status) == "CreateContainerConfigError").await;
    assert_eq!(status["containerStatuses"][0]["state"]["waiting"]["message"], "secret \"s\" not found");
    world.api.put("secrets", json!({"metadata": {"name": "s", "namespace": "ns"}, "data": {"k": "djE="}}));
    world.status("p", "ready", is_ready).await;
    let config = world.runtime.container_config("a").unwrap();
    assert!(config.envs.iter().any(|env| env.key == "K" && env.value == "v1"));
}

#[tokio::test]
async fn volumes_hold_their_objects_and_follow_them() {
    let world = World::new();
    world.create(
        "p",
        json!({"serviceAccountName": "sa", "containers": [{"name": "a", "image": "x", "volumeMounts": [
        {"name": "m", "mountPath": "/m"}, {"name": "e", "mountPath": "/e"}]}],
        "volumes": [{"name": "m", "configMap": {"name": "m"}}, {"name": "e", "emptyDir": {}}]}),
    );
    assert!(world.event("FailedMount").await.contains("configmap \"m\" not found"));
    world.api.put("configmaps", json!({"metadata": {"name": "m", "namespace": "ns"}, "data": {"k": "1"}}));
    world.status("p", "ready", is_ready).await;
    let file = world.directory.path().join("kubelet/pods/uid-p/volumes/kubernetes.io~configmap/m/k");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "1");
    world.api.edit("configmaps", "ns", "m", |map| map["data"]["k"] = json!("2"));
    // Anything that happens later on the same pod's worker comes after the files were replaced.
    while std::fs::read_to_string(&file).unwrap() != "2" {
        tokio::task::yield_now().await;
    }
    world.delete("p", 1);
    world.gone("p").await;
    assert!(!file.exists());
}

#[tokio::test]
async fn a_failed_readiness_probe_takes_the_pod_out_and_a_failed_liveness_probe_restarts_it() {
    let world = World::new();
    let probe = |kind: &str| json!({"name": "a", "image": "x", kind: {"exec": {"command": [kind]}, "failureThreshold": 1, "periodSeconds": 1}});
    world.create("r", json!({"containers": [probe("readinessProbe")]}));
    world.status("r", "ready", is_ready).await;
    world.runtime.exec_exits("a", 1);
    world.status("r", "unready", |status| !is_ready(status)).await;
    assert_eq!(world.event("Unhealthy").await, "Readiness probe failed: said");
    assert!(world.probe_metrics().contains("probe_type=\"Readiness\",result=\"failed\"} "));
    world.create("l", json!({"containers": [probe("livenessProbe")]}));
    world
        .status("l", "restarted", |status| status["containerStatuses"][0]["restartCount"].as_i64() >= Some(1))
        .await;
    assert_eq!(world.event("Killing").await, "Container a failed liveness probe, will be restarted");
}

#[tokio::test]
async fn a_restarted_kubelet_adopts_what_runs() {
    let world = World::new();
    world.create("p", simple());
    world.status("p", "ready", is_ready).await;
    let before = world.runtime.calls().iter().filter(|call| call.starts_with("start")).count();
    let world = world.restart();
    world.create("q", simple());
    world.status("q", "ready", is_ready).await;
    let calls = world.runtime.calls();
    assert_eq!(calls.iter().filter(|call| call.starts_with("start")).count(), before + 1, "{calls:?}");
    assert!(!calls.iter().any(|call| call.starts_with("stop")), "{calls:?}");
    assert!(is_ready(&world.api.get("pods", "ns", "p").unwrap()["status"]));
}

#[tokio::test]
async fn pods_that_went_while_the_kubelet_was_down_are_cleaned_up() {
    let world = World::new();
    world.create("p", simple());
    world.status("p", "ready", is_ready).await;
    world.api.remove("pods", "ns", "p");
    let world = world.restart();
    while !world.runtime.is_empty() || world.directory.path().join("kubelet/pods/uid-p").exists() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn logs_of_pods_of_another_cluster_are_removed() {
    let world = World::new();
    world.create("p", simple());
    world.status("p", "ready", is_ready).await;
    let logs = world.directory.path().join("logs/pods");
    let [old, own, other] = ["kube-system_old_uid-old", "ns_p_uid-p", "notes"].map(|name| logs.join(name));
    std::fs::create_dir_all(old.join("a")).unwrap();
    std::fs::create_dir(&other).unwrap();
    assert!(own.exists());
    let world = world.restart();
    while old.exists() {
        tokio::task::yield_now().await;
    }
    assert!(own.exists() && other.exists());
    assert!(is_ready(&world.api.get("pods", "ns", "p").unwrap()["status"]));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_cleaned_up_before_the_pods_are_known() {
    let world = World::new();
    world.create("p", simple());
    world.status("p", "ready", is_ready).await;
    world.api.mute("pods");
    let world = world.restart();
    tokio::time::sleep(std::time::Duration::from_secs(300)).await;
    let calls = world.runtime.calls();
    assert!(!calls.iter().any(|call| call.starts_with("stop")), "{calls:?}");
}

#[tokio::test]
async fn after_a_power_cut_pods_get_new_sandboxes() {
    let world = World::new();
    world.create("p", simple());
    world.status("p", "ready", is_ready).await;
    world.runtime.power_cut();
    let world = world.restart();
    let again = |status: &Value| status["containerStatuses"][0]["restartCount"] == 1 && is_ready(status);
    world.status("p", "running again", again).await;
    assert_eq!(world.runtime.calls().iter().filter(|call| *call == "run-sandbox p").count(), 2);
}

#[tokio::test]
async fn a_pod_that_does_not_fit_fails() {
    let world = World::new();
    world.create(
        "p",
        json!({"containers": [{"name": "a", "image": "x", "resources": {"requests": {"cpu": "10k"}}}]}),
    );
    let status = world.status("p", "failed", |status| phase(status) == "Failed").await;
    assert_eq!(status["reason"], "OutOfcpu");
    assert!(world.runtime.calls().is_empty());
}

#[tokio::test]
async fn a_deadline_ends_the_pod() {
    let world = World::new();
    world.create("p", json!({"activeDeadlineSeconds": 1, "containers": [{"name": "a", "image": "x"}]}));
    let status = world.status("p", "failed", |status| phase(status) == "Failed").await;
    assert_eq!(status["reason"], "DeadlineExceeded");
    world
        .status("p", "stopped", |status| status["containerStatuses"][0]["state"]["terminated"].is_object())
        .await;
}

#[tokio::test]
async fn hooks_run_around_a_container() {
    let world = World::new();
    world.create(
        "p",
        json!({"containers": [{"name": "a", "image": "x", "lifecycle": {
        "postStart": {"exec": {"command": ["hello"]}}, "preStop": {"exec": {"command": ["bye"]}}}}]}),
    );
    world.status("p", "ready", is_ready).await;
    world.delete("p", 30);
    world.gone("p").await;
    let calls = world.runtime.calls();
    let position = |call: &str| {
        calls.iter().position(|other| other == call).unwrap_or_else(|| panic!("{call}: {calls:?}"))
    };
    assert!(position("start a") < position("exec(hello) a"));
    assert!(position("exec(bye) a") < position("stop(30s) a"));
}

#[tokio::test]
async fn private_images_are_pulled_with_the_pods_secret() {
    let world = World::new();
    let config = json!({"auths": {"reg.example": {"username": "bob", "password": "x"}}});
    let config = base64::engine::general_purpose::STANDARD.encode(config.to_string());
    world.api.put(
        "secrets",
        json!({"metadata": {"name": "s", "namespace": "ns"},
        "type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": config}}),
    );
    world.create(
        "p",
        json!({"imagePullSecrets": [{"name": "s"}], "containers": [{"name": "a", "image": "reg.example/x"}]}),
    );
    world.status("p", "ready", is_ready).await;
    assert!(world.runtime.calls().contains(&"pull(bob) reg.example/x".to_owned()));
}

#[tokio::test]
async fn a_force_deleted_pod_is_stopped_all_the_same() {
    let world = World::new();
    world.create("p", simple());
    world.status("p", "ready", is_ready).await;
    world.api.remove("pods", "ns", "p");
    while !world.runtime.is_empty() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn limits_are_changed_in_place() {
    let world = World::new();
    world.create(
        "p",
        json!({"containers": [{"name": "a", "image": "x", "resources": {"requests": {"cpu": "100m"}}}]}),
    );
    world.status("p", "ready", is_ready).await;
    world.api.edit("pods", "ns", "p", |pod| {
        pod["spec"]["containers"][0]["resources"]["requests"]["cpu"] = json!("200m");
        pod["metadata"]["generation"] = json!(2);
    });
    world.status("p", "observed", |status| status["observedGeneration"] == 2).await;
    while !world.runtime.calls().iter().any(|call| call == "resize(shares=204,memory=0) a") {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.runtime.calls().iter().filter(|call| *call == "start a").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn memory_in_use_is_not_taken_away() {
    let world = World::new();
    let limited = |megabytes: u32| json!({"limits": {"memory": format!("{megabytes}Mi")}});
    world.create("p", json!({"containers": [{"name": "a", "image": "x", "resources": limited(64)}]}));
    world.status("p", "ready", is_ready).await;
    world.runtime.uses_memory("a", 40 << 20);
    let resize = |megabytes: u32, generation: i64| {
        world.api.edit("pods", "ns", "p", |pod| {
            pod["spec"]["containers"][0]["resources"] = limited(megabytes);
            pod["metadata"]["generation"] = json!(generation);
        });
    };
    resize(20, 2);
    world.event("ResizeError").await;
    resize(48, 3);
    let resized = |memory: u32| format!("resize(shares=2,memory={}) a", memory << 20);
    while !world.runtime.calls().contains(&resized(48)) {
        tokio::task::yield_now().await;
    }
    assert!(!world.runtime.calls().contains(&resized(20)));
    // It is tried again without another change.
    resize(20, 4);
    world.runtime.uses_memory("a", 10 << 20);
    while !world.runtime.calls().contains(&resized(20)) {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    }
}
