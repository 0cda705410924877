"""Parameters of an experiment: read from YAML and JSON files, and from words of the command line."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import yaml

from experimenter.errors import BadParameters, NotStorable
from experimenter.places import placed
from experimenter.storable import flattened, merged, storable
from experimenter.text import visible
from experimenter.written import fraction, written

_YAML = "tag:yaml.org,2002:"
_MARK = re.compile(r"\s*(?:[-?:]|[|>][-+]?|---|\.\.\.)\s*")  # of an entry, a key, a block of text, a document
_AT_END = (yaml.StreamEndToken, yaml.DocumentEndToken, yaml.BlockEndToken)  # which comments are in front of


class _CoreLoader(yaml.SafeLoader):
    """YAML 1.2's core schema: PyYAML speaks 1.1, where `1e-3` is text, `no` is false and `12:30` is 750."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - not a ClassVar in PyYAML
    yaml_constructors: ClassVar[dict[Any, Any]] = {
        tag: construct
        for tag, construct in yaml.SafeLoader.yaml_constructors.items()
        if tag in (None, *(_YAML + kind for kind in ("null", "seq", "map", "set")))
    }

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Return a mapping's node, its keys being the text as written; refuse a key that stands there twice."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for place, (key, value) in enumerate(node.value):
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.composer.ComposerError(None, None, "a key must be text", key.start_mark)
            if key.tag == f"{_YAML}merge":
                continue
            if key.value in seen:
                message = f"the key '{visible(key.value)}' is there twice"
                raise yaml.composer.ComposerError(None, None, message, key.start_mark)
            seen.add(key.value)
            # A node of its own: with an anchor it may be a value elsewhere, which stays a number.
            node.value[place] = (yaml.ScalarNode(f"{_YAML}str", key.value, key.start_mark, key.end_mark), value)
        return node


def _scalar(kind: str, pattern: str, first: str, convert: Callable[[str], Any]) -> None:
    """Teach the loader a kind of scalar: the pattern that a plain one has, its first characters, and what it means."""
    shape = re.compile(f"(?:{pattern})$")

    def construct(loader: _CoreLoader, node: yaml.Node) -> Any:
        text = loader.construct_scalar(node) if isinstance(node, yaml.ScalarNode) else ""
        try:
            if shape.match(text):
                return convert(text)
        except ValueError:
            pass
        message = f"'{visible(text)[:50]}' is no {kind} that can be read"
        raise yaml.constructor.ConstructorError(None, None, message, node.start_mark)

    if first:
        _CoreLoader.add_implicit_resolver(_YAML + kind, shape, list(first))
    _CoreLoader.add_constructor(_YAML + kind, construct)


def _text(text: str) -> str:
    r"""Return text in which two halves of a character, as JSON escapes it, have become one: `\ud83c\udf89`."""
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        return text


def _whole(text: str) -> float:
    return written(int(text, 0 if text[:2] in ("0o", "0x") else 10), text)


def _fraction(text: str) -> float | str:
    if text.lower().endswith(("inf", "nan")):
        return float(text.replace(".", ""))
    number = fraction(text)
    return number if isinstance(number, str) else written(number, text)


# https://yaml.org/spec/1.2.2/#103-core-schema, with the merge key `<<` that configuration files are fond of.
_CoreLoader.add_implicit_resolver(f"{_YAML}null", re.compile("(?:~|null|Null|NULL|)$"), [*"~nN", ""])
_CoreLoader.add_implicit_resolver(f"{_YAML}merge", re.compile("<<$"), ["<"])
_scalar("str", r"[\s\S]*", "", _text)
_scalar("bool", "true|True|TRUE|false|False|FALSE", "tTfF", lambda text: text.lower() == "true")
# Other than there, digits with a leading zero are text: `007` and `01` name something.
_scalar("int", "[-+]?(?:0|[1-9][0-9]*)|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789", _whole)
_scalar(
    "float",
    r"[-+]?(?:\.[0-9]+|(?:0|[1-9][0-9]*)(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
    "-+.0123456789",
    _fraction,
)


