"""IMDB-WIKI (Rothe, Timofte, Van Gool: Deep Expectation of Real and Apparent Age from a Single Image without Facial
Landmarks, IJCV 126, 2018).

460,723 images of actors from IMDb and 62,328 of people from Wikipedia. For academic research only; the archives are at
data.vision.ee.ethz.ch/cvl/rrothe/imdb-wiki. The crops are read, `imdb_crop.tar` and `wiki_crop.tar`, with the face and
two fifths of its size around it: of the uncropped pictures (`imdb_0.tar` to `imdb_9.tar`, `wiki.tar.gz`) names alone do
not tell where the face is.

The crops were made by a detector and never looked at. Where it found no face the crop is the whole picture, and some
are of a few pixels: cleaning is for them. Ages and faces of `imdb.mat` and `wiki.mat` are not read.

The person is known by the number in IMDb or Wikipedia that names begin with. There is no split: a hundredth of the
people is held out as "test", chosen by a hash. Nobody matched the people of the two sources with each other.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pipelines.corpora.image_names import ANYWHERE, match_image, settle_people, split_of
from pipelines.corpora.registry import Labels

if TYPE_CHECKING:
    import pyarrow as pa

LAYOUT = (
    "imdb_crop[.tar]/<NN>/nm<N>_rm<N>_<born>_<taken>.jpg and wiki_crop[.tar]/<NN>/<N>_<born>_<taken>.jpg, born being "
    "a date and taken a year"
)
READS_ARCHIVES = True

_IMAGE = re.compile(
    rf"{ANYWHERE}(?:imdb_crop/\d\d/(?P<actor>nm\d+)_(?P<still>rm\d+_[^/]*)"
    r"|wiki_crop/\d\d/(?P<person>\d+)_(?P<portrait>[^/]*))\.jpg"
)


def parse(name: str) -> Labels | None:
    match = match_image(name, _IMAGE)
    if match is None:
        return None
    subject, image = match["actor"] or f"wiki{match['person']}", match["still"] or match["portrait"]
    return Labels(split_of(subject), subject, image)


def settle(table: pa.Table) -> pa.Table:
    return settle_people(table)
