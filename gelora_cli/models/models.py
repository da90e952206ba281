"""Where a model is, what is loaded from it, and which linears of each block may be adapted.

`resolve_model` finds the files without torch; `load_model` and `load_tokenizer` read them, from safetensors and JSON
only and without remote code; `map_model` names the blocks and their linears.
"""

from __future__ import annotations

import difflib
import glob
import hashlib
import importlib.util
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from gelora_cli.core.artifacts import BlockMap, LinearShape, ModelMap
from gelora_cli.core.errors import GeloraError
from gelora_cli.core.install import install_gelora
from gelora_cli.core.runtime import first_line
from gelora_cli.models.files import (
    MODEL_FILES,
    VOCABULARIES,
    WEIGHTS,
    WEIGHTS_INDEX,
    check_directory,
    file_digests,
    has_weights,
    no_safetensors,
    read_config_json,
    weight_files,
    weight_names,
)

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

MOST_NAMES, LONGEST_NAME = 6, 40
"""Label names, and characters of one, that a message shows."""

HUB_SECONDS = 5.0
CONVERSION_TITLE = "Adding `safetensors` variant of this model"
CONVERSION_AUTHOR = "SFconvertbot"

ROLES = ("query", "key", "value", "output", "up", "gate", "down")

_ENCODER = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "output": "attention.output.dense",
    "up": "intermediate.dense",
    "down": "output.dense",
}
_DEBERTA = _ENCODER | {
    "query": "attention.self.query_proj",
    "key": "attention.self.key_proj",
    "value": "attention.self.value_proj",
}
_DECODER = {
    "query": "self_attn.q_proj",
    "key": "self_attn.k_proj",
    "value": "self_attn.v_proj",
    "output": "self_attn.o_proj",
    "up": "mlp.up_proj",
    "gate": "mlp.gate_proj",
    "down": "mlp.down_proj",
}
KINDS: dict[str, tuple[str, dict[str, str]]] = {
    "bert": ("encoder.layer", _ENCODER),
    "roberta": ("encoder.layer", _ENCODER),
    "electra": ("encoder.layer", _ENCODER),
    "deberta-v2": ("encoder.layer", _DEBERTA),
    "llama": ("layers", _DECODER),
    "mistral": ("layers", _DECODER),
    "qwen2": ("layers", _DECODER),
}
"""Model type of `config.json` -> the list of blocks, below the base model, and role -> linear inside a block."""

DECODERS = ("llama", "mistral", "qwen2")


@dataclass(frozen=True)
class ResolvedModel:
    """A model directory: where it came from, where it is, and the sha256 of its content."""

    source: str
    directory: Path
    fingerprint: str


@dataclass(frozen=True)
class HeadSpec:
    """The task's head: `label_names` in the order of the class indices, empty unless the kind is classification."""

    kind: Literal["classification", "regression", "question_answering"]
    label_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if (self.kind == "classification") != (len(self.label_names) > 1):
            raise ValueError(f"a {self.kind} head has the label names {self.label_names}: two or more, or else none")


@dataclass(frozen=True)
class LoadedModel:
    """A task model in float32 and evaluation mode, with its map.

    `head_origin` says where the head comes from, `arguments` is what `from_pretrained` needs to load such a model.
    """

    model: PreTrainedModel
    map: ModelMap
    head_origin: str = ""
    arguments: dict[str, Any] = field(default_factory=dict)


def resolve_model(
    *,
    hub: str | None,
    path: str | None,
    revision: str | None = None,
    package: str | None = None,
    sha256: str | None = None,
) -> ResolvedModel:
    """Find a model's directory: `path` (a directory or a hub id) if given, else the installed `package`, else `hub`.

    The hub's snapshot is pinned to the commit that `revision` (default `main`) points to; offline, the cached one is
    taken. `sha256` is that of `model.safetensors` of `package` and `hub`; it says nothing about a `path`. The
    fingerprint is the sha256 over the sorted (file name, sha256 of content) of `model_files`, whatever the location.

    Raises:
        GeloraError: no such directory, hub not reachable, no safetensors, or another sha256 than asked for.
    """
    directory, source = _locate(hub, path, revision, package)
    check_directory(directory, source)
    digests = file_digests(directory, source)
    if sha256 and not path and digests.get(WEIGHTS) != sha256:
        raise GeloraError(
            f"{WEIGHTS} of {source} has sha256 {digests.get(WEIGHTS)}, {sha256} is accepted: the file is damaged or "
            f"another one. Install or fetch it again ({directory}), or name another model by model.path=DIR."
        )
    lines = "".join(f"{name} {digest}\n" for name, digest in digests.items())
    return ResolvedModel(source, directory, hashlib.sha256(lines.encode()).hexdigest())


