"""What each torture test ran is told at the end, as figures."""

from __future__ import annotations

import pytest

from .scale import SHARE

FIGURES = "figures"


@pytest.fixture
def figures(record_property):
    """Call it with what is to be told, as `figures(sequences=1000)`."""

    def tell(**found: object) -> None:
        record_property(FIGURES, ", ".join(f"{name} {value}" for name, value in found.items()))

    return tell


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    told = [
        (report.nodeid.rpartition("::")[2], value, report.duration)
        for report in terminalreporter.stats.get("passed", [])
        for name, value in report.user_properties
        if name == FIGURES
    ]
    if told and SHARE is not None:
        terminalreporter.section("torture: figures")
        for test, value, seconds in sorted(told):
            terminalreporter.write_line(f"{test}: {value}, seconds {seconds:.0f}")
