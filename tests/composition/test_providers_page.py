"""docs/providers.md is generated from the hosts table and the matrix."""

from callgate.providers.hosts import HOSTS
from tests.composition.providers_page import PAGE, render


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "run: python -m tests.composition.providers_page"


def test_every_provider_is_on_it() -> None:
    page = render()
    assert all(f"| `{provider}` |" in page for provider in HOSTS)
