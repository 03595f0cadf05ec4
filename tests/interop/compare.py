"""Shows where our host answers otherwise than the reference: `python tests/interop/compare.py [--only TEXT] [--live]`.

Without `--live` the recorded answers stand for the reference. `--python PATH` runs our host with another interpreter.
"""

from __future__ import annotations

import argparse
import sys

from tests.interop.corpus.catalogue import all_cases
from tests.interop.differential.compare import differences
from tests.interop.differential.known import known_difference
from tests.interop.differential.recording import Recording, shortened
from tests.interop.differential.runner import HostProgram, run_all
from tests.interop.reference import reference_host


def main() -> int:
    """0 when there are no differences but the known ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--live", action="store_true")
    parser.add_argument("--python", default=sys.executable)
    options = parser.parse_args()
    cases = [(case_id, case) for case_id, case in all_cases() if options.only in case_id]
    ours = run_all(HostProgram.of(options.python, "-m", "codemode_host"), cases, patience=len(cases))
    theirs = (
        run_all(HostProgram.of(str(reference_host())), cases)
        if options.live
        else {case_id: Recording.load().answer(case_id, case) for case_id, case in cases}
    )
    unexpected = 0
    for case_id, case in cases:
        found = differences(case, shortened(ours[case_id]), shortened(theirs[case_id]))
        reason = known_difference(case_id)
        if bool(found) == (reason is not None):
            continue
        unexpected += 1
        print(case_id)
        for line in found or [f"does not differ, but ought to: {reason}"]:
            print("    " + line.replace("\n", "\n    "))
    print(f"{len(cases)} cases, {unexpected} unexpected")
    return 1 if unexpected else 0


if __name__ == "__main__":
    raise SystemExit(main())
