"""Makes mutants of C source: one small defect each, of the kind that a tired hand makes.

A mutant is a replaced piece of one line. Comments, preprocessor lines and the increment of a ``for`` are left alone
(the last never ends, so that it would say nothing about the tests).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

OPERATORS = {
    "<": ["<=", ">"],
    ">": [">=", "<"],
    "<=": ["<", ">="],
    ">=": [">", "<="],
    "==": ["!="],
    "!=": ["=="],
    "&&": ["||"],
    "||": ["&&"],
    "+": ["-"],
    "-": ["+"],
    "*": ["/"],
    "/": ["*"],
    "%": ["/"],
    "|": ["&"],
    "&": ["|"],
    "<<": [">>"],
    "+=": ["-=", "="],
    "-=": ["+="],
    "|=": ["&=", "="],
    "&=": ["|="],
    "++": ["--"],
    "--": ["++"],
    "true": ["false"],
    "false": ["true"],
    "low": ["high"],
    "high": ["low"],
    "INFINITY": ["0.0"],
    "FLT_MAX": ["FLT_MIN"],
}
TOKEN = re.compile(
    r"(?P<cell>CELL\(\w+, \w+\))|(?P<number>\b\d[\w.]*(?:e-?\d+)?)|(?P<word>[A-Za-z_]\w*)"
    r"|(?P<operator>\|\||&&|\+\+|--|->|<<|>>|[-+*/%|&<>=!]=|[-+*/%|&<>=!~])"
)
STATEMENT = re.compile(
    r"\s+(?=\S)(?!return\b|const\b|static\b|uint|double\b|float\b|bool\b|typedef\b|window\b)[^{}=]*(=[^{}]*)?;"
)


@dataclass(frozen=True)
class Mutant:
    """One defect."""

    file: str
    number: int
    """Line, from 1."""
    before: str
    after: str
    """The line without and with the defect, stripped."""
    text: str
    """The whole file with the defect."""


def mutants_of(path: Path) -> Iterator[Mutant]:
    """Yield every mutant of a file, in order."""
    lines = path.read_text().splitlines(keepends=True)
    for index, line in enumerate(lines):
        for after in dict.fromkeys(changes(line, code_of(lines, index))):
            text = "".join([*lines[:index], after, *lines[index + 1 :]])
            yield Mutant(path.name, index + 1, line.strip(), after.strip(), text)


def code_of(lines: list[str], index: int) -> str:
    """Return a line with what is no code blanked out, at the same columns."""
    line = lines[index]
    opened = "".join(lines[:index]).count("/*") > "".join(lines[:index]).count("*/")
    if opened or line.lstrip().startswith(("#", "/*", "typedef", "static const char", "_Static_assert")):
        return " " * len(line)
    code = re.sub(r"/\*.*?(\*/|$)", lambda found: " " * len(found[0]), line)
    code = re.sub(r"sizeof \*", lambda found: " " * len(found[0]), code)
    code = re.sub(r'"[^"]*"', lambda found: " " * len(found[0]), code)
    return re.sub(r"; \w+\+\+\) \{", lambda found: " " * len(found[0]), code)


def changes(line: str, code: str) -> Iterator[str]:
    """Yield the line with one defect, in every way."""
    for token in TOKEN.finditer(code):
        for replacement in replacements(token, code):
            yield line[: token.start()] + replacement + line[token.end() :]
    condition = re.search(r"\bif \((.*)\) \{", code)
    if condition:
        yield line[: condition.start(1)] + f"!({condition[1]})" + line[condition.end(1) :]
    if STATEMENT.fullmatch(code.rstrip("\n")):
        yield ";\n"


def replacements(token: re.Match[str], code: str) -> list[str]:
    text = token[0]
    if token["cell"]:
        return other_cells(text)
    if token["number"]:
        return other_numbers(text)
    if token["operator"]:
        if text == "!":
            return [""]
        if text in "*&" and not re.search(r"[\w)\]] $", code[: token.start()]):
            return []  # a pointer's
        if text == "-" and not re.search(r"[\w)\]] $", code[: token.start()]):
            return [""]  # a sign
        if text == "*" and re.search(
            r"\b(char|float|double|void|bucket|envelope|channels?|uint\w+|window) $", code[: token.start()]
        ):
            return []
    return OPERATORS.get(text, [])


def other_cells(text: str) -> list[str]:
    """Return the cell with another source, and with another mode after it."""
    source, after = text[5:-1].split(", ")
    return [
        f"CELL({'HOLD' if source != 'HOLD' else 'POLICY'}, {after})",
        f"CELL({source}, {'ACTIVE' if after != 'ACTIVE' else 'SAFE'})",
    ]


def other_numbers(text: str) -> list[str]:
    found = re.fullmatch(r"(\d+)([uU]?)", text)
    if found:
        value, suffix = int(found[1]), found[2]
        return [f"{other}{suffix}" for other in (value + 1, value - 1) if other >= 0]
    return ["1.0f"] if text == "0.0f" else [f"({text} * 2)"]
