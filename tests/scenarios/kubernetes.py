#!/usr/bin/env python3
"""What conf/kubernetes tells the server is what it understands, and the manifests fit each other. (No Kubernetes is needed.)"""

import os
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from support.http import get
from support.ports import free_port
from support.process import Server, run
from support.scenario import ROOT, Skip, case, contains, equal, main
from support.wait import eventually

FOLDER = os.path.join(ROOT, "conf/kubernetes")


@case
def a_pod_starts_with_the_configuration(options):
    """As the StatefulSet starts it; only the places are others."""
    metrics = free_port()
    server = Server(
        options.server, config_file=os.path.join(FOLDER, "tessera.conf"), cluster_announce_hostname="tessera-0.tessera-nodes",
        metrics_port=metrics, cluster_seeds="tessera-nodes.invalid",
    ).start()  # fmt: skip
    equal(server.call("CONFIG", "GET", "appendonly"), [b"appendonly", b"yes"])
    equal(server.call("CONFIG", "GET", "cluster-announce-hostname")[1], b"tessera-0.tessera-nodes")
    equal(get(metrics, "/healthz")[0], 200, "alive")
    equal(get(metrics, "/readyz")[0], 503, "no slots are served yet")
    server.call("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
    eventually(lambda: get(metrics, "/readyz")[0] == 200, 30, "ready")


@case
def the_manifests_fit_each_other(options):
    if not shutil.which("kubectl"):
        raise Skip("no kubectl on this machine")
    try:
        import yaml
    except ImportError:
        raise Skip("no YAML library for Python on this machine")
    objects = [o for o in yaml.safe_load_all(run(["kubectl", "kustomize", FOLDER])) if o]
    by_kind = {}
    for item in objects:
        by_kind.setdefault(item["kind"], []).append(item)
    equal(sorted(by_kind), ["ConfigMap", "Job", "PodDisruptionBudget", "Service", "StatefulSet"])
    nodes, job = by_kind["StatefulSet"][0], by_kind["Job"][0]
    pod = nodes["spec"]["template"]
    labels = pod["metadata"]["labels"]
    container = pod["spec"]["containers"][0]
    # The configuration: mounted from the map, where the command line looks for it.
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    folder, file = os.path.split(container["args"][0])
    configuration = by_kind["ConfigMap"][0]
    equal(volumes[mounts[folder]]["configMap"]["name"], configuration["metadata"]["name"])
    contains(configuration["data"][file], "cluster-enabled yes")
    equal(nodes["spec"]["volumeClaimTemplates"][0]["metadata"]["name"], mounts["/data"])
    # Names: of the pods, in the job, the seeds, and the services' selectors.
    service = nodes["spec"]["serviceName"]
    contains(configuration["data"][file], f"cluster-seeds {service}\n")
    pods = [f"{nodes['metadata']['name']}-{n}.{service}:6379" for n in range(nodes["spec"]["replicas"])]
    equal([word for word in job["spec"]["template"]["spec"]["containers"][0]["args"] if ":" in word], pods)
    for selector in [s["spec"]["selector"] for s in by_kind["Service"]] + [
        o["spec"]["selector"]["matchLabels"] for o in (nodes, by_kind["PodDisruptionBudget"][0])
    ]:
        equal(selector.items() <= labels.items(), True, f"{selector} selects the nodes")
        equal(selector.items() <= job["spec"]["template"]["metadata"]["labels"].items(), False, f"{selector} leaves the job out")
    # Ports: those that probes and services name, and the one that the configuration opens for them.
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    for probe in ("livenessProbe", "readinessProbe"):
        contains(configuration["data"][file], f"metrics-port {ports[container[probe]['httpGet']['port']]}\n")
    for each in by_kind["Service"]:
        for port in each["spec"]["ports"]:
            equal(ports[port["targetPort"]], port["port"])


if __name__ == "__main__":
    main()
