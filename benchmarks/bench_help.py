"""How long `syphus --help` takes, beside other Python commands and the bare interpreter."""

from __future__ import annotations

import sys
from pathlib import Path

from common import measure, middle, save

ROUNDS = 7
BIN = Path(sys.executable).parent
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "syphus --help": [str(BIN / "syphus"), "--help"],
    "syphus data --help": [str(BIN / "syphus"), "data", "--help"],
    "hf --help (huggingface_hub)": [str(BIN / "hf"), "--help"],
    "accelerate launch --help": [str(BIN / "accelerate"), "launch", "--help"],
    "transformers --help": [str(BIN / "transformers"), "--help"],
    "import litellm": [sys.executable, "-c", "import litellm"],
}


def main() -> None:
    commands = {name: command for name, command in COMMANDS.items() if Path(command[0]).exists()}
    runs = {name: [] for name in commands}
    for number in range(ROUNDS + 1):
        for name, command in commands.items():
            # Without the variable LiteLLM would also wait for the network.
            run = measure(command, LITELLM_LOCAL_MODEL_COST_MAP="True")
            if number:  # the first round warms the disk's cache
                runs[name].append(run)
    ours = middle(runs["syphus --help"]).wall
    save(
        "help",
        [
            {
                "command": name,
                "wall_s": round(run.wall, 3),
                "peak_mb": round(run.peak_mb),
                "times_ours": round(run.wall / ours, 2),
            }
            for name, run in ((name, middle(found)) for name, found in runs.items())
        ],
    )


if __name__ == "__main__":
    main()
