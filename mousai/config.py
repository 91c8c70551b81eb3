"""Strict YAML to frozen dataclasses and back: an unknown key fails and names the nearest valid one.

YAML is read by the core schema of YAML 1.2: `1e-4` is a number, `no` and `12:30` are text, a key given twice is an error.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import re
import sys
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

import yaml

from mousai.checks import nearest, short
from mousai.files import read_bytes, write_text

T = TypeVar("T")
MOST_LETTERS = 2**24  # of a YAML text, with its aliases written out


# Dataclasses


def from_dict(cls: type[T], data: Mapping[str, Any], where: str = "") -> T:
    """The dataclass `cls` filled from `data`, checked field by field against its annotations.

    `where` is the dotted place of `data` in its file, for the messages. An int may stand for a float and a list for a
    tuple; nothing else is converted. ValueError for an unknown or missing key, a wrong type, and whatever
    `cls.__post_init__` refuses.
    """
    if not isinstance(data, Mapping):
        raise ValueError(f"{_at(where)}expected a mapping with keys such as {_some(_fields(cls))}, came {_came(data)}")
    fields = _fields(cls)
    check_keys(data, fields, where)
    missing = [name for name, field in fields.items() if _is_required(field) and name not in data]
    if missing:
        raise ValueError(f"{_at(where)}missing key {missing[0]!r}")
    hints = typing.get_type_hints(cls)
    values = {name: _convert(value, hints[name], _join(where, name)) for name, value in data.items()}
    try:
        return cls(**values)
    except ValueError as error:
        raise ValueError(f"{_at(where)}{error}") from error


def check_keys(data: Mapping[str, Any], valid: Iterable[str], where: str = "") -> None:
    """ValueError for the first key of `data` that is not in `valid`, with the nearest one that is."""
    valid = list(valid)
    for key in data:
        if key not in valid:
            near = nearest(key, valid)
            hint = f"did you mean {near!r}?" if near else f"valid keys are {_some(valid, len(valid))}"
            raise ValueError(f"unknown key {_join(where, str(key))!r}: {hint}")


def to_dict(config: Any) -> dict[str, Any]:
    """A dataclass as plain dicts, lists and scalars; `from_dict` gives the same dataclass back."""
    return {field.name: _plain(getattr(config, field.name)) for field in dataclasses.fields(config) if field.init}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return to_dict(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return value


def _fields(cls: type) -> dict[str, dataclasses.Field]:
    return {field.name: field for field in dataclasses.fields(cls) if field.init}


def _is_required(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _convert(value: Any, hint: Any, where: str) -> Any:
    """`value` as `hint` asks; ValueError with what was expected and what came."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(value, arguments, where)
    if origin is Literal:
        if any(value == choice and type(value) is type(choice) for choice in arguments):
            return value
        raise ValueError(f"{where}: expected one of {', '.join(map(repr, arguments))}, came {short(value)}")
    if origin in (tuple, list):
        return origin(_convert_items(value, hint, where))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise ValueError(f"{where}: expected a mapping, came {_came(value)}")
        return {_convert(k, arguments[0], where): _convert(v, arguments[1], _join(where, str(k))) for k, v in value.items()}
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, hint) else from_dict(hint, value, where)
    if hint is float and type(value) in (int, float):
        if not abs(value) <= sys.float_info.max:
            raise ValueError(f"{where}: expected a finite number, came {short(value)}")
        return float(value)
    if hint is int and type(value) is int and not -(2**63) <= value < 2**63:
        raise ValueError(f"{where}: expected a whole number of at most 64 bits, came {short(value)}")
    if type(value) is hint or (hint in (dict, list) and isinstance(value, hint)):
        return value
    raise ValueError(f"{where}: expected {_name(hint)}, came {_came(value)}")


def _convert_union(value: Any, choices: tuple, where: str) -> Any:
    some = [choice for choice in choices if choice is not type(None)]
    if value is None and len(some) < len(choices):
        return None
    if len(some) == 1:
        return _convert(value, some[0], where)
    for choice in some:
        if type(value) is choice:
            return _convert(value, choice, where)
        if dataclasses.is_dataclass(choice) and isinstance(value, Mapping):
            return from_dict(choice, value, where)
    for choice in some:
        try:
            return _convert(value, choice, where)
        except ValueError:
            continue
    raise ValueError(f"{where}: expected {' or '.join(map(_name, choices))}, came {_came(value)}")


