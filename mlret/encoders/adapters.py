"""Language adapters: a bottleneck per language in every layer, through which each text of a batch is routed.

The architecture is X-MOD's (Pfeiffer et al. 2022, "Lifting the Curse of Multilinguality by Pre-training Modular
Transformers"), as in ColBERT-XM (arXiv 2402.15059). transformers provides the backbone; this module chooses the adapter
of each text by its language, which is given or detected.
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
from mlret.errors import AlreadyExists, InputError, NotFound

# The adapter of all languages that have none of their own (BCP 47's code for "undetermined").
SHARED = "und"
# Model types whose layers equal X-MOD's except for the adapters.
_SAME_LAYERS = ("xlm-roberta", "roberta", "camembert")


class TaggedText(str):
    """A string that carries its language, so that batches can be sorted and languages mixed.

    Attributes
    ----------
    language
        Language code in any spelling; ``None`` if the language is to be detected.
    """

    language: str | None

    def __new__(cls, text: str, language: str | None) -> TaggedText:
        tagged = super().__new__(cls, text)
        tagged.language = language
        return tagged

    def __getnewargs__(self) -> tuple[str, str | None]:  # type: ignore[override]
        """Arguments of ``__new__``, so that the text can be copied and pickled."""
        return str(self), self.language


class LanguageTransformer(DynamicQueryTransformer):
    """A transformer with one adapter per language that routes each text of a batch through its own adapter.

    Parameters
    ----------
    model_name_or_path
        A folder or hub id of an X-MOD model.
    neighbours
        Language -> the language whose adapter is used for it: ``{"gl": "pt"}``.
    default_language
        The language whose adapter is used for languages with neither an adapter nor a neighbour; with ``None`` these
        languages raise an error.
    **options
        Options of :class:`mlret.encoders.query_augmentation.DynamicQueryTransformer`.

    Raises
    ------
    InputError
        If the model has no adapters, or there is no adapter for a neighbour or the default language.
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
                raise NotFound(f"no adapter for {code!r}; there are {', '.join(self.languages)}")

    @classmethod
    def adopt(cls, transformer: Transformer) -> LanguageTransformer:
        """Turn a plain transformer whose backbone has adapters into one that routes texts; changed in place.

        Languages without an adapter use the adapter of the backbone's default language. If it has none, ``en`` is the
        default, and otherwise the first language.
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
        """Map each normalised language code to the number of its adapter."""
        found: dict[str, int] = {}
        for number, code in enumerate(self.model.config.languages):
            found.setdefault(_code(code), number)
        return found

    def adapter_of(self, language: str | None) -> int:
        """Return the number of the adapter for texts in a language.

        The adapter is chosen in this order: the language's own; its neighbour's; the neighbour's of the language
        without its script; that of the language without its script (``zh`` for ``zh-Hant``); the default language's. A
        substitute is reported once per language by a warning, unless it is the shared adapter.

        Raises
        ------
        InputError
            If none of these exists.
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
        """Tokenise texts and add the number of each text's adapter as ``lang_ids``.

        Parameters
        ----------
        inputs
            Strings; the language of a :class:`TaggedText` takes precedence.
        language
            Language of the texts without one; by default it is detected.
        prompt, processing_kwargs, **options
            As in sentence-transformers' ``Transformer``.
        """
        features: dict[str, Any] = super().preprocess(inputs, prompt, processing_kwargs, **options)
        numbers = [self.adapter_of(_language_of(text, language)) for text in inputs]
        if numbers:
            features["lang_ids"] = torch.tensor(numbers)
        return features

    def _get_prompt_length(self, prompt: str, **options: Any) -> int | None:
        # sentence-transformers measures the prompt by preprocessing it alone. Tagging it avoids detecting its language
        # and warning about a missing adapter.
        measured: int | None = super()._get_prompt_length(TaggedText(prompt, next(iter(self.languages))), **options)
        return measured

    def forward(self, features: dict[str, Any], language: str | None = None, **options: Any) -> dict[str, Any]:
        """Run the backbone; ``features["lang_ids"]``, ``(n,)``, holds the number of each text's adapter.

        Parameters
        ----------
        features
            Features of sentence-transformers, with ``"lang_ids"``.
        language
            Not used; the language of each text is known from ``"lang_ids"``.
        **options
            Options of the backbone.
        """
        found: dict[str, Any] = super().forward(features, **options)
        return found


def route_if_modular(model: BaseModel) -> None:
    """Make an encoder whose backbone has adapters (X-MOD) route each text by its language; changed in place."""
    first: Any = next(iter(model.children()), None)
    if type(first) in (Transformer, DynamicQueryTransformer) and isinstance(first.model, XmodModel):
        LanguageTransformer.adopt(first)


def routes_texts(model: BaseModel) -> bool:
    """Whether an encoder routes each text through the adapter of its language."""
    return isinstance(next(iter(model.children()), None), LanguageTransformer)


