"""What a run says of itself: the identity of its rows, and run.json."""

from collections.abc import Sequence
from typing import Any

from hpcbench.cluster.schedulers import scheduler_of
from hpcbench.devices.cores import Cores, cpu_share
from hpcbench.frameworks.backend import Backend
from hpcbench.models import MODELS, OF_TOKENS
from hpcbench.records.identity import NONE, Identity
from hpcbench.records.provenance import collect
from hpcbench.runs.resolve import ResolvedRun
from hpcbench.strategies import Strategy


def identity(resolved: ResolvedRun, strategy: Strategy, cores: Cores, nodes: int) -> Identity:
    """The first columns of the run's rows, once the framework knows its devices."""
    spec, framework = resolved.source.spec, resolved.framework
    devices = strategy.devices_of_process(strategy.replicas)
    gpu = framework.gpu_name()
    return Identity.of(
        resolved.config,
        resolved.output.sweep,
        world_size=resolved.schedule.world_size,
        title=spec.title or spec.name,
        nodes=nodes,
        device_kind=gpu or cpu_share(cores, devices),
        cpu_math=NONE if gpu else framework.cpu_math().of_device(devices),
    )


def document(resolved: ResolvedRun, backend: Backend, hosts: Sequence[str]) -> dict[str, Any]:
    """What run.json says beside the identity, before anything is measured."""
    job, spec = resolved.job, resolved.source.spec
    whole_nodes = scheduler_of(job).has_whole_nodes(job)
    allocation = {"granted": job.granted, "whole_nodes": whole_nodes}
    content = {
        "config": resolved.config.model_dump(mode="json"),
        "schedule": resolved.schedule.model_dump(mode="json"),
        "data_files": [str(path) for path in resolved.source.files],
        "parameters": backend.parameters,
        "trainable_parameters": backend.trainable_parameters,
        "flops_per_sample": backend.flops_per_sample(),
        "tokens_per_sample": spec.input_shape[0] if spec.kind in OF_TOKENS else None,
        "hosts": list(hosts),
        "provenance": collect(resolved.job.facts, resolved.framework.cpu_math().facts())
        | {"allocation": allocation},
    }
    model = MODELS.source(resolved.config.model)
    if model:
        content["model_file"] = {"path": str(model.file), "sha256": model.digest}
    return content