def _locate(hub: str | None, path: str | None, revision: str | None, package: str | None) -> tuple[Path, str]:
    """The directory and how it is named to the user."""
    if path:
        directory = Path(path).expanduser().absolute()
        if directory.is_dir():
            return directory, path
        if _names_a_directory(path):
            raise _missing_directory(path, directory)
        return _from_hub(path, revision, f"There is no directory {path} here, so it was taken as a hub id. ")
    if package and (folder := _package_folder(package)):
        return folder, f"package {package}"
    if not hub:
        raise GeloraError("No model is named: model.path and model.hub are empty. Give model.path=DIR or model=minilm.")
    return _from_hub(hub, revision, "")


def _names_a_directory(path: str) -> bool:
    """Whether a path that isn't there was meant as a directory rather than as a hub id (`name` or `owner/name`)."""
    if path[0] in "./~" or not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", path):
        return True
    return "/" in path and Path(path).parent.is_dir()


def _missing_directory(path: str, directory: Path) -> GeloraError:
    if directory.exists():
        return GeloraError(f"model.path={path} is a file; the directory of a model is accepted: {directory.parent}.")
    parent = directory.parent
    siblings = [entry.name for entry in parent.iterdir() if entry.is_dir()] if parent.is_dir() else []
    near = difflib.get_close_matches(directory.name, siblings, n=1)
    hint = f" Did you mean {parent / near[0]}?" if near else ""
    return GeloraError(
        f"model.path={path}: there is no directory {directory}.{hint} "
        f"A directory with config.json, {WEIGHTS} and the tokenizer's files is accepted, or a hub id."
    )


def _package_folder(package: str) -> Path | None:
    """The folder `model/` of an installed package, found without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations))) / "model"


def _from_hub(repository: str, revision: str | None, note: str) -> tuple[Path, str]:
    """The snapshot of a hub repository, and `owner/name@commit`."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (  # type: ignore[attr-defined]
        HFValidationError,
        HTTPError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        usable = _usable_revision(HfApi(), repository, revision)
        snapshot = Path(snapshot_download(repository, revision=usable, allow_patterns=list(MODEL_FILES)))
        if indexed := [glob.escape(name) for name in weight_names(snapshot, repository)]:
            snapshot_download(repository, revision=snapshot.name, allow_patterns=indexed)
    except (HFValidationError, RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise GeloraError(
            f"{note}The hub has no public model {repository} at revision {revision or 'main'}, or it needs a login "
            f"(`hf auth login`): {first_line(error)}. Check model.hub and model.revision, or give model.path=DIR."
        ) from error
    except (HTTPError, OSError) as error:
        cached = _cached_snapshot(repository, revision)
        if cached is None:
            raise _unreachable(repository, note, error) from error
        snapshot = cached
    return snapshot, f"{repository}@{snapshot.name}"


def _usable_revision(api: HfApi, repository: str, revision: str | None) -> str:
    """`revision` if it holds safetensors; for the default one, else the converter's pull request on top of it."""
    info = api.model_info(repository, revision=revision, timeout=HUB_SECONDS)
    files = {file.rfilename for file in info.siblings or ()}
    if files & {WEIGHTS, WEIGHTS_INDEX}:
        return revision or "main"
    proposed = _conversions(api, repository) if revision is None else []
    for reference in proposed:
        commits = api.list_repo_commits(repository, revision=reference)
        if len(commits) > 1 and commits[1].commit_id == info.sha:
            return reference
    hint = f" Or take the older conversion {proposed[0]}: model.revision={proposed[0]}." if proposed else ""
    raise GeloraError(no_safetensors(f"{repository} at revision {revision or 'main'}", files) + hint)


def _conversions(api: HfApi, repository: str) -> list[str]:
    """Open pull requests (`refs/pr/N`) by the hub's safetensors converter, told apart by author and title."""
    discussions = api.get_repo_discussions(repository, discussion_type="pull_request", discussion_status="open")
    return [
        f"refs/pr/{request.num}"
        for request in discussions
        if request.is_pull_request and request.status == "open"
        if request.author == CONVERSION_AUTHOR and request.title == CONVERSION_TITLE
    ]


def _cached_snapshot(repository: str, revision: str | None) -> Path | None:
    """The cached snapshot of `revision`; by default `main`, or the one pull request cached if that has the weights."""
    from huggingface_hub import constants, snapshot_download

    folder = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}"
    requests = [f"refs/pr/{file.name}" for file in (folder / "refs/refs/pr").glob("*")]
    candidates = [revision] if revision else ["main", *(requests if len(requests) == 1 else [])]
    found: list[Path] = []
    for candidate in candidates:
        try:
            snapshot = snapshot_download(
                repository, revision=candidate, local_files_only=True, allow_patterns=list(MODEL_FILES)
            )
        except OSError:
            continue
        found.append(Path(snapshot))
    return next((snapshot for snapshot in found if has_weights(snapshot)), found[0] if found else None)


