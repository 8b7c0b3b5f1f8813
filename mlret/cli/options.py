"""Options of a command from the fields of a settings class, so that each option is stated once.

A settings class is a pydantic model. The decorator :func:`takes_settings` replaces a parameter of a command by one
option for each field; when the command runs, the parameter receives the validated settings::

    class Search(BaseModel):
        depth: int = Field(100, ge=1, description="number of ranks to look at")
        language: str | None = Field(None, description="of the query")

    @app.command()
    @takes_settings(settings=SettingsOptions(Search, {"language": Option("-l")}))
    def search(text: str, settings: Search) -> None:
        ...

The command then has ``--depth`` (an integer of at least 1, 100 by default) and ``--language``/``-l``. Name, type,
default, help and bounds come from the field. A range is checked when the command line is parsed; everything else is
checked by the model, whose error becomes an :class:`~mlret.errors.InputError` that names the option.
"""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import typer
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from mlret.errors import InputError

RayAddress = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Work on a cluster of Ray: local starts one on this machine, auto uses the one that this machine is a "
        'node of, HOST:PORT the one with this head. Needs pip install "mlret\\[ray]".',
    ),
]


class Option:
    """How one field appears on the command line, where that does not follow from the field.

    Parameters
    ----------
    names
        Names of the option, for example ``"-l"`` or ``"--only"``. Without a name that starts with ``--``, the field's
        own name is used, too. A boolean field that is true by default gets ``--name/--no-name``.
    annotation
        Type of the value on the command line; by default that of the field, with ``str`` in place of literals.
    read
        Converts the value of the command line to the value of the field; not called if the option is not given.
    metavar
        Placeholder of the value in the help.
    help
        Help text; by default the field's description.
    default
        Text shown as the default. The settings then tell whether the option was given (``model_fields_set``).
    """

    def __init__(
        self,
        *names: str,
        annotation: Any = None,
        read: Callable[[Any], Any] | None = None,
        metavar: str | None = None,
        help: str | None = None,
        default: str | None = None,
    ) -> None:
        self.names = names
        self.annotation = annotation
        self.read = read
        self.metavar = metavar
        self.help = help
        self.default = default


@dataclass(frozen=True)
class SettingsOptions:
    """The options of a settings class.

    Parameters
    ----------
    model
        The settings class.
    options
        Field name -> how the field appears on the command line, for fields that need more than their definition.
    omit
        Fields without an option; the settings then have their defaults.
    """

    model: type[BaseModel]
    options: Mapping[str, Option] = field(default_factory=dict)
    omit: Collection[str] = ()

    def __post_init__(self) -> None:
        if unknown := ({*self.options, *self.omit} - set(self.model.model_fields)):
            raise ValueError(f"{self.model.__name__} has no fields {sorted(unknown)}")

    def fields(self) -> dict[str, FieldInfo]:
        """Return the fields that have an option, by name."""
        return {name: info for name, info in self.model.model_fields.items() if name not in self.omit}

    def names(self, name: str) -> tuple[str, ...]:
        """Return the names of a field's option as Typer declares them."""
        info = self.model.model_fields[name]
        given = self.options[name].names if name in self.options else ()
        if any(one.startswith("--") for one in given):
            return given
        own = f"--{name.rstrip('_').replace('_', '-')}"
        if info.annotation is bool and info.get_default(call_default_factory=True):
            own = f"{own}/--no-{own[2:]}"
        return own, *given

    def parameter(self, name: str, key: str) -> inspect.Parameter:
        """Return the parameter of a command that Typer makes a field's option from.

        Parameters
        ----------
        name
            Name of the field.
        key
            Name of the parameter.
        """
        info = self.model.model_fields[name]
        option = self.options.get(name, Option())
        low, high = _bounds(info)
        declared = typer.Option(
            *self.names(name),
            help=sentence(info) if option.help is None else option.help,
            metavar=option.metavar,
            min=low,
            max=high,
            show_default=option.default or True,
        )
        annotation = option.annotation
        if annotation is None:
            annotation = _on_the_command_line(info.annotation)
        default: Any = inspect.Parameter.empty
        if not info.is_required():
            default = info.get_default(call_default_factory=True)
            if option.default or option.read is not None or get_origin(annotation) is list:
                default = None  # where the option is not given, the model's default applies
            if default is None and type(None) not in get_args(annotation):
                annotation = annotation | None
        return inspect.Parameter(
            key, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[annotation, declared]
        )

    def read(self, values: Mapping[str, Any]) -> BaseModel:
        """Make the settings from the values of the options.

        Parameters
        ----------
        values
            Field name -> value of the command line; ``None`` where the option is not given.

        Raises
        ------
        InputError
            If a value is invalid; the message names the option.
        """
        given = {}
        for name, value in values.items():
            if value is None:
                continue
            read = self.options[name].read if name in self.options else None
            given[name] = value if read is None else read(value)
        try:
            return self.model.model_validate(given)
        except ValidationError as error:
            raise InputError(self._problem(error)) from error

    def _problem(self, error: ValidationError) -> str:
        """Return the first problem of a validation error as one line that names the option."""
        first = error.errors()[0]
        if first["type"] == "value_error":  # raised by a validator of the model, in its own words
            return str(first["ctx"]["error"])
        name = str(first["loc"][0]) if first["loc"] else ""
        if name not in self.model.model_fields:
            return str(first["msg"])
        option = next(one for one in self.names(name) if one.startswith("--")).partition("/")[0]
        return f"{option} {first['input']!r}: {first['msg']}"


