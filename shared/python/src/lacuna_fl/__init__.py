"""Lacuna from Python: simulate a federation, read its report, segment patients, score masks.

The work is done by Lacuna's two programs, `coordinator` and `site-agent`; this package starts them
and reads what they write. It needs no PyTorch.
"""

from lacuna_fl.errors import (
    ConfigurationError,
    DataError,
    DiskError,
    FederationError,
    InternalError,
    InterruptedRun,
    LacunaError,
    LacunaWarning,
    ProgramNotFound,
    UsageError,
)
from lacuna_fl.model import model_card, torch_model
from lacuna_fl.patients import (
    Prediction,
    Predictions,
    inspect,
    phantoms,
    predict,
    predict_cases,
    score,
    score_cases,
)
from lacuna_fl.report import Report
from lacuna_fl.simulation import Progress, Simulation, simulate

__version__ = "0.1.0"

__all__ = [
    "ConfigurationError",
    "DataError",
    "DiskError",
    "FederationError",
    "InternalError",
    "InterruptedRun",
    "LacunaError",
    "LacunaWarning",
    "Prediction",
    "Predictions",
    "ProgramNotFound",
    "Progress",
    "Report",
    "Simulation",
    "UsageError",
    "__version__",
    "inspect",
    "model_card",
    "phantoms",
    "predict",
    "predict_cases",
    "score",
    "score_cases",
    "simulate",
    "torch_model",
]
