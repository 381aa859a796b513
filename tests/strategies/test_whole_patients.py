"""A budget by patient: no patient is begun before the one before is done."""

import numpy as np
import pytest

from salearn.cases import CaseId, Pool, UnitId
from salearn.errors import ConfigError
from salearn.settings import parse
from strategies.constrained import Constrained, LimitSettings
from strategies.registry import build
from tests.strategies.stand_in import world

# 12 pictures of 4 patients with 1, 2, 4 and 5 of them.
OWNERS = [0, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3]
PATIENTS = {CaseId(f"us_{i:02d}"): f"p{owner}" for i, owner in enumerate(OWNERS)}
UNITS = tuple(UnitId(str(case)) for case in PATIENTS)


def drawn(pool: Pool, n: int, seed: int) -> tuple[UnitId, ...]:
    made = Constrained(
        strategy=build("random"), limits=LimitSettings(whole_patients=True), patients=PATIENTS
    )
    evidence = world("volume", 0)[1]
    return made.select(pool, n, evidence, np.random.default_rng(seed)).unit_ids


@pytest.mark.parametrize("seed", range(5))
def test_at_most_one_patient_is_begun_and_not_done(seed: int) -> None:
    pool = Pool(labeled=(), unlabeled=UNITS)
    for n in (3, 2, 5):
        chosen = drawn(pool, n, seed)
        assert len(set(chosen)) == n
        pool = pool.after(chosen)
        counts = {p: list(PATIENTS.values()).count(p) for p in set(PATIENTS.values())}
        done = [PATIENTS[CaseId(str(unit))] for unit in pool.labeled]
        assert sum(0 < done.count(p) < count for p, count in counts.items()) <= 1


def test_the_order_of_patients_is_the_strategy_s_and_depends_on_the_seed() -> None:
    pool = Pool(labeled=(), unlabeled=UNITS)
    first = {PATIENTS[CaseId(str(drawn(pool, 1, seed)[0]))] for seed in range(12)}
    assert len(first) > 1
    assert drawn(pool, 6, 3) == drawn(Pool(labeled=(), unlabeled=UNITS[::-1]), 6, 3)


def test_whole_patients_goes_with_no_rule_that_leaves_units_out() -> None:
    with pytest.raises(ConfigError, match="whole_patients"):
        parse(LimitSettings, {"whole_patients": True, "per_patient": 2}, "strategy.limits")
