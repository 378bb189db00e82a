"""Reports: a run folder read back, tables for the terminal, charts, and one page per run."""

from sleepengine.report.network_chart import draw_network
from sleepengine.report.page import write_compare, write_report
from sleepengine.report.run_data import RunData
from sleepengine.report.schedule_chart import PlannedAction, schedule_chart
from sleepengine.report.terminal import compare_table, show_table

__all__ = [
    "PlannedAction",
    "RunData",
    "compare_table",
    "draw_network",
    "schedule_chart",
    "show_table",
    "write_compare",
    "write_report",
]
