"""The methods, one file each, and the registry of them. CONTRIBUTING.md says how to add one."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .average_precision import AveragePrecision
from .compositional import Compositional
from .concept_alignment import ConceptAlignment
from .concept_selectivity import ConceptSelectivity
from .correlation_clusters import CorrelationClusters
from .cross_model import CrossModel
from .dead import Dead
from .distance_from_mean import DistanceFromMean
from .efficient_features import EfficientFeatures
from .gaussian import Gaussian
from .iou import Iou
from .latent_variable import LatentVariable
from .layer_selector import LayerSelector
from .linear_probe import LinearProbe
from .mean_select import MeanSelect
from .method import ComparingMethod, Kind, Method, RankingMethod, TableMethod
from .mutual_information import MutualInformation
from .nmf import Nmf
from .parameters import MethodInfo, Parameter, build, describe
from .probeless import Probeless
from .random_forest import RandomForest
from .representation_analysis import RepresentationAnalysis
from .representation_similarity import RepresentationSimilarity
from .saturation import Saturation
from .top_contexts import TopContexts
from .top_words import TopWords
from .umap_kmeans import UmapKmeans
from .variance import Variance

__all__ = [
    "METHODS",
    "RANKING_METHODS",
    "ComparingMethod",
    "Kind",
    "Method",
    "MethodInfo",
    "Parameter",
    "RankingMethod",
    "TableMethod",
    "build",
    "describe",
]

METHODS: Mapping[str, type[Method]] = MappingProxyType(
    {
        # Concept to neurons.
        "average_precision": AveragePrecision,
        "gaussian": Gaussian,
        "iou": Iou,
        "latent_variable": LatentVariable,
        "linear_probe": LinearProbe,
        "mean_select": MeanSelect,
        "mutual_information": MutualInformation,
        "probeless": Probeless,
        "random_forest": RandomForest,
        "representation_analysis": RepresentationAnalysis,
        # Neuron to concepts.
        "compositional": Compositional,
        "concept_alignment": ConceptAlignment,
        "concept_selectivity": ConceptSelectivity,
        "top_contexts": TopContexts,
        "top_words": TopWords,
        # The model's own view.
        "cross_model": CrossModel,
        "dead": Dead,
        "distance_from_mean": DistanceFromMean,
        "nmf": Nmf,
        "representation_similarity": RepresentationSimilarity,
        "saturation": Saturation,
        "umap_kmeans": UmapKmeans,
        "variance": Variance,
        # Redundancy.
        "correlation_clusters": CorrelationClusters,
        "efficient_features": EfficientFeatures,
        "layer_selector": LayerSelector,
    }
)
"""Every method, by name."""

RANKING_METHODS: Mapping[str, type[RankingMethod]] = MappingProxyType(
    {name: method for name, method in METHODS.items() if issubclass(method, RankingMethod)}
)
"""Those that rank the neurons of one set of activations."""
