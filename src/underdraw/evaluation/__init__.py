"""Measuring: fidelity to the map, attributes in the picture, what the VAE loses; and the report over all of it."""

from underdraw.evaluation.costs import Costs, cost_table, weigh
from underdraw.evaluation.fidelity import Estimate, obedience
from underdraw.evaluation.report import evaluate, write_report
from underdraw.evaluation.tables import Report, tables
from underdraw.evaluation.trials import Protocol

__all__ = [
    "Costs",
    "Estimate",
    "Protocol",
    "Report",
    "cost_table",
    "evaluate",
    "obedience",
    "tables",
    "weigh",
    "write_report",
]
