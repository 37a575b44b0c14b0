"""What ``study.toml`` says of a study, whichever version of lrbench wrote it."""

from typing import Any

from lrbench.config.metric import usual_unit


def as_now(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts of a study, each that was added later filled in where an older version did not store it.

    A metric's unit followed from its name. The workloads with a known answer held no example back. One policy had one
    lr for all layers, and one schedule no change over time unless it warmed up.
    """
    for workload in facts.get("workloads", {}).values():
        sizes = {workload.get(f"{part}_examples") for part in ("train", "validation", "test")}
        workload.setdefault("metric_unit", usual_unit(str(workload.get("metric"))))
        workload.setdefault("has_known_answer", len(sizes) == 1 and None not in sizes)
    for policy in facts.get("layer_lrs", {}).values():
        policy.setdefault("is_uniform", policy.get("name") == "uniform")
    for schedule in facts.get("schedules", {}).values():
        warms_up = bool(schedule.get("settings", {}).get("warmup"))
        schedule.setdefault("is_constant", schedule.get("name") == "constant" and not warms_up)
    return facts
