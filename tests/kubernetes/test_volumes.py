"""Volumes of every kind that a node has by itself, and where variables come from."""

import base64

import pytest

from tests.kubernetes.space import guest, native, pod, waiting_guest
from tests.support import provision
from tests.support.containerd import until


def config_map(name, **fields):
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, **fields}


def secret(name, **data):
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data}


def mounted(name, path, **fields):
    return {"volumeMounts": [{"name": name, "mountPath": path, **fields}]}


def volume(name, **source):
    return {"volumes": [{"name": name, **source}]}


@pytest.mark.parametrize("medium", ["", "Memory"])
def test_an_empty_dir_is_shared_by_the_containers_of_a_pod(space, medium):
    write = guest("/tool.wasm", "write", "/in/note", "a note\n", name="write", **mounted("shared", "/in"))
    read = native("/bin/cat", "/out/note", **mounted("shared", "/out"))
    made = volume("shared", emptyDir={"medium": medium, "sizeLimit": "10Mi"})
    assert space.output("files", read, initContainers=[write], **made) == "a note\n"


def test_a_module_comes_from_a_config_map_in_any_image(space):
    module = base64.b64encode((provision.guests_directory() / "hello.wasm").read_bytes()).decode()
    space.apply(config_map("program", binaryData={"app.wasm": module}))
    container = native("/program/app.wasm", **mounted("program", "/program"))
    assert space.output("mapped", container, **volume("program", configMap={"name": "program"})) == "hello\n"


def test_text_of_webassembly_comes_from_a_config_map_too(space):
    text = (provision.guests_directory() / "hello.wat").read_text()
    space.apply(config_map("program", data={"app.wat": text}))
    container = native("/program/app.wat", **mounted("program", "/program"))
    assert space.output("mapped", container, **volume("program", configMap={"name": "program"})) == "hello\n"


def test_a_config_map_that_changes_is_seen_by_a_running_guest(space):
    space.apply(config_map("settings", data={"one": "old"}))
    made = volume("settings", configMap={"name": "settings"})
    space.ready(pod("files", waiting_guest(**mounted("settings", "/etc/settings", readOnly=True)), **made))
    read = ("exec", "files", "--", "/tool.wasm", "read", "/etc/settings/one")
    assert space.kubectl(*read).stdout == "old"
    space.apply(config_map("settings", data={"one": "new"}))
    until(lambda: space.kubectl(*read, check=False).stdout == "new", 60)


def test_one_file_of_a_config_map_is_mounted_by_sub_path(space):
    space.apply(config_map("settings", data={"one": "1", "two": "2"}))
    container = guest("/tool.wasm", "read", "/etc/two", **mounted("settings", "/etc/two", subPath="two"))
    assert space.output("files", container, **volume("settings", configMap={"name": "settings"})) == "2"


def test_a_secret_is_read_and_not_written(space):
    space.apply(secret("keys", password="open sesame"))
    made = volume("keys", secret={"secretName": "keys", "defaultMode": 0o400})
    keys = mounted("keys", "/keys", readOnly=True)
    assert space.output("read", guest("/tool.wasm", "read", "/keys/password", **keys), **made) == "open sesame"
    space.apply(pod("write", guest("/tool.wasm", "write", "/keys/new", "x", **keys), **made))
    assert space.ended("write")["exitCode"] == 1
    assert "/keys/new" in space.logs("write")


