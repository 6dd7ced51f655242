"""Where a model is asked without LiteLLM, and which models can be.

The table below is what LiteLLM does for a provider: its address, its keys, its headers, each from the environment variables
that LiteLLM reads. A model is asked directly only where it is certain that LiteLLM would send the same; what decides that is
here (`against_direct`), and tests/syphus/providers/test_equivalence.py is the proof. All other models are LiteLLM's.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal
from urllib.parse import quote, urlsplit

from syphus.errors import StopError
from syphus.prices import facts_of
from syphus.providers.secrets import remember

Family = Literal["openai", "anthropic"]
"""Whose form requests and replies have."""
Sampled = Literal["plain", "none", "renamed"]
"""How sampling parameters are sent: all; only the length of the reply, as `max_completion_tokens`; all, with that name."""


@dataclass(frozen=True)
class Target:
    """Where the requests of a model go."""

    url: str
    headers: dict[str, str] = field(repr=False)
    """With the key."""
    model: str
    """As the provider names it."""
    family: Family


@dataclass(frozen=True)
class _House:
    keys: tuple[str, ...]
    """Variables that may hold the key; the first is named to the user."""
    bases: tuple[str, ...]
    default: str = ""
    route: str = "chat/completions"
    without_key: str = ""
    """Sent where no variable holds a key."""


_HOUSES = {
    "openai": _House(
        ("OPENAI_API_KEY",), ("OPENAI_BASE_URL", "OPENAI_API_BASE"), "https://api.openai.com/v1"
    ),
    "azure": _House(("AZURE_API_KEY", "AZURE_OPENAI_API_KEY"), ("AZURE_API_BASE",)),
    "anthropic": _House(
        ("ANTHROPIC_API_KEY",),
        ("ANTHROPIC_API_BASE", "ANTHROPIC_BASE_URL"),
        "https://api.anthropic.com",
        "v1/messages",
    ),
    "hosted_vllm": _House(
        ("HOSTED_VLLM_API_KEY",), ("HOSTED_VLLM_API_BASE",), without_key="fake-api-key"
    ),
    "openrouter": _House(
        ("OPENROUTER_API_KEY", "OR_API_KEY"),
        ("OPENROUTER_API_BASE",),
        "https://openrouter.ai/api/v1",
    ),
    "groq": _House(("GROQ_API_KEY",), ("GROQ_API_BASE",), "https://api.groq.com/openai/v1"),
    "mistral": _House(
        ("MISTRAL_API_KEY",), ("MISTRAL_AZURE_API_BASE",), "https://api.mistral.ai/v1"
    ),
    "deepseek": _House(
        ("DEEPSEEK_API_KEY",), ("DEEPSEEK_API_BASE",), "https://api.deepseek.com/beta"
    ),
    "together_ai": _House(
        ("TOGETHER_API_KEY", "TOGETHER_AI_API_KEY", "TOGETHERAI_API_KEY", "TOGETHER_AI_TOKEN"),
        ("TOGETHER_AI_API_BASE",),
        "https://api.together.ai/v1",
    ),
    "fireworks_ai": _House(
        ("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY", "FIREWORKSAI_API_KEY", "FIREWORKS_AI_TOKEN"),
        ("FIREWORKS_API_BASE",),
        "https://api.fireworks.ai/inference/v1",
    ),
    "xai": _House(("XAI_API_KEY",), ("XAI_API_BASE",), "https://api.x.ai/v1"),
}
_AZURE_VERSION = "2025-02-01-preview"

_OWN_NAMES = ("mistral", "hosted_vllm", "openrouter")
"""Whose names that end with `-latest` are sent as they are."""
_UNLISTED = ("databricks_agent", "sagemaker_nova", "text-completion-inception", "vertex_ai_beta")
"""Providers of models that LiteLLM knows and does not list."""

_DATE = r"(?:-\d{4}-\d\d-\d\d)?"
_SAMPLED: dict[str, list[tuple[str, Sampled]]] = {
    "openai": [
        (rf"gpt-5(?:-mini|-nano)?{_DATE}", "none"),
        (rf"gpt-5\.[56](?:-sol|-terra|-luna)?{_DATE}", "none"),
        (rf"gpt-6-(?:astra|sol|luna)|gpt-6\.1-(?:sol|terra)|(?:o1|o3|o3-mini|o4-mini){_DATE}", "none"),
        (rf"gpt-5\.[124](?:-mini|-nano)?{_DATE}", "renamed"),
    ],
    "anthropic": [
        (r"claude-(?:haiku|sonnet|opus)-4-[56](?:-\d{8})?", "plain"),
        (r"claude-3(?:-[57])?-(?:haiku|sonnet|opus)(?:-\d{8}|-latest)", "plain"),
        (r"claude-(?:opus-4-[78]|(?:opus|sonnet)-5(?:-5)?|haiku-5-5)(?:-\d{8})?", "none"),
        (r"claude-(?:(?:fable|mythos)-5(?:-1)?|mythos-preview)", "none"),
    ],
}  # fmt: skip
# Models that LiteLLM may send elsewhere or with other parameters: what is not in the table above is its business.
_UNCERTAIN = {
    "openai": r"(?:^|:)(?:o\d|gpt-[5-9])|codex|daybreak|research|rosalind|computer-use|audio|realtime|/",
    "azure": r"o\d|gpt-?[5-9]|series|responses|codex|research|computer-use|mistral|command|claude|llama",
    "anthropic": "",  # every name that is not in the table
    "fireworks_ai": r"^(?!accounts/)|#",
    "xai": "multi-agent",
    "groq": "compound",
}


@cache
def split(model: str) -> tuple[str, str]:
    """Return the provider and the provider's name of a model: `openai/gpt-4o`, or `gpt-4o`, which the price list knows."""
    provider, slash, name = model.partition("/")
    if slash:
        return provider, name
    return facts_of(model).provider, model


