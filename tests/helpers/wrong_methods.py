"""Shared by the tests of several packages, first met in test_method_runs.py."""

from __future__ import annotations

WRONG: list[tuple[list[str], list[str]]] = [
    (["method=lora", "method.rho=2"], ["method.rho=2", "method=lora has no such setting", "eva"]),
    (["method=lora", "method.threshold_rule=code"], ["method=lora has no such setting", "sora"]),
    (["method=sora", "method.threshold_rule=cod"], ["method.threshold_rule=cod", "did you mean code?"]),
    (["method=full", "method.scaling=2"], ["method.scaling=2", "method=full has no such setting"]),
    (["method=houlsby", "method.dropout=0.1"], ["method.dropout=0.1", "has no such setting", "adalora"]),
    (["method=sora", "method.threshold_total=null"], ["method.threshold_total=null", "method=sora needs it"]),
    (["method=sora", "method.threshold_total=-1"], ["method.threshold_total=-1", "at least 0"]),
    (["method=sora", "method.prune_at=1.5"], ["method.prune_at=1.5", "at most 1"]),
    (["method=adalora", "method.tinit=0.6"], ["method.tinit=0.6", "method.tfinal=0.5", "below 1"]),
    (["method=cut", "method.then=restart", "method.cut_at=1"], ["method.then=restart", "method.cut_at=1", "smaller"]),
    (["method=eva", "method.rho=0.5"], ["method.rho=0.5", "at least 1"]),
    (["method=sora", "ranks.path=somewhere"], ["ranks.path=somewhere", "takes no saved ranks"]),
    (["method=adalor"], ["method=adalor: unknown method", "did you mean adalora?"]),
]
