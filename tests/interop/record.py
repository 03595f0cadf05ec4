"""Records the reference host's answers to the whole corpus in `recorded.json`: `python tests/interop/record.py`.

Every case is run several times and has to give the same answer each time: a case whose answer depends on luck does
not belong in the corpus. `--repeat N` says how often (2 when not given), `--only TEXT` keeps the other recordings.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from tests.interop.corpus.catalogue import all_cases
from tests.interop.differential.recording import RECORDED, Recording, write
from tests.interop.differential.runner import HostProgram, run_all
from tests.interop.reference import PACKAGE, SHA256, ReferenceMissing, reference_host


def main() -> int:
    """0 when everything was recorded, 1 when a case failed or changed its answer, 2 without a reference host."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=2)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    try:
        program = HostProgram.of(str(reference_host()))
    except ReferenceMissing as missing:
        print(missing, file=sys.stderr)
        return 2
    cases = [(case_id, case) for case_id, case in all_cases() if options.only in case_id]
    answers = run_all(program, cases)
    bad = {case_id: answer for case_id, answer in answers.items() if "failure" in answer}
    for _ in range(options.repeat - 1):
        again = run_all(program, cases)
        bad.update(
            {case_id: [answer, again[case_id]] for case_id, answer in answers.items() if answer != again[case_id]}
        )
    for case_id, answer in bad.items():
        print(f"not recorded: {case_id}: {json.dumps(answer, ensure_ascii=False)[:2000]}", file=sys.stderr)
    kept: dict[str, Any] = {}
    if options.only and RECORDED.exists():
        known = {case_id for case_id, _ in all_cases()}
        old = Recording.load()
        kept = {case_id: entry for case_id, entry in old.entries.items() if case_id in known}
    kept.update(
        {case_id: {"case": case.digest(), "answer": answers[case_id]} for case_id, case in cases if case_id not in bad}
    )
    write({"package": PACKAGE, "sha256": SHA256}, kept)
    print(f"{len(cases) - len(bad)} of {len(cases)} cases recorded, {len(kept)} in all")
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
