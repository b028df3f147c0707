"""Tests of the providers; assertions in the shared modules are told in full."""

import pytest

pytest.register_assert_rewrite("tests.providers.conformance", "tests.providers.request_conformance")
