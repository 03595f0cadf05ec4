"""What a model is told about its script: a header, the output cut to a budget, and the error.

Tokens are counted as four bytes of UTF-8 each. That is an approximation: about right for English and code, too many
for some languages, and no tokenizer is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from codemode_client._model import forms
from codemode_protocol.values import ContentItem, InputText

ModelStatus = Literal["completed", "failed", "running", "terminated", "refused"]

BYTES_PER_TOKEN = 4

MAX_ERROR_TOKENS = 2_000
"""An error text beyond this is cut as output is. It has this budget for itself, however small the output's is."""


class ModelOutput(Struct, frozen=True):
    """What to hand back to the model for one call of `exec` or `wait`.

    `items` are ready to show: the header first, then the output, the error last. `cell_id` is the cell that the
    call was about, None when there is none. `status` is

    - "completed": the script ended; "failed": it ended with an error, or its host was lost;
    - "running": it goes on, and `wait` brings the rest;
    - "terminated": it was stopped;
    - "refused": nothing was run and nothing changed; the text says what was wrong with the call.
    """

    cell_id: str | None
    status: ModelStatus
    items: list[ContentItem]

    @property
    def text(self) -> str:
        """All text items, each beginning on a line of its own."""
        return "\n".join(item.text for item in self.items if isinstance(item, InputText))

    @property
    def is_error(self) -> bool:
        """Whether to mark the tool's result as an error, in the APIs that have such a mark."""
        return self.status in ("failed", "refused")

    def openai_responses(self) -> list[dict[str, object]]:
        """The `output` of a `custom_tool_call_output` or `function_call_output` item: text and images."""
        return forms.responses_content(self.items)

    def openai_chat(self) -> str:
        """The `content` of a message of the role `tool`: text alone, which says where an image or a sound was."""
        return forms.chat_content(self.items)

    def anthropic(self) -> list[dict[str, object]]:
        """The `content` of a `tool_result` block: text and images."""
        return forms.anthropic_content(self.items)


def present(
    status: ModelStatus,
    cell_id: str | None,
    *,
    seconds: float,
    output: Sequence[ContentItem] = (),
    max_tokens: int,
    error: str | None = None,
    remark: str | None = None,
    wait_name: str = "wait",
) -> ModelOutput:
    """Put an output together. `seconds` is how long the call took, `max_tokens` the budget of `output`."""
    header = [f"Status: {status}"]
    if status == "running":
        header[0] += f', as cell {cell_id}. Call `{wait_name}` with cell_id "{cell_id}" for the rest.'
    if remark is not None:
        header.append(f"Note: {remark}")
    header.append(f"Wall time: {seconds:.1f} s")
    if output:
        header.append("Output:")
    elif status == "completed":
        header.append("Output: none. Only what a script gives to text(), image() and the like is shown.")
    else:
        header.append("Output: none" + (" so far" if status == "running" else ""))
    items: list[ContentItem] = [InputText("\n".join(header)), *truncate(output, max_tokens)]
    if error is not None:
        items += truncate([InputText(f"Error:\n{error}")], MAX_ERROR_TOKENS)
    return ModelOutput(cell_id, status, items)


def refuse(reason: str, cell_id: str | None = None) -> ModelOutput:
    """The answer to a call that was wrong in itself."""
    reason = reason.encode("utf-8", "backslashreplace").decode()  # it may repeat lone surrogates, out of JSON's escapes
    items: list[ContentItem] = [InputText("Status: refused"), *truncate([InputText(reason)], MAX_ERROR_TOKENS)]
    return ModelOutput(cell_id, "refused", items)


def truncate(items: Sequence[ContentItem], max_tokens: int) -> list[ContentItem]:
    """Cut all text items together to a budget: both ends stay, and where they meet is said how much went.

    Half of the budget is the beginning's and half the end's; what says how much went comes on top. Nothing is cut
    within a code point. Images and sounds pass through and keep their place among the texts.
    """
    texts = [item.text.encode() for item in items if isinstance(item, InputText)]
    # The budget is that of the texts joined by line ends: many empty ones are not free.
    total = sum(map(len, texts)) + max(0, len(texts) - 1)
    budget = max(0, max_tokens) * BYTES_PER_TOKEN
    if total <= budget:
        return list(items)
    head = budget // 2
    tail = total - (budget - head)
    kept: list[ContentItem] = []
    first_cut: tuple[int, str, str] | None = None
    removed: list[bytes] = []
    offset = 0
    for item in items:
        if not isinstance(item, InputText):
            kept.append(item)
            continue
        text = item.text.encode()
        start, end = offset, offset + len(text)
        offset = end + 1
        if end <= head or start >= tail:
            kept.append(item)
            continue
        # Cut bytes that belong to no whole code point go, too.
        before = text[: max(0, head - start)].decode(errors="ignore")
        after = text[max(0, tail - start) :].decode(errors="ignore") if end > tail else ""
        removed.append(text[len(before.encode()) : len(text) - len(after.encode())])
        if first_cut is None:
            first_cut = (len(kept), before, after)
            kept.append(item)
        elif after:
            kept.append(InputText(after))
    if first_cut is not None:
        place, before, after = first_cut
        if before and not before.endswith("\n"):
            before += "\n"
        if after and not after.startswith("\n"):
            after = "\n" + after
        kept[place] = InputText(before + _left_out(removed) + after)
    return kept


def _left_out(removed: list[bytes]) -> str:
    gone = b"\n".join(removed)
    tokens = -(-len(gone) // BYTES_PER_TOKEN)
    lines = gone.count(b"\n") + 1
    return f"[… about {tokens:,} tokens left out here ({lines:,} line{'' if lines == 1 else 's'}) …]"