def takes_settings(**settings: SettingsOptions) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace parameters of a command by the options of settings classes, in the place of the parameter.

    Parameters
    ----------
    **settings
        Name of the parameter -> the options that replace it. The command receives an instance of the settings class.

    Returns
    -------
    Callable
        A decorator, to be applied before ``app.command``.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        hints = get_type_hints(command, include_extras=True)
        parameters = []
        for name, parameter in inspect.signature(command).parameters.items():
            if name in settings:
                options = settings[name]
                parameters += [options.parameter(one, f"{name}_{one}") for one in options.fields()]
            else:
                annotation = hints.get(name, parameter.annotation)
                parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=annotation))

        @wraps(command)
        def run(**values: Any) -> None:
            for name, options in settings.items():
                given = {one: values.pop(f"{name}_{one}") for one in options.fields()}
                values[name] = options.read(given)
            command(**values)

        # Typer reads both, and would otherwise find those of the wrapped function.
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return run

    return decorate


def sentence(info: FieldInfo) -> str | None:
    """Return the description of a field with a capital letter and a full stop; ``None`` if there is none.

    A first word that is a value of the field, or is not in lower case (nDCG), stays as it is.
    """
    description = info.description
    if not description:
        return None
    first = description.split(maxsplit=1)[0].rstrip(".,:;")
    capital = description[0].upper() if first.islower() and first not in _values(info) else description[0]
    return capital + description[1:] + ("" if description.endswith((".", "…", "?")) else ".")


def _values(info: FieldInfo) -> list[Any]:
    """Return the values of a field that its type and its default name."""

    def literals(annotation: Any) -> list[Any]:
        arguments = get_args(annotation)
        return (
            list(arguments)
            if get_origin(annotation) is Literal
            else [one for part in arguments for one in literals(part)]
        )

    return [*literals(info.annotation), info.default]


def _bounds(info: FieldInfo) -> tuple[Any, Any]:
    """Return the inclusive bounds of a number, ``None`` for none; the model alone checks exclusive bounds."""
    low = next((item.ge for item in info.metadata if hasattr(item, "ge") and item.ge is not None), None)
    high = next((item.le for item in info.metadata if hasattr(item, "le") and item.le is not None), None)
    return low, high


def _on_the_command_line(annotation: Any) -> Any:
    """Return the type of an option for the type of a field: literals are strings or integers that the model checks."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _on_the_command_line(arguments[0])
    if origin is Literal:
        kinds = {type(value) for value in arguments}
        return kinds.pop() if len(kinds) == 1 else str
    if origin in (list, tuple, set, frozenset):
        return list[_on_the_command_line(arguments[0])]  # type: ignore[misc]
    if origin in (Union, types.UnionType):
        some = {_on_the_command_line(one) for one in arguments if one is not type(None)}
        kind = some.pop() if len(some) == 1 else str
        return kind | None if type(None) in arguments else kind
    return annotation
