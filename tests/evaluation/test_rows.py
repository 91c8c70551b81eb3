"""Rows of clips: styles counted, sets told apart, copies noticed whatever the style."""

from __future__ import annotations

import torch

from mousai.evaluation.nearest import TrainingSet
from mousai.evaluation.rows import Row, nearests, table_by_style, table_of, two_samples


def row_of(distances: list[tuple[str, float]], shift: float = 0.0, named: str = "calm") -> Row:
    """Clips of a style each, whose outlines lie so far in dB from a training clip that is flat."""
    generator = torch.Generator().manual_seed(len(distances))
    outlines = []
    for _, far in distances:
        pattern = torch.randn(20, 48, generator=generator)
        stretch = pattern[:, :47:2]
        outlines.append(far * (pattern - stretch.mean()) / stretch.std(correction=0))
    heard = ({"pulse": 0.5, "asked_bpm": None, "asked_key": None, "found_bpm": None, "found_key": None},)
    nothing = dict.fromkeys(("pulse_asked", "pulse_elsewhere", "tempo_met", "tempo_exact", "tempo_thirds", "key_correlation", "key_met", "key_relative", "voiced", "chroma"))
    statistics = torch.randn(len(distances), 640, generator=generator) + shift
    return Row(tuple(label for label, _ in distances), (named,) * len(distances), tuple({**heard[0], **nothing} for _ in distances), statistics, tuple(outlines))


TRAINING = TrainingSet(("flat.flac",), (torch.zeros(20, 60),))
USUAL = [("calm", 2.0), ("calm", 2.2), ("calm", 1.8), ("busy", 6.0), ("busy", 6.6), ("busy", 5.4)]


def test_a_copy_is_noticed_in_its_style() -> None:
    rows = {"made": row_of([("calm", 2.0), ("busy", 3.0), ("busy", 6.1)]), "known": row_of(USUAL)}
    found = nearests(rows, "known", TRAINING)
    assert found["known"]["median"] > 0.98 and found["known"]["nearer_than_usual"] < 0.35
    assert abs(found["made"]["nearer_than_usual"] - 1 / 3) < 1e-6  # 3 dB are much for a calm clip and little for a busy one
    first = found["made"]["each"][0]
    assert (first["clip"], first["track"]) == (1, "flat.flac") and abs(first["relative"] - 0.5) < 0.05 and abs(first["distance_db"] - 3) < 0.1


def test_sets_are_told_apart_by_their_statistics() -> None:
    class Ear:
        mean, std = torch.zeros(640), torch.ones(640)

    labels = [("calm", 1.0)] * 12
    found = two_samples({"far": row_of(labels, 1.0), "same": row_of(labels * 2), "known": row_of([*labels, *labels[:-1]])}, "known", Ear())
    assert found.keys() == {"far", "same"} and found["far"]["p"] < 0.01 < found["same"]["p"]


def test_tables_count_styles() -> None:
    rows = {"made": row_of(USUAL), "recordings": Row((None,), ("calm",), row_of(USUAL[:1]).heard, torch.zeros(1, 640), ())}
    assert rows["made"].right == 3 and rows["made"].to_dict()["style_named"] == 0.5 and rows["recordings"].to_dict()["style_named"] is None
    lines = table_of(rows).splitlines()
    assert lines[2].startswith("| made | 6 | 0.50 | – |") and lines[2].endswith("| 50 % |") and lines[3].endswith("| – |")
    assert [line.split("|")[1].strip() for line in table_by_style(rows["made"]).splitlines()[2:]] == ["busy", "calm"]
