"""The logs of AlgoPerf 0.5 as curves, from a checkout of the public repository mlcommons/submissions_algorithms (Apache 2.0).

The logs are no part of lrbench. Targets: the validation targets of benchmark version 0.5; scores: the tables of
previous_leaderboards/algoperf_v05/README.md in that repository, also in Kasimbeg et al. 2025, arXiv:2502.15015.
"""

from pathlib import Path

import pandas as pd

from lrbench.config.targets import Target, Targets

TARGETS = {
    "criteo1tb": ("loss", 0.123735), "fastmri": ("ssim", 0.723653), "imagenet_resnet": ("accuracy", 0.77431),
    "imagenet_vit": ("accuracy", 0.77309), "librispeech_conformer": ("wer", 0.085884), "librispeech_deepspeech": ("wer", 0.119936),
    "ogbg": ("mean_average_precision", 0.28098), "wmt": ("bleu", 30.8491),
}  # fmt: skip
VARIANTS = {
    "criteo1tb": ("embed_init", 0.129657), "fastmri": ("tanh", 0.71784), "imagenet_resnet": ("large_bn_init", 0.76526),
    "librispeech_conformer": ("layernorm", 0.09731), "ogbg": ("model_size", 0.269446), "wmt": ("glu_tanh", 29.5779),
}  # fmt: skip
SCORES = {
    "external_tuning": {
        "shampoo_submission": 0.7784, "schedule_free_adamw": 0.7077, "generalized_adam": 0.6383, "cyclic_lr": 0.6301, "nadamp": 0.5909,
        "baseline": 0.5707, "amos": 0.4918, "caspr_adaptive": 0.4722, "lawa_queue": 0.3699, "lawa_ema": 0.3384,
        "schedule_free_prodigy": 0.0,
    },
    "self_tuning": {
        "schedule_free_adamw": 0.8542, "baseline": 0.8194, "nadamw_sequential": 0.3308, "sinv6_75": 0.1420, "sinv6": 0.0903, "adamg": 0.0,
    },
}  # fmt: skip


def targets(trial: str) -> Targets:
    """The targets of the 8 base workloads and the 6 held-out variants that were drawn."""
    found = {name: _target(metric, value) for name, (metric, value) in TARGETS.items()}
    variants = {f"{base}_{name}": _target(TARGETS[base][0], value, base) for base, (name, value) in VARIANTS.items()}
    return Targets(trial=trial, workloads=found | variants)


def _target(metric: str, value: float, base: str | None = None) -> Target:
    better = "lower" if metric in {"loss", "wer"} else "higher"
    return Target(metric=f"validation/{metric}", target=value, better=better, variant_of=base)


def curves(checkout: Path, ruleset: str, wanted: Targets) -> pd.DataFrame:
    """The target metric of every trial on the scored workloads; the clock is the accumulated time of the submission's own code."""
    logs = checkout / "previous_leaderboards" / "algoperf_v05" / "logs" / ruleset
    parts = []
    for path in sorted(logs.glob("*/*/*/*/eval_measurements.csv")):
        strategy, study, folder, trial = path.parts[-5:-1]
        workload = folder.removesuffix("_jax").removesuffix("_pytorch")
        if workload in wanted.workloads:
            metric = wanted.workloads[workload].metric
            log = pd.read_csv(path)
            where = {"workload": workload, "strategy": strategy, "study": study, "trial": trial, "metric": metric}
            clock = {"step": log.global_step, "seconds": log.accumulated_submission_time}
            parts.append(pd.DataFrame(clock | {"value": log[metric]}).assign(**where))
    return pd.concat(parts, ignore_index=True)