def is_known(model: str) -> bool:
    """Say whether LiteLLM has the provider of a model, without importing it."""
    provider, name = split(model)
    return bool(name) and (provider in _HOUSES or provider in _names_of_providers())


@cache
def _names_of_providers() -> frozenset[str]:
    """Return the providers in the files that LiteLLM ships, and its folders for them."""
    spec = importlib.util.find_spec("litellm")
    if spec is None or spec.origin is None:
        return frozenset()
    home = Path(spec.origin).parent
    listed = json.loads((home / "provider_endpoints_support_backup.json").read_bytes())["providers"]
    folders = {path.name for path in (home / "llms").iterdir() if path.is_dir()}
    shaped = json.loads((home / "llms" / "openai_like" / "providers.json").read_bytes())
    return frozenset({*listed, *folders, *shaped, *_UNLISTED})


def family(model: str) -> Family | None:
    """Return whose form a model's requests have; None where only LiteLLM knows."""
    if against_direct(model):
        return None
    return "anthropic" if split(model)[0] == "anthropic" else "openai"


@cache
def sampled(model: str) -> Sampled | None:
    """Return how a model takes sampling parameters; None where only LiteLLM knows."""
    provider, name = split(model)
    for pattern, how in _SAMPLED.get(provider, ()):
        if re.fullmatch(pattern, name):
            return how
    if provider not in _OWN_NAMES and name.endswith("-latest"):
        return None  # LiteLLM's name for another model, in many cases
    uncertain = _UNCERTAIN.get(provider)
    return None if uncertain is not None and re.search(uncertain, name) else "plain"


