"""A table for a terminal: every number, aligned, with what it means."""

from dsf_jax.evaluation.results import ResultRecord
from dsf_jax.evaluation.statistics import Measure
from dsf_jax.evaluation.summary import summary


def record(layer, numbers):
    configuration = {"layer": layer, "definitions": {"P": "relevant among the first K"}}
    return ResultRecord(
        "p", numbers, configuration, {"queries": 7, "of_no_class": 0}, "95 % bootstrap", {}
    )


def test_every_number_stands_under_its_feature():
    half, none = Measure(0.5, 0.25, 0.75), Measure(0.0, 0.0, 0.0)
    text = summary([record("L6", {"mAP": half, "P@10": none}), record("L6+L7", {"mAP": none})])
    assert text.splitlines() == [
        "      L6                    L6+L7",
        "mAP   0.500 [0.250, 0.750]  0.000 (no interval)",
        "P@10  0.000 (no interval)   -",
        "",
        "queries 7, of no class 0; in brackets: 95 % bootstrap",
        "P: relevant among the first K",
    ]


def test_views_are_said_where_they_are_several():
    one = record("L6", {"mAP": Measure(0.5, 0.25, 0.75)})
    one.configuration["query_views"] = "mirrored"
    assert "views of each sketch: mirrored" in summary([one]).splitlines()


def test_without_features_there_is_no_head():
    one = ResultRecord("p", {"accuracy": Measure(1.0, 1.0, 1.0)}, {}, {"examples": 2}, "range", {})
    assert summary([one]).splitlines() == [
        "accuracy  1.000 (no interval)",
        "",
        "examples 2; in brackets: range",
    ]
