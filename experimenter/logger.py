"""The in-process twin of a run: a block of a script as an experiment."""

import logging
import os
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from experimenter import environment, live, names
from experimenter.entry import Phase, Share
from experimenter.errors import BadParameters
from experimenter.pidfile import PidFile
from experimenter.plumbing import Repo, config, find_repo
from experimenter.process import usage_of_ourselves
from experimenter.results import merge_into
from experimenter.settings import Settings
from experimenter.signals import BlockSignals, blocked
from experimenter.state import StateFolder
from experimenter.storable import loads, storable

_log = logging.getLogger("experimenter")


class ExperimentLogger:
    """Records a block of a script as an experiment: its code state, its parameters and its results.

    The tag is there while the block runs. Afterwards it is gone if the block raised, or if nothing was given to
    `record_results`. Under `experimenter run` in the same repository the block joins that experiment instead: the
    parameters are merged into the run's, which win, and the results go to the run.

    Attributes: `tag`, `id` and `commit` (the SHA of the code state), once the block is entered.
    """

    tag: str
    id: str
    commit: str

    def __init__(
        self,
        name: str,
        parameters: Mapping[str, Any],
        directory: str | os.PathLike[str] = ".",
        description: str | None = None,
        push: bool = False,
    ) -> None:
        """With `push` the finished experiment is pushed to the default remote, as by `experimenter run --push`.

        Raise BadName for a name that cannot be one, NotStorable for parameters that JSON cannot hold.
        """
        self._name = names.checked(name)
        self._parameters = storable(parameters)
        if not isinstance(self._parameters, dict):
            raise BadParameters(f"parameters must be a mapping, not a {type(parameters).__name__}")
        self._directory = Path(directory)
        self._description = description
        if not isinstance(push, bool):
            raise TypeError("push is True or False; 'git config experimenter.remote' says where to")
        self._pushes = push
        self._results: Path | None = None

    def __enter__(self) -> Self:
        """Begin the experiment; raise ExperimenterError, with nothing left behind, if it can't be recorded."""
        self._repo = find_repo(self._directory)
        self._settings = Settings.from_config(config(self._repo))
        self._block = _joined_block(self._repo, self._parameters) or _OwnBlock(self._begin())
        self.tag, self.commit = self._block.tag, self._block.commit
        self.id = names.id_of(self.tag)
        self._results = self._block.results
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Settle the experiment, in the process that began it; an exception goes on."""
        self._results = None
        if kind is None and (self._pushes or self._settings.push):
            self._block.share.ask()
        self._block.leave(failed=kind is not None)

    def record_results(self, results: Mapping[str, Any]) -> None:
        """Add to the results of the experiment; a key that is there already gets the new value.

        They are safe from then on, and may come from any thread or forked process. Raises NotStorable, with the key's
        path, for a value that JSON cannot hold; what was recorded before stays.
        """
        if self._results is None:
            raise RuntimeError("record_results is for the inside of the with block")
        converted = storable(results)
        if not isinstance(converted, dict):
            raise TypeError(f"results must be a mapping, not a {type(results).__name__}")
        merge_into(self._results, above=converted)

    def push(self) -> None:
        """Push the experiment as it is now to the default remote. Raises RemoteFailed, PushTooLarge, or NotShared.

        One that runs is pushed once more when it has ended; if it then is not kept, it is removed there, too.
        """
        from experimenter.share import push_one

        if not hasattr(self, "tag"):
            raise RuntimeError("push is for the inside of the with block, or after it")
        push_one(self._repo, self.tag, self._settings)
        self._block.share.note_push()

    def _begin(self) -> live.Live:
        return live.begin(
            self._repo,
            self._settings,
            name=self._name,
            command=sys.orig_argv,
            parameters=self._parameters,
            description=self._description,
            is_script=True,
        )


def parameters() -> dict[str, Any]:
    """Return the parameters that `experimenter run` gives the command we are in; `{}` outside a run.

    Raises BadParameters if the run has ended, and its file of parameters with it.
    """
    document: str | bytes | None = os.environ.get(environment.PARAMS)
    if document is None:
        path = os.environ.get(environment.PARAMS_FILE)
        if path is None:
            return {}
        try:
            document = Path(path).read_bytes()
        except OSError as error:
            raise BadParameters(f"cannot read EXPERIMENTER_PARAMS_FILE: {error.strerror}") from error
    found = loads(document)
    assert isinstance(found, dict)
    return found


class _JoinedBlock:
    """A block inside `experimenter run`, which settles the experiment itself."""

    def __init__(self, folder: Path, tag: str) -> None:
        self.tag = tag
        self.commit = os.environ[environment.COMMIT]
        self.results = folder / "results.json"
        self.share = Share(folder / "share")

    def leave(self, *, failed: bool) -> None:
        """Leave everything to the run."""


class _OwnBlock:
    """A block that is an experiment of its own."""

    def __init__(self, begun: live.Live) -> None:
        self.tag, self.commit = begun.experiment.tag, begun.experiment.commit
        self.results = begun.entry.results
        self.share = begun.entry.share
        self._begun = begun
        self._pid = os.getpid()
        environment.enter(self.tag)
        self._started_s = time.monotonic()
        self._used_before = usage_of_ourselves()
        is_main = threading.current_thread() is threading.main_thread()
        self._signals = BlockSignals() if is_main else None  # only the main thread may handle signals

    def leave(self, *, failed: bool) -> None:
        """Settle the experiment, and share it if that was asked for; a forked child leaves that to its parent."""
        if os.getpid() != self._pid:
            return
        was_asked, was_pushed = self.share.is_asked, self.share.is_pushed
        with blocked():  # a second Ctrl-C comes when all is stored
            is_kept = self._settle(failed=failed)
        if was_asked:
            from experimenter.share import push_unasked, withdraw

            if is_kept:
                push_unasked(self._begun.repo, self.tag, self._begun.settings)
            elif was_pushed:
                withdraw(self._begun.repo, self.tag, self._begun.settings)

    def _settle(self, *, failed: bool) -> bool:
        if self._signals:
            self._signals.close()
        environment.leave(self.tag)
        entry = self._begun.entry
        status = "failed" if failed else "completed"
        if not entry.claim(Phase.ENDING):  # somebody stops us
            status = "stopped"
        entry.mark_settling()
        is_kept = entry.phase == Phase.STOPPING_KEPT
        results = live.collect_results(entry) if is_kept or status == "completed" else {}
        if not is_kept and not results:
            live.remove(self._begun, status=status, exit_code=None)
            return False
        used = usage_of_ourselves()
        resources = {
            "wall_s": round(time.monotonic() - self._started_s, 3),
            "cpu_s": round(used.cpu_s - self._used_before.cpu_s, 3),
            "max_rss_bytes": used.max_rss_bytes,
        }
        drift = live.drift(self._begun.repo, scratch=entry.index)
        live.complete(self._begun, status=status, results=results, drift=drift, resources=resources)
        return True


def _joined_block(repo: Repo, parameters: Mapping[str, Any]) -> _JoinedBlock | None:
    """Return the block's part in the run that we are in, if it is one of this repository and still goes on."""
    file = os.environ.get(environment.PARAMS_FILE)
    if not file:
        return None
    folder = Path(file).parent
    pid_file = PidFile.read(folder / "pid.json")
    if folder.parent != StateFolder.of(repo).runs or not pid_file:
        return None
    merge_into(folder / "joined.json", below=parameters)
    return _JoinedBlock(folder, pid_file.tag)
