"""Hashes of varied configurations, as first written: run directories and saved profiles keep their names.

A hash that changes here orphans every run that a user has. A new key with a default that trains as before is declared
with `absent=` in config/schema.py; where the arithmetic changes on purpose, `NUMERICS` is raised and this list remade.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from gelora_cli.allocation.ranks import plan_ranks
from gelora_cli.config.complete import complete
from gelora_cli.config.defaults import composed_values
from gelora_cli.config.files import config_text, parse_config
from gelora_cli.config.groups import groups
from gelora_cli.config.identity import identity_hash
from gelora_cli.config.schema import RunConfig
from gelora_cli.config.typed import typed
from gelora_cli.core.budget import parse_budget
from gelora_cli.core.codec import write_artifact
from gelora_cli.core.registries import SIGNALS
from tests.helpers.rank_profiles import MINILM

FROZEN = """
853c610b 373e02595744a1b7 task=cola model=minilm budget=0.05M method=gelora
4f51ca86 373e02595744a1b7 task=cola model=minilm budget=0.05M method=lora
51529656 373e02595744a1b7 task=cola model=minilm budget=0.05M method=shuffled
66fb752f 373e02595744a1b7 task=cola model=minilm budget=0.05M method=random
98997ef5 373e02595744a1b7 task=cola model=minilm budget=0.05M method=reversed
03e8e04e 373e02595744a1b7 task=cola model=minilm budget=0.05M method=eva
b2b732d1 373e02595744a1b7 task=cola model=minilm budget=0.05M method=adalora
ce919d30 373e02595744a1b7 task=cola model=minilm budget=0.05M method=sora
8268cd08 373e02595744a1b7 task=cola model=minilm budget=0.05M method=bitfit
5913bf2f 373e02595744a1b7 task=cola model=minilm budget=0.05M method=full
9b614ab1 373e02595744a1b7 task=cola model=minilm budget=0.05M method=houlsby
d6ecea49 373e02595744a1b7 task=cola model=minilm budget=0.05M method=pfeiffer
76465ac9 373e02595744a1b7 task=cola model=minilm
611a4f4a 23983c2b9571787f task=sst2 model=minilm
97aa048e 6b4595902b3ddd67 task=mrpc model=minilm
40bc511c 23983c2b9571787f task=stsb model=minilm
383c5336 6b4595902b3ddd67 task=qqp model=minilm
7ff14ba1 b9367ce96179005e task=mnli model=minilm
f4ec900d 930b2d180b54f852 task=qnli model=minilm
6ebf5dc8 6b4595902b3ddd67 task=rte model=minilm
06866a4d 23983c2b9571787f task=wnli model=minilm
502a4337 373e02595744a1b7 task=demo model=minilm
64399b99 be5f7dc3003dad5a task=squad model=minilm
795fa818 be5f7dc3003dad5a task=squad_v2 model=minilm
1a3368da 373e02595744a1b7 model=bert_base
1a3368da 373e02595744a1b7 model=deberta_v3_base
1a3368da 373e02595744a1b7 model=deberta_v3_large
1a3368da 373e02595744a1b7 model=electra_base
1a3368da 373e02595744a1b7 model=roberta_base
76465ac9 373e02595744a1b7 task=cola model=minilm budget=auto
79c1852d 373e02595744a1b7 task=cola model=minilm budget=rank:4
653cdb5c 373e02595744a1b7 task=cola model=minilm budget=0.16%
d0d8f88a 373e02595744a1b7 task=cola model=minilm budget=0.05M seed=3
82450f26 373e02595744a1b7 task=cola model=minilm budget=0.05M precision=bf16
b02890c6 373e02595744a1b7 task=cola model=minilm budget=0.05M precision=float32
d54ca998 373e02595744a1b7 task=cola model=minilm budget=0.05M protocol=dev
4f93c8fc 373e02595744a1b7 task=cola model=minilm budget=0.05M protocol=split
33d1ced5 ebc0a4f1c7bde3bb task=cola model=minilm budget=0.05M smoke=true
853c610b 373e02595744a1b7 task=cola model=minilm budget=0.05M dry_run=true
853c610b 373e02595744a1b7 task=cola model=minilm budget=0.05M force=true
853c610b 373e02595744a1b7 task=cola model=minilm budget=0.05M init_from=/runs/cola/minilm/lora/b0.05M-s0-00000000
853c610b 373e02595744a1b7 task=cola model=minilm budget=0.05M launch.processes=2
853c610b 373e02595744a1b7 task=cola model=minilm budget=0.05M runs_dir=/elsewhere
f2c1ef1d 84e2c0d62158437d task=cola model=minilm budget=0.05M task.max_length=32
fda2268f 373e02595744a1b7 task=cola model=minilm budget=0.05M task.eval_splits=[dev]
700b0884 373e02595744a1b7 task=cola model=minilm budget=0.05M task.empty_text=keep
4d336166 373e02595744a1b7 task=cola model=minilm budget=0.05M model.dropout=0.1
21810d12 373e02595744a1b7 task=cola model=minilm budget=0.05M model.head=positional
c64b05c8 73d0bd76b29b1fe4 task=cola model=minilm budget=0.05M model.blocks=encoder.layer
d4c48770 5a88ab2d2d04302b task=cola model=minilm budget=0.05M +model.linears.query=attention.self.query
5e5997d9 373e02595744a1b7 task=cola model=minilm budget=0.05M method.scaling=8
ad6dca6c 373e02595744a1b7 task=cola model=minilm budget=0.05M method.modules=all
7b2ae478 373e02595744a1b7 task=cola model=minilm budget=0.05M method.dropout=0.1
aaba8e43 1d2d59a4f6e4c3d1 task=cola model=minilm budget=0.05M profile.pooling=cls
94a30829 23f9ec1f9ca0f461 task=cola model=minilm budget=0.05M profile.max_examples=500
a433a178 83527555d4333ced task=cola model=minilm budget=0.05M profile.batch_size=8
853c610b 373e02595744a1b7 task=cola model=minilm budget=0.05M profile.track=true
853c610b 373e02595744a1b7 task=cola model=minilm budget=0.05M profile.track_tokens=2
c28ec1ba 373e02595744a1b7 task=cola model=minilm budget=0.05M ranks.rule=growth
c01678ec 373e02595744a1b7 task=cola model=minilm budget=0.05M ranks.on_deficit=shrink
2a0c083f 373e02595744a1b7 task=cola model=minilm budget=0.05M train.epochs=3
b9aa0a3d 373e02595744a1b7 task=cola model=minilm budget=0.05M train.max_steps=7
c053428f 373e02595744a1b7 task=cola model=minilm budget=0.05M train.batch_size=8
a5f177b8 373e02595744a1b7 task=cola model=minilm budget=0.05M train.micro_batch_size=4
ba8b7642 373e02595744a1b7 task=cola model=minilm budget=0.05M train.learning_rate=0.001
853c610b 373e02595744a1b7 task=cola model=minilm budget=0.05M train.log_steps=1
853c610b 373e02595744a1b7 task=cola model=minilm budget=0.05M train.checkpoint_steps=5
853c610b 373e02595744a1b7 task=cola model=minilm budget=0.05M train.checkpoint_seconds=null
35c7b68f 373e02595744a1b7 task=cola model=minilm budget=0.05M train.eval_batch_size=8
853c610b 373e02595744a1b7 task=cola model=minilm budget=0.05M data.glue=/data/glue
40b341d7 373e02595744a1b7 task=cola model=minilm budget=0.05M data.max_train_examples=100
10bb6a78 373e02595744a1b7 task=cola model=minilm budget=0.05M data.max_eval_examples=50
853c610b 373e02595744a1b7 task=cola model=minilm budget=0.05M data.separator=tab
8f719383 23983c2b9571787f task=text data.text=/data/reviews.csv model=minilm
ca73f4d0 23983c2b9571787f task=text data.text=/data/reviews.csv model=minilm task.columns=[title,body] task.label=stars
e86128ad 23983c2b9571787f task=text data.text=/data/reviews.csv model=minilm task.kind=regression
0d337872 23983c2b9571787f task=text data.text=/data/reviews.csv model=minilm task.kind=regression task.standardize=false
e86128ad 23983c2b9571787f task=text data.text=/data/reviews.csv model=minilm task.kind=regression task.standardize=true
5c17eeba 23983c2b9571787f task=text data.text=/data/reviews.csv model=minilm task.labels=[bad,good] task.metric=mcc
0026ecf4 23983c2b9571787f task=stsb model=minilm task.standardize=true
399e710c 373e02595744a1b7 task=cola model=minilm protocol=split task.split=held_out
3532a882 ad21f7b4669f43fe task=squad model=minilm protocol=split task.stride=64 task.n_best=5
e63f6639 be5f7dc3003dad5a task=squad model=minilm method.scaling=32 method.modules=attention
9651f8ad be5f7dc3003dad5a task=squad_v2 model=minilm method=adalora task.misplaced_answers=drop
f96c94cb 373e02595744a1b7 task=cola model=minilm budget=0.05M method=sora method.threshold_rule=code
0e94635a 373e02595744a1b7 task=cola model=minilm budget=0.05M method=sora method.gate_penalty=10
43982700 373e02595744a1b7 task=cola model=minilm budget=0.05M method=sora method.layer_norms=true method.start_ratio=3
dab58dc1 373e02595744a1b7 task=cola model=minilm budget=0.05M method=adalora method.tinit=0.2 method.modules=all
e2eb00c1 373e02595744a1b7 task=cola model=minilm budget=0.05M method=eva method.rho=1.5
93729931 373e02595744a1b7 task=cola model=minilm ranks.path=PLAN
93729931 373e02595744a1b7 task=cola model=minilm ranks.path=PLAN budget=rank:4
93729931 1d2d59a4f6e4c3d1 task=cola model=minilm ranks.path=PLAN profile.track=true profile.pooling=cls
a782b0c7 373e02595744a1b7 task=cola model=minilm method=lora budget=rank:4
ede6262c 373e02595744a1b7 task=cola model=minilm method=houlsby budget=rank:4
ade6f2ea 373e02595744a1b7 task=cola model=minilm method=pfeiffer budget=auto method.modules=all
8268cd08 373e02595744a1b7 task=cola model=minilm method=bitfit budget=auto
b06f475f ebc0a4f1c7bde3bb task=cola model=minilm budget=0.05M method=full smoke=true seed=2
f62ed295 373e02595744a1b7 task=demo model=minilm budget=0.05M seed=0
81e20c4c 6b4595902b3ddd67 model.path=/models/mine task=rte
"""
"""Identity hash, profile hash and overrides of each configuration; PLAN is the directory of a saved plan."""
ROWS = [line.split(" ", 2) for line in FROZEN.strip().splitlines()]


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a run directory with nothing but a GeLoRA plan in it."""
    directory = tmp_path_factory.mktemp("run")
    write_artifact(plan_ranks(MINILM, parse_budget("rank:4"), method="gelora"), directory)
    return directory


