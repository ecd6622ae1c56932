"""What the families share, against torch."""

import numpy as np
import pytest

from expertjax.models.attention import relative_buckets


@pytest.mark.parametrize(("num_buckets", "max_distance"), [(32, 128), (8, 20)])
def test_distances_fall_into_the_buckets_of_torch(
    num_buckets: int, max_distance: int
) -> None:
    torch = pytest.importorskip("torch")
    mpnet = pytest.importorskip("transformers.models.mpnet.modeling_mpnet")
    distance = np.arange(-600, 601)
    theirs = mpnet.MPNetEncoder.relative_position_bucket(
        torch.tensor(distance), num_buckets, max_distance
    )
    ours = relative_buckets(distance, num_buckets, max_distance)
    np.testing.assert_array_equal(ours, theirs.numpy())
