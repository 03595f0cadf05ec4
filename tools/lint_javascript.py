"""Lints the project's JavaScript with oxlint. The prelude is assembled first: its fragments do not stand alone."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

from codemode_host.runtimes.engine.prelude import prelude_source
from codemode_protocol.helpers import NAMES

ROOT = Path(__file__).parents[1]
SCRIPTS = ("codemode_host/runtimes/engine/prelude/warm_up.js", "codemode_client/_cli/console/inspect.js", "examples")
CONFIG = {
    "categories": {"correctness": "error"},
    "env": {"es2024": True},
    "globals": dict.fromkeys([*NAMES, "InternalError"], "readonly"),
    "rules": {
        "eqeqeq": "error",
        "no-undef": "error",
        "no-unnecessary-await": "off",  # deliberate in warm_up.js, and so is the next
        "no-unused-expressions": "off",
        "no-unused-vars": ["error", {"varsIgnorePattern": "^inspect$"}],
        "no-var": "error",
        "prefer-const": "error",
    },
}


def main() -> int:
    """Run oxlint and return its exit status."""
    with tempfile.TemporaryDirectory() as folder:
        config, prelude = Path(folder, "config.json"), Path(folder, "prelude.js")
        config.write_text(json.dumps(CONFIG))
        prelude.write_text(f"export default {prelude_source()}", encoding="utf-8")
        oxlint = Path(sysconfig.get_path("scripts"), "oxlint")
        return subprocess.run(
            [oxlint, "--quiet", "--config", config, prelude, *SCRIPTS], cwd=ROOT, check=False
        ).returncode


if __name__ == "__main__":
    sys.exit(main())
