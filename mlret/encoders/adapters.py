"""Language adapters: a bottleneck for each language in every layer, and batches whose texts go each through its own.

The architecture is X-MOD's (Pfeiffer et al. 2022, "Lifting the Curse of Multilinguality by Pre-training Modular
Transformers"), as in ColBERT-XM (arXiv 2402.15059). transformers has the backbone; here a text finds its
adapter by its language, given or detected.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from sentence_transformers.base.model import BaseModel
from sentence_transformers.base.modules import Transformer
from torch import nn
from transformers import XmodConfig, XmodModel
from transformers.models.xmod.modeling_xmod import XmodAdapter

from mlret.data.detection import detect_language
from mlret.data.languages import language_name, normalise_language
from mlret.encoders.query_augmentation import DynamicQueryTransformer
from mlret.errors import InputError

# The adapter of all languages that have none of their own (BCP 47: undetermined).
SHARED = "und"
# Backbones with X-MOD's layers but for the adapters.
_SAME_LAYERS = ("xlm-roberta", "roberta", "camembert")


class TaggedText(str):
    """A text that knows its language, so that batches may be sorted and languages mixed.

    Attributes
    ----------
    language
        In any spelling; ``None`` where it is to be detected.
    """

    language: str | None

    def __new__(cls, text: str, language: str | None) -> TaggedText:
        tagged = super().__new__(cls, text)
        tagged.language = language
        return tagged

    def __getnewargs__(self) -> tuple[str, str | None]:  # type: ignore[override]
        """To be copied, and sent to other processes."""
        return str(self), self.language


class LanguageTransformer(DynamicQueryTransformer):
    """A transformer with an adapter for each language: each text of a batch goes through its own.

    Parameters
    ----------
    model_name_or_path
        A folder or hub id of an X-MOD model.
    neighbours
        Language -> another, whose adapter serves it: ``{"gl": "pt"}``.
    default_language
        Whose adapter serves a text of a language that has neither; ``None`` for an error.
    **options
        Of :class:`mlret.encoders.query_augmentation.DynamicQueryTransformer`.

    Raises
    ------
    InputError
        If the model has no adapters, or a neighbour or the default has none.
    """

    config_keys: list[str] = [*DynamicQueryTransformer.config_keys, "neighbours", "default_language"]
    forward_kwargs: set[str] = {"language"}

    def __init__(
        self,
        model_name_or_path: str,
        *,
        neighbours: Mapping[str, str] | None = None,
        default_language: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(model_name_or_path, **options)
        self._set_routes(neighbours or {}, default_language)

    def _set_routes(self, neighbours: Mapping[str, str], default_language: str | None) -> None:
        if not isinstance(self.model, XmodModel):
            raise InputError(f"{type(self.model).__name__} has no language adapters; with_adapters gives it some")
        self.neighbours = {_code(one): _code(other) for one, other in neighbours.items()}
        self.default_language = None if default_language is None else _code(default_language)
        self._announced: set[str | None] = set()
        for adapter in _adapters(self.model):
            adapter.register_forward_hook(_in_dtype_of_input)
        targets = [*self.neighbours.values(), *([] if self.default_language is None else [self.default_language])]
        for code in targets:
            if code not in self.languages:
                raise InputError(f"no adapter for {code!r}; there are {', '.join(self.languages)}")

    @classmethod
    def adopt(cls, transformer: Transformer) -> LanguageTransformer:
        """Have a plain module whose backbone has adapters route texts; the module itself is changed.

        Its default language, and ``en`` where it has none, serves languages without an adapter.
        """
        adopted: Any = transformer
        adopted.__class__ = cls
        default = adopted.model.config.default_language
        codes = [_code(code) for code in adopted.model.config.languages]
        adopted._set_routes({}, default or ("en" if "en" in codes else codes[0]))
        found: LanguageTransformer = adopted
        return found

    @property
    def languages(self) -> dict[str, int]:
        """Language, in mlret's form -> the number of its adapter."""
        found: dict[str, int] = {}
        for number, code in enumerate(self.model.config.languages):
            found.setdefault(_code(code), number)
        return found

    def adapter_of(self, language: str | None) -> int:
        """The number of the adapter that a language's texts go through.

        Its own; that of the language without the script (``zh`` for ``zh-Hant``); its neighbour's; the default
        language's. What is not its own is said once, by a warning.

        Raises
        ------
        InputError
            If there is none of these.
        """
        adapters = self.languages
        code = None if language is None else _code(language)
        if code in adapters:
            return adapters[code]
        parent = None if code is None else code.split("-")[0]
        stand_in = next(
            (
                candidate
                for candidate in (self.neighbours.get(code or ""), self.neighbours.get(parent or ""), parent)
                if candidate in adapters
            ),
            self.default_language,
        )
        if stand_in is None:
            raise InputError(
                f"no adapter for {code or 'a text of unknown language'}, and neither a neighbour nor a default "
                f"language is declared; there are {', '.join(adapters)}"
            )
        if code not in self._announced and stand_in != SHARED:
            self._announced.add(code)
            name = "a text of unknown language" if code is None else f"{language_name(code)} ({code})"
            warnings.warn(f"no adapter for {name}: it goes through that of {stand_in}", stacklevel=2)
        return adapters[stand_in]

    def preprocess(
        self,
        inputs: Sequence[Any],
        prompt: str | None = None,
        processing_kwargs: Any = None,
        *,
        language: str | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Tokenise, and number the adapter of each text.

        Parameters
        ----------
        inputs
            Strings; a :class:`TaggedText` knows its language.
        language
            Of those that do not know theirs; by default it is detected.
        prompt, processing_kwargs, **options
            As sentence-transformers' ``Transformer`` takes them.
        """
        features: dict[str, Any] = super().preprocess(inputs, prompt, processing_kwargs, **options)
        numbers = [self.adapter_of(_language_of(text, language)) for text in inputs]
        if numbers:
            features["lang_ids"] = torch.tensor(numbers)
        return features

    def _get_prompt_length(self, prompt: str, **options: Any) -> int | None:
        # The library measures the prompt by preprocessing it alone: it has no language to be detected or missed.
        measured: int | None = super()._get_prompt_length(TaggedText(prompt, next(iter(self.languages))), **options)
        return measured

    def forward(self, features: dict[str, Any], language: str | None = None, **options: Any) -> dict[str, Any]:
        """Run the backbone; ``features["lang_ids"]``, ``(n,)``, numbers each text's adapter."""
        found: dict[str, Any] = super().forward(features, **options)
        return found


def route_if_modular(model: BaseModel) -> None:
    """Have an encoder whose backbone has adapters (X-MOD) send each text through that of its language; in place."""
    first: Any = next(iter(model.children()), None)
    if type(first) in (Transformer, DynamicQueryTransformer) and isinstance(first.model, XmodModel):
        LanguageTransformer.adopt(first)


def routes_texts(model: BaseModel) -> bool:
    """Whether an encoder sends each text through the adapter of its language."""
    return isinstance(next(iter(model.children()), None), LanguageTransformer)


def with_adapters(
    model: BaseModel,
    languages: Sequence[str] = (SHARED,),
    *,
    reduction: int = 2,
    neighbours: Mapping[str, str] | None = None,
    default_language: str = SHARED,
) -> None:
    """Give an ordinary encoder an adapter for each language in every layer; in place.

    Every adapter starts as the identity (its second map is zero), so that all vectors stay as they are.

    Parameters
    ----------
    model
        An encoder whose first module is a transformer of XLM-R's kind.
    languages
        Those that get an adapter; ``"und"`` is that of all others.
    reduction
        An adapter's inner width is the hidden size divided by this.
    neighbours, default_language
        As for :class:`LanguageTransformer`.

    Raises
    ------
    InputError
        If the encoder has adapters, or is of another kind.
    """
    first: Any = next(iter(model.children()))
    if isinstance(first, LanguageTransformer):
        raise InputError("the encoder has language adapters already: add_language gives it another")
    kind = getattr(getattr(first, "model", None), "config", None)
    if not isinstance(first, Transformer) or kind is None or kind.model_type not in _SAME_LAYERS:
        raise InputError(
            f"adapters need a backbone of XLM-R's kind ({', '.join(_SAME_LAYERS)}), "
            f"not {getattr(kind, 'model_type', type(first).__name__)}"
        )
    codes = list(dict.fromkeys(_code(code) for code in (*languages, default_language)))
    shared = {key: value for key, value in kind.to_dict().items() if key not in ("model_type", "architectures")}
    known = XmodConfig().to_dict()
    config = XmodConfig(
        **{key: value for key, value in shared.items() if key in known},
        languages=codes,
        adapter_reduction_factor=reduction,
        # So that the zero adapter leaves out nothing and adds nothing: one layer norm, behind it.
        adapter_reuse_layer_norm=False,
        ln_before_adapter=False,
    )
    backbone: Any = XmodModel(config, add_pooling_layer=first.model.pooler is not None)
    missing, unexpected = backbone.load_state_dict(first.model.state_dict(), strict=False)
    if unexpected or any(".adapter_modules." not in name for name in missing):
        raise InputError(f"{type(first.model).__name__} has other weights than X-MOD's layers: {unexpected or missing}")
    for adapter in _adapters(backbone):
        nn.init.zeros_(adapter.dense2.weight)
        nn.init.zeros_(adapter.dense2.bias)
    backbone.to(dtype=first.model.dtype)
    options = {key: value for key, value in first.get_config_dict().items() if key not in ("modality_config",)}
    with tempfile.TemporaryDirectory() as folder:
        backbone.save_pretrained(folder)
        first.tokenizer.save_pretrained(folder)
        routed: Any = LanguageTransformer(
            folder, neighbours=neighbours, default_language=default_language, **_known_options(options)
        )
    routed.tokenizer.model_max_length = first.tokenizer.model_max_length
    setattr(model, next(iter(model._modules)), routed.to(first.model.device))


def add_language(model: BaseModel, language: str, *, start: str | None = None, seed: int = 0) -> None:
    """Give a modular encoder an adapter for one more language; in place, everything else stays bit for bit.

    Parameters
    ----------
    model
        An encoder with language adapters.
    language
        The new one.
    start
        The language whose adapter is copied; by default the adapter starts at random.
    seed
        Of the random start.

    Raises
    ------
    InputError
        If the encoder has no adapters, the language has one, or ``start`` has none.
    """
    routed = routed_transformer(model)
    code = _code(language)
    if code in routed.languages:
        raise InputError(f"{code} has an adapter already")
    if start is not None and _code(start) not in routed.languages:
        raise InputError(f"no adapter for {start!r} to start from; there are {', '.join(routed.languages)}")
    backbone: Any = routed.model
    generator = torch.Generator().manual_seed(seed)
    keys = list(backbone.config.languages)
    for layer in backbone.encoder.layer:
        modules = layer.output.adapter_modules
        adapter: Any = XmodAdapter(backbone.config)  # type: ignore[no-untyped-call]
        adapter.to(device=backbone.device, dtype=backbone.dtype)
        if start is not None:
            adapter.load_state_dict(modules[keys[routed.languages[_code(start)]]].state_dict())
        else:
            for dense in (adapter.dense1, adapter.dense2):
                noise = torch.randn(dense.weight.shape, generator=generator) * backbone.config.initializer_range
                dense.weight.data.copy_(noise)
                nn.init.zeros_(dense.bias)
        adapter.register_forward_hook(_in_dtype_of_input)
        modules[code] = adapter
    backbone.config.languages = [*keys, code]
    routed.neighbours.pop(code, None)


def copy_adapter(source: BaseModel, target: BaseModel, language: str) -> None:
    """Give an encoder the adapter that another has for a language, in place; the target's other weights stay.

    Raises
    ------
    InputError
        If one has no adapters, the source none for the language, or theirs are of other shapes.
    """
    given = adapter_parameters(source, language)
    if _code(language) not in routed_transformer(target).languages:
        add_language(target, language)
    taken = adapter_parameters(target, language)
    shapes = [[tuple(value.shape) for value in some.values()] for some in (given, taken)]
    if shapes[0] != shapes[1]:
        raise InputError(
            f"the adapters for {language!r} have other shapes in the two encoders: {shapes[0]}, {shapes[1]}"
        )
    with torch.no_grad():
        for one, other in zip(taken.values(), given.values(), strict=True):
            one.copy_(other)


def freeze_for_transfer(model: BaseModel) -> None:
    """Freeze embeddings and adapters: one language trains the shared weights, all others profit.

    ColBERT-XM (arXiv 2402.15059).
    """
    backbone: Any = routed_transformer(model).model
    for part in (backbone.embeddings, *_adapters(backbone)):
        part.requires_grad_(False)
    for layer in backbone.encoder.layer:
        if layer.output.adapter_layer_norm is not None:
            layer.output.adapter_layer_norm.requires_grad_(False)


def freeze_shared(model: BaseModel, but: Sequence[str] | None = None) -> None:
    """Freeze all but the adapters of some languages, by default of all: then nothing else can change.

    Raises
    ------
    InputError
        If the encoder has no adapters, or a language has none.
    """
    learning = list(routed_transformer(model).languages) if but is None else but
    model.requires_grad_(False)
    for language in learning:
        for parameter in adapter_parameters(model, language).values():
            parameter.requires_grad_(True)


def adapter_parameters(model: BaseModel, language: str) -> dict[str, nn.Parameter]:
    """The parameters of one language's adapters, by their names in the encoder.

    Raises
    ------
    InputError
        If the encoder has no adapters, or the language has none.
    """
    routed = routed_transformer(model)
    code = _code(language)
    if code not in routed.languages:
        raise InputError(f"no adapter for {code!r}; there are {', '.join(routed.languages)}")
    key = routed.model.config.languages[routed.languages[code]]
    return {name: value for name, value in model.named_parameters() if f".adapter_modules.{key}." in name}


def routed_transformer(model: BaseModel) -> LanguageTransformer:
    """The first module of an encoder with language adapters.

    Raises
    ------
    InputError
        If the encoder has none.
    """
    first = next(iter(model.children()), None)
    if not isinstance(first, LanguageTransformer):
        raise InputError("the encoder has no language adapters; with_adapters gives it some")
    return first


def _adapters(backbone: Any) -> Iterator[XmodAdapter]:
    for layer in backbone.encoder.layer:
        yield from layer.output.adapter_modules.values()


def _in_dtype_of_input(adapter: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
    # Under autocast the adapter gives halves, and X-MOD's layer writes them between what the layer norm gave in floats.
    return output.to(inputs[0].dtype)


def _language_of(text: Any, language: str | None) -> str | None:
    own = text.language if isinstance(text, TaggedText) else None
    return own or language or detect_language(str(text))


def _code(language: str) -> str:
    return SHARED if language == SHARED else normalise_language(language)


def _known_options(options: dict[str, Any]) -> dict[str, Any]:
    """What a module's configuration holds that its class takes."""
    return {key: options[key] for key in options if key in DynamicQueryTransformer.config_keys}
