"""The wire protocol of code mode: frames, messages and the rules of the conversation. No I/O happens here."""