def configured(words: str) -> RunConfig:
    """Return the completed configuration of overrides: `group=option` and `key=value`."""
    pairs = [word.removeprefix("+").partition("=") for word in words.split()]
    options = {name: value for name, _, value in pairs if name in groups("run")}
    values = composed_values("run", {name: value for name, value in options.items() if name != "experiment"})
    for name, _, value in pairs:
        if name not in options:
            *sections, last = name.split(".")
            holder = values
            for part in sections:
                holder = holder.setdefault(part, {})
            holder[last] = yaml.safe_load(value)
    config = typed(RunConfig, values)
    assert isinstance(config, RunConfig)
    return complete(config)


def test_many_are_frozen() -> None:
    assert len(ROWS) >= 90


@pytest.mark.parametrize(("identity", "profile", "words"), ROWS, ids=[words for _, _, words in ROWS])
def test_hashes_stay_what_they_are(identity: str, profile: str, words: str, plan: Path) -> None:
    config = configured(words.replace("PLAN", str(plan)))
    fingerprints = {"model": "m", "train": "t"}
    assert identity_hash(config, fingerprints) == identity
    assert SIGNALS.get("idim").sharing_hash(config, fingerprints) == profile


@pytest.mark.parametrize("words", [ROWS[0][2], ROWS[6][2], ROWS[7][2], ROWS[22][2], "task=text data.text=/a.csv"])
def test_a_configuration_read_back_has_the_same_hash(words: str) -> None:
    config = configured(words)
    assert identity_hash(parse_config(config_text(config)), {}) == identity_hash(config, {})
