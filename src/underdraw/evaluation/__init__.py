"""Measuring: fidelity to the map, attributes in the picture, what the VAE loses; and the report over all of it."""

from underdraw.evaluation.fidelity import EdgeScores, Estimate, depth_error, edge_scores, obedience
from underdraw.evaluation.report import evaluate, write_report
from underdraw.evaluation.tables import Report, tables
from underdraw.evaluation.trials import Protocol

__all__ = [
    "EdgeScores",
    "Estimate",
    "Protocol",
    "Report",
    "depth_error",
    "edge_scores",
    "evaluate",
    "obedience",
    "tables",
    "write_report",
]
