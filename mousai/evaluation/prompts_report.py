"""What `mousai evaluate prompts` found, as a page of Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mousai.evaluation.rows import Row, table_by_style, table_of
from mousai.evaluation.shares import with_interval

MADE, PRACTICE, CODEC, REAL = "made from the prompts", "practice set", "practice set, after the codec", "recordings"
NEAREST_SHOWN = 3


def text_of(report: Mapping[str, Any], rows: Mapping[str, Row]) -> str:
    """The report and the rows that it is of."""
    parts = [_lead(report, rows[MADE]), table_of(rows), LEGEND, "## By style", table_by_style(rows[MADE])]
    parts += ["## Is it the set's music?", _two_samples(report["two_samples"])] if report["two_samples"] else []
    parts += ["## Is it copied?", _nearests(report["nearest"])] if report["nearest"] else []
    parts += ["## Styles", _styles(report)]
    return "\n\n".join(parts) + "\n"


LEGEND = (
    "Means over clips. pulse: the largest autocorrelation of onsets at 60 to 200 bpm; at the asked tempo, and at tempos that"
    " are neither that nor an octave or a third from it. tempo met: within 4 %, octaves apart allowed. key correlation: of the pitch classes with the asked key's"
    " scale, 1 at most. voiced: share of frames that one pitch explains. chroma: 0 = all pitch classes alike, 1 = one alone. In brackets: of how many clips it was asked, if not of all."
)


def _lead(report: Mapping[str, Any], made: Row) -> str:
    drawn = [name for name in ("tempos", "keys") if report[f"{name}_drawn"]]
    words = f"; {' and '.join(drawn)} in the prompts drawn, none of a caption's own" if drawn else ""
    lines = [f"{len(made.labels)} clips of {report['seconds']:g} s, {report['generator_steps']} generator steps at guidance {report['guidance']:g}{words}.", ""]
    if report["flow"]:
        lines[0] += f" Told vectors that {report['flow']} drew from the prompts, {'and no words' if report['wordless'] else 'beside the words'}."
    figures = report["rows"][MADE]
    if tempo := [clip for clip in made.heard if clip["asked_bpm"] is not None]:
        octaves = sum(clip["tempo_met"] and not clip["tempo_exact"] for clip in tempo)
        met = with_interval(sum(clip["tempo_met"] for clip in tempo), len(tempo))
        lines.append(f"- The asked tempo is met by **{met}**, {octaves} of them an octave apart{_chance(figures['tempo_by_chance'])}.")
    if key := [clip for clip in made.heard if clip["asked_key"] is not None]:
        met, alone = with_interval(sum(clip["key_relative"] for clip in key), len(key)), sum(clip["key_met"] for clip in key)
        lines.append(f"- The asked key or its relative is met by **{met}**, the key itself by {alone}{_chance(figures['key_by_chance'])}.")
    if loud := [clip["peak"] for clip in made.heard if clip["peak"] > 1]:
        lines.append(f"- {len(loud)} clips have peaks above full scale, up to {max(loud):.1f}; in their files they are brought down to it.")
    return "\n".join(lines)


def _chance(share: float | None) -> str:
    return "" if share is None else f"; by chance {100 * share:.0f} %"


def _two_samples(found: Mapping[str, Any]) -> str:
    lines = [
        f"Discrepancy (squared, × 1000) of pooled log-mel statistics from those of: {CODEC}. 0 = one distribution; p: how often chance gives as much.",
        "",
        "| | clips | discrepancy | 95 % by chance | p |",
        "|---|---|---|---|---|",
        *(f"| {name} | {test['clips']} | {1000 * test['discrepancy']:.1f} | {1000 * test['by_chance']:.1f} | {test['p']:.4f} |" for name, test in found.items()),
    ]
    return "\n".join(lines)


def _nearests(found: Mapping[str, Any]) -> str:
    nearest = found[MADE]["each"][:NEAREST_SHOWN]
    named = [f"{clip['clip']:03d} to {clip['track']} at {clip['seconds']:.1f} s ({clip['distance_db']:.2f} dB, {clip['relative']:.2f})" for clip in nearest]
    lines = [
        f"Distance of each clip's nearest 4 s from the training set, over the median of its style of: {CODEC}. Nearer than usual: than 95 % of these.",
        "",
        "| | median, dB | median | 5 % | least | nearer than usual |",
        "|---|---|---|---|---|---|",
        *(
            f"| {name} | {row['median_db']:.2f} | {row['median']:.2f} | {row['quantile_05']:.2f} | {row['least']:.2f} | {100 * row['nearer_than_usual']:.0f} % |"
            for name, row in found.items()
        ),
        "",
        f"Nearest of those made: {'; '.join(named)}.",
    ]
    return "\n".join(lines)


def _styles(report: Mapping[str, Any]) -> str:
    low, high = report["interval_95"]
    recorded, through = report["recordings"], report["recordings_through_codec"]
    lines = [
        f"The classifier names the prompted class for **{100 * report['accuracy']:.0f} %** of the clips"
        f" (95 % interval {100 * low:.0f} … {100 * high:.0f} %; chance {100 * report['chance']:.0f} %),",
        f"and for {100 * recorded['accuracy']:.0f} % of {recorded['clips']} recordings of the set itself"
        + (f", {100 * through['accuracy']:.0f} % after the codec." if through else "."),
        "",
        f"| prompted | {' | '.join(report['labels'])} |",
        "|---" * (len(report["labels"]) + 1) + "|",
        *(f"| {label} | {' | '.join(str(n or '') for n in row)} |" for label, row in zip(report["labels"], report["confusion"]) if any(row)),
        "",
        "| log-mel distance of pairs of clips, dB | pairs | mean | least |",
        "|---|---|---|---|",
        *(f"| {kind} | {distances['pairs']} | {distances['mean']:.2f} | {distances['least']:.2f} |" for kind, distances in report["distances_db"].items()),
    ]
    return "\n".join(lines)
