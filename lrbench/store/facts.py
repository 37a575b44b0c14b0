"""The facts of ``study.toml``, whichever version of lrbench wrote it."""

from typing import Any

from lrbench.config.metric import usual_unit


def as_now(facts: dict[str, Any]) -> dict[str, Any]:
    """Add the facts that older versions of lrbench did not store.

    In their studies, the name of a metric implied its unit, and only workloads with a known answer had three parts of
    equal size. Only the policy ``uniform`` had one lr for all layers; only ``constant`` without warm-up kept the lr.
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
