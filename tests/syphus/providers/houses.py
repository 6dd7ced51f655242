"""Requests that show what a provider is sent, and the variables that send it to a server of this machine."""

import json
from dataclasses import replace

from syphus.request import Message, Prompt, Request, Sampling, SeenPicture, Shape

KEY = "sk-test-0123456789abcdef"
MODELS = {
    "openai": "openai/gpt-4o-mini",
    "azure": "azure/gpt-4o-mini",
    "anthropic": "anthropic/claude-sonnet-4-5",
    "hosted_vllm": "hosted_vllm/Qwen/Qwen3-8B",
    "openrouter": "openrouter/openai/gpt-4o-mini",
    "groq": "groq/openai/gpt-oss-120b",
    "mistral": "mistral/mistral-small-latest",
    "deepseek": "deepseek/deepseek-chat",
    "together_ai": "together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo",
    "fireworks_ai": "fireworks_ai/accounts/fireworks/models/llama-v3p1-8b-instruct",
    "xai": "xai/grok-4.3",
}
BASES = {
    "OPENAI_BASE_URL": "/v1",
    "AZURE_API_BASE": "",
    "ANTHROPIC_API_BASE": "",
    "HOSTED_VLLM_API_BASE": "/v1",
    "OPENROUTER_API_BASE": "/api/v1",
    "GROQ_API_BASE": "/openai/v1",
    "MISTRAL_AZURE_API_BASE": "/v1",
    "DEEPSEEK_API_BASE": "",
    "TOGETHER_AI_API_BASE": "/v1",
    "FIREWORKS_API_BASE": "/inference/v1",
    "XAI_API_BASE": "/v1",
    "OLLAMA_API_BASE": "",
    "GEMINI_API_BASE": "",
    "COHERE_API_BASE": "/v2/chat",
}
KEYS = [
    f"{name}_API_KEY"
    for name in (
        "OPENAI", "AZURE", "ANTHROPIC", "HOSTED_VLLM", "OPENROUTER", "GROQ", "MISTRAL", "DEEPSEEK",
        "TOGETHERAI", "FIREWORKS", "XAI", "GEMINI", "COHERE",
    )
]  # fmt: skip

PROMPT = Prompt(
    "talk",
    1,
    (
        Message("system", 'Talk about "the" picture é \u2028 </x> \\ \x7f\n'),
        Message("user", "Notes:\n- A green bird.\n"),
        Message("assistant", "Question: What is it?\nAnswer: A bird. "),
        Message("user", "Notes:\n- Snow."),
        Message("assistant", "Question: What fell?\nAnswer: Snow."),
    ),
)
PICTURES = (
    SeenPicture("a", "image/png", b"\x89PNG not really"),
    SeenPicture("b", "image/jpeg", b"\xff\xd8 neither"),
)


def schema() -> str:
    from syphus.forms import FORMS

    return json.dumps(FORMS["pairs"].schema(Shape(3, 8)), sort_keys=True)


def plain(model: str) -> Request:
    return Request(
        context_id="a",
        model=model,
        prompt=PROMPT,
        query="Notes:\n- A red kite 😀.",
        sampling=Sampling(temperature=0.7, top_p=0.95, max_tokens=321),
    )


def cases(model: str) -> dict[str, Request]:
    request = plain(model)
    seeded = replace(request, sampling=replace(request.sampling, seed=7))
    return {
        "plain": request,
        "seed": seeded,
        "schema": replace(request, schema=schema()),
        "pictures": replace(request, pictures=PICTURES),
        "repair": replace(seeded, schema=schema()).again("no pairs ", "there is nothing"),
        "no examples": replace(request, prompt=Prompt("talk", 1, PROMPT.messages[:1])),
        "no system message": replace(request, prompt=Prompt("talk", 1, PROMPT.messages[1:])),
        "examples that end with a query": replace(
            request, prompt=Prompt("talk", 1, PROMPT.messages[:4])
        ),
    }


def send_to(monkeypatch, url: str) -> None:
    """Point all providers to one server."""
    for name, path in BASES.items():
        monkeypatch.setenv(name, url + path)
    for name in KEYS:
        monkeypatch.setenv(name, KEY)
    monkeypatch.setenv("AZURE_API_VERSION", "2024-10-21")
