"""Linear probe: what a frozen encoder knows, read off its features by a classifier that can only draw planes.

Logistic regression on standardised features, the usual protocol of linear evaluation. How strongly it is regularised
is searched anew within the training subjects of every fold, among the same values for whatever is compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from sklearn.model_selection import GridSearchCV

STRENGTHS = (0.003, 0.03, 0.3)
"""Inverse strengths of the regularisation (scikit-learn's C) that are tried."""
_INNER_FOLDS = 3
_MOST_STEPS = 300


def predict_by_folds(
    features_NC: np.ndarray, labels_N: np.ndarray, subjects_N: np.ndarray, folds_N: np.ndarray
) -> np.ndarray:
    """The class of every sample, as told by a probe that was trained on the other folds, int64 [N].

    Raises as `check_folds`.
    """
    check_folds(subjects_N, folds_N)
    predicted_N = np.empty(len(labels_N), np.int64)
    for fold in np.unique(folds_N):
        test_N = folds_N == fold
        probe = _fit(features_NC[~test_N], labels_N[~test_N], subjects_N[~test_N])
        predicted_N[test_N] = probe.predict(features_NC[test_N])
    return predicted_N


def check_folds(subjects_N: np.ndarray, folds_N: np.ndarray) -> None:
    """Raises ValueError where a subject is in several folds, or a fold leaves too few subjects to train on."""
    for fold in (folds := np.unique(folds_N)):
        others = np.unique(subjects_N[folds_N != fold])
        if shared := sorted(set(others) & set(subjects_N[folds_N == fold])):
            raise ValueError(f"subjects {', '.join(map(str, shared))} are in several folds")
        if len(others) < _INNER_FOLDS:
            raise ValueError(f"fold {fold} of {len(folds)} leaves {len(others)} subjects to train on; give more")


def _fit(features_NC: np.ndarray, labels_N: np.ndarray, subjects_N: np.ndarray) -> GridSearchCV:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, GroupKFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=_MOST_STEPS))
    search = GridSearchCV(
        probe,
        {"logisticregression__C": list(STRENGTHS)},
        scoring="f1_macro",
        cv=GroupKFold(_INNER_FOLDS),
    )
    return search.fit(features_NC, labels_N, groups=subjects_N)
