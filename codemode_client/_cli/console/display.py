"""Shows the events of cells: as text for people, or as JSON lines."""

from __future__ import annotations

from codemode_client._cli.console.scripts import Script
from codemode_client._cli.console.streams import show, tell, write_json
from codemode_protocol.values import ContentItem, InputAudio, InputImage, InputText, Result, RuntimeResponse


class TextDisplay:
    """Output and values on standard output, everything else on standard error."""

    def output(self, item: ContentItem) -> None:
        match item:
            case InputText(text):
                self.value(text)
            case InputImage(url) | InputAudio(url):
                kind = url.partition(";")[0].removeprefix("data:")
                self.value(f"[{kind}, {len(url)} characters]")

    def value(self, text: str) -> None:
        """Show the value of a script's last statement."""
        show(text)

    def notification(self, text: str) -> None:
        tell(f"[notification] {text}")

    def ended(self, result: RuntimeResponse, script: Script) -> None:
        if not isinstance(result, Result):
            tell("the cell was terminated")
        elif result.error_text is not None:
            line = script.marked_line(result.error_text)
            tell(script.located(result.error_text) + (f"\n\n{line}" if line else ""))

    def refused(self, message: str) -> None:
        """Show why a script was not started."""
        tell(message)

    def lost(self, message: str) -> None:
        """Show that the host is lost or could not be started."""
        tell(message)


class JsonDisplay:
    """One JSON object a line: `output`, `value`, `notification`; `result`, `terminated`, `refused` or `lost` last."""

    def output(self, item: ContentItem) -> None:
        write_json({"type": "output", "item": item})

    def value(self, text: str) -> None:
        write_json({"type": "value", "text": text})

    def notification(self, text: str) -> None:
        write_json({"type": "notification", "text": text})

    def ended(self, result: RuntimeResponse, script: Script) -> None:
        if isinstance(result, Result):
            error = None if result.error_text is None else script.located(result.error_text)
            write_json({"type": "result", "cell_id": result.cell_id, "error_text": error})
        else:
            write_json({"type": "terminated", "cell_id": result.cell_id})

    def refused(self, message: str) -> None:
        write_json({"type": "refused", "message": message})

    def lost(self, message: str) -> None:
        write_json({"type": "lost", "message": message})


Display = TextDisplay | JsonDisplay
