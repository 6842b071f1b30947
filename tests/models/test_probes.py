"""The linear probe tells what is linear in the features, of subjects that it has not seen."""

from __future__ import annotations

import numpy as np
import pytest

from models.probes import predict_by_folds

SUBJECTS, EACH, CLASSES, WIDTH = 8, 12, 3, 10


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    labels = np.tile(np.arange(CLASSES), SUBJECTS * EACH // CLASSES)
    subjects = np.repeat(np.arange(SUBJECTS), EACH)
    return labels, subjects, subjects % 4, rng.normal(size=(len(labels), WIDTH))


def test_what_is_linear_in_the_features_is_told_of_new_subjects(data):
    labels, subjects, folds, noise = data
    features = noise + 4 * np.eye(WIDTH)[labels] + 10 * np.arange(WIDTH)
    assert np.mean(predict_by_folds(features, labels, subjects, folds) == labels) > 0.95


def test_what_tells_only_the_known_subjects_apart_is_worth_nothing(data):
    labels, subjects, folds, _ = data
    by_subject = np.random.default_rng(1).permuted(np.tile(np.arange(CLASSES), (SUBJECTS, 1)), axis=1)
    features = np.eye(SUBJECTS * CLASSES)[subjects * CLASSES + by_subject[subjects, labels]]
    assert np.mean(predict_by_folds(features, labels, subjects, folds) == labels) < 0.6


def test_every_sample_is_predicted_without_its_own_fold(data):
    labels, subjects, folds, noise = data
    features = noise + 4 * np.eye(WIDTH)[labels]
    swapped = np.where(folds == 2, (labels + 1) % CLASSES, labels)
    predicted = predict_by_folds(features, swapped, subjects, folds)
    assert np.mean(predicted[folds == 2] == labels[folds == 2]) > 0.95


def test_a_subject_in_two_folds_and_too_few_subjects_are_refused(data):
    labels, subjects, folds, noise = data
    with pytest.raises(ValueError, match="subjects 0 are in several folds"):
        predict_by_folds(noise, labels, subjects, np.where(np.arange(len(labels)) == 0, 3, folds))
    with pytest.raises(ValueError, match="leaves 2 subjects"):
        predict_by_folds(noise, labels, subjects, (subjects >= 2).astype(int))
