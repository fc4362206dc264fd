"""Random forest: how much each neuron's splits tell the classes apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..data.rows import Data
from ..progress import QUIET, Progress
from ..results import Ranking
from .method import RankingMethod
from .parameters import About

if TYPE_CHECKING:
    from sklearn.tree import DecisionTreeClassifier

__all__ = ["RandomForest"]


@dataclass(frozen=True)
class RandomForest(RankingMethod):
    """Impurity importances of a random forest (Breiman 2001; scikit-learn's trees).

    Each tree is grown on a bootstrap sample of the rows and tries √D neurons a split. A neuron's importance is the
    decrease of Gini impurity Σ_c p_c(1 − p_c) by its splits, weighted by the rows that reach them, as a part of the
    tree's whole decrease, averaged over the trees; per class [C, D] it is the summand of that class, so that the
    classes add up to the overall score.

    Finds what is not linear, and interactions. Misses little, but spreads importance over twins, and neurons with many
    distinct values win a bit by chance: noise has a small score, not 0. To scikit-learn values less than 10⁻⁷ apart
    are equal. All rows must be at hand at once: what does not
    fit into half of the memory bound is put into a temporary file.
    """

    trees: Annotated[int, About("Trees.", 1, 10_000)] = 100
    depth: Annotated[int, About("Largest depth of a tree; 0: no limit.", 0, 1000)] = 0
    leaf: Annotated[int, About("Fewest rows in a leaf.", 1, 1_000_000)] = 1
    seed: Annotated[int, About("Of samples and splits.", 0, 2**32 - 1)] = 0

    name: ClassVar[str] = "random_forest"
    reference: ClassVar[str] = "Valipour et al. 2019, Unsupervised transfer learning via BERT neuron selection"
    complexity: ClassVar[str] = "O(trees·√D·N·log² N)"

    def rank(self, data: Data, *, progress: Progress = QUIET) -> Ranking:
        """Scores sum to 1 (0 if no tree could split)."""
        from sklearn.tree import DecisionTreeClassifier

        data.require_classes()
        progress.check()
        x = data.matrix()
        importances = np.zeros((len(data.classes), len(data.neurons)))
        for tree in progress.each(range(self.trees)):
            draw = np.random.default_rng((self.seed, tree))
            weights = np.bincount(draw.integers(len(data), size=len(data)), minlength=len(data))
            grown = DecisionTreeClassifier(
                max_features="sqrt",
                max_depth=self.depth or None,
                min_samples_leaf=self.leaf,
                random_state=int(draw.integers(2**32)),
            )
            grown.fit(x, data.y, weights.astype(np.float64), check_input=False)
            importances[grown.classes_] += _importances(grown)
        scores = importances / self.trees
        return self.ranking(data, scores.sum(axis=0), scores)


def _importances(tree: DecisionTreeClassifier) -> NDArray[np.float64]:
    """[C', D] each class's part of the decrease of impurity by each neuron's splits; all of them sum to 1."""
    nodes = tree.tree_
    shares = nodes.value[:, 0, :]
    impurity = shares * (1.0 - shares) * nodes.weighted_n_node_samples[:, None]
    inner = np.flatnonzero(nodes.children_left >= 0)
    decrease = impurity[inner] - impurity[nodes.children_left[inner]] - impurity[nodes.children_right[inner]]
    found = np.zeros((tree.n_features_in_, shares.shape[1]))
    np.add.at(found, nodes.feature[inner], decrease)
    total = found.sum()
    return (found / total if total > 0 else found).T