def _unreachable(repository: str, note: str, error: Exception) -> GeloraError:
    from huggingface_hub import constants

    return GeloraError(
        f"{note}{repository} can't be fetched from {constants.ENDPOINT} ({first_line(error)}), and no whole snapshot "
        f"of it is cached in {constants.HF_HUB_CACHE}. Give model.path=DIR, a directory with config.json, safetensors "
        f"and tokenizer, or model=minilm, which needs no hub after `{install_gelora('demo')}`."
    )


def check_length(resolved: ResolvedModel, max_length: int) -> None:
    """Refuse token sequences beyond a model's table of positions; rotary and relative positions have no such end.

    Raises:
        GeloraError: `max_length` is above what config.json allows.
    """
    check_positions(read_config_json(resolved.directory, resolved.source), resolved.source, max_length)


def check_positions(config: Mapping[str, Any], source: str, max_length: int) -> None:
    """The same of a configuration as config.json holds it; `source` names it."""
    rows, kind = config.get("max_position_embeddings"), config.get("model_type")
    if not isinstance(rows, int) or kind in DECODERS or config.get("position_biased_input") is False:
        return
    pad = config.get("pad_token_id")
    reserved = (1 if pad is None else pad) + 1 if kind == "roberta" else 0  # RoBERTa counts positions from behind it
    longest = rows - reserved
    if max_length > longest:
        raise GeloraError(
            f"task.max_length={max_length}: {source} has positions for 1 to {longest} tokens; "
            f"take task.max_length={longest} or less."
        )


def load_model(
    resolved: ResolvedModel,
    head: HeadSpec,
    *,
    seed: int,
    dropout: float | None = None,
    blocks: str | None = None,
    linears: Mapping[str, str] | None = None,
    positional: bool = False,
) -> LoadedModel:
    """Load the backbone in float32 with the task's head, in evaluation mode, and map it.

    What the weights don't hold (head, DeBERTa's pooler) is drawn from `seed`, whatever ran before and without a
    trace in the global random state. `dropout` replaces every dropout probability of the configuration. A
    classification head that the weights hold is taken over where config.json names the task's labels, in whatever
    order and case; its rows are brought into the task's order. Otherwise the whole head is drawn from `seed`, as if
    the weights held none. `positional` takes its rows as they are. A head of other tasks is taken over where its size
    fits. The head is trained either way.

    Raises:
        GeloraError: weights that can't be read, don't fit or aren't finite, or a model that can't be mapped.
    """
    with _quiet():
        own, config = _read_config(resolved), _task_config(resolved, head, dropout)
        weights = _load_weights(resolved, config, head, seed)
        arguments = _loading_arguments(weights, head, own)
        choice = _choose_head(weights, head, _own_labels(own), positional)
        if not choice.take_over:
            weights = _load_weights(resolved, config, head, seed, without=weights.model)
    if choice.order:
        _reorder_rows(weights, choice.order)
    model = weights.model
    head_modules = _head_modules(model, weights.missing, weights.mismatched, resolved.source)
    _check_finite(model, resolved.source)
    found = map_model(model, blocks=blocks, linears=linears, head_modules=head_modules)
    return LoadedModel(model, found, choice.origin, arguments)


@contextmanager
def _quiet() -> Iterator[None]:
    """Transformers without its loading report and progress bars, its verbosity restored afterwards."""
    from transformers.utils import logging as untyped_logging

    logging: Any = untyped_logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _task_config(resolved: ResolvedModel, head: HeadSpec, dropout: float | None) -> PreTrainedConfig:
    """The model's configuration with the task's labels, dropout and, where it has none of its own, padding token."""
    config = _read_config(resolved)
    if getattr(config, "quantization_config", None) is not None:
        raise GeloraError(f"{resolved.source} is quantised; full-precision weights are accepted. Give model.path=DIR.")
    if head.kind == "classification":
        config.id2label = dict(enumerate(head.label_names))
        config.label2id = {name: index for index, name in config.id2label.items()}
        config.problem_type = "single_label_classification"
    else:
        config.num_labels = 1 if head.kind == "regression" else 2
        config.problem_type = "regression" if head.kind == "regression" else None
    if hasattr(config, "use_cache"):
        config.use_cache = False
    if config.model_type in DECODERS or config.pad_token_id is None:
        config.pad_token_id = load_tokenizer(resolved, config.model_type).pad_token_id
    _check_padding(config, resolved.source)
    if dropout is not None:
        _set_dropout(config, dropout)
    return config