def test_a_projected_volume_has_all_its_sources(space):
    space.apply(config_map("settings", data={"one": "1"}), secret("keys", password="open sesame"))
    sources = [
        {"configMap": {"name": "settings"}},
        {"secret": {"name": "keys"}},
        {"downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"serviceAccountToken": {"path": "token", "audience": "somebody"}},
    ]
    container = guest("/tool.wasm", "ls", "/all", **mounted("all", "/all"))
    said = space.output("files", container, **volume("all", projected={"sources": sources}))
    assert sorted(said.split()) == ["name", "one", "password", "token"]


def test_the_downward_api_has_the_labels_and_the_limits(space):
    items = [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
        {"path": "memory", "resourceFieldRef": {"containerName": "guest", "resource": "limits.memory"}},
    ]
    limits = {"resources": {"limits": {"memory": "64Mi"}}}
    made = volume("pod", downwardAPI={"items": items})
    for path, wanted in {"labels": 'app="labels"', "memory": str(64 << 20)}.items():
        container = guest("/tool.wasm", "read", f"/pod/{path}", **limits, **mounted("pod", "/pod"))
        assert space.output(path, container, **made) == wanted


def test_the_token_of_a_service_account_is_where_programs_look_for_it(space):
    where = "/var/run/secrets/kubernetes.io/serviceaccount"
    listed = space.output("token", guest("/tool.wasm", "ls", where), automountServiceAccountToken=True)
    assert sorted(listed.split()) == ["ca.crt", "namespace", "token"]


@pytest.mark.parametrize("kind", ["Directory", "DirectoryOrCreate"])
def test_a_directory_of_the_host_is_read_and_written(space, cluster, kind):
    path = f"/opt/{space.name}"
    if kind == "Directory":
        cluster.machine.run("mkdir", path)
    made = volume("host", hostPath={"path": path, "type": kind})
    space.output("files", guest("/tool.wasm", "write", "/host/note", "a note\n", **mounted("host", "/host")), **made)
    assert cluster.machine.run("cat", f"{path}/note").stdout == "a note\n"


def test_a_persistent_volume_keeps_what_one_pod_has_written_for_the_next(space, cluster):
    path = f"/opt/{space.name}"
    cluster.machine.run("mkdir", path)
    node = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["node"]}]}
    common = {"accessModes": ["ReadWriteOnce"], "storageClassName": space.name}
    disk = {
        "capacity": {"storage": "1Gi"},
        "local": {"path": path},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [node]}},
        "persistentVolumeReclaimPolicy": "Delete",
        **common,
    }
    claim = {"resources": {"requests": {"storage": "1Gi"}}, **common}
    space.apply(
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": space.name}, "spec": disk},
        {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": "disk"}, "spec": claim},
    )
    made = volume("disk", persistentVolumeClaim={"claimName": "disk"})
    space.output("write", guest("/tool.wasm", "write", "/disk/note", "a note\n", **mounted("disk", "/disk")), **made)
    assert (
        space.output("read", guest("/tool.wasm", "read", "/disk/note", **mounted("disk", "/disk")), **made)
        == "a note\n"
    )
    cluster.kubectl("delete", "persistentvolume", space.name, "--wait=false")


def test_a_group_owns_the_files_of_a_volume(space):
    security = {"runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 2000}
    container = guest("/tool.wasm", "write", "/data/note", "x", **mounted("data", "/data"))
    look = native("/bin/sh", "-c", "id -G; exec cat /data/note", **mounted("data", "/data"))
    made = volume("data", emptyDir={})
    said = space.output(
        "group", look, initContainers=[{**container, "name": "write"}], securityContext=security, **made
    )
    assert said == "1000 2000\nx"


def test_variables_come_from_every_source(space):
    space.apply(config_map("settings", data={"ONE": "1", "TWO": "2"}), secret("keys", THREE="3"))
    sources = {
        "envFrom": [{"configMapRef": {"name": "settings"}, "prefix": "MAP_"}, {"secretRef": {"name": "keys"}}],
        "env": [
            {"name": "PLAIN", "value": "plain"},
            {"name": "COMPOSED", "value": "$(PLAIN)-$(NAME)"},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "ADDRESS", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "keys", "key": "THREE"}}},
            {"name": "MAYBE", "valueFrom": {"configMapKeyRef": {"name": "none", "key": "none", "optional": True}}},
            {"name": "LIMIT", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
        ],
        "resources": {"limits": {"memory": "64Mi"}},
    }
    said = dict(line.split("=", 1) for line in space.output("env", guest("/tool.wasm", "env", **sources)).splitlines())
    wanted = {"MAP_ONE": "1", "MAP_TWO": "2", "THREE": "3", "PLAIN": "plain", "NAME": "env", "KEY": "3", "LIMIT": "64"}
    assert wanted.items() <= said.items()
    assert said["ADDRESS"].startswith("10.244.")
    assert "MAYBE" not in said
    assert said["COMPOSED"] == "plain-$(NAME)"  # which stands below it
