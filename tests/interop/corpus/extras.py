"""Helpers that the reference has beyond the protocol page: audio, generatedImage, content, as_settled, stream_settled."""

# ruff: noqa: E501 (a script, or the steps of a conversation, read best in one line)

from __future__ import annotations

from tests.interop.corpus.helpers import PNG, caught
from tests.interop.differential.cases import Tool, cell

WAV = "data:audio/wav;base64,aa"

AUDIO = {
    "url": f"'{WAV}'",
    "object": f"({{audio_url: '{WAV}'}})",
    "block": "({type: 'audio', data: 'aa', mimeType: 'audio/wav'})",
    "http": "'http://example.org/a.wav'",
    "word": "'word'",
    "number": "5",
    "empty-object": "({})",
    "image-block": "({type: 'image', data: 'aa', mimeType: 'image/png'})",
    "block-without-data": "({type: 'audio', mimeType: 'audio/wav'})",
}

GENERATED = {
    "object": f"({{image_url: '{PNG}'}})",
    "hint": f"({{image_url: '{PNG}', output_hint: 'saved'}})",
    "hint-number": f"({{image_url: '{PNG}', output_hint: 5}})",
    "string": f"'{PNG}'",
    "empty-object": "({})",
    "array": "[]",
    "nothing": "",
    "http": "({image_url: 'http://example.org/a.png'})",
}

BLOCKS = {
    "text": "({type: 'text', text: 'a'})",
    "empty-text": "({type: 'text', text: ''})",
    "text-without-text": "({type: 'text'})",
    "image": "({type: 'image', data: 'aa', mimeType: 'image/png'})",
    "audio": "({type: 'audio', data: 'aa', mimeType: 'audio/wav'})",
    "resource": "({type: 'resource', resource: {uri: 'x', text: 'y'}})",
    "resource-link": "({type: 'resource_link', uri: 'x', name: 'n'})",
    "unknown": "({type: 'unknown'})",
    "empty-object": "({})",
    "string": "'text'",
    "null": "null",
    "empty-list": "[]",
    "list": "[{type: 'text', text: '1'}, {type: 'image', data: 'aa', mimeType: 'image/png'}]",
    "list-with-a-bad-one": "[{type: 'text', text: '1'}, {type: 'unknown'}, {type: 'text', text: '2'}]",
    "set": "new Set([{type: 'text', text: 'in a set'}])",
    "tool-result": "({content: [{type: 'text', text: 'x'}]})",
}

CASES = (
    *(cell(f"audio-{name}", caught(f"audio({value})")) for name, value in AUDIO.items()),
    *(cell(f"generated-image-{name}", caught(f"generatedImage({value})")) for name, value in GENERATED.items()),
    *(cell(f"content-{name}", caught(f"content({value})")) for name, value in BLOCKS.items()),
    cell(
        "as-settled-order",
        "for await (const r of as_settled([new Promise(f => setTimeout(f, 30, 0)), 2, Promise.reject('no')])) text(r)",
    ),
    cell(
        "as-settled-map", "for await (const r of as_settled(new Map([['a', 1], ['b', Promise.reject('no')]]))) text(r)"
    ),
    cell("as-settled-empty", "for await (const r of as_settled([])) text(r); text('end')"),
    cell(
        "as-settled-tools",
        "for await (const r of as_settled([tools.echo(1), tools.echo(2)])) text(r.index)",
        tools=(Tool("echo"),),
    ),
    cell("as-settled-left-early", "for await (const r of as_settled([1, 2, 3])) { text(r); break; } text('end')"),
    cell(
        "stream-settled",
        "await stream_settled([1, Promise.reject('no')], async r => { await null; text(r); }); text('end')",
    ),
    cell("stream-settled-throws", "await stream_settled([1, 2], r => { throw 'stop ' + r.index; })", error="text"),
    cell("stream-settled-needs-a-callback", "await stream_settled([1])"),
)
