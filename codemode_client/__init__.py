"""The client: sessions on a host process of one's own, for trio."""

from codemode_client.cells import HostStartedCell as StartedCell
from codemode_client.provider import CodeModeProvider
from codemode_client.session import Session
from codemode_client.toolbox import Toolbox

__all__ = ["CodeModeProvider", "Session", "StartedCell", "Toolbox"]
