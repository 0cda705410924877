"""What git says where it could not speak with a remote: whether the network is to blame, and what to tell of it."""

import os
import re
from collections.abc import Callable, Mapping, Sequence

from experimenter.errors import RemoteFailed, TagBroken
from experimenter.plumbing import Repo, first_complaint
from experimenter.plumbing.transfer import Patience, Transfer
from experimenter.storable import without_credentials
from experimenter.text import visible

# What git push --porcelain says of a ref, on its stdout, which a pre-push hook has before it.
RESULT = re.compile(r"^(?P<flag>[ +\-*!=])\t[^\t]*?:(?P<ref>[^\t\n]+)\t(?P<summary>.*)$", re.MULTILINE)
# What git and ssh say when the network is to blame, and trying again may help.
_NETWORK = re.compile(
    r"could not resolve|connection (?:refused|reset|timed out|closed)|timed out|early eof|unexpected disconnect|hung up"
    r"|unable to access .*(?:failed to connect|couldn't connect|could not connect|empty reply|recv failure|error: 50\d)"
    r"|gnutls|ssl_|ssl connection|network is down|network is unreachable|no route to host|error: 429|http/2 stream"
    r"|rpc failed|temporary failure|broken pipe|bad pack header|too slow",
    re.IGNORECASE,
)
_LASTING = re.compile(r"(?:error:|HTTP) 4(?!08|29)\d\d|receiving end does not support|authentication", re.IGNORECASE)
# What git says, on either side, of objects that are not there or broken: then it hangs up, as if the network had.
_DAMAGED = re.compile(
    r"(?:bad|missing|broken|corrupt(?:ed)?) (?:object|tree|commit|tag|blob)|is corrupt|repository corruption|inflate: "
    r"|(?:unable to|could not|cannot) (?:unpack|read|parse|find) (?:object|tree|commit|tag|blob|sha1|[0-9a-f]{40})"
    r"|not our ref|not send all necessary|fsck error|(?:sha1|hash) mismatch",
    re.IGNORECASE,
)
_SPEAKER, _OBJECT = re.compile("^(?:(?:remote|fatal|error): )+"), re.compile("[0-9a-f]{40}")
_NOT_PUSHED = "error: failed to push some refs to"
_TRANSPORT = re.compile("fatal: |error: RPC failed|send-pack: ")
_PASSWORD = re.compile(r"could not read (?:username|password)|terminal prompts disabled", re.IGNORECASE)
_NOISE = re.compile(r"\d\d:\d\d:\d\d\.\d+ |hint:|Delta compression |Total \d|To |From ")


def is_of_network(done: Transfer) -> bool:
    """Say whether the network is to blame for a transfer that failed, so that another attempt may help."""
    is_lasting = any(_LASTING.search(line) or _DAMAGED.search(line) for line in done.said)
    return any(map(_NETWORK.search, done.said)) and not is_lasting


def is_of_our_objects(done: Transfer) -> bool:
    """Say whether git here misses objects, or finds them broken; what the other side says is not looked at."""
    return any(_DAMAGED.search(line) for line in done.said if not line.startswith("remote: "))


def tells_of_refs(done: Transfer) -> bool:
    """Say whether a push came as far as to say what became of some ref."""
    return RESULT.search(done.stdout.decode(errors="replace")) is not None


def is_of_hook(repo: Repo, done: Transfer) -> bool:
    """Say whether the pre-push hook ended a push with its status; whatever it has said is not git's.

    Git then says but one thing, and tells of no ref.
    """
    is_refused = (
        done.status == 1 and any(line.startswith(_NOT_PUSHED) for line in done.said) and not tells_of_refs(done)
    )
    return is_refused and not any(map(_TRANSPORT.match, done.said)) and hook_of(repo) is not None


def hook_of(repo: Repo) -> str | None:
    """Return where the user's pre-push hook is, as git would run it; nothing if there is none."""
    answer = repo.git("rev-parse", "--git-path", "hooks/pre-push", runs_hooks=True)
    path = os.fsdecode(answer.removesuffix(b"\n"))
    return path if os.access(repo.top / path, os.X_OK) else None


def of_hook(repo: Repo, remote: str, done: Transfer) -> RemoteFailed:
    """Return the error of a pre-push hook that refused a push, or was out of time, with what it said."""
    hook, what = hook_of(repo), f"cannot push to {remote}: the pre-push hook"
    lines = [*map(visible, done.stdout.decode(errors="replace").split("\n")), *done.said]
    said = [str(without_credentials(line)) for line in lines if line.strip() and not line.startswith(_NOT_PUSHED)]
    if done.status is None:
        limit = "git config experimenter.pushTimeout allows"
        return RemoteFailed(f"{what} {hook} took longer than {limit}, and was ended; raise that", details=said)
    return RemoteFailed(f"{what} {hook} refused it{'; it says' if said else ', and said nothing'}", details=said)


def failure(message: str, done: Transfer, patience: Patience) -> RemoteFailed:
    """Return an error that leads with git's own first complaint; TagBroken where objects are not there, or broken."""
    if not patience.is_attended and any(map(_PASSWORD.search, done.said)):
        hint = "no terminal is here to ask for it; 'experimenter push' or 'pull' in one asks"
        return RemoteFailed(f"{message}: it wants a password, and {hint}")
    said = [str(without_credentials(line)) for line in done.said if not _NOISE.match(line)]
    if damage := [_SPEAKER.sub("", line) for line in said if _DAMAGED.search(line)]:
        reason = next((line for line in damage if _OBJECT.search(line)), damage[0])
        return TagBroken(f"{message}: {reason.strip()}", details=said)
    reason, rest = first_complaint(said)
    return RemoteFailed(f"{message}: {reason}" if reason else message, details=rest)


def by_halves(tags: Sequence[str], send: Callable[[Sequence[str]], Mapping[str, str]]) -> dict[str, str]:
    """Send those of some tags that are not broken, as one of these stops all that go with it.

    `send` sends some, and returns why what was not taken was refused; so do we. Raises RemoteFailed.
    """
    try:
        return dict(send(tags)) if tags else {}
    except TagBroken as error:
        if len(tags) == 1:
            return {tags[0]: error.message}
        half = len(tags) // 2
        return by_halves(tags[:half], send) | by_halves(tags[half:], send)
