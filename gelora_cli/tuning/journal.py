"""Optuna by ask and tell: each method's trials in one journal file, which is the record of what was asked and told.

The journal holds a line of JSON for each step and is only ever appended to; Optuna reads it by `json.loads` (of its
storages only those with snapshots, such as Redis, unpickle). The lock on the study's directory keeps other processes
out, so that Optuna's own lock file, which a killed process would leave behind, is not used.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gelora_cli.core.artifacts.study import SearchedKey, SettingValue
from gelora_cli.core.errors import GeloraError
from gelora_cli.tuning.points import rounded_value
from gelora_cli.tuning.space import parsed_choice

if TYPE_CHECKING:
    import optuna

JOURNAL = "journal.jsonl"
"""The file in the study's directory."""

Draw = Callable[[SearchedKey, Callable[[], Any]], SettingValue]
"""From a key, and a function that gives TPE's proposal for it, to the value of a trial."""


class Journal:
    """The trials of all methods of a study, as Optuna keeps them.

    Args:
        directory: the directory of the study, which this process has locked.
        seed: the seed of the study; TPE is seeded anew for each key of each trial, so that a resumed study proposes
            what an uninterrupted one would.
    """

    def __init__(self, directory: Path, seed: int) -> None:
        import optuna
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        path = directory / JOURNAL
        _drop_partial_line(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                self._storage = optuna.storages.JournalStorage(JournalFileBackend(str(path), _no_lock()))
            except (ValueError, KeyError, AssertionError) as error:
                raise GeloraError(
                    f"{path} is damaged: {error}. Remove the directory of the study and give the same command again; "
                    "trials that are done are not run again."
                ) from error
        self._seed = seed
        self._studies: dict[str, optuna.Study] = {}

    def ask(self, label: str, number: int, space: Sequence[SearchedKey], draw: Draw) -> dict[str, SettingValue]:
        """Return the values of a method's trial, the recorded ones where it was asked for before.

        Args:
            label: the method.
            number: the number of the trial, from 1; those before it were asked for.
            space: the searched keys.
            draw: gives the value of a key.
        """
        from optuna.trial import Trial

        study = self._study(label)
        study.sampler = _sampler(space, draw, lambda key: self._key_seed(label, number, key))
        known = study.get_trials(deepcopy=False)
        trial = Trial(study, known[number - 1]._trial_id) if number <= len(known) else study.ask()
        return {searched.key: _suggest(trial, searched) for searched in space}

    def tell(self, label: str, number: int, value: float) -> None:
        """Record the value of a trial; one that failed has none, so that it can be tried again."""
        study = self._study(label)
        if not study.get_trials(deepcopy=False)[number - 1].state.is_finished():
            study.tell(number - 1, value)

    def _study(self, label: str) -> optuna.Study:
        import optuna

        if label not in self._studies:
            self._studies[label] = optuna.create_study(
                storage=self._storage, study_name=label, direction="maximize", load_if_exists=True
            )
        return self._studies[label]

    def _key_seed(self, label: str, number: int, key: str) -> int:
        text = f"{self._seed} {label} {number} {key}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")


def _suggest(trial: optuna.Trial, searched: SearchedKey) -> SettingValue:
    """Return the value of a key of a trial, which is recorded."""
    if searched.choices:
        return parsed_choice(str(trial.suggest_categorical(searched.key, searched.choices)))
    assert searched.low is not None and searched.high is not None
    if searched.integer:
        return trial.suggest_int(searched.key, int(searched.low), int(searched.high), log=searched.log)
    return trial.suggest_float(searched.key, searched.low, searched.high, log=searched.log)


def _sampler(space: Sequence[SearchedKey], draw: Draw, seed_of: Callable[[str], int]) -> optuna.samplers.BaseSampler:
    """Return a sampler that draws each key by itself, by `draw`."""
    from optuna.samplers import BaseSampler, TPESampler

    by_key = {searched.key: searched for searched in space}

    class KeySampler(BaseSampler):  # Optuna is imported here alone
        def infer_relative_search_space(self, study: Any, trial: Any) -> dict[str, Any]:
            return {}

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> dict[str, Any]:
            return {}

        def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
            searched = by_key[param_name]

            def proposal() -> Any:
                sampler = TPESampler(n_startup_trials=1, seed=seed_of(param_name))
                value = sampler.sample_independent(study, trial, param_name, param_distribution)
                return value if searched.choices else rounded_value(searched, value)

            value = draw(searched, proposal)
            if not searched.choices:
                return value
            return next(text for text in searched.choices if value in (text, parsed_choice(text)))

    return KeySampler()


def _no_lock() -> Any:
    """Return a lock for Optuna that does nothing, since the directory of the study is locked."""
    from optuna.storages.journal._file import BaseJournalFileLock

    class NoLock(BaseJournalFileLock):
        def acquire(self) -> bool:
            return True

        def release(self) -> None:
            pass

    return NoLock()


def _drop_partial_line(path: Path) -> None:
    """Cut off the last line of a journal if a process was killed while it wrote it; Optuna would refuse the file."""
    if not path.exists():
        return
    content = path.read_bytes()
    if content and not content.endswith(b"\n"):
        whole = content[: content.rfind(b"\n") + 1]
        with path.open("r+b") as file:
            file.truncate(len(whole))