def with_adapters(
    model: BaseModel,
    languages: Sequence[str] = (SHARED,),
    *,
    reduction: int = 2,
    neighbours: Mapping[str, str] | None = None,
    default_language: str = SHARED,
) -> None:
    """Add an adapter per language to every layer of an encoder that has none; changed in place.

    Every adapter is initialised as the identity (its second linear map is zero), so all vectors stay the same.

    Parameters
    ----------
    model
        An encoder whose first module is a transformer with the layers of XLM-R, RoBERTa or CamemBERT.
    languages
        The languages that get an adapter; ``"und"`` is the shared adapter of all other languages.
    reduction
        The inner width of an adapter is the hidden size divided by this number.
    neighbours, default_language
        As for :class:`LanguageTransformer`.

    Raises
    ------
    InputError
        If the encoder already has adapters, or its backbone is not supported.
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
        languages=[_key(code) for code in codes],
        adapter_reduction_factor=reduction,
        # With a single layer norm, placed after the adapter, the zero adapter changes nothing.
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
    """Add an adapter for one more language to a modular encoder; changed in place.

    All other weights stay identical bit for bit.

    Parameters
    ----------
    model
        An encoder with language adapters.
    language
        The language to add.
    start
        The language whose adapter is copied; by default the adapter is initialised at random.
    seed
        Random seed of that initialisation.

    Raises
    ------
    InputError
        If the encoder has no adapters, the language already has one, or ``start`` has none.
    """
    routed = routed_transformer(model)
    code = _code(language)
    if code in routed.languages:
        raise AlreadyExists(f"{code} has an adapter already")
    if start is not None and _code(start) not in routed.languages:
        raise NotFound(f"no adapter for {start!r} to start from; there are {', '.join(routed.languages)}")
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
        modules[_key(code)] = adapter
    backbone.config.languages = [*keys, _key(code)]
    routed.neighbours.pop(code, None)


def copy_adapter(source: BaseModel, target: BaseModel, language: str) -> None:
    """Copy the adapter of a language from one encoder to another; the target is changed in place.

    The target gets an adapter for the language if it has none. Its other weights stay the same.

    Parameters
    ----------
    source
        The encoder to copy from.
    target
        The encoder to copy to.
    language
        The language of the adapter.

    Raises
    ------
    InputError
        If either encoder has no adapters, the source has none for the language, or the adapters differ in shape.
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
    """Freeze the embeddings and the adapters, so that training on one language improves the weights shared by all.

    This is the transfer of ColBERT-XM (arXiv 2402.15059).
    """
    backbone: Any = routed_transformer(model).model
    for part in (backbone.embeddings, *_adapters(backbone)):
        part.requires_grad_(False)
    for layer in backbone.encoder.layer:
        if layer.output.adapter_layer_norm is not None:
            layer.output.adapter_layer_norm.requires_grad_(False)


def freeze_shared(model: BaseModel, but: Sequence[str] | None = None) -> None:
    """Freeze all parameters except the adapters of some languages, so that training changes nothing else.

    Parameters
    ----------
    model
        An encoder with language adapters.
    but
        The languages whose adapters stay trainable; by default all.

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
    """Return the parameters of one language's adapters, by their names in the encoder.

    Parameters
    ----------
    model
        An encoder with language adapters.
    language
        Language code in any spelling.

    Raises
    ------
    InputError
        If the encoder has no adapters, or the language has none.
    """
    routed = routed_transformer(model)
    code = _code(language)
    if code not in routed.languages:
        raise NotFound(f"no adapter for {code!r}; there are {', '.join(routed.languages)}")
    key = routed.model.config.languages[routed.languages[code]]
    return {name: value for name, value in model.named_parameters() if f".adapter_modules.{key}." in name}


def routed_transformer(model: BaseModel) -> LanguageTransformer:
    """Return the first module of an encoder with language adapters.

    Raises
    ------
    InputError
        If the encoder has no language adapters.
    """
    first = next(iter(model.children()), None)
    if not isinstance(first, LanguageTransformer):
        raise InputError("the encoder has no language adapters; with_adapters gives it some")
    return first


def _adapters(backbone: Any) -> Iterator[XmodAdapter]:
    for layer in backbone.encoder.layer:
        yield from layer.output.adapter_modules.values()


def _in_dtype_of_input(adapter: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
    # Under autocast the adapter returns half precision, but X-MOD's layer writes its output into a float32 tensor.
    return output.to(inputs[0].dtype)


def _language_of(text: Any, language: str | None) -> str | None:
    own = text.language if isinstance(text, TaggedText) else None
    return own or language or detect_language(str(text))


def _code(language: str) -> str:
    return SHARED if language == SHARED else normalise_language(language)


def _key(code: str) -> str:
    """Return the name of a language's adapter in X-MOD's layers, which normalises to its code."""
    # A torch.nn.ModuleDict takes no key that is the name of one of its methods, as the code of Tongan, "to", is.
    return f"{code}_XX" if hasattr(nn.ModuleDict, code) else code


def _known_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return the entries of a module's configuration that its class accepts."""
    return {key: options[key] for key in options if key in DynamicQueryTransformer.config_keys}