def _convert_items(value: Any, hint: Any, where: str) -> list:
    arguments = typing.get_args(hint)
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{where}: expected a list, came {_came(value)}")
    if typing.get_origin(hint) is list or arguments[-1:] == (Ellipsis,):
        arguments = (arguments[0],) * len(value)
    if len(value) != len(arguments):
        raise ValueError(f"{where}: expected {len(arguments)} items, came {len(value)}")
    return [_convert(item, kind, f"{where}[{index}]") for index, (item, kind) in enumerate(zip(value, arguments))]


def _name(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null", dict: "a mapping"}
    return names.get(hint) or getattr(hint, "__name__", str(hint))


def _came(value: Any) -> str:
    return "null" if value is None else f"{short(value)} ({type(value).__name__})"


def _some(names: Iterable[str], count: int = 3) -> str:
    return ", ".join(list(names)[:count])


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _at(where: str) -> str:
    return f"{where}: " if where else ""


# YAML


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's core schema, in which a key must not come twice."""

    yaml_implicit_resolvers: dict = {}

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, (str, int, float, bool, type(None))):
                raise yaml.constructor.ConstructorError(None, None, "a key must be text", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(None, None, f"the key {key!r} comes twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """SafeDumper that quotes what `_Loader` would misread, and writes no aliases."""

    yaml_implicit_resolvers: dict = {}

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _class in (_Loader, _Dumper):
    _class.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|)$"), ["~", "n", ""])
    _class.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))
    _class.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9_]*)$"), list("-+0123456789"))
    _class.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$|^[-+]?\.inf$|^\.nan$"),
        list("-+.0123456789"),
    )


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text; ValueError in one line, with `where` and the line number, if it cannot be parsed."""
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if _written_out(node, {}) > MOST_LETTERS:
            raise yaml.YAMLError(f"its aliases stand for more than {MOST_LETTERS:,} letters")
        return None if node is None else loader.construct_document(node)
    except RecursionError:
        raise ValueError(f"{where}: is nested too deeply") from None
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:  # how PyYAML takes "!!bool x", or a number of 5000 digits
        raise ValueError(f"{where}: holds a value that its tag does not allow") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or str(error)
        raise ValueError(f"{where}{line}: {str(problem).splitlines()[0]}") from error


def _written_out(node: yaml.Node | None, sizes: dict[int, float]) -> float:
    """How many letters a node would have without aliases, its keys and values one each at least; without end if it holds itself."""
    if node is None or isinstance(node, yaml.ScalarNode):
        return 1 + len(node.value if node else "")
    if id(node) not in sizes:
        sizes[id(node)] = math.inf
        children = [child for pair in node.value for child in pair] if isinstance(node, yaml.MappingNode) else node.value
        sizes[id(node)] = 1 + sum(_written_out(child, sizes) for child in children)
    return sizes[id(node)]


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file; FileNotFoundError, or ValueError in one line with the line number."""
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; a YAML file was expected")
    if not path.exists():
        raise FileNotFoundError(f"no such file: {path}")
    try:
        text = read_bytes(path, MOST_LETTERS).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a text file in UTF-8") from error
    data = parse_yaml(text, str(path))
    if not isinstance(data, dict):
        raise ValueError(f"{path}: expected a mapping at the top, came {_came(data)}")
    return data


def format_yaml(data: Mapping[str, Any]) -> str:
    """`data` as YAML, keys in their order."""
    return yaml.dump(dict(data), Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)


def write_yaml(path: str | Path, data: Mapping[str, Any]) -> None:
    """Writes `data` as YAML, whole or not at all, and makes the folder if need be."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, format_yaml(data))


def override(data: Mapping[str, Any], assignments: Iterable[str]) -> dict[str, Any]:
    """A copy of `data` with assignments such as "train.steps=100" applied; values are YAML."""
    result = copy.deepcopy(dict(data))
    for assignment in assignments:
        place, separator, text = assignment.partition("=")
        keys = place.strip().split(".")
        if not separator or not all(keys):
            raise ValueError(f"{assignment!r}: expected KEY=VALUE with a dotted key, such as train.steps=100")
        target = result
        for depth, key in enumerate(keys[:-1]):
            if target.get(key) is None:
                target[key] = {}
            target = target[key]
            if not isinstance(target, dict):
                raise ValueError(f"{assignment!r}: {'.'.join(keys[: depth + 1])} is {_came(target)}, not a mapping")
        target[keys[-1]] = parse_yaml(text, place)
    return result
