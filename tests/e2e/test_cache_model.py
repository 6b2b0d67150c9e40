"""Whoever reads sees what was written before, though answers are kept (cache_model.py)."""

import pytest

from cache_model import check_reads
from harness import FULL


@pytest.mark.parametrize("seed", range(3 if FULL else 1))
def test_reads_show_what_was_written(make_server, seed):
    check_reads([make_server(LOOPS=2)], seed)
