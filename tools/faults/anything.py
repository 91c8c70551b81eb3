"""What may stand where something else should: numbers, texts, YAML, JSON, bytes."""

from __future__ import annotations

from typing import Any

NUMBERS = ("-1", "0", "-0.0", "1e-320", "1e308", "1e999", "inf", "-inf", "nan", "9" * 25, "9" * 5000, "0x10", "1_000", "1,5", "½", "٣", "2**3", "true")
TEXTS = ("", " ", "-", "--", "\x1b[2J\x1b[31mred", "a\nb", "\u202ereversed", "💥" * 300, "x" * 5000, "../" * 40, "/dev/null", "/dev/zero", "nowhere/at/all", ".", "~nobody", "caf\udce9", "null", "{a: b", "&a [*a]", "%s%n{0}", "a" * 246)
YAML = (
    "null", "!!bool x", "!!timestamp x", "!!float ''", "!!int ''", "!!binary x", "!!python/object/apply:os.system [id]", "!!set {a}", ".inf", "-.inf", ".nan", "1e400", "9" * 5000,
    "[" * 3000, "{a: " * 2000, "[]", "{}", "[[[]]]", "{type: nobody}", "{type: [1]}", "2001-01-01", "0o17", "'", "&a [*a]", "*nobody", "<<: x", "? x", "- x", "a: b: c", "@", "%TAG", "\t", "\x00", "1:30:00", "yes", "=", "!!omap [1]", "!!str", "0", "-1", "1", "65537", "0.5", "1000000000", "[1]", "[0]", "[-1, 1]", "[1, 1, 1, 1]", "[a]", "{a: 1}", "x",
)  # fmt: skip
JSONS: tuple[Any, ...] = (None, True, -1, 0, 1e308, 10**25, float("nan"), float("inf"), "", "x" * 5000, "\x1b[31m", [], {}, [[]], {"a": 1}, ["a", 1], [1, "a", None], {"": ""}, "\ud800")
RAW = (b"", b"\n\n\n", b"\xff\xfe\x00\x00", b"\xef\xbb\xbf{}", b"[" * 100_000, b'{"a":' * 50_000, b"{}", b"[]", b"null", b"1", b'"x"', b"{", b"\x00" * 5000, b"a: &a [*a, *a]\n", b"x" * 2_000_000, "é".encode("latin-1"), b"%YAML 9.9\n---\n{}", b"--- a\n--- b\n", b"a: 1\na: 2\n", b"\t- x", b"!!python/object/apply:os.system [id]", b'{"prompt": "a", "prompt": "b"}', b"\x1b[2J: 1")
