"""Each module has a test file of its name in the same place under `tests/`, or is in a list here."""

from __future__ import annotations

from pathlib import Path

TESTS = Path(__file__).parent
SOURCE = TESTS.parent / "src" / "callgate"

DIALECTS = "anthropic bedrock claude_code gemini openai_chat openai_responses vertex".split()
"""A dialect's parts are tested together, by recorded answers and by requests judged by the SDK's types."""

COVERED_BY = {
    # Backends are tested through models, configurations and commands.
    "backends/command.py": "backends/test_claude_code.py",
    "backends/embedded_endpoint.py": "backends/test_embedded_dialects.py",
    "backends/endpoint.py": "documents/test_executor_guide.py",
    "backends/factory.py": "backends/test_plain_http.py",
    "backends/http.py": "composition/test_provider_matrix.py",
    "backends/sdk.py": "documents/test_client_guide.py",
    # Parts of the engine and of the command, tested through both.
    "batch/display/text.py": "batch/display/test_panel.py",
    "batch/input/records.py": "batch/input/test_requests.py",
    "batch/output/store.py": "batch/test_api.py",
    "batch/results_view.py": "batch/test_api.py",
    "batch/providers.py": "documents/test_provider_classes.py",
    "batch/runner.py": "batch/test_workers.py",
    "cli/batch.py": "cli/test_run.py",
    "cli/cache_keys.py": "cli/test_cache.py",
    "cli/completion.py": "cli/test_config.py",
    "cli/command_line.py": "cli/test_usage.py",
    "cli/dry_run.py": "cli/test_money.py",
    "cli/ending.py": "cli/test_messages.py",
    "cli/interrupts.py": "cli/test_interrupted.py",
    # How a model is built and called.
    "call/status.py": "call/test_calling.py",
    "model/base.py": "documents/test_imodel.py",
    "model/call_factory.py": "documents/test_imodel.py",
    "model/lifetime.py": "composition/test_closing.py",
    "model/limits.py": "model/test_builder.py",
    "model/model.py": "documents/test_imodel.py",
    "model/rates.py": "model/test_pricing.py",
    "model/target.py": "model/test_spread.py",
    # Values and protocols of the limiter and of routing.
    "network/reservations.py": "network/test_rate_limiters.py",
    "policies/cache/store.py": "policies/cache/test_memory.py",
    "policies/limit/candidate.py": "policies/limit/test_queue.py",
    "policies/limit/errors.py": "policies/limit/test_limiter.py",
    "policies/limit/rates.py": "policies/limit/test_gate.py",
    "policies/limit/snapshot.py": "policies/limit/test_limiter.py",
    "policies/limit/view.py": "policies/route/test_combined_limiter.py",
    "policies/route/layer.py": "model/test_spread.py",
    "policies/route/state.py": "model/test_spread.py",
    # What the dialects share.
    "providers/canonical/billing.py": "providers/openai_chat/test_bounds.py",
    "providers/canonical/content.py": "providers/requests_matrix.py",
    "providers/canonical/conversation.py": "providers/requests_matrix.py",
    "providers/canonical/fields.py": "providers/requests_matrix.py",
    "providers/canonical/json_dialect.py": "providers/conformance.py",
    "providers/canonical/messages.py": "providers/requests_matrix.py",
    "providers/canonical/streamed_blocks.py": "providers/conformance.py",
    "providers/dialect.py": "providers/conformance.py",
    "providers/host.py": "providers/test_hosts.py",
    # The simulator's dialects are tested by the official SDKs.
    "testing/simulator/answers.py": "testing/simulator/test_answer_maker.py",
    "testing/simulator/dialects/anthropic_request.py": "testing/simulator/dialects/test_anthropic.py",
    "testing/simulator/dialects/bedrock_converse.py": "testing/simulator/test_official_sdks.py",
    "testing/simulator/dialects/openai_responses.py": "testing/simulator/test_official_sdks.py",
    "testing/simulator/plan.py": "testing/simulator/test_http_server.py",
    "transport/call.py": "transport/test_http.py",
    "transport/shared_work.py": "transport/test_tokens.py",
}


def has_mirror(module: str) -> bool:
    path = TESTS / module
    return any(path.parent.glob(f"test_{path.stem}.py")) or any(path.parent.glob(f"test_{path.stem}_*.py"))


def is_part_of_a_dialect(module: str) -> bool:
    top, _, rest = module.partition("/")
    return top == "providers" and rest.partition("/")[0] in DIALECTS


MODULES = sorted(
    str(path.relative_to(SOURCE))
    for path in SOURCE.rglob("*.py")
    if path.name not in ("__init__.py", "__main__.py")
)


def test_every_module_has_its_test_file() -> None:
    missing = [m for m in MODULES if not (has_mirror(m) or is_part_of_a_dialect(m) or m in COVERED_BY)]
    assert missing == [], "write tests/**/test_<module>.py, or state above which test covers the module"


def test_every_dialect_is_tested_as_a_whole() -> None:
    assert all((TESTS / "providers" / dialect / "test_dialect.py").exists() for dialect in DIALECTS)


def test_the_list_holds_only_modules_without_a_test_file_and_tests_that_exist() -> None:
    assert COVERED_BY.keys() <= set(MODULES)
    assert [module for module in COVERED_BY if has_mirror(module)] == []
    assert [test for test in COVERED_BY.values() if not (TESTS / test).exists()] == []