def _read_config(resolved: ResolvedModel) -> PreTrainedConfig:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(resolved.directory, trust_remote_code=False, local_files_only=True)
    except Exception as error:  # whatever transformers makes of values that it didn't expect
        raise GeloraError(
            f"config.json of {resolved.source} can't be read: {first_line(error)}. A model type that the installed "
            "transformers knows by itself is accepted (no remote code); try a newer transformers or another model."
        ) from error
    return cast("PreTrainedConfig", config)


def _check_padding(config: PreTrainedConfig, source: str) -> None:
    """Refuse a padding token that has no row in the embeddings, which the model's class would stumble over."""
    pad, rows = config.pad_token_id, getattr(config, "vocab_size", None)
    if isinstance(pad, int) and isinstance(rows, int) and not -rows <= pad < rows:
        raise GeloraError(
            f"pad_token_id={pad} of {source}: the model embeds ids 0 to {rows - 1}. Set the right one in config.json."
        )


def _set_dropout(config: PreTrainedConfig, probability: float) -> None:
    """Set every dropout probability that the configuration names, also those that are None (taken from another)."""
    if not 0 <= probability < 1:
        raise GeloraError(f"model.dropout={probability}: a probability from 0 to below 1 is accepted.")
    for name, value in config.to_dict().items():
        if ("dropout" in name or name.endswith("pdrop")) and (value is None or type(value) in (int, float)):
            setattr(config, name, probability)


@dataclass(frozen=True)
class _Weights:
    """A task model, and the names of its tensors that the weights lack or hold in another shape."""

    model: PreTrainedModel
    missing: set[str]
    mismatched: set[str]

    def output_layer(self, rows: int) -> str | None:
        """The name of the last linear of the head that has so many rows; None of a head of another form."""
        from torch import nn

        outside = _beside_backbone(self.model) if self.model.base_model is not self.model else set()
        layers = [
            name
            for name, module in self.model.named_modules()
            if isinstance(module, nn.Linear) and module.out_features == rows and f"{name}.weight" in outside
        ]
        return layers[-1] if layers else None


def _own_labels(config: PreTrainedConfig) -> tuple[str, ...]:
    """The label names of config.json in the order of their rows; none where they say nothing, as LABEL_0 does."""
    names: dict[Any, Any] = config.id2label or {}
    if sorted(names) != list(range(len(names))):
        return ()
    found = tuple(str(names[index]) for index in range(len(names)))
    return () if all(re.fullmatch(r"LABEL_\d+", name, re.IGNORECASE) for name in found) else found


@dataclass(frozen=True)
class _HeadChoice:
    """Whether the head in the weights is taken over, in which order of its rows (empty: as they lie), and why."""

    take_over: bool
    origin: str
    order: tuple[int, ...] = ()


def _choose_head(weights: _Weights, head: HeadSpec, own: tuple[str, ...], positional: bool) -> _HeadChoice:
    """Decide about the head in the weights, which config.json describes with the labels `own`."""
    rows = {"classification": len(head.label_names), "regression": 1, "question_answering": 2}[head.kind]
    output = weights.output_layer(rows)
    if output is None or f"{output}.weight" in weights.missing:
        return _HeadChoice(True, "drawn from the seed: the weights hold none")
    if f"{output}.weight" in weights.mismatched:
        return _HeadChoice(False, f"drawn from the seed: that of the weights has not {rows} rows")
    if head.kind != "classification":
        return _HeadChoice(True, "that of the weights")
    if positional:
        names = f"{_listed(own) or 'no names'} for {_listed(head.label_names)}"
        return _HeadChoice(True, f"that of the weights by position (model.head=positional): {names}")
    return _match_labels(own, head.label_names)


def _match_labels(own: tuple[str, ...], wanted: tuple[str, ...]) -> _HeadChoice:
    """Decide about a classification head by the names of its labels, whatever their case."""
    if not own:
        return _HeadChoice(
            False, "drawn from the seed: that of the weights names no labels (model.head=positional keeps it)"
        )
    position = {name.strip().casefold(): index for index, name in enumerate(own)}
    order = tuple(position.get(name.strip().casefold(), -1) for name in wanted)
    if sorted(order) != list(range(len(own))):
        return _HeadChoice(
            False, f"drawn from the seed: that of the weights is for {_listed(own)}, not {_listed(wanted)}"
        )
    if list(order) == sorted(order):
        return _HeadChoice(True, "that of the weights, whose labels have the same names")
    moved = f"reordered from {_listed(own)} to {_listed(wanted)}"
    return _HeadChoice(True, f"that of the weights by the names of its labels, its rows {moved}", order)


