"""Parse an XMP packet into elements that know their bytes, so that single ones can be replaced."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from showtell.errors import MetadataError

RDF_NAMESPACE = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
# limits, so that a small compressed packet cannot fill the memory; real packets stay far below
_MAX_SIZE = 16 << 20  # bytes
_MAX_ELEMENTS, _MAX_DEPTH = 100_000, 200
# the only encodings that are read: a file must not choose among Python's codecs by name
_ENCODINGS = {
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "us-ascii",
    "ascii": "us-ascii",
    "iso-8859-1": "iso-8859-1",
    "latin-1": "iso-8859-1",
    "latin1": "iso-8859-1",
}
# first bytes, encoding, whether they are a byte order mark; UTF-32's begin with those of UTF-16
_WIDE_ENCODINGS = (
    (codecs.BOM_UTF32_LE, "utf-32-le", True),
    (codecs.BOM_UTF32_BE, "utf-32-be", True),
    (codecs.BOM_UTF16_LE, "utf-16-le", True),
    (codecs.BOM_UTF16_BE, "utf-16-be", True),
    (b"<\0", "utf-16-le", False),
    (b"\0<", "utf-16-be", False),
)
_DECLARATION = re.compile(rb"<\?xml\s[^>]*?>")
_DECLARED_ENCODING = re.compile(rb"""\sencoding\s*=\s*["']([^"'>]*)["']""")
_START_TAG = re.compile(rb"""(?:[^>"']|"[^"]*"|'[^']*')*>""")
_TAG_NAME = re.compile(rb"<([^\s/>]+)")
_ATTRIBUTE = re.compile(rb"""\s+([^\s=/>]+)\s*=\s*(?:"[^"]*"|'[^']*')""")


@dataclass(slots=True)
class Element:
    """An element of a packet: bytes `start` to `end`, its content from `content_start` on.

    Names are `namespace name`, separated by a space. `namespaces`, by prefix, are those that the
    element declares itself. `text` is its own character data, without
    that of its children. An element without an end tag has `content_start == end`.
    """

    name: str
    attributes: dict[str, str]
    namespaces: dict[str, str]
    parent: Element | None
    start: int
    content_start: int
    content_end: int = -1
    end: int = -1
    children: list[Element] = field(default_factory=list)
    text: str = ""

    def named(self, *names: str) -> list[Element]:
        """Return the children that have one of the names of RDF."""
        return [child for child in self.children if child.name in {rdf_name(n) for n in names}]

    def namespace(self, prefix: str) -> str | None:
        """Return the namespace of a prefix in this element."""
        element: Element | None = self
        while element is not None:
            if prefix in element.namespaces:
                return element.namespaces[prefix]
            element = element.parent
        return None

    def walk(self) -> Iterator[tuple[int, Element]]:
        """Yield the element and all below it in the order of the document, with their depth."""
        stack = [(0, self)]
        while stack:
            depth, element = stack.pop()
            yield depth, element
            stack.extend((depth + 1, child) for child in reversed(element.children))


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet's bytes in an ASCII-compatible encoding, and its element rdf:RDF."""

    data: bytes
    encoding: str
    rdf: Element

    def tag_name(self, element: Element) -> str:
        """Return an element's name as the packet spells it, with its prefix."""
        match = _TAG_NAME.match(self.data, element.start)
        assert match is not None
        return match[1].decode(self.encoding)

    def attribute_span(self, element: Element, name: str) -> tuple[int, int]:
        """Return the bytes of an attribute, with the space before it."""
        namespace, _, local_name = name.rpartition(" ")
        position = element.start + 1 + len(self.tag_name(element).encode(self.encoding))
        while match := _ATTRIBUTE.match(self.data, position):
            prefix, _, spelled = match[1].decode(self.encoding).rpartition(":")
            if spelled == local_name and element.namespace(prefix) == namespace:
                return match.span()
            position = match.end()
        raise MetadataError("its XMP has a form that cannot be changed safely")

    def encode(self, text: str) -> bytes:
        """Encode text of the packet; characters that its encoding lacks become references."""
        return text.encode(self.encoding, "xmlcharrefreplace")


def rdf_name(name: str) -> str:
    """Return the full name of an element or attribute of RDF."""
    return f"{RDF_NAMESPACE} {name}"


def parse_packet(data: bytes) -> Packet:
    """Parse a packet; UTF-16 and UTF-32 become UTF-8.

    Raises MetadataError if it is damaged, not XMP, or in an encoding that is not read.
    """
    if len(data) > _MAX_SIZE:
        raise MetadataError(f"its XMP is larger than {_MAX_SIZE >> 20} MB")
    data, encoding = _normalize(data)
    reader = _TreeReader(data, encoding)
    try:
        reader.parser.Parse(data, True)
    except (expat.ExpatError, ValueError) as error:
        raise MetadataError(f"its XMP is damaged ({error})") from None
    for _, element in reader.root.walk():
        if element.name == rdf_name("RDF"):
            return Packet(data, encoding, element)
    raise MetadataError("it contains no XMP (no rdf:RDF)")


def _normalize(data: bytes) -> tuple[bytes, str]:
    """Return the packet in an ASCII-compatible encoding, without trailing NULs, and the encoding.

    Raises MetadataError if it cannot be decoded.
    """
    for first_bytes, encoding, is_mark in _WIDE_ENCODINGS:
        if data.startswith(first_bytes):
            try:
                text = data[len(first_bytes) if is_mark else 0 :].decode(encoding)
            except UnicodeDecodeError as error:
                raise MetadataError(f"its XMP is damaged ({error.reason})") from None
            data = text.rstrip("\0").encode("utf-8", "replace")
            return _DECLARATION.sub(b"", data, count=1).lstrip(), "utf-8"
    data = data.rstrip(b"\0")
    if data.startswith(codecs.BOM_UTF8):
        return data, "utf-8"
    declaration = _DECLARATION.match(data)
    declared = _DECLARED_ENCODING.search(declaration[0]) if declaration else None
    if declared is None:
        return data, "utf-8"
    name = declared[1].decode("ascii", "replace")
    if name.lower() not in _ENCODINGS:
        raise MetadataError(f"its XMP is in the encoding {name[:40]!r}: save it as UTF-8")
    return data, _ENCODINGS[name.lower()]


class _TreeReader:
    """Handles the parser's events. The encoding is ours: that of the declaration is ignored."""

    def __init__(self, data: bytes, encoding: str) -> None:
        self.data = data
        self.root = Element("", {}, {}, None, 0, 0)
        self.parser = parser = expat.ParserCreate(encoding, namespace_separator=" ")
        parser.buffer_text = True
        parser.StartNamespaceDeclHandler = self._namespace
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = self._doctype
        self._open = [self.root]
        self._new_namespaces: dict[str, str] = {}
        self._count = 0

    def _doctype(self, *_: object) -> None:
        raise MetadataError("its XMP has a document type declaration, which XMP does not allow")

    def _namespace(self, prefix: str | None, uri: str | None) -> None:
        self._new_namespaces[prefix or ""] = uri or ""

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if len(self._open) > _MAX_DEPTH:
            raise MetadataError(f"its XMP has elements more than {_MAX_DEPTH} deep")
        self._count += 1
        if self._count > _MAX_ELEMENTS:
            raise MetadataError(f"its XMP has more than {_MAX_ELEMENTS:,} elements")
        parent = self._open[-1]
        namespaces, self._new_namespaces = self._new_namespaces, {}
        start = self.parser.CurrentByteIndex
        tag = _START_TAG.match(self.data, start)
        assert tag is not None  # the parser has accepted it
        element = Element(name, attributes, namespaces, parent, start, tag.end())
        parent.children.append(element)
        self._open.append(element)

    def _characters(self, text: str) -> None:
        self._open[-1].text += text

    def _end(self, _: str) -> None:
        element = self._open.pop()
        if self.data[element.content_start - 2 : element.content_start] == b"/>":
            element.content_end = element.end = element.content_start
        else:
            element.content_end = self.parser.CurrentByteIndex
            element.end = self.data.index(b">", element.content_end) + 1
