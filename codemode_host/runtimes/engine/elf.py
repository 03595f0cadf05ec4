"""Looks up symbols and relocation slots in a 64-bit little-endian ELF library on disk.

The dynamic loader resolves only exported symbols. `loading` needs two others: a local variable, which only ``.symtab``
names, and the slot through which a library calls a function that it imports, which only the relocation tables name.
"""

from __future__ import annotations

import mmap
import struct

_MAGIC = b"\x7fELF\x02\x01"  # 64 bits, little-endian
_SYMTAB, _RELA, _DYNSYM = 2, 4, 11
_SYMBOL_SIZE = _RELA_SIZE = 24
_OBJECT = 1


class ElfError(ValueError):
    """The file is no ELF library of the expected kind, or is damaged."""


class Library:
    """One ELF file, mapped read-only. Returned offsets are relative to the address at which the library is loaded."""

    def __init__(self, path: str) -> None:
        with open(path, "rb") as file:
            self._bytes = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        if self._bytes[:6] != _MAGIC:
            raise ElfError(f"{path} is no 64-bit little-endian ELF file")
        try:
            (table,) = struct.unpack_from("<Q", self._bytes, 0x28)
            size, count = struct.unpack_from("<HH", self._bytes, 0x3A)
            # name, type, flags, address, offset, size, link, info, alignment, entry size
            self._sections = [struct.unpack_from("<IIQQQQIIQQ", self._bytes, table + i * size) for i in range(count)]
        except struct.error as error:
            raise ElfError(f"{path} has no readable section table") from error

    def __enter__(self) -> Library:
        return self

    def __exit__(self, *_: object) -> None:
        self._bytes.close()

    def variable(self, name: str, size: int) -> int | None:
        """Return the offset of the data symbol `name` of `size` bytes in ``.symtab``, or None if there is none.

        The raw tables are searched without unpacking them: the symbol table of libmozjs has 58,000 entries.
        """
        for section in self._sections:
            if section[1] != _SYMTAB:
                continue
            strings = self._sections[section[6]]
            at = self._bytes.find(b"\0" + name.encode() + b"\0", strings[4], strings[4] + strings[5])
            if at < 0:
                continue
            index = struct.pack("<I", at + 1 - strings[4])
            start, end = section[4], section[4] + section[5]
            at = self._bytes.find(index, start, end)
            while at >= 0:
                if (at - start) % _SYMBOL_SIZE == 0:
                    _, info, _, _, value, length = struct.unpack_from("<IBBHQQ", self._bytes, at)
                    return int(value) if info & 15 == _OBJECT and length == size else None
                at = self._bytes.find(index, at + 1, end)
        return None

    def slot(self, name: str) -> int | None:
        """Return the offset of the slot with the address of the imported function `name`, or None if not imported."""
        symbol = None
        for section in self._sections:
            if section[1] != _DYNSYM:
                continue
            strings = self._sections[section[6]]
            at = self._bytes.find(b"\0" + name.encode() + b"\0", strings[4], strings[4] + strings[5])
            if at < 0:
                return None
            wanted = at + 1 - strings[4]
            for i in range(section[5] // _SYMBOL_SIZE):
                if struct.unpack_from("<I", self._bytes, section[4] + i * _SYMBOL_SIZE)[0] == wanted:
                    symbol = i
                    break
        if symbol is None:
            return None
        for section in self._sections:
            if section[1] != _RELA or self._sections[section[6]][1] != _DYNSYM:
                continue
            for offset, info, _ in struct.iter_unpack("<QQq", self._bytes[section[4] : section[4] + section[5]]):
                if info >> 32 == symbol:
                    return int(offset)
        return None
