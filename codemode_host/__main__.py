"""The entry of `codemode-host`, which loses no time: of all that has to be there the engine takes longest."""

from __future__ import annotations

import sys

from codemode_host.runtimes.host_side.spawn import ZygoteOptions, spawn_zygote, use_all_descriptors

TYPE_CHECKING = False  # typing takes longer to import than all that is here
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Serve one client; returns the exit status."""
    words = sys.argv[1:] if argv is None else argv
    use_all_descriptors()
    zygote = None
    if not words:
        # No flag can change what it is to be like, so it need not wait until flags can be read.
        try:  # noqa: SIM105 contextlib takes longer, too
            zygote = spawn_zygote(ZygoteOptions())
        except (OSError, ModuleNotFoundError):
            pass  # the program tries it again, and says why it cannot be
    from codemode_host.program import run

    return run(words, zygote)


if __name__ == "__main__":
    sys.exit(main())
