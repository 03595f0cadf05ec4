"""Reads a function's parameters, return type and description."""

from __future__ import annotations

import functools
import inspect
import types
import typing
from collections.abc import Callable
from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from codemode_client._tools.docstrings import parse_docstring


class Parameter(Struct, frozen=True):
    """One parameter. `hint` is Any if there is none, `default` UNSET if the argument is required."""

    name: str
    hint: Any
    default: object = UNSET
    description: str = ""

    @property
    def required(self) -> bool:
        """Whether there is no default."""
        return self.default is UNSET


class Signature(Struct, frozen=True):
    """The parts of a function that a tool needs.

    Attributes:
        description: The docstring, without the descriptions of parameters.
        parameters: The parameters except ``**kwargs``.
        rest: ``**kwargs``, if the function has it.
        returns: The return type, UNSET without a hint.
        calls_are_async: Whether a call returns a coroutine.
    """

    description: str
    parameters: list[Parameter]
    rest: Parameter | None
    returns: Any
    calls_are_async: bool


def read_signature(function: Callable[..., object]) -> Signature:
    """Read a function, a bound method, a partial or a callable object. Parameters bound by a partial are left out.

    Raises:
        TypeError: It cannot be called with arguments by name.
        NameError: A type hint cannot be resolved.
    """
    target = _target(function)
    if inspect.isgeneratorfunction(target) or inspect.isasyncgenfunction(target):
        raise TypeError("it is a generator: return a list")
    hints = typing.get_type_hints(target, include_extras=True)
    docstring = parse_docstring(_docstring(function))
    bound = function.keywords if isinstance(function, functools.partial) else {}
    parameters: list[Parameter] = []
    rest: Parameter | None = None
    for index, (name, parameter) in enumerate(inspect.signature(function).parameters.items()):
        if name in bound:
            continue
        if index == 0 and name == "self" and name not in hints:
            raise TypeError("it is a method without its object: add the method of an instance")
        described = docstring.parameters.get(name, "")
        if parameter.kind is parameter.VAR_KEYWORD:
            rest = Parameter(name, hints.get(name, Any), description=described)
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            stars = "*" if parameter.kind is parameter.VAR_POSITIONAL else ""
            raise TypeError(f"parameter {stars}{name} cannot be given by name")
        elif name.startswith("__"):
            raise TypeError(f"parameter {name} begins with two underscores")
        else:
            default = UNSET if parameter.default is parameter.empty else parameter.default
            if type(default).__module__ == "pydantic.fields":
                raise TypeError(f"the default of {name} is Pydantic's Field(…): write it as Annotated[…, Field(…)]")
            parameters.append(_parameter(name, hints.get(name, Any), default, described))
    calls_are_async = inspect.iscoroutinefunction(target)
    return Signature(docstring.text, parameters, rest, hints.get("return", UNSET), calls_are_async)


def default_name(function: Callable[..., object]) -> str:
    """Return a function's own name. Raises TypeError for a lambda, which has none."""
    function = _unwrap(function)
    name: str = getattr(function, "__name__", type(function).__name__)
    if name == "<lambda>":
        raise TypeError("a lambda has no name: give it one with add(…, name=…)")
    return name


def _target(function: Callable[..., object]) -> Callable[..., object]:
    """Return the function inside a partial or a callable object, which has the annotations."""
    function = _unwrap(function)
    if inspect.isclass(function):
        raise TypeError("it is a class: add a function that makes one")
    if not callable(function):
        raise TypeError("it cannot be called")
    return function if inspect.isroutine(function) else type(function).__call__


def _unwrap(function: Callable[..., object]) -> Callable[..., object]:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _docstring(function: Callable[..., object]) -> str | None:
    function = _unwrap(function)
    if inspect.isroutine(function):
        return inspect.getdoc(function)
    return inspect.getdoc(type(function).__call__) or inspect.getdoc(type(function))


def _parameter(name: str, hint: Any, default: object | UnsetType, described: str) -> Parameter:
    if typing.get_origin(hint) is Annotated:
        for item in typing.get_args(hint)[1:]:
            if isinstance(item, msgspec.Meta) and item.description is not None:
                described = item.description
    if default is None and not _allows_none(hint):
        hint = typing.Optional[hint]  # noqa: UP045 - the hint may be any object
    return Parameter(name, hint, default, described)


def _allows_none(hint: Any) -> bool:
    if typing.get_origin(hint) is Annotated:
        return _allows_none(typing.get_args(hint)[0])
    if hasattr(hint, "__value__"):  # `type X = …`
        return _allows_none(hint.__value__)
    return hint in (None, type(None), Any, object) or any(_allows_none(choice) for choice in _choices(hint))


def _choices(hint: Any) -> tuple[Any, ...]:
    origin = typing.get_origin(hint)
    return typing.get_args(hint) if origin in (typing.Union, types.UnionType, typing.Literal) else ()
