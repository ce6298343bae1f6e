"""The files in deploy/ are what Kubernetes takes: by the schemas of its API, of releases from the oldest on."""

from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from tests.kubernetes.cluster import RUNTIME_CLASS

ROOT = Path(__file__).parent.parent.parent
FILES = sorted((ROOT / "deploy").rglob("*.yaml"))
VERSIONS = ("1.29", "1.34", "1.37")  # the first with sidecars; that of the cluster of the tests; the newest


def objects(path):
    return [each for each in yaml.safe_load_all(path.read_text()) if each]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_object_is_valid_and_has_no_unknown_field(path, version):
    for each in objects(path):
        kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("change", [{"runtimeClass": "x"}, {"containers": [{"image": "x"}]}])
def test_a_wrong_field_would_be_noticed(change):
    pod = next(each for each in objects(ROOT / "deploy/examples/pod.yaml") if each["kind"] == "Pod")
    pod["spec"].update(change)
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, VERSIONS[-1], strict=True)


def pod_specs(path):
    for each in objects(path):
        if each["kind"] == "Pod":
            yield each["spec"]
        elif "template" in each.get("spec", {}):
            yield each["spec"]["template"]["spec"]


@pytest.mark.parametrize("path", [path for path in FILES if path.parent.name == "examples"], ids=lambda path: path.name)
def test_the_examples_name_the_runtime_class_and_are_restricted(path):
    (runtime_class,) = objects(ROOT / "deploy/runtimeclass.yaml")
    assert runtime_class["handler"] == RUNTIME_CLASS["handler"]
    specs = list(pod_specs(path))
    assert specs
    for spec in specs:
        assert spec["runtimeClassName"] == runtime_class["metadata"]["name"]
        for container in spec["containers"] + spec.get("initContainers", []):
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]


def test_the_installer_goes_where_the_runtime_class_sends_pods():
    (runtime_class,) = objects(ROOT / "deploy/runtimeclass.yaml")
    daemon_set = objects(ROOT / "deploy/installer.yaml")[-1]
    selector = daemon_set["spec"]["template"]["spec"]["nodeSelector"]
    assert runtime_class["scheduling"]["nodeSelector"].items() <= selector.items()
