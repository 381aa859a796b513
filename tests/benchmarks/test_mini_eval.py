"""The evaluation of mini: which rows it makes, and how they are put together."""

import argparse

from benchmarks.mini_eval import Plan, plans, table


def order(**values):
    given = {"arms": ["zero_shot", "mini", "vnet"], "labels": [1, 4], "draws": [0, 1]}
    return argparse.Namespace(**(given | {"steps": 150, "rate": 4e-3} | values))


def test_every_arm_gets_every_number_of_masks_and_every_draw():
    made = plans(order())
    assert [plan.arm for plan in made].count("zero_shot") == 1  # it needs no mask
    for arm in ("mini", "vnet"):
        pairs = [(plan.labels, plan.draw) for plan in made if plan.arm == arm]
        assert pairs == [(1, 0), (1, 1), (4, 0), (4, 1)]


def test_the_net_without_sam3_keeps_its_own_settings():
    made = plans(order(arms=["vnet"], steps=9, rate=1.0))
    assert {(plan.steps, plan.rate) for plan in made} == {(240, 3e-3)}


def test_the_table_gives_means_over_draws():
    plan = Plan(arm="mini", labels=1, draw=0, steps=150, rate=4e-3)
    rows = [
        plan.values() | {"draw": i, "dice": d, "foreground": 0.8} for i, d in ((0, 0.7), (1, 0.6))
    ]
    assert table(rows).splitlines()[-1] == (
        "| mini | 1 | 150, 0.004 | **0.650** | 0.700, 0.600 | 0.800 |"
    )