def _listed(names: Sequence[str]) -> str:
    """Label names in a message: the first ones, each cut where it is long and without what a terminal would obey."""
    shown = [name if name.isprintable() else ascii(name) for name in names[:MOST_NAMES]]
    cut = [name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}..." for name in shown]
    return ", ".join(cut) + (", ..." if len(names) > MOST_NAMES else "")


def _reorder_rows(weights: _Weights, order: tuple[int, ...]) -> None:
    """Bring the rows of the head's output layer into the order of the task's labels."""
    import torch

    output: Any = weights.model.get_submodule(weights.output_layer(len(order)) or "")
    with torch.no_grad():
        for parameter in output.parameters():
            parameter.copy_(parameter[list(order)].clone())


def _load_weights(
    resolved: ResolvedModel,
    config: PreTrainedConfig,
    head: HeadSpec,
    seed: int,
    without: PreTrainedModel | None = None,
) -> _Weights:
    """The task model with its weights; the head of `without`, the same model, is left out and drawn from the seed."""
    import torch

    factory = _factory(head)
    source: dict[str, Any] = {"pretrained_model_name_or_path": resolved.directory, "use_safetensors": True}
    try:
        if without is not None:
            factory = type(without)
            source = {"pretrained_model_name_or_path": None, "state_dict": _tensors_without_head(resolved, without)}
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            model, info = factory.from_pretrained(
                **source,
                config=config,
                dtype=torch.float32,
                trust_remote_code=False,
                local_files_only=True,
                ignore_mismatched_sizes=True,
                output_loading_info=True,
                key_mapping=_renamed_base(_factory(head), config),
            )
    except MemoryError:
        raise
    except Exception as error:  # OSError, SafetensorError, or what a class makes of values that it didn't expect
        raise GeloraError(
            f"The weights of {resolved.source} can't be loaded as a {head.kind} model: {first_line(error)}. "
            f"Whole safetensors of a {config.model_type} model are accepted; fetch or write them again."
        ) from error
    model.name_or_path = str(resolved.directory)
    return _Weights(model, set(info["missing_keys"]), {entry[0] for entry in info["mismatched_keys"]})


def _tensors_without_head(resolved: ResolvedModel, model: PreTrainedModel) -> dict[str, Any]:
    """All tensors of the weights but those of the model's head."""
    from safetensors.torch import load_file

    head, tensors = own_head(model), dict[str, Any]()
    for name in weight_files(resolved.directory, resolved.source):
        held = load_file(resolved.directory / name)
        tensors |= {key: tensor for key, tensor in held.items() if not in_modules(key, head)}
    return tensors


def _factory(head: HeadSpec) -> Any:
    """Transformers' own choice of the task model's class."""
    from transformers import AutoModelForQuestionAnswering, AutoModelForSequenceClassification

    return AutoModelForQuestionAnswering if head.kind == "question_answering" else AutoModelForSequenceClassification


def save_exported(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, directory: Path) -> None:
    """Write a task model and its tokenizer for `load_exported`, weights under the names of the task's own class."""
    with _quiet():
        model.save_pretrained(directory, save_original_format=False)  # no `key_mapping` is needed to read them
        tokenizer.save_pretrained(directory)


