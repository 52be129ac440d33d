import io

import numpy as np
import pytest
from PIL import Image

from components.evaluation import foreign
from components.evaluation.foreign import foreign_pictures, none_of_these
from config.data_settings import STRANGENESS
from serving.server.core.servable import Servable
from tests.support.pictures import picture_settings


def test_foreign_pictures_are_the_same_for_a_seed_and_all_different():
    first = foreign_pictures(1)
    assert first == foreign_pictures(1)
    assert len(set(first)) == len(first) == foreign.PICTURES
    assert {Image.open(io.BytesIO(data)).size for data in first[:8]} == {(foreign.SIDE, foreign.SIDE)}


class Bluish:
    """A model to which a picture is the stranger the more blue it is."""

    def run(self, _signature, inputs):
        [images] = inputs.values()
        blue = [np.asarray(Image.open(io.BytesIO(data)), float)[..., 2].mean() / 128 for data in images]
        return {STRANGENESS: np.array(blue)}

    def close(self):
        pass


def test_both_kinds_of_mistakes_are_told(tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Servable, "load", lambda _folder: Bluish())
    assert none_of_these(tmp_path, None, picture_settings(tmp_path)) == []
    [finding] = none_of_these(tmp_path, np.array([0.6, 0.9, 1.2, 1.01]), picture_settings(tmp_path))
    assert finding.kind == "NONE_OF_THESE"
    assert finding.details["refused_on_test"] == 0.5
    assert 0 < finding.details["lower"] < finding.details["accepted"] / foreign.PICTURES < finding.details["upper"] < 1
