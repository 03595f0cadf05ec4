"""The part of JavaScript's grammar that a prompt needs: is the input complete, and is its last statement an expression?

`is_complete` may be wrong: it only decides what the Enter key does. `split_last_expression` may miss an expression, but
its result must be one if the engine accepts it as one: a script must do the same whether or not its value is shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """The kinds of tokens."""

    WORD = "word"
    PROPERTY = "property"
    """A word after a dot, which may be any word, even `new`."""
    NUMBER = "number"
    STRING = "string"
    TEMPLATE = "template"
    REGEX = "regex"
    PUNCTUATION = "punctuation"


@dataclass(frozen=True)
class Token:
    """A token from `start` to `end`.

    `depth` is the number of open brackets around it. `headed` says that it closes the head of an `if` or a loop, or a
    `try` or `do` block, so that more must follow.
    """

    kind: Kind
    text: str
    start: int
    end: int
    depth: int
    after_newline: bool
    headed: bool = False


_SPACE = re.compile(r"(?:\s|//[^\n\u2028\u2029]*|/\*.*?\*/)+", re.DOTALL)
_WORD = re.compile(r"(?:[\w$#]|\\u[0-9A-Fa-f]{4}|\\u\{[0-9A-Fa-f]+\})+")
_NUMBER = re.compile(r"\.?\d(?:[eE][+-]|[\w.])*")
_STRING = re.compile(r"'(?:[^'\\\n]|\\.)*'|\"(?:[^\"\\\n]|\\.)*\"", re.DOTALL)
_TEMPLATE = re.compile(r"(?:[^`\\$]|\\.|\$(?!\{))*(`|\$\{)", re.DOTALL)
_REGEX = re.compile(r"/(?![*/])(?:[^/\\\[\n]|\\[^\n]|\[(?:[^\]\\\n]|\\[^\n])*\])+/\w*")
_PUNCTUATION = re.compile(r"=>|\+\+|--|\?\.(?!\d)|\.\.\.|\*\*|&&|\|\||\?\?|.", re.DOTALL)

_CLOSES = {")": "(", "]": "[", "}": "{"}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_OPERATOR_WORDS = _words("await case delete in instanceof new return throw typeof void yield")
# Words that cannot end a statement. Those that may be names, like `of`, are not included.
_UNFINISHED_WORDS = _OPERATOR_WORDS | _words(
    "catch class const default do else export extends finally for function if import switch try var while with"
)
_ENDING_PUNCTUATION = frozenset([")", "]", "}", ";", "++", "--"])
_HEADED_WORDS = frozenset(["if", "for", "while", "with"])
# Words that begin a statement that is no expression, or would mean something else as one.
_STATEMENT_WORDS = _UNFINISHED_WORDS - _OPERATOR_WORDS - {"import"} | _words(
    "break case continue debugger enum let return static throw"
)


class Scan:
    """A source split into tokens."""

    def __init__(self, source: str) -> None:
        self._source = source
        # A shebang line is not part of the script.
        self._position = len(source.partition("\n")[0]) if source.startswith("#!") else 0
        self._open: list[tuple[str, Token | None]] = []
        """The open brackets, including `${`, each with the token before it."""
        self._do_depths: list[int] = []
        self._previous: Token | None = None
        self.cut_off = False
        """The source ends inside a template, a comment or a string."""
        self.broken = False
        """No continuation makes the source valid."""
        self.doubtful = False
        """A slash may be a division or begin a regular expression."""
        self.tokens = list(self._scan())

    @property
    def nested(self) -> bool:
        """Whether brackets are open at the end."""
        return bool(self._open)

    def _scan(self) -> Iterator[Token]:
        source = self._source
        while True:
            start = self._position
            if space := _SPACE.match(source, start):
                self._position = space.end()
            if self._position == len(source):
                return
            after_newline = "\n" in source[start : self._position]
            if source.startswith("/*", self._position):
                self.cut_off = True
                return
            token = self._token(after_newline)
            if token is None:
                return
            self._previous = token
            yield token

    def _token(self, after_newline: bool) -> Token | None:
        source, start, depth = self._source, self._position, len(self._open)
        first = source[start]
        if first == "`" or (first == "}" and self._open and self._open[-1][0] == "${"):
            if first == "}":
                self._open.pop()
                depth -= 1
            match = _TEMPLATE.match(source, start + 1)
            if match is None:
                self.cut_off = True
                return None
            if match[1] == "${":
                self._open.append(("${", self._previous))
            return self._take(Kind.TEMPLATE, match.end(), depth, after_newline)
        if first in "'\"":
            match = _STRING.match(source, start)
            if match is None:
                # A string ends on its line unless a backslash ends the line.
                self.cut_off = source.endswith("\\")
                self.broken = not self.cut_off
                return None
            return self._take(Kind.STRING, match.end(), depth, after_newline)
        if first == "/" and self._regex_may_begin(after_newline):
            match = _REGEX.match(source, start)
            if match is not None:
                return self._take(Kind.REGEX, match.end(), depth, after_newline)
        for kind, pattern in ((Kind.NUMBER, _NUMBER), (Kind.WORD, _WORD)):
            match = pattern.match(source, start)
            if match is not None:
                return self._take(kind, match.end(), depth, after_newline)
        return self._punctuation(depth, after_newline)

    def _punctuation(self, depth: int, after_newline: bool) -> Token | None:
        match = _PUNCTUATION.match(self._source, self._position)
        assert match is not None
        text = match[0]
        headed = False
        if text in ("(", "[", "{"):
            self._open.append((text, self._previous))
        elif text in _CLOSES:
            if not self._open or self._open[-1][0] != _CLOSES[text]:
                self.broken = True
                return None
            _, before = self._open.pop()
            depth -= 1
            headed = self._is_head(text, before)
        return self._take(Kind.PUNCTUATION, match.end(), depth, after_newline, headed)

    def _is_head(self, closing: str, before: Token | None) -> bool:
        """Return whether a bracket that was opened after `before` closes the head of a statement."""
        if before is None or before.kind is not Kind.WORD:
            return False
        if closing == "}":
            return before.text in ("try", "do")
        if before.text == "while" and before.depth in self._do_depths:
            self._do_depths.remove(before.depth)
            return False
        return before.text in _HEADED_WORDS

    def _take(self, kind: Kind, end: int, depth: int, after_newline: bool, headed: bool = False) -> Token:
        start, self._position = self._position, end
        text = self._source[start:end]
        if kind is Kind.WORD and self._previous is not None and self._previous.text in (".", "?."):
            kind = Kind.PROPERTY
        elif kind is Kind.WORD and text == "do":
            self._do_depths.append(depth)
        return Token(kind, text, start, end, depth, after_newline, headed)

    def _regex_may_begin(self, after_newline: bool) -> bool:
        previous = self._previous
        if previous is None or previous.headed:
            return True
        if previous.kind is Kind.WORD:
            return previous.text in _UNFINISHED_WORDS
        if previous.kind is Kind.TEMPLATE:
            return previous.text.endswith("${")
        if previous.kind is not Kind.PUNCTUATION:
            return False
        if previous.text == "}":
            self.doubtful = True
            return after_newline
        return previous.text not in _ENDING_PUNCTUATION or previous.text == ";"


def _unfinished(token: Token) -> bool:
    """Return whether something must follow a token."""
    if token.headed:
        return True
    if token.kind is Kind.WORD:
        return token.text in _UNFINISHED_WORDS
    return token.kind is Kind.PUNCTUATION and token.text not in _ENDING_PUNCTUATION


def is_complete(source: str) -> bool:
    """Return whether a source can be run: no bracket, template or comment is open, and no operator lacks its operand.

    Also return True for invalid source, so that the engine reports the error.
    """
    scan = Scan(source)
    if scan.broken:
        return True
    if scan.cut_off or scan.nested:
        return False
    return not scan.tokens or not _unfinished(scan.tokens[-1])


def split_last_expression(source: str) -> tuple[str, str, str] | None:
    """Return the text before the last statement of a source, the statement, and the text after it (semicolons).

    Return None if it has no value to show. Otherwise, if the source compiles with `f((` and `))` around the statement,
    it is an expression statement, and the source does the same as before and calls `f` with its value.
    """
    scan = Scan(source)
    tokens = scan.tokens
    if scan.broken or scan.cut_off or scan.nested or scan.doubtful:
        return None
    while tokens and tokens[-1].text == ";" and tokens[-1].kind is Kind.PUNCTUATION:
        tokens.pop()
    if not tokens or _unfinished(tokens[-1]):
        return None
    begin = max(index for index in range(len(tokens)) if _begins_statement(tokens, index))
    first = tokens[begin]
    following = tokens[begin + 1] if begin + 1 < len(tokens) else None
    if first.text == "{" or (first.kind is Kind.WORD and first.text in _STATEMENT_WORDS):
        return None
    if first.text == "async" and following is not None and following.text == "function":
        return None
    return source[: first.start], source[first.start : tokens[-1].end], source[tokens[-1].end :]


def _begins_statement(tokens: list[Token], index: int) -> bool:
    """Return whether a statement begins at a token; exclude every other continuation of the token before."""
    token = tokens[index]
    if index == 0:
        return True
    previous = tokens[index - 1]
    if token.depth > 0 or previous.depth > 0 or (token.kind is Kind.TEMPLATE and not token.text.startswith("`")):
        return False
    if previous.text == ";" and previous.kind is Kind.PUNCTUATION:
        return True
    if not token.after_newline or _unfinished(previous):
        return False
    if token.kind is Kind.WORD:
        return token.text not in ("in", "instanceof", "of", "else", "while", "catch", "finally")
    return token.kind in (Kind.STRING, Kind.NUMBER)