def load_exported(directory: Path, head: HeadSpec) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A task model and its tokenizer as anyone loads them: from the directory and by transformers alone."""
    from transformers import AutoTokenizer

    with _quiet():
        model = _factory(head).from_pretrained(directory, use_safetensors=True, local_files_only=True)
        return model.eval(), AutoTokenizer.from_pretrained(directory, local_files_only=True)


def _loading_arguments(weights: _Weights, head: HeadSpec, own: PreTrainedConfig) -> dict[str, Any]:
    """What `from_pretrained` needs to build this task model from the base, whose own configuration is `own`."""
    import torch

    config: Any = weights.model.config
    arguments: dict[str, Any] = {}
    if head.kind == "classification":
        arguments |= {"id2label": dict(config.id2label), "label2id": dict(config.label2id)}
    else:
        arguments |= {"num_labels": config.num_labels}
    if config.pad_token_id != own.pad_token_id:
        arguments |= {"pad_token_id": config.pad_token_id}
    if own.dtype not in (None, torch.float32):
        arguments |= {"dtype": "float32"}
    if weights.mismatched:  # a head of another size in the weights, whose place the adapter's takes
        arguments |= {"ignore_mismatched_sizes": True}
    if renamed := _renamed_base(_factory(head), config):
        arguments |= {"key_mapping": renamed}
    return arguments


def _renamed_base(factory: Any, config: PreTrainedConfig) -> dict[str, str] | None:
    """The renaming of weights where a task model calls its backbone otherwise than the pretrained one does.

    Llama's and Qwen2's question answering models do (`transformer.`, not `model.`): without it they stay random.
    """
    from transformers import MODEL_MAPPING

    task_class = factory._model_mapping.get(type(config), None)
    base_class: Any = MODEL_MAPPING.get(type(config), None)
    if task_class is None or base_class is None or task_class.base_model_prefix == base_class.base_model_prefix:
        return None
    return {rf"^{base_class.base_model_prefix}\.": f"{task_class.base_model_prefix}."}


def _head_modules(model: PreTrainedModel, missing: set[str], mismatched: set[str], source: str) -> tuple[str, ...]:
    """The topmost modules that make up the head: all beside the backbone, and a pooler that the weights lack."""
    if model.base_model is model:
        raise GeloraError(
            f"{type(model).__name__} of {source} doesn't set its head apart from a backbone; take another."
        )
    names = {name for name, _ in model.named_parameters()}
    pooler = {name for name in names if name.startswith(f"{model.base_model_prefix}.pooler.")}
    head = _beside_backbone(model) | (pooler if pooler <= missing else set())
    if misfits := sorted((missing | mismatched) - head):
        shown = ", ".join(name + (" (another shape)" if name in mismatched else "") for name in misfits[:3])
        raise GeloraError(
            f"The weights of {source} don't fit its config.json ({type(model).__name__}): {len(misfits)} of "
            f"{len(names)} tensors are missing or have another shape, the first: {shown}. Weights and configuration "
            "of one model are accepted; write both again with save_pretrained."
        )
    return tuple(_topmost(model, head))


def own_head(model: PreTrainedModel) -> tuple[str, ...]:
    """The topmost modules beside the backbone of a model as it is; none of a bare backbone."""
    return tuple(_topmost(model, set() if model.base_model is model else _beside_backbone(model)))


def _beside_backbone(model: PreTrainedModel) -> set[str]:
    """The parameters outside the backbone of a model that sets it apart."""
    prefix = f"{model.base_model_prefix}."
    return {name for name, _ in model.named_parameters() if not name.startswith(prefix)}


def _topmost(module: nn.Module, names: set[str], prefix: str = "") -> Iterator[str]:
    """Names of the topmost modules all of whose parameters are among `names`."""
    for child_name, child in module.named_children():
        name = prefix + child_name
        own = {f"{name}.{parameter}" for parameter, _ in child.named_parameters()}
        if own and own <= names:
            yield name
        elif own & names:
            yield from _topmost(child, names, f"{name}.")


def _check_finite(model: PreTrainedModel, source: str) -> None:
    import torch

    for name, parameter in model.named_parameters():
        if not torch.isfinite(parameter).all():
            raise GeloraError(
                f"The weights of {source} hold NaN or infinite values, first in {name}; finite ones are accepted. The "
                "file is damaged or was saved in half precision after an overflow: fetch it again or take another."
            )


def map_model(
    model: PreTrainedModel,
    *,
    blocks: str | None = None,
    linears: Mapping[str, str] | None = None,
    head_modules: Iterable[str],
) -> ModelMap:
    """Name the blocks and their adaptable linears, with the shapes that they have in the model.

    `blocks` (a list of modules, below the base model or by its full name) and `linears` (role -> name inside a block)
    replace what `KINDS` says of the model's type, and are needed for a type that it doesn't list. `head_params` are
    the parameters of `head_modules`, `backbone_params` all others; a shared parameter counts once.

    Raises:
        GeloraError: an unlisted type that isn't named by hand, or a name that isn't in the model.
    """
    known_blocks, known_linears = KINDS.get(model.config.model_type, (None, None))
    block_list, roles = blocks or known_blocks, linears or known_linears
    if block_list is None or roles is None:
        raise _unknown_kind(model)
    _check_roles(roles)
    list_name = _block_list_name(model, block_list)
    names = [f"{list_name}.{index}" for index, _ in enumerate(model.get_submodule(list_name).children())]
    mapped = tuple(
        BlockMap(index, name, tuple(_linear_shape(model, name, role, roles[role]) for role in ROLES if role in roles))
        for index, name in enumerate(names, start=1)
    )
    head = tuple(head_modules)
    head_params = sum(count_params(model.get_submodule(name)) for name in head)
    bias, norm = _bias_and_norm_params(model, head)
    return ModelMap(model.config.model_type, mapped, head, head_params, count_params(model) - head_params, bias, norm)


def in_modules(name: str, modules: Iterable[str]) -> bool:
    """Whether a parameter of this full name lies in one of the modules."""
    return any(name.startswith(f"{module}.") for module in modules)


def bias_names(model: nn.Module, head: Iterable[str]) -> list[str]:
    """The backbone's bias terms, by the name that every known kind gives them."""
    head = tuple(head)
    return [name for name, _ in model.named_parameters() if name.endswith("bias") and not in_modules(name, head)]


