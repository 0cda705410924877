"""Which untracked files are refused: those that look too large, or too secret, to be stored."""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from experimenter.errors import FilesRefused
from experimenter.text import from_bytes, readable_size, visible

_SECRET_NAMES = (
    ".env", ".env.*", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk",
    "id_rsa", "id_dsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk",
    ".netrc", "_netrc", ".pypirc", ".pgpass", ".htpasswd", ".git-credentials", "credentials.json", "kaggle.json",
)  # fmt: skip
_NO_SECRETS = (".env.example",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the user lets in."""

    max_file_size_bytes: int
    allow_secrets: bool = False
    max_new_files: int = 10_000
    max_new_size_bytes: int = 1024**3

    def hold(self, files: int, size_bytes: int) -> bool:
        """Say whether so many files, of so many bytes in all, may come new into the repository."""
        return files <= self.max_new_files and size_bytes <= self.max_new_size_bytes

    def check(self, files: Iterable[tuple[bytes, int]]) -> None:
        """Raise FilesRefused, with the list and the ways out, if a file, given as path and size in bytes, is beyond."""
        large, secret = dict[bytes, str](), dict[bytes, str]()
        for path, size_bytes in files:
            if size_bytes > self.max_file_size_bytes:
                large[path] = readable_size(size_bytes)
            if not self.allow_secrets and _looks_secret(path):
                secret[path] = "looks secret"
        if refused := list(dict.fromkeys([*large, *secret])):
            reasons = [", ".join(found[path] for found in (large, secret) if path in found) for path in refused]
            details = [f"{visible(from_bytes(path))} ({why})" for path, why in zip(refused, reasons, strict=True)]
            ways = _ways_out(len(refused), large=bool(large), secret=bool(secret))
            raise FilesRefused(ways, details=details, paths=() if secret else refused)


def _ways_out(count: int, *, large: bool, secret: bool) -> str:
    them = "it" if count == 1 else "them"
    ways = [f"add {them} to .gitignore", f"git add {them}"]
    if large:
        ways.append("raise --max-file-size or git config experimenter.maxFileSize")
    if secret:
        ways.append("give --allow-secrets")
    files = "1 untracked file is" if count == 1 else f"{count} untracked files are"
    kind = " or ".join(word for word, found in (("too large", large), ("too secret", secret)) if found)
    return f"{files} {kind} to be stored; {', or '.join(ways)}"


def _looks_secret(path: bytes) -> bool:
    name = from_bytes(path.rpartition(b"/")[2]).lower()
    return name not in _NO_SECRETS and any(fnmatchcase(name, pattern) for pattern in _SECRET_NAMES)
