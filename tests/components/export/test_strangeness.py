import numpy as np
import pytest

from config.data_settings import STRANGENESS

pytestmark = pytest.mark.slow
DIMENSIONS = 40


def embeddings(count: int, seed: int, centre: float = 0.0) -> np.ndarray:
    """Return embeddings whose dimensions go together, as those of a network do."""
    rng = np.random.default_rng(seed)
    together = rng.normal(size=(count, 8)) @ np.random.default_rng(0).normal(size=(8, DIMENSIONS))
    return (centre + together + rng.normal(0, 0.05, (count, DIMENSIONS))).astype(np.float32)


@pytest.mark.parametrize(("count", "off"), [(30, 3.0), (400, 0.5)], ids=["fewer pictures than dimensions", "more"])
def test_about_the_chosen_share_of_true_pictures_is_strange_and_others_are(count, off):
    from components.export.strangeness import Strangeness

    strangeness = Strangeness(embeddings(count, 1), embeddings(400, 2), share=0.1)
    assert (strangeness.in_process(embeddings(400, 2))[STRANGENESS] > 1).mean() == pytest.approx(0.1)
    assert 0.03 < (strangeness.in_process(embeddings(1000, 3))[STRANGENESS] > 1).mean() < 0.2
    others = embeddings(400, 4) + np.random.default_rng(5).normal(0, off, DIMENSIONS).astype(np.float32)
    assert (strangeness.in_process(others)[STRANGENESS] > 1).mean() > 0.9


def test_the_graph_says_what_is_said_without_it():
    from components.export.strangeness import Strangeness

    strangeness = Strangeness(embeddings(200, 1), embeddings(100, 2), share=0.05)
    rows = embeddings(50, 3)
    in_graph = strangeness.answers(rows)[STRANGENESS].numpy()
    assert in_graph == pytest.approx(strangeness.in_process(rows)[STRANGENESS], rel=1e-5)


def test_a_network_that_says_the_same_of_all_pictures_has_a_strangeness():
    from components.export.strangeness import Strangeness

    same = np.ones((20, DIMENSIONS), np.float32)
    strangeness = Strangeness(same, same, share=0.05)
    assert np.isfinite(strangeness.answers(same)[STRANGENESS].numpy()).all()
