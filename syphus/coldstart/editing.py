"""An example in the person's own editor, until it can be an example or is given up."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

from syphus.coldstart.examples import example_row, read_example, to_yaml
from syphus.errors import TaskError
from syphus.task import Example, Task

STDERR = 2
"""Where an editor writes to: standard output carries results."""
HEAD = """\
# Change what you like, save and close: it is checked, and accepted as an example.
# Close it without a change to accept nothing.
"""
WRONG = "# ! "


def editor() -> str:
    return os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"


def run_editor(path: Path, *, stdin: int | IO[Any] | None = None) -> bool:
    """Open a file in the editor of VISUAL or EDITOR; return whether it ended well.

    Raises:
        TaskError: there is no such editor.
    """
    command = editor()
    try:
        done = subprocess.run(
            [*shlex.split(command), str(path)], check=False, stdin=stdin, stdout=STDERR
        )
    except (OSError, ValueError) as error:
        raise TaskError(
            f"the editor {command!r} cannot be started ({error}); set EDITOR to another one"
        ) from None
    return done.returncode == 0


def edit(
    row: dict[str, Any],
    task: Task,
    path: Path,
    *,
    run: Callable[[Path], bool],
    problems: Callable[[Example], Sequence[str]],
    again: Callable[[Sequence[str]], bool],
) -> dict[str, Any] | None:
    """Let a person change an example; return it as data of its YAML, or None if nothing came of it.

    Args:
        row: The example as data.
        task: Whose form it is written in.
        path: Where to put it meanwhile.
        run: Opens the editor.
        problems: Says what keeps a text from being an example.
        again: Shows what is wrong, and asks whether to go on.
    """
    path.write_text(HEAD + to_yaml(row), encoding="utf-8")
    while run(path):
        text = path.read_text(encoding="utf-8", errors="replace")
        wrong: Sequence[str]
        try:
            example = read_example(text)
            changed = example_row(task.reply.form, example.context, example.pairs)
            wrong = problems(example)
        except TaskError as error:
            changed, wrong = row, (str(error),)
        if not wrong:
            path.unlink()
            return None if changed == row else changed
        if not again(wrong):
            break
        path.write_text(_with_problems(text, wrong), encoding="utf-8")
    path.unlink(missing_ok=True)
    return None


def _with_problems(text: str, wrong: Sequence[str]) -> str:
    """Write what is wrong above a text, in place of what was wrong before."""
    kept = [line for line in text.splitlines() if not line.startswith(WRONG.rstrip())]
    said = [WRONG + " ".join(problem.split()) for problem in wrong]
    return "\n".join([*said, *kept]) + "\n"
