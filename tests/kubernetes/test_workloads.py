"""Jobs, deployments, daemon sets, sidecars and init containers, as `kubectl` makes them."""

import pytest

from tests.kubernetes.space import deployment, guest, job, native, pod, pod_spec, waiting_guest
from tests.support.containerd import until


def test_a_job_runs_to_its_end_and_its_log_is_kept(space):
    space.apply(job("hello", guest("/hello.wasm")))
    space.wait("job/hello", "condition=Complete")
    assert space.logs("job/hello") == "hello\n"


def test_a_job_of_many_runs_each_index_once(space):
    words = guest("/tool.wasm", "args", "$(JOB_COMPLETION_INDEX)")
    space.apply(job("many", words, completions=6, parallelism=3, completionMode="Indexed"))
    space.wait("job/many", "condition=Complete")
    said = space.logs("-l", "job-name=many", "--tail=-1").split()
    assert sorted(word for word in said if word.isdigit()) == list("012345")


def test_a_job_that_fails_is_tried_again_and_says_how_it_ended(space):
    space.apply(job("bad", guest("/exit7.wasm"), backoffLimit=1))
    space.wait("job/bad", "condition=Failed", 90)
    pods = space.get("pods", "-l", "job-name=bad")["items"]
    codes = [each["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] for each in pods]
    assert codes == [7, 7]


def test_a_trap_is_reported_by_exit_code_and_log(space):
    space.apply(pod("trap", guest("/trap.wasm")))
    assert space.ended("trap")["exitCode"] == 134
    assert "wasm trap" in space.logs("trap")


def test_a_cron_job_runs(space):
    schedule = {
        "schedule": "* * * * *",
        "jobTemplate": {"spec": {"template": {"spec": pod_spec(guest("/hello.wasm"))}}},
    }
    space.apply({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "cron"}, "spec": schedule})
    space.kubectl("create", "job", "now", "--from=cronjob/cron")
    space.wait("job/now", "condition=Complete")
    assert space.logs("job/now") == "hello\n"


def images_of(space, label):
    """The variable VERSION of each pod with a label."""
    pods = space.get("pods", "-l", label)["items"]
    alive = [each for each in pods if "deletionTimestamp" not in each["metadata"]]
    return {each["spec"]["containers"][0]["env"][0]["value"] for each in alive}


def test_a_deployment_rolls_out_and_back_and_scales(space):
    def version(value):
        return deployment("web", 3, waiting_guest(env=[{"name": "VERSION", "value": value}]))

    for value in ("1", "2"):
        space.apply(version(value))
        space.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
        until(lambda value=value: images_of(space, "app=web") == {value}, 30)
    space.kubectl("rollout", "undo", "deployment/web")
    space.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    until(lambda: images_of(space, "app=web") == {"1"}, 30)
    space.kubectl("rollout", "restart", "deployment/web")
    space.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    space.kubectl("scale", "deployment/web", "--replicas=1")
    until(lambda: len(space.names("app=web")) == 1, 30)


def test_a_rollout_that_cannot_work_leaves_the_old_pods_and_says_why(space):
    space.apply(deployment("web", 2, waiting_guest()))
    space.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    space.apply(deployment("web", 2, guest("/none-such.wasm")))
    until(lambda: "none-such.wasm" in space.kubectl("get", "events").stdout, 60)
    assert space.get("deployment", "web")["status"]["availableReplicas"] == 2
    space.kubectl("rollout", "undo", "deployment/web")
    space.kubectl("rollout", "status", "deployment/web", "--timeout=90s")


def test_a_daemon_set_and_a_stateful_set_run(space):
    template = {
        "metadata": {"labels": {"app": "each"}},
        "spec": pod_spec(waiting_guest(), restartPolicy="Always"),
    }
    fields = {"selector": {"matchLabels": {"app": "each"}}, "template": template}
    space.apply(
        {"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "daemons"}, "spec": fields},
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": {"name": "ordered"},
            "spec": {**fields, "replicas": 2, "serviceName": "ordered"},
        },
    )
    for name in ("daemonset/daemons", "statefulset/ordered"):
        space.kubectl("rollout", "status", name, "--timeout=90s")
    assert {"ordered-0", "ordered-1"} <= set(space.names("app=each"))


def test_init_containers_come_before_and_hand_over_files(space):
    shared = {"volumes": [{"name": "shared", "emptyDir": {}}]}
    mounts = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    inits = [
        guest("/tool.wasm", "write", "/shared/one", "from a guest\n", name="one", **mounts),
        native(
            "/bin/sh", "-c", "cat /shared/one > /shared/two; echo and a program >> /shared/two", name="two", **mounts
        ),
    ]
    said = space.output("chain", guest("/tool.wasm", "read", "/shared/two", **mounts), initContainers=inits, **shared)
    assert said == "from a guest\nand a program\n"


@pytest.mark.parametrize("sidecar", ["guest", "native"])
def test_a_sidecar_runs_beside_and_ends_after(space, sidecar):
    shared = {"volumeMounts": [{"name": "shared", "mountPath": "/shared"}]}
    loop = "trap 'exit 0' TERM; while :; do cat /shared/line 2>/dev/null && exec sleep 1000; sleep 0.1; done"
    beside = {
        "guest": waiting_guest(name="beside"),
        "native": native("/bin/sh", "-c", loop, name="beside", **shared),
    }[sidecar]
    main = guest("/tool.wasm", "write", "/shared/line", "a line\n", **shared)
    volumes = [{"name": "shared", "emptyDir": {}}]
    space.run(pod("both", main, initContainers=[{**beside, "restartPolicy": "Always"}], volumes=volumes))
    assert space.ended("both", "beside")["reason"] in ("Completed", "Error")
    assert sidecar == "guest" or space.logs("both", "-c", "beside") == "a line\n"


def test_containers_of_a_pod_share_its_network(space):
    serve = native("/bin/sh", "-c", "mkdir /www; echo pages > /www/index.html; httpd -f -h /www -p 8000", name="web")
    ask = native("/bin/sh", "-c", "until wget -qO- http://127.0.0.1:8000/; do sleep 0.1; done", name="ask")
    space.apply(pod("pair", waiting_guest(), serve, ask))
    assert space.ended("pair", "ask")["exitCode"] == 0
    assert space.logs("pair", "-c", "ask") == "pages\n"


def test_a_service_leads_to_pods_of_the_runtime_class(space):
    serve = native(
        "/bin/sh", "-c", "mkdir /www; echo pages > /www/index.html; exec httpd -f -h /www -p 8000", name="web"
    )
    service = {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8000}]}
    space.apply(
        deployment("web", 2, serve, waiting_guest()),
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": service},
    )
    space.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    address = space.get("service", "web")["spec"]["clusterIP"]
    ask = native("/bin/sh", "-c", f"until wget -qO- http://{address}/; do sleep 0.1; done")
    assert space.output("ask", ask) == "pages\n"
