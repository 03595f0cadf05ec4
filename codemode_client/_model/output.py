"""The output of a script for a model: a header, the output cut to a budget, and the error.

Tokens are counted as four bytes of UTF-8 each, without a tokenizer: about right for English and code, too many for some
languages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from msgspec import Struct

from codemode_client._model import forms
from codemode_protocol.values import ContentItem, InputAudio, InputText

ModelStatus = Literal["completed", "failed", "running", "terminated", "refused"]

BYTES_PER_TOKEN = 4

MAX_ERROR_TOKENS = 2_000
"""The budget of an error text, separate from that of the output."""

MAX_MEDIA = 100
"""Images and sounds in one output; APIs take no more."""

MAX_MEDIA_BYTES = 32 * 1024 * 1024
"""The URLs of these together."""

MANY_ITEMS = 200
"""Where there are more than this texts that follow each other become one: each would cost the model some tokens."""


class ModelOutput(Struct, frozen=True):
    """The result of one call of `exec` or `wait` for the model.

    `items` are the header, then the output, then the error. `cell_id` is the cell of the call, None if there is none.
    `status` is

    - "completed": the script ended; "failed": it ended with an error, or its host was lost;
    - "running": it continues, and `wait` returns the rest;
    - "terminated": it was terminated;
    - "refused": nothing was run or changed; the text says what was wrong with the call.
    """

    cell_id: str | None
    status: ModelStatus
    items: list[ContentItem]

    @property
    def text(self) -> str:
        """All text items, joined by line ends."""
        return "\n".join(item.text for item in self.items if isinstance(item, InputText))

    @property
    def is_error(self) -> bool:
        """Whether to mark the tool's result as an error, in APIs that have such a mark."""
        return self.status in ("failed", "refused")

    def openai_responses(self) -> list[dict[str, object]]:
        """Return the `output` of a `custom_tool_call_output` or `function_call_output` item: text and images."""
        return forms.responses_content(self.items)

    def openai_chat(self) -> str:
        """Return the `content` of a message of the role `tool`: text, with notes in place of images and sounds."""
        return forms.chat_content(self.items)

    def anthropic(self) -> list[dict[str, object]]:
        """Return the `content` of a `tool_result` block: text and images."""
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
    """Make an output. `seconds` is the duration of the call, `max_tokens` the budget of `output`."""
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
    items: list[ContentItem] = [InputText("\n".join(header)), *truncate(fewer(output), max_tokens)]
    if error is not None:
        items += truncate([InputText(f"Error:\n{error}")], MAX_ERROR_TOKENS)
    return ModelOutput(cell_id, status, items)


def refuse(reason: str, cell_id: str | None = None) -> ModelOutput:
    """Return the output for an invalid call."""
    reason = reason.encode("utf-8", "backslashreplace").decode()  # it may quote lone surrogates from JSON's escapes
    items: list[ContentItem] = [InputText("Status: refused"), *truncate([InputText(reason)], MAX_ERROR_TOKENS)]
    return ModelOutput(cell_id, "refused", items)


def fewer(items: Sequence[ContentItem]) -> list[ContentItem]:
    """Return no more images and sounds than may be shown, with a note for the rest, and not too many texts."""
    kept: list[ContentItem] = []
    media = size = left_out = place = 0
    for item in items:
        if not isinstance(item, InputText):
            url = item.audio_url if isinstance(item, InputAudio) else item.image_url
            if media >= MAX_MEDIA or size + len(url) > MAX_MEDIA_BYTES:
                left_out += 1
                place = place if left_out > 1 else len(kept)
                continue
            media += 1
            size += len(url)
        kept.append(item)
    if left_out:
        kept.insert(place, InputText(f"[… {left_out:,} images or sounds left out from here on …]"))
    return kept if len(kept) <= MANY_ITEMS else list(_merge(kept))


def _merge(items: list[ContentItem]) -> Iterator[ContentItem]:
    texts: list[str] = []
    for item in items:
        if isinstance(item, InputText):
            texts.append(item.text)
            continue
        if texts:
            yield InputText("\n".join(texts))
            texts = []
        yield item
    if texts:
        yield InputText("\n".join(texts))


def truncate(items: Sequence[ContentItem], max_tokens: int) -> list[ContentItem]:
    """Cut all text items together to a budget: keep both ends, with a note between them of how much was cut.

    Each end gets half of the budget; the note is not counted. Code points are not split. Images and sounds are kept in
    their places.
    """
    texts = [item.text.encode() for item in items if isinstance(item, InputText)]
    # Line ends between the texts count, so that many empty texts are not free.
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
        # Bytes of a split code point are cut, too.
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