def norm_names(model: nn.Module, head: Iterable[str]) -> list[str]:
    """The parameters of the backbone's norms (LayerNorm, RMSNorm, ...)."""
    head = tuple(head)
    norms = [name for name, module in model.named_modules() if "norm" in type(module).__name__.lower()]
    return [name for name, _ in model.named_parameters() if in_modules(name, norms) and not in_modules(name, head)]


def _bias_and_norm_params(model: nn.Module, head: tuple[str, ...]) -> tuple[int, int]:
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    names = bias_names(model, head), norm_names(model, head)
    return sum(sizes[name] for name in names[0]), sum(sizes[name] for name in names[1])


def _unknown_kind(model: PreTrainedModel) -> GeloraError:
    found = [
        f"{name} ({len(candidate)} blocks; linears: {', '.join(_linear_names(candidate[0]))})"
        for name, candidate in _block_lists(model).items()
    ]
    return GeloraError(
        f"Model type {model.config.model_type!r} is not known; known are {', '.join(KINDS)}. Name its modules by hand, "
        "as in model.blocks=encoder.layer +model.linears.query=attention.self.query "
        f"(roles: {', '.join(ROLES)}). Lists of blocks found: {'; '.join(found) or 'none'}."
    )


def _block_lists(model: PreTrainedModel) -> dict[str, nn.ModuleList]:
    """The outermost lists of equal blocks, by their names below the base model."""
    from torch import nn

    lists: dict[str, nn.ModuleList] = {}
    for name, module in model.base_model.named_modules():
        equal = isinstance(module, nn.ModuleList) and len({type(block) for block in module}) == 1
        if equal and not any(name.startswith(f"{outer}.") for outer in lists):
            lists[name] = cast("nn.ModuleList", module)
    return lists


def _linear_names(block: nn.Module) -> list[str]:
    from torch import nn

    return [name for name, module in block.named_modules() if isinstance(module, nn.Linear)]


def _check_roles(roles: Mapping[str, str]) -> None:
    """Refuse unknown roles, and a choice that leaves `method.modules=attention` nothing to adapt."""
    for role in roles:
        if role not in ROLES:
            raise GeloraError(f"model.linears.{role}: roles are {', '.join(ROLES)}.{_did_you_mean(role, ROLES)}")
    if not any(role in ModelMap.ATTENTION_ROLES for role in roles):
        raise GeloraError(
            f"model.linears names no linear of the attention, only {', '.join(roles)}: at least one of "
            f"{', '.join(ModelMap.ATTENTION_ROLES)} is needed."
        )


def _did_you_mean(name: str, accepted: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(accepted), n=1)
    return f" Did you mean {near[0]}?" if near else ""


def _block_list_name(model: PreTrainedModel, blocks: str) -> str:
    """The full name, in the task model, of the list of blocks."""
    from torch import nn

    modules = dict(model.named_modules())
    for name in (f"{model.base_model_prefix}.{blocks}", blocks):
        module = modules.get(name)
        if isinstance(module, nn.ModuleList) and len(module):
            return name
    lists = _block_lists(model)
    raise GeloraError(
        f"model.blocks={blocks} names no list of blocks of this {model.config.model_type} model; "
        f"found: {', '.join(lists) or 'none'}.{_did_you_mean(blocks, lists)}"
    )


def _linear_shape(model: PreTrainedModel, block: str, role: str, name: str) -> LinearShape:
    from torch import nn

    module = dict(model.get_submodule(block).named_modules()).get(name)
    if not isinstance(module, nn.Linear):
        accepted = _linear_names(model.get_submodule(block))
        given = "is missing" if module is None else f"is a {type(module).__name__}"
        raise GeloraError(
            f"model.linears.{role}={name} {given} in block {block}; its linear layers are "
            f"{', '.join(accepted) or 'none'}.{_did_you_mean(name, accepted)}"
        )
    return LinearShape(f"{block}.{name}", role, module.in_features, module.out_features)


def count_params(module: nn.Module) -> int:
    """Number of parameters, a shared one counted once."""
    return sum(parameter.numel() for parameter in module.parameters())


def block_modules(model: PreTrainedModel, map: ModelMap) -> list[nn.Module]:
    """The modules of the map's blocks, in their order."""
    return [model.get_submodule(block.name) for block in map.blocks]


