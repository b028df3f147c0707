"""docs/providers.md, written from the hosts table and the matrix of tests::

python -m tests.composition.providers_page
"""

from __future__ import annotations

from pathlib import Path

from callgate.providers.hosts import HOSTS, Host
from tests.composition.provider_setups import PROVIDER_SETUPS
from tests.composition.test_provider_matrix import ROWS

__all__ = ["PAGE", "render"]

PAGE = Path(__file__).parents[2] / "docs" / "providers.md"
_NOTHING = "–"

_INTRODUCTION = """\
# Providers

<!-- Written by `python -m tests.composition.providers_page`; a test fails when it is not current. -->

`iModel(provider="groq")` finds everything in this table. Switching the provider means changing that string
(and the model's name). An unknown name is a `ValueError` that lists these, unless `base_url=` says where to
go.

`callgate models` lists the providers, and `callgate models groq` the models of one whose price is known, with
context and the names that `iModel` and `callgate run -m` take. Its other models can be used as well.

The key comes from `api_key=` (a name in capitals is an environment variable, a `SecretStr` is the key), else
from the variable in the table. The address comes from `base_url=`, else from its variable, else from the
provider's usual place. Servers on this machine need no key.

- *Azure*: a key, or Entra ID: `auth_type="entra"` uses azure-identity's default credential (extra `azure`);
  `credential=` takes another one, `azure_ad_token_provider=` a function, `azure_ad_token=` or
  `AZURE_OPENAI_AD_TOKEN` a token.
- *Bedrock*: a Bedrock API key, or AWS credentials. For an ARN that does not name its model, `base_model=`
  gives the id of the model behind it; efforts, answer formats and prices depend on it.
- *Vertex*: a service account or the default credentials; as `api_key=` an access token, or a key of express
  mode.
"""

_READING = """\
- *Reserves*: what a call holds against tokens per minute when it begins. `input + max_tokens`: all that it
  could write. `input + output`: an estimate of what it will write, from what this model has written so far.
  Either is corrected when the answer tells the real usage.
- *Quota headers*: the family that tightens your limits by what the provider says remains; see
  `callgate.providers.quota_headers`.
"""

_MATRIX = """\
## What every dialect does

Each ✓ is a test that runs through `iModel` against the simulated provider
(`tests/composition/test_provider_matrix.py`): plain and streamed, as far as both exist.
"""

_FIELDS = """\
## Fields of one provider at another

The request format is OpenAI's. What a provider has is sent in its own form. What it does not have is refused
with an `InvalidRequestError` before anything is sent, if leaving it out would change the answer or its price,
and left out otherwise. `extra_body=` sends any field as it is, `extra_headers=` any header of one call.

| field | Anthropic | Bedrock | Gemini |
| --- | --- | --- | --- |
| `service_tier` | `auto`, `standard_only` | `serviceTier`; a header at InvokeModel | `serviceTier` |
| `cache_control` | sent | cache points, for models with a cache | left out: it caches by itself |
| `tool_choice` with allowed tools | only those are offered | only those are offered | `allowedFunctionNames` |
| `tool_choice="none"` | sent | no tools; calls so far are written as text | sent |
| late system messages | a turn for Opus 4.8 and later, Fable, Mythos; else marked text in the user's turn | as at Anthropic | marked text in the user's turn |
| pictures in tool results | sent | sent | in the response for Gemini 3, else beside it |
| schema and tools together | `output_config`, or an answer tool | `outputConfig`, or an answer tool | Gemini 3: sent; before: an answer function |
| `reasoning_effort` | an effort, or a budget of tokens | by the family of the model | a level, or a budget of tokens |
| `reasoning_effort` and a forced tool | the effort without thinking; refused before Claude 4.6 | as at Anthropic for Claude | sent |
| `web_search_options` | Claude's web search | refused | Google's search; with functions from Gemini 3 on |
| `modalities` other than text | refused | refused | `responseModalities` |
| `betas` | header `anthropic-beta` | Claude: `anthropic_beta` | refused |
| `speed`, `inference_geo` | sent | refused | refused |
| `parallel_tool_calls=False` | sent | Claude 4.5 and later: sent | left out |
| `metadata` | `user_id` | `requestMetadata` | left out |
| `n` over 1 | refused | refused | `candidateCount` |
| `seed`, penalties, `logprobs` | left out | left out | sent |
| `user`, `store`, `logit_bias`, `prediction`, `verbosity`, `prompt_cache_key`, `safety_identifier` | left out (`user`: `user_id`) | left out | left out |

Vertex takes Claude's requests as Anthropic does and Gemini's as Gemini does, with these differences: a tier is
sent in headers (`flex` and `priority` for Gemini at the location `global` only), Gemini has no search beside
functions, and `speed` and `inference_geo` are refused.
"""  # noqa: E501

