"""Check names, docstrings, comments, messages, documents and help texts against the project's vocabulary.

Usage: python .ci/check_vocabulary.py [--help-output] [PATH ...]

Every finding names the file, the line, the term found and the term to use. Recorded identifiers and quotations that
must keep a term are listed in `EXCEPTIONS`, each with its reason.
"""

import ast
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
CHECKED = ("vla_bench", "studies", "tests", "docs", ".ci", "results", "baselines", "policies", "envs", "tasks")
DOCUMENTS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "Makefile")

# Pattern -> term to use. The patterns apply to prose: comments, docstrings, messages, documents and help.
TERMS: dict[str, str] = {
    r"\bpictures?\b|\bpictured\b": "image",
    r"\b(?:re)?draw(?:s|n|ing|ings)?\b|\bdrew\b": "render, image (a random draw is fine)",
    r"\bprocessors?\b": "CPU (a `Processor` is what prepares model inputs)",
    r"\bno numbers?\b": "non-finite, NaN",
    r"\bway back\b": "backward pass",
    r"\b(?:compute|computed|computes) (?:the rest |its activations )?again\b": "gradient (activation) checkpointing",
    r"\bhand'?s way\b": "end-effector path",
    r"\b(?:told|tells?|telling) (?:\w+ )?apart\b": "statistically significant / not significantly different",
    r"\blearnt\b|\btaught\b": "learned, trained",
    r"\b(?:is|are|be|been|was|were|gets?) told\b": "reported, logged",
    r"\btold (?:about|by|as|in|of|under|with|where|once|here)\b": "reported, logged",
    r"\bbeside\b": "compared with, next to",
    r"\banew\b": "again, regenerate, re-render",
    r"\bstands? in\b|\bstood in\b|\bstands? (?:where|there|beside|on its card)\b": "is stored in, is located at",
    r"\blies? (?:in|at|beside|under|on|where)\b": "is stored in, is located at",
    r"\b(?:go|goes|going|went) on\b": "resume, continue",
    r"\bfurthest\b(?! phase)": "furthest phase reached",
    r"\bfineness\b": "level of detail, severity",
    r"\bsittings?\b": "session",
    r"\bconduct\b": "rollout statistics",
    r"\bstock\b": "default, upstream, original",
    r"\bforetells?\b|\bforetold\b": "predict",
    r"\bmend(?:s|ed|ing)?\b": "fix",
    r"\blikewise\b": "also, in the same way",
    r"\bnought\b|\bthereof\b|\bwhereof\b|\bbetwixt\b|\bdear\b": "plain modern English",
    r"\w*(?:colour|behaviour|neighbour|favour|honour|artefact|grey\b|licence\b|centred?\b|metres?\b)\w*": (
        "American spelling"
    ),
    r"^\s*# ~": "a docstring or comment of its own (a docstring left over from a merge)",
    r"\b\w*(?:normal|initial|quant|summar|organ|recogn|optim|maxim|minim|serial|random|parametr|visual|standard|general"
    r"|equal|synchron|real|util|token|rasteri|character|discret|special|memor|polar|stabil|neutral|vector)"
    r"is(?:e|es|ed|ing|ation|ations|er|ers)\b": "American spelling (-ize)",
    r"\b(?:labell|modell|travell|cancell|levell|signall|channell)(?:ed|ing)\b": "American spelling (one l)",
}
_COMPILED = [(re.compile(pattern, re.IGNORECASE), term) for pattern, term in TERMS.items()]
_RIDDLE = re.compile(r"^(?:What|How|Who|Whose|Where|In which|Whether|Which|When)\b(?!.*\?)")
_RANDOM_DRAW = re.compile(
    r"random|seed|sample|bootstrap|distribution|generator|permut|posterior|simulat|uniform|noise|drawn? (?:from|by)",
    re.IGNORECASE,
)

# Names of modules, classes and functions.
_NAMES = re.compile(
    r"(?:^|_)(?:kept|fineness|furthest|conduct|offers|seen|beginnings|hands|told|drawn|pictures?|beside|anew|sittings?"
    r"|learnt|mistold|colours?|normalisation|quantisation|initialisation|mend|behaviour)(?:_|$)"
    r"|(?:Kept|Fineness|Furthest|Conduct|Offers|Beginnings|Told|Picture|Beside|Sitting|Colour|Normalis|Quantis)"
)


class Exemption(NamedTuple):
    """A term that stays in the files that match, and the reason."""

    path: str  # regular expression
    text: str  # regular expression of the line
    reason: str


