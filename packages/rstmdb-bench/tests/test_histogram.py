import pickle
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rstmdb_bench._histogram import BUCKETS, Histogram


def test_percentiles_are_within_one_percent_of_the_sorted_values() -> None:
    seeded = random.Random(7)
    values = sorted(int(seeded.lognormvariate(12, 2)) for _ in range(20_000))
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    for fraction in (0.001, 0.1, 0.5, 0.9, 0.99, 0.999, 1.0):
        exact = values[max(0, -int(-fraction * len(values) // 1) - 1)]
        assert histogram.percentile_ns(fraction) == pytest.approx(exact, rel=0.01)
    assert histogram.max_ns == values[-1]


@given(st.integers(0, 2**41))
def test_any_single_value_comes_back_within_one_percent(value: int) -> None:
    histogram = Histogram()
    histogram.record(value)
    histogram.record(2 * value + 1)  # so that the maximum does not hide the bucket
    assert histogram.percentile_ns(0.5) == pytest.approx(value, rel=0.005)


def test_small_values_are_exact() -> None:
    histogram = Histogram()
    for value in range(256):
        histogram.record(value)
    assert histogram.percentile_ns(0.5) == 127
    assert histogram.percentile_ns(1.0) == 255


def test_memory_is_bounded_whatever_is_recorded() -> None:
    histogram = Histogram()
    for value in (-5, 0, 1, 2**42 - 1, 2**42, 2**80):
        histogram.record(value)
    assert len(histogram.counts) == BUCKETS < 5000
    assert histogram.count == 6
    assert histogram.max_ns == 2**80


def test_a_value_recorded_many_times_at_once_counts_as_often() -> None:
    once, often = Histogram(), Histogram()
    often.record(1000, 5)
    for _ in range(5):
        once.record(1000)
    assert once.counts == often.counts
    assert once.summary_ms() == often.summary_ms()


def test_merging_is_recording_in_one() -> None:
    first, second, both = Histogram(), Histogram(), Histogram()
    for index, value in enumerate((10, 5_000, 70_000, 900_000)):
        (first if index % 2 else second).record(value)
        both.record(value)
    first.merge(pickle.loads(pickle.dumps(second)))
    assert first.counts == both.counts
    assert first.summary_ms() == both.summary_ms()


def test_a_summary_is_in_milliseconds() -> None:
    histogram = Histogram()
    histogram.record(2_000_000, 99)
    histogram.record(50_000_000)
    summary = histogram.summary_ms()
    assert summary["p50"] == summary["p90"] == summary["p99"] == pytest.approx(2, rel=0.01)
    assert summary["max"] == 50
    assert summary["p99_9"] == pytest.approx(50, rel=0.01)
    assert summary["mean"] == pytest.approx(2.48)


def test_a_summary_of_nothing_is_zero() -> None:
    assert set(Histogram().summary_ms().values()) == {0.0}
