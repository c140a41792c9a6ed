"""The runner of the suites reads their counts, so that a run of no tests is a failure."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

SUITES = Path(__file__).resolve().parents[2] / "suites"
sys.path.insert(0, str(SUITES))

import runner  # noqa: E402


@pytest.mark.parametrize(
    ("output", "passed", "failed", "skipped"),
    [
        ("Ran 57 tests in 9.1s\n\nOK (skipped=3)\n", 54, 0, 3),
        ("Ran 1 test in 0.1s\n\nOK\n", 1, 0, 0),
        ("Ran 9 tests in 1s\n\nFAILED (failures=1, errors=2, skipped=3)\n", 3, 3, 3),
        ("Ran 0 tests in 0.0s\n\nNO TESTS RAN\n", 0, 0, 0),
        ("ModuleNotFoundError: No module named 'cache'\n", 0, 0, 0),
    ],
)
def test_the_output_of_unittest(output, passed, failed, skipped):
    assert runner.unittest_counts(output) == runner.Counts(passed, failed, skipped)


def test_the_report_of_pytest(tmp_path):
    report = tmp_path / "report.xml"
    report.write_text(
        '<testsuites><testsuite tests="9" failures="1" errors="1" skipped="2"/></testsuites>'
    )
    assert runner.pytest_counts(report) == runner.Counts(5, 2, 2)


def test_each_suite_has_glue_and_expects_tests():
    for suite, counts in runner.expected().items():
        assert counts.passed > 0
        assert (SUITES / "glue" / f"{suite.replace('-', '_')}_suite.py").is_file()