def against_direct(model: str) -> str | None:
    """Return why a model cannot be asked directly; None where it can."""
    provider, _ = split(model)
    if provider not in _HOUSES:
        return "no test compares what this provider would be sent with what LiteLLM sends"
    if sampled(model) is None:
        return "which parameters it takes, and at which address, is only LiteLLM's knowledge"
    house = _HOUSES[provider]
    address = urlsplit(_first(house.bases) or house.default)
    if "@" in address.netloc:
        return "its address holds a user's name"
    if provider == "anthropic" and (
        os.environ.get("ANTHROPIC_API_KEY", "").startswith("sk-ant-oat")
        or os.environ.get("LITELLM_ANTHROPIC_DISABLE_URL_SUFFIX")
    ):
        return "its key or its address is of another kind than usual"
    if provider == "azure" and (
        address.path.strip("/")
        or not (os.environ.get("AZURE_API_VERSION") or _AZURE_VERSION)[0].isdigit()
        or not _first(house.keys)
    ):
        return (
            "AZURE_API_BASE, AZURE_API_VERSION or the way to sign in is of another kind than usual"
        )
    return None


def target(model: str, *, key: str | None = None) -> Target:
    """Return where a model is asked.

    Args:
        model: As LiteLLM writes it: `openai/gpt-4o-mini`.
        key: The name of the environment variable that holds the key; None is the provider's usual one.

    Raises:
        StopError: it cannot be asked directly, or the environment holds no key or no address for it.
    """
    if reason := against_direct(model):
        raise StopError(f"{model!r} cannot be asked without LiteLLM: {reason}")
    provider, name = split(model)
    house = _HOUSES[provider]
    base = _first(house.bases) or house.default
    if not base:
        raise StopError(
            f"{model!r} needs an address; set {house.bases[0]}, for example "
            + (
                "https://NAME.openai.azure.com"
                if provider == "azure"
                else "http://localhost:8000/v1"
            )
        )
    if urlsplit(base).scheme not in ("http", "https"):
        raise StopError(
            f"the address of {model!r} begins with neither http:// nor https://; correct {house.bases[0]}"
        )
    secret = _secret(model, house, key)
    headers = {"Accept": "application/json", "Content-Type": "application/json"}
    if provider == "anthropic":
        headers |= {"x-api-key": secret, "anthropic-version": "2023-06-01"}
        return Target(_with_route(base, house.route), headers, name, "anthropic")
    if provider == "azure":
        version = os.environ.get("AZURE_API_VERSION") or _AZURE_VERSION
        route = f"openai/deployments/{quote(name, safe='')}/chat/completions?api-version={version}"
        return Target(f"{base.rstrip('/')}/{route}", headers | {"api-key": secret}, name, "openai")
    headers["Authorization"] = f"Bearer {secret}"
    if provider == "openai":
        headers |= _of_account()
    if provider == "openrouter":
        headers["HTTP-Referer"] = os.environ.get("OR_SITE_URL") or "https://litellm.ai"
        headers["X-Title"] = os.environ.get("OR_APP_NAME") or "liteLLM"
    if provider == "mistral":
        base = _with_route(base, "v1")
    return Target(_with_route(base, house.route), headers, name, "openai")


def _with_route(base: str, route: str) -> str:
    base = base.rstrip("/")
    return base if base.endswith(f"/{route}") else f"{base}/{route}"


def _of_account() -> dict[str, str]:
    named = {
        "OpenAI-Organization": _first(("OPENAI_ORGANIZATION", "OPENAI_ORG_ID")),
        "OpenAI-Project": _first(("OPENAI_PROJECT_ID",)),
    }
    return {name: value for name, value in named.items() if value}


def _secret(model: str, house: _House, key: str | None) -> str:
    name, secret = key, os.environ.get(key, "") if key else _first(house.keys)
    if not secret and (key or not house.without_key):
        raise StopError(
            f"{model!r} needs a key that the environment does not hold; set {key or house.keys[0]}"
        )
    secret = secret or house.without_key
    if not (secret.isascii() and secret.isprintable()):
        raise StopError(
            f"the key of {model!r} in {name or house.keys[0]} holds characters that no key has, such as a line "
            "break; set it again"
        )
    remember(secret)
    return secret


def _first(names: tuple[str, ...]) -> str:
    """Return the value of the first of these variables that is set."""
    return next((value for name in names if (value := os.environ.get(name))), "")
