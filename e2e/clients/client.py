"""The Python client: create, watch, patch, apply, exec in a namespace of its own. Any failed step ends the program."""

import kubernetes
from kubernetes import client, config, stream, watch

NAMESPACE = "python"
APPLY = "application/apply-patch+yaml"


def config_map(name, **data):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def refused(status, reason, call):
    try:
        call()
    except client.ApiException as error:
        assert error.status == status, error
        assert reason in error.body, error.body
    else:
        raise AssertionError(f"not refused with {status} {reason}")


config.load_kube_config()
core, apps = client.CoreV1Api(), client.AppsV1Api()
assert client.VersionApi().get_code().git_version.startswith("v1.36")

core.create_namespace({"metadata": {"name": NAMESPACE}})
core.create_namespaced_config_map(NAMESPACE, config_map("first", a="1"))
refused(409, "AlreadyExists", lambda: core.create_namespaced_config_map(NAMESPACE, config_map("first")))
refused(404, "NotFound", lambda: core.read_namespaced_config_map("none", NAMESPACE))
refused(422, "Invalid", lambda: core.create_namespaced_config_map(NAMESPACE, config_map("No Name")))

# A watch from where a list ended tells each change once and in order.
start = core.list_namespaced_config_map(NAMESPACE).metadata.resource_version
core.create_namespaced_config_map(NAMESPACE, config_map("second"))
core.patch_namespaced_config_map("second", NAMESPACE, {"data": {"b": "2"}})
core.delete_namespaced_config_map("second", NAMESPACE)
seen = []
watcher = watch.Watch()
for event in watcher.stream(core.list_namespaced_config_map, NAMESPACE, resource_version=start, timeout_seconds=30):
    if event["object"].metadata.name == "second":
        seen.append(event["type"])
    if event["type"] == "DELETED":
        watcher.stop()
assert seen == ["ADDED", "MODIFIED", "DELETED"], seen

# Every patch. The client takes a list for a JSON patch.
patched = core.patch_namespaced_config_map("first", NAMESPACE, [{"op": "replace", "path": "/data/a", "value": "2"}])
assert patched.data == {"a": "2"}, patched.data
patched = core.patch_namespaced_config_map(
    "first", NAMESPACE, {"data": {"a": None, "b": "3"}}, _content_type="application/merge-patch+json"
)
assert patched.data == {"b": "3"}, patched.data
labels = {"app": "web"}
apps.create_namespaced_deployment(
    NAMESPACE,
    client.V1Deployment(
        metadata=client.V1ObjectMeta(name="web"),
        spec=client.V1DeploymentSpec(
            replicas=0,
            selector=client.V1LabelSelector(match_labels=labels),
            template=client.V1PodTemplateSpec(
                metadata=client.V1ObjectMeta(labels=labels),
                spec=client.V1PodSpec(containers=[client.V1Container(name="one", image="busybox")]),
            ),
        ),
    ),
)
web = apps.patch_namespaced_deployment(
    "web",
    NAMESPACE,
    {"spec": {"template": {"spec": {"containers": [{"name": "two", "image": "busybox"}]}}}},
    _content_type="application/strategic-merge-patch+json",
)
assert sorted(c.name for c in web.spec.template.spec.containers) == ["one", "two"]
assert apps.read_namespaced_deployment_scale("web", NAMESPACE).spec.replicas == 0


def apply(manager, force=False, **data):
    return core.patch_namespaced_config_map(
        "applied",
        NAMESPACE,
        config_map("applied", **data),
        field_manager=manager,
        force=force,
        _content_type=APPLY,
    )


assert apply("one", a="1", b="1").data == {"a": "1", "b": "1"}
refused(409, 'conflict with \\"one\\"', lambda: apply("two", a="2"))
assert apply("two", force=True, a="2").data == {"a": "2", "b": "1"}
assert apply("one", b="1").data == {"a": "2", "b": "1"}

core.create_namespaced_pod(
    NAMESPACE,
    {
        "metadata": {"name": "shell"},
        "spec": {"containers": [{"name": "c", "image": "busybox", "command": ["sh", "-c", "echo ready; sleep infinity"]}]},
    },
)
watcher = watch.Watch()
for event in watcher.stream(core.list_namespaced_pod, NAMESPACE, field_selector="metadata.name=shell", timeout_seconds=60):
    if event["object"].status.phase == "Running":
        watcher.stop()
answer = stream.stream(
    core.connect_get_namespaced_pod_exec,
    "shell",
    NAMESPACE,
    command=["sh", "-c", "echo out; echo err >&2; exit 3"],
    stdout=True,
    stderr=True,
    stdin=False,
    tty=False,
    _preload_content=False,
)
answer.run_forever(timeout=30)
assert answer.read_stdout() == "out\n"
assert answer.read_stderr() == "err\n"
assert answer.returncode == 3, answer.returncode
assert "ready" in core.read_namespaced_pod_log("shell", NAMESPACE)
core.delete_namespace(NAMESPACE)
print("kubernetes", kubernetes.__version__)
