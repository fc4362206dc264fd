"""The methods, one file each, and the registry of them. CONTRIBUTING.md says how to add one."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .average_precision import AveragePrecision
from .dead import Dead
from .distance_from_mean import DistanceFromMean
from .gaussian import Gaussian
from .iou import Iou
from .latent_variable import LatentVariable
from .linear_probe import LinearProbe
from .mean_select import MeanSelect
from .method import Method, RankingMethod
from .mutual_information import MutualInformation
from .parameters import MethodInfo, Parameter, build, describe
from .probeless import Probeless
from .random_forest import RandomForest
from .saturation import Saturation
from .variance import Variance

__all__ = ["METHODS", "Method", "MethodInfo", "Parameter", "RankingMethod", "build", "describe"]

METHODS: Mapping[str, type[RankingMethod]] = MappingProxyType(
    {
        "average_precision": AveragePrecision,
        "dead": Dead,
        "distance_from_mean": DistanceFromMean,
        "gaussian": Gaussian,
        "iou": Iou,
        "latent_variable": LatentVariable,
        "linear_probe": LinearProbe,
        "mean_select": MeanSelect,
        "mutual_information": MutualInformation,
        "probeless": Probeless,
        "random_forest": RandomForest,
        "saturation": Saturation,
        "variance": Variance,
    }
)
"""Every method that ranks neurons, by name."""