EXCEPTIONS: tuple[Exemption, ...] = (
    Exemption(r"^\.ci/check_vocabulary\.py$", r".", "this file lists the terms"),
    Exemption(
        r".", r"[\"'`=\[,( ]colour(?:s|=|[\"'`\]),:. ]|$)", "`colour` is a recorded axis that decides random draws"
    ),
    Exemption(r"^(?:tasks|envs)/.*\.toml$", r".", "instructions, paraphrases and keys of task files are recorded"),
    Exemption(r"^docs/tasks\.md$", r".", "instructions and paraphrases of the task files"),
    Exemption(r"^(?:CONTRIBUTING|tests/authoring/|tests/core/test_validation)", r"colour", "a key of object files"),
    Exemption(r"^vla_bench/models/networks/network\.py$", r"`Processor`", "the Processor of a model"),
    Exemption(r"^(?:vla_bench|tests)/(?:models|policies|training)/", r"\bprocessors?\b", "the Processor of a model"),
    Exemption(r".", r"\b(?:optimiser|quantise|quantised|normalisation)\b", "configuration keys that users type"),
    Exemption(r"doctor(?:/|_mistakes)", r"unnormalisation key", "a registered name, which the doctor prints"),
    Exemption(
        r"^(?:vla_bench/performance|studies|tests/(?:performance|studies)|results|docs/gpu)",
        r"\bstock\b",
        "an unmodified peer in benchmarks",
    ),
    Exemption(r"^results/.*\.md$", r"Intel\(R\) Xeon\(R\) Processor", "the name of a CPU"),
    Exemption(r"^results/.*\.md$", r"sort_two_colours", "the name of a task of a published suite"),
)


class Finding(NamedTuple):
    """A term that the vocabulary replaces."""

    path: str
    line: int
    found: str
    term: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.found!r}: use {self.term}"


def findings(path: Path) -> Iterator[Finding]:
    """Yield the terms of a file that the vocabulary replaces."""
    name = path.relative_to(ROOT).as_posix()
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    for line, prose in _prose(path, text):
        whole = lines[line - 1] if line <= len(lines) else prose
        for found, term in terms_in(prose):
            if not any(re.search(one.path, name) and re.search(one.text, whole) for one in EXCEPTIONS):
                yield Finding(name, line, found, term)
    if path.suffix == ".py":
        yield from _names_and_docstrings(name, ast.parse(text))


def terms_in(prose: str) -> Iterator[tuple[str, str]]:
    """Yield each replaced term of one line of text with the term to use."""
    for pattern, term in _COMPILED:
        for match in pattern.finditer(prose):
            if "random draw" in term and _RANDOM_DRAW.search(prose):
                continue
            yield match.group(0), term


def _prose(path: Path, text: str) -> Iterator[tuple[int, str]]:
    """Yield the number and text of each line that people read."""
    if path.suffix != ".py":
        yield from enumerate(text.splitlines(), 1)
        return
    strings = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type in strings and (token.type == tokenize.COMMENT or " " in token.string.strip()):
            yield from enumerate(token.string.splitlines(), token.start[0])


def _names_and_docstrings(name: str, tree: ast.Module) -> Iterator[Finding]:
    if match := _NAMES.search(Path(name).stem):
        yield Finding(name, 1, match.group(0), "a standard term in the module's name")
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            docstring = ast.get_docstring(node) or ""
            line = getattr(node, "lineno", 1)
            if _RIDDLE.search(docstring.partition("\n")[0]):
                yield Finding(name, line, docstring[:40], "a noun phrase (module, class) or an imperative sentence")
            if isinstance(node, ast.Module) or name.startswith("tests/"):
                continue
            if (match := _NAMES.search(node.name)) and "colour" not in match.group(0):
                yield Finding(name, line, node.name, "a standard term in the name")


def checked_files(arguments: list[str]) -> list[Path]:
    """Return the files to check: those named, or all that the repository tracks and people read."""
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split("\n")
    wanted = [Path(one).resolve() for one in arguments] or [ROOT / one for one in (*CHECKED, *DOCUMENTS)]
    files = [ROOT / one for one in tracked if one.endswith((".py", ".md", ".toml", ".j2", "Makefile"))]
    return sorted(one for one in files if one.is_file() and any(one == w or w in one.parents for w in wanted))


def help_findings() -> Iterator[Finding]:
    """Yield the terms of every `--help` page that the vocabulary replaces."""
    sys.path.insert(0, str(ROOT))
    from vla_bench.cli.app import COMMANDS, load_command

    waiting = [(f"vla-bench {name}", load_command(name)) for name in COMMANDS]
    while waiting:
        name, command = waiting.pop()
        waiting += [(f"{name} {child}", one) for child, one in getattr(command, "commands", {}).items()]
        pages = [command.help or "", *(getattr(one, "help", None) or "" for one in command.params)]
        for line, text in enumerate(pages):
            allowed = any(re.search(one.text, text) for one in EXCEPTIONS[1:2])
            yield from (Finding(f"{name} --help", line, *one) for one in terms_in(text) if not allowed)


def main(arguments: list[str]) -> int:
    """Print the findings and return the exit status."""
    paths = [one for one in arguments if not one.startswith("--")]
    found = [finding for path in checked_files(paths) for finding in findings(path)]
    if "--help-output" in arguments:
        found += help_findings()
    print(*found, f"{len(found)} terms to replace", sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