_NOTES = """\
[^cli]: Claude Code is a command; its cells are the real one against the simulator, and need it installed. It
    calls tools of its own and takes none of yours. It waits and retries by itself, a few times, before and
    within a stream. An answer that reaches `max_tokens` is an error of its own. The splits are of its
    recorded lines (`tests/providers/claude_code/test_dialect.py`).

Answers that must fit a JSON schema are held to it by the provider where it can: OpenAI and most that speak
like it, Gemini, Claude 4.5 and later at Anthropic and at Bedrock. Older Claudes, and Claude at Vertex (where
an organisation must permit structured outputs first), answer as the input of a tool they must call. DeepSeek
and the older models at Groq are asked for JSON, with the schema in the prompt. Whatever the way,
`response_model=` validates the answer and asks again when it does not fit.
"""


_CHAT_HOSTS = """\
## What hosts of the chat dialect lack

Fields under *left out* do not reach the host: they do not change what is asked. What would change the answer
or its price is refused with an `InvalidRequestError` before anything is sent: `n` above 1,
`web_search_options`, `modalities` with audio, `functions`, files, sound and service tiers that a host lacks.
Fields that are not OpenAI's pass everywhere, and `extra_body=` sends any field. *Reasoning* names the fields
of an assistant message that go back to the host; what a host wrote itself goes back to it whole.
"""


def _chat_hosts() -> str:
    head = ("provider", "left out or refused", "service tiers", "reasoning", "files")
    hosts = [host for host in HOSTS.values() if host.quirks.provider]
    return _table(head, [_chat_row(host) for host in hosts])


def _chat_row(host: Host) -> tuple[str, ...]:
    quirks = host.quirks
    lacks = ", ".join(map(_code, sorted(quirks.lacks))) or _NOTHING
    tiers = "any" if quirks.tiers is None else ", ".join(_code(name) for name, _ in quirks.tiers)
    thoughts = [*sorted(quirks.thoughts or ()), *(["thinking parts"] if quirks.thinking_parts else [])]
    files = {None: "as given", "none": _NOTHING, "document": "`document_url`"}.get(quirks.files, quirks.files)
    return (_code(host.provider), lacks, tiers, ", ".join(map(_code, thoughts)) or _NOTHING, str(files))


def render() -> str:
    """The whole page."""
    parts = [
        _INTRODUCTION, _hosts(), "", _READING, _FIELDS, _CHAT_HOSTS, _chat_hosts(), "", _MATRIX,
        _matrix(), "", _NOTES,
    ]  # fmt: skip
    return "\n".join(parts)


def _hosts() -> str:
    head = ("provider", "also", "dialect", "key", "base URL from", "auth", "quota headers", "reserves")
    return _table(head, [_row(host) for host in HOSTS.values()])


def _row(host: Host) -> tuple[str, ...]:
    if host.embedded:
        return (
            _code(host.provider),
            _NOTHING,
            _code(host.dialect),
            "none",
            "in this process",
            *[_NOTHING] * 3,
        )
    if host.command:
        key = "its login, or " + _code("ANTHROPIC_API_KEY")
        where = "a command; " + _code("ANTHROPIC_BASE_URL")
        return (_code(host.provider), _also(host), _code(host.dialect), key, where, *[_NOTHING] * 3)
    keys = [name for name in (host.api_key_env, *host.other_api_key_envs) if name]
    clouds = {"sigv4": "AWS's own", "google": "Google's own"}
    key = " or ".join([*map(_code, keys), *([clouds[host.auth]] if host.auth in clouds else [])])
    if not host.api_key_required:
        key += " (optional)"
    counted = "input + max_tokens" if host.reservation == "max_tokens" else "input + output"
    headers = _NOTHING if host.quota_headers == "none" else host.quota_headers
    base_url = f"{_code(host.base_url_env or '')}, else {host.base_url or 'no default'}"
    return (
        _code(host.provider),
        _also(host),
        _code(host.dialect),
        key,
        base_url,
        {"sigv4": "AWS signature", "google": "Google token"}.get(host.auth, host.auth),
        headers,
        counted,
    )


def _also(host: Host) -> str:
    names = [name for name in (host.name, *host.aliases) if name != host.provider]
    return ", ".join(map(_code, names)) or _NOTHING


def _matrix() -> str:
    head = ("", *(setup.title + ("[^cli]" if setup.command else "") for setup in PROVIDER_SETUPS))
    return _table(
        head, [(title, *(setup.not_tested.get(title, "✓") for setup in PROVIDER_SETUPS)) for title in ROWS]
    )


def _code(text: str) -> str:
    return f"`{text}`"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