def load_tokenizer(resolved: ResolvedModel, kind: str | None = None) -> PreTrainedTokenizerBase:
    """The model's fast tokenizer, padding on the right; a decoder without padding token pads with its end token.

    `kind` is the model type, by default that of config.json. An encoder's tokenizer must put its special tokens
    around a text and between the two texts of a pair, which some have dropped in silence.

    Raises:
        GeloraError: no tokenizer, a missing package, no fast version, or special tokens that aren't added.
    """
    with _quiet():
        kind = kind or _read_config(resolved).model_type
        tokenizer = _read_tokenizer(resolved)
    if not tokenizer.is_fast:
        raise GeloraError(
            f"{type(tokenizer).__name__} of {resolved.source} is not a fast tokenizer; one with tokenizer.json is "
            "accepted. Save it once by AutoTokenizer.from_pretrained(...).save_pretrained(DIR)."
        )
    tokenizer.padding_side = "right"
    if kind in DECODERS or (kind not in KINDS and tokenizer.cls_token_id is None):
        _give_padding(tokenizer, resolved.source)
    else:
        _check_special_tokens(tokenizer, resolved.source)
    return tokenizer


def _read_tokenizer(resolved: ResolvedModel) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    _check_tokenizer_files(resolved)
    try:
        tokenizer = AutoTokenizer.from_pretrained(resolved.directory, trust_remote_code=False, local_files_only=True)
    except Exception as error:
        raise GeloraError(
            f"The tokenizer of {resolved.source} can't be read: {first_line(error)}. Accepted is what save_pretrained "
            "of AutoTokenizer writes (tokenizer.json); a tiktoken file needs `pip install tiktoken`. No remote code."
        ) from error
    return cast("PreTrainedTokenizerBase", tokenizer)


def _check_tokenizer_files(resolved: ResolvedModel) -> None:
    """Refuse a missing vocabulary, for which transformers puts an empty one, and a missing reader of it."""
    present = [name for name in VOCABULARIES if (resolved.directory / name).is_file()]
    if not present:
        raise GeloraError(
            f"{resolved.source} has no tokenizer in {resolved.directory}; one of {', '.join(VOCABULARIES)} is needed. "
            "Save it beside the weights: AutoTokenizer.from_pretrained(...).save_pretrained(DIR)."
        )
    readers = {"sentencepiece": "sentencepiece", "protobuf": "google.protobuf"}
    missing = [package for package, module in readers.items() if importlib.util.find_spec(module) is None]
    if present[0].endswith(".model") and missing:
        raise GeloraError(
            f"The tokenizer of {resolved.source} ({present[0]}) can't be read without {' and '.join(missing)}. "
            f"Install it: pip install {' '.join(missing)}."
        )


def _give_padding(tokenizer: PreTrainedTokenizerBase, source: str) -> None:
    if tokenizer.pad_token_id is not None:
        return
    if tokenizer.eos_token_id is None:
        raise GeloraError(
            f"The tokenizer of {source} has neither a padding nor an end token; one of them is needed. "
            "Set pad_token in its tokenizer_config.json."
        )
    tokenizer.pad_token = tokenizer.eos_token


def _check_special_tokens(tokenizer: PreTrainedTokenizerBase, source: str) -> None:
    """Refuse a tokenizer that doesn't write `CLS text SEP` and `CLS text SEP text SEP`."""
    single, pair = tokenizer("a")["input_ids"], tokenizer("a", "a")["input_ids"]
    start, end = tokenizer.cls_token_id, tokenizer.sep_token_id
    framed = all(len(ids) > 2 and ids[0] == start and ids[-1] == end for ids in (single, pair))
    if start is None or end is None or not framed or end not in pair[2:-2]:
        raise GeloraError(
            f"The tokenizer of {source} doesn't add its special tokens: a pair of texts becomes "
            f"{tokenizer.convert_ids_to_tokens(pair)}; {tokenizer.cls_token or 'CLS'} first and "
            f"{tokenizer.sep_token or 'SEP'} after each text are needed. Take the tokenizer.json of the original "
            "model, or another version of transformers."
        )


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> None:
    """Refuse a tokenizer with ids beyond the rows of the model's input embeddings.

    Raises:
        GeloraError: the largest id has no row.
    """
    rows = cast("nn.Embedding", model.get_input_embeddings()).num_embeddings
    largest = max(tokenizer.get_vocab().values())
    if largest >= rows:
        raise GeloraError(
            f"The tokenizer has ids up to {largest}, the model embeds 0 to {rows - 1}: they are not of one model. "
            "Give a directory that holds the tokenizer saved with these weights."
        )
