"""The in-process twin of a run: a block of a script as an experiment."""

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from experimenter import environment, live, names, programs, pruning
from experimenter.block import JoinedBlock, OwnBlock
from experimenter.errors import BadParameters, NotAWorkTree, NotStorable
from experimenter.notices import speak_in_script
from experimenter.plumbing import Repo, config, find_repo
from experimenter.results import merge_into
from experimenter.settings import Settings
from experimenter.storable import loads, storable_parts


class ExperimentLogger:
    """Records a block of a script as an experiment: its code state, its parameters and its results.

    The tag is there while the block runs. Afterwards it is gone if the block raised, or if nothing was given to
    `record_results`; a line on stderr says so. Under `experimenter run` in the same repository the first block joins
    that experiment instead: the parameters are merged into the run's, which win, and the results go to the run.

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
        try:
            self._parameters, refused = storable_parts(parameters)
        except TypeError as error:
            raise BadParameters(f"parameters: {error}") from error
        if refused:
            raise _refusal(refused)
        self._directory = Path(directory)
        self._description = description
        if not isinstance(push, bool):
            raise TypeError("push is True or False; 'git config experimenter.remote' says where to")
        self._pushes = push
        self._results: Path | None = None

    def __enter__(self) -> Self:
        """Begin the experiment; raise ExperimenterError, with nothing left behind, if it can't be recorded."""
        speak_in_script()
        self._repo = self._find_repo()
        self._config = config(self._repo)
        self._settings = Settings.from_config(self._config)
        self._block = JoinedBlock.of(self._repo, self._parameters) or OwnBlock(self._begin())
        self.tag, self.commit = self._block.tag, self._block.commit
        self.id = names.id_of(self.tag)
        self._results = self._block.results
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Settle the experiment, in the process that began it; an exception goes on.

        An exit with status 0 is no failure. Where a value that was refused ends the block, the results before it stay.
        """
        self._results = None
        is_good = kind is None or (isinstance(error, SystemExit) and _is_success(error.code))
        if is_good and (self._pushes or self._settings.push):
            self._block.share.ask()
        self._block.leave(
            status="completed" if is_good else "failed",
            reason=f"was left by {kind.__name__}" if kind else "has ended",
            is_rescued=isinstance(error, NotStorable),
        )

    def record_results(self, results: Mapping[str, Any]) -> None:
        """Add to the results of the experiment; a key that is there already gets the new value.

        They are safe from then on, and may come from any thread or forked process. Raises NotStorable, with the key's
        path, for a value that JSON cannot hold; all others are recorded, and stay also where that ends the block.
        """
        if self._results is None:
            raise RuntimeError("record_results is for the inside of the with block")
        converted, refused = storable_parts(results)
        merge_into(self._results, above=converted)
        if refused:
            raise _refusal(refused)

    def push(self) -> None:
        """Push the experiment as it is now to the default remote. Raises RemoteFailed, PushTooLarge, or NotShared.

        One that runs is pushed once more when it has ended; if it then is not kept, it is removed there, too.
        """
        from experimenter.share import push_one

        if not hasattr(self, "tag"):
            raise RuntimeError("push is for the inside of the with block, or after it")
        push_one(self._repo, self.tag, self._settings)
        self._block.share.note_push()

    def _find_repo(self) -> Repo:
        try:
            return find_repo(self._directory)
        except NotAWorkTree as error:
            if self._directory != Path():
                raise
            hint = "or name the folder of the program: ExperimentLogger(…, directory=…)"
            raise NotAWorkTree(f"{error.message}; {hint}") from error

    def _begin(self) -> live.Live:
        main = getattr(sys.modules.get("__main__"), "__file__", None) or ""
        programs.warn_of_foreign(self._repo, sys.orig_argv, directory=Path.cwd(), main=main)
        pruning.warn(self._config)
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


def _refusal(refused: Sequence[NotStorable]) -> NotStorable:
    """Return one error for all values that were refused."""
    if len(refused) == 1:
        return refused[0]
    return NotStorable(f"{len(refused)} values cannot be stored", details=[error.message for error in refused])


def _is_success(code: object) -> bool:
    """Say whether SystemExit with this code ends Python with status 0, of which the system keeps eight bits."""
    return code is None or (isinstance(code, int) and code & 0xFF == 0)