def collect(
    files: Iterable[Path], assignments: Iterable[str], *, over: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Return the parameters of `files`, later ones over earlier, and of `KEY=VALUE` assignments over them all.

    Mappings are merged deeply, a KEY leads into lists too; all go `over` others, if there are. Raises BadParameters
    with the file, or the assignment, and the place in it.
    """
    found = merged(over or {}, *(from_file(path) for path in files))
    for text in assignments:
        found = _with_assignment(found, text)
    return found


def from_file(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML or JSON file. Raises BadParameters."""
    shown = visible(str(path))
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise BadParameters(f"cannot read the parameter file {shown}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadParameters(f"the parameter file {shown} is not UTF-8, at byte {error.start}") from error
    read = _json if path.suffix.lower() == ".json" else from_yaml
    value = read(text, shown)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadParameters(f"the parameter file {shown} must hold a mapping, KEY: VALUE")
    for path_of_keys, _ in flattened(value):
        if "" in path_of_keys:
            inside = visible(".".join(path_of_keys[: path_of_keys.index("")]))
            raise BadParameters(
                f"the parameter file {shown} has an empty key{inside and ' in ' + inside}; give it a name"
            )
    return value


def _with_assignment(parameters: Mapping[str, Any], text: str) -> dict[str, Any]:
    path, value = assigned(text)
    read = from_word(value, f"-p {visible(text)}")
    try:
        return placed(parameters, [(path, read)])
    except BadParameters as error:
        raise BadParameters(f"-p {visible(text)}: {error.message}") from error


def assigned(text: str) -> tuple[tuple[str, ...], str]:
    """Return the path of keys, and the text of the value, in `KEY=VALUE`; raise BadParameters for anything else."""
    key, equals, value = text.partition("=")
    path = tuple(key.split("."))
    if not equals or not all(path):
        raise BadParameters(f"-p takes KEY=VALUE, such as lr=0.1 or model.depth=3, not '{visible(text)}'")
    return path, value


def nested(path: Sequence[str], value: Any) -> dict[str, Any]:
    """Return parameters with nothing but a value at the end of a path of keys."""
    parameters = value
    for part in reversed(path):
        parameters = {part: parameters}
    assert isinstance(parameters, dict)
    return parameters


def from_yaml(text: str, source: str) -> Any:
    """Return a YAML value as JSON types. Raises BadParameters, with `source` and the place."""
    try:
        return storable(yaml.load(text, Loader=_CoreLoader))  # noqa: S506 - a SafeLoader with fewer types
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise BadParameters(f"{source}{place}: {visible(error.problem or 'not YAML')}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise BadParameters(f"{source}: {visible(str(error))}") from error
    except NotStorable as error:
        raise BadParameters(f"{source}: {error}") from error
    except RecursionError as error:
        raise BadParameters(f"{source}: nested too deeply") from error


def from_word(text: str, source: str) -> Any:
    """Return the YAML value in a word of the command line, where nobody means a comment. Raises BadParameters.

    A mark that begins something in YAML, and stands alone, begins nothing here: it is text.
    """
    if _MARK.fullmatch(text):
        return text.strip()
    value = from_yaml(text, source)
    if "#" in text:
        ends = [token.end_mark.index for token in yaml.scan(text) if not isinstance(token, _AT_END)]
        if "#" in text[max(ends) :]:
            raise BadParameters(f"{source}: what # begins would be a comment; as text it stands in quotes")
    return value


def _json(text: str, source: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping = dict(pairs)
        if len(mapping) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in mapping if keys.count(key) > 1)
            raise BadParameters(f"{source}: the key '{visible(twice)}' is there twice")
        return mapping

    try:
        return storable(json.loads(text, object_pairs_hook=unique, parse_int=_whole, parse_float=_fraction))
    except json.JSONDecodeError as error:
        raise BadParameters(f"{source}, line {error.lineno}, column {error.colno}: {error.msg}") from error
    except (ValueError, NotStorable, RecursionError) as error:
        raise BadParameters(f"{source}: {visible(str(error))}") from error
