"""Parameters of an experiment: read from YAML and JSON files, and from words of the command line."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from experimenter.errors import BadParameters, NotStorable
from experimenter.storable import merged, storable
from experimenter.text import visible


class _CoreLoader(yaml.SafeLoader):
    """YAML 1.2's core schema: PyYAML speaks 1.1, where `1e-3` is text, `no` is false and `12:30` is 750."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's way to say it

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        """Return a mapping's node, its keys being the text as written; refuse a key that stands there twice."""
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.composer.ComposerError(None, None, "a key must be text", key.start_mark)
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in seen:
                message = f"the key '{visible(key.value)}' is there twice"
                raise yaml.composer.ComposerError(None, None, message, key.start_mark)
            seen.add(key.value)
            key.tag = "tag:yaml.org,2002:str"
        return node

    def construct_core_int(self, node: yaml.ScalarNode) -> int:
        """Return an integer: decimal, `0o17` or `0x1f`, but no leading zero means octal."""
        return int(node.value, 0 if node.value[:2] in ("0o", "0x") else 10)

    def construct_core_float(self, node: yaml.ScalarNode) -> float:
        """Return a float; `.inf` and `.nan` are written with a dot in YAML."""
        return float(re.sub(r"\.(?=[in])", "", node.value.lower()))


def _resolve(kind: str, pattern: str, first: str) -> None:
    _CoreLoader.add_implicit_resolver(f"tag:yaml.org,2002:{kind}", re.compile(f"(?:{pattern})$"), list(first))


# https://yaml.org/spec/1.2.2/#103-core-schema, with the merge key `<<` that configuration files are fond of.
_resolve("null", "~|null|Null|NULL|", "~nN")
_CoreLoader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("$"), [""])
_resolve("bool", "true|True|TRUE|false|False|FALSE", "tTfF")
_resolve("int", "[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789")
_resolve("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", "-+.0123456789")
_resolve("float", r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", "-+.")
_resolve("merge", "<<", "<")
_CoreLoader.add_constructor("tag:yaml.org,2002:int", _CoreLoader.construct_core_int)
_CoreLoader.add_constructor("tag:yaml.org,2002:float", _CoreLoader.construct_core_float)


def collect(files: Iterable[Path], assignments: Iterable[str]) -> dict[str, Any]:
    """Return the parameters of `files`, later ones over earlier, and of `KEY=VALUE` assignments over them all.

    Mappings are merged deeply. Raises BadParameters with the file, or the assignment, and the place in it.
    """
    return merged(*(_from_file(path) for path in files), *(_from_assignment(text) for text in assignments))


def _from_file(path: Path) -> dict[str, Any]:
    shown = visible(str(path))
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise BadParameters(f"cannot read the parameter file {shown}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadParameters(f"the parameter file {shown} is not UTF-8, at byte {error.start}") from error
    read = _json if path.suffix.lower() == ".json" else _yaml
    value = read(text, shown)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadParameters(f"the parameter file {shown} must hold a mapping, KEY: VALUE")
    return value


def _from_assignment(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    parts = key.split(".")
    if not equals or not all(parts):
        raise BadParameters(f"-p takes KEY=VALUE, such as lr=0.1 or model.depth=3, not '{visible(text)}'")
    parameter: Any = _yaml(value, f"-p {visible(text)}")
    for part in reversed(parts):
        parameter = {part: parameter}
    return parameter  # type: ignore[no-any-return]


def _yaml(text: str, source: str) -> Any:
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


def _json(text: str, source: str) -> Any:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        mapping = dict(pairs)
        if len(mapping) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in mapping if keys.count(key) > 1)
            raise BadParameters(f"{source}: the key '{visible(twice)}' is there twice")
        return mapping

    try:
        return storable(json.loads(text, object_pairs_hook=unique))
    except json.JSONDecodeError as error:
        raise BadParameters(f"{source}, line {error.lineno}, column {error.colno}: {error.msg}") from error
    except (ValueError, NotStorable, RecursionError) as error:
        raise BadParameters(f"{source}: {visible(str(error))}") from error
