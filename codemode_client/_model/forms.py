"""Converts content items to the tool results of model APIs."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from urllib.parse import unquote_to_bytes

from msgspec import UNSET

from codemode_protocol.values import ContentItem, InputAudio, InputImage, InputText

ANTHROPIC_IMAGES = frozenset({"image/gif", "image/jpeg", "image/png", "image/webp"})


def responses_content(items: Sequence[ContentItem]) -> list[dict[str, object]]:
    """Return parts of the types `input_text` and `input_image`."""
    parts: list[dict[str, object]] = []
    for piece in _joined(items, images=True):
        if isinstance(piece, InputImage):
            part: dict[str, object] = {"type": "input_image", "image_url": piece.image_url}
            if piece.detail is not UNSET:
                part["detail"] = piece.detail.value
            parts.append(part)
        else:
            parts.append({"type": "input_text", "text": piece})
    return parts


def chat_content(items: Sequence[ContentItem]) -> str:
    """Return one text: a tool's message can hold nothing else."""
    return "\n".join(piece for piece in _joined(items, images=False) if isinstance(piece, str))


def anthropic_content(items: Sequence[ContentItem]) -> list[dict[str, object]]:
    """Return blocks of the types `text` and `image`."""
    blocks: list[dict[str, object]] = []
    for piece in _joined(items, images=True, only=ANTHROPIC_IMAGES):
        if isinstance(piece, InputImage):
            media_type, data = split_data_url(piece.image_url)
            source = {"type": "base64", "media_type": media_type, "data": base64.b64encode(data).decode()}
            blocks.append({"type": "image", "source": source})
        else:
            blocks.append({"type": "text", "text": piece})
    return blocks


def split_data_url(url: str) -> tuple[str, bytes]:
    """Return the media type and the bytes of a `data:` URL. Raises ValueError if it is malformed."""
    scheme, colon, rest = url.partition(":")
    head, comma, data = rest.partition(",")
    if scheme.lower() != "data" or not colon or not comma:
        raise ValueError("not a data: URL with content")
    media_type, *parameters = head.split(";")
    if "base64" in (parameter.strip().lower() for parameter in parameters):
        try:
            content = base64.b64decode(b"".join(unquote_to_bytes(data).split()), validate=True)
        except binascii.Error as error:
            raise ValueError(f"its base64 is broken: {error}") from error
    else:
        content = unquote_to_bytes(data)
    return media_type.strip().lower() or "text/plain", content


def _joined(
    items: Sequence[ContentItem], *, images: bool, only: frozenset[str] | None = None
) -> Iterator[str | InputImage]:
    """Yield the images that can be shown, and the texts between them joined to one.

    APIs do not specify how they separate adjacent texts. A note replaces what the API does not accept.

    Args:
        items: The content items.
        images: Whether the API accepts images here.
        only: The media types that it accepts; None for any.
    """
    texts: list[str] = []
    for item in items:
        match item:
            case InputText(text):
                texts.append(text)
            case InputImage(url):
                reason = _obstacle(url, only) if images else "this API takes no images here"
                if reason is not None:
                    texts.append(f"[an image, left out: {reason}]")
                    continue
                if any(texts):
                    yield "\n".join(texts)
                texts = []
                yield item
            case InputAudio():
                texts.append("[a sound, left out: this API takes no sounds here]")
    if any(texts):
        yield "\n".join(texts)


def _obstacle(url: str, only: frozenset[str] | None) -> str | None:
    """Return why an image cannot be shown; None if it can."""
    if only is None:
        return None
    try:
        media_type, content = split_data_url(url)
    except ValueError as error:
        return str(error)
    if media_type not in only:
        return f"this API takes no {media_type}"
    return None if content else "it is empty"
