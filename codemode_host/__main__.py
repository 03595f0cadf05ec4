"""The entry point of `codemode-host`, which starts the engine first because it takes longest."""

from __future__ import annotations

import sys

from codemode_host.runtimes.host_side.spawn import ZygoteOptions, spawn_zygote, use_all_descriptors

TYPE_CHECKING = False  # importing typing takes longer than the rest of this module
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Serve one client and return the exit status."""
    words = sys.argv[1:] if argv is None else argv
    use_all_descriptors()
    zygote = None
    if not words:
        # Without flags the options are known before anything is parsed.
        try:  # noqa: SIM105 - contextlib is slow to import
            zygote = spawn_zygote(ZygoteOptions())
        except (OSError, ModuleNotFoundError):
            pass  # the program tries again and reports the error
    from codemode_host.program import run

    return run(words, zygote)


if __name__ == "__main__":
    sys.exit(main())
