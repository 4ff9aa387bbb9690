"""Words in XMP: read from a packet, and put into one without touching a byte beside them.

The XMP specification (ISO 16684-1) keeps both fields as language alternatives. A sidecar may hold
the work of hours in another program, so it is never rebuilt: its properties are found by a real
XML parser, and only the bytes of those that change are exchanged.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape

from showtell.errors import MetadataError

Languages = dict[str, str]  # language -> text; `x-default` is what programs show
DEFAULT = "x-default"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_PROPERTIES = {  # field -> namespace, prefix, name
    "description": ("http://purl.org/dc/elements/1.1/", "dc", "description"),
    "alt": ("http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/", "Iptc4xmpCore", "AltTextAccessibility"),
}
XMP_FIELDS = tuple(_PROPERTIES)
_FIELD_OF = {f"{space} {name}": key for key, (space, _, name) in _PROPERTIES.items()}
_LANG = "http://www.w3.org/XML/1998/namespace lang"
_EMPTY = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""


def read_words(packet: bytes) -> dict[str, Languages]:
    """Return the fields that a packet holds, each by language.

    Raises MetadataError where it is not XMP.
    """
    return _parse(_plain(packet)).words


def find_packet(data: bytes) -> bytes | None:
    """Return the XMP packet in a file of any format, found by its own marks."""
    start = data.find(b"<x:xmpmeta")
    end = data.find(b"</x:xmpmeta>", start)
    return data[start : end + len(b"</x:xmpmeta>")] if 0 <= start < end else None


def put_words(packet: bytes | None, words: dict[str, str]) -> bytes:
    """Return a packet (a new one for None) that holds `words` in its fields' default language.

    All else stays as it is, byte by byte, other languages of the same fields included.
    Raises MetadataError where the packet is not XMP, or of a form that cannot be changed safely.
    """
    plain = _EMPTY.encode() if packet is None else _plain(packet)
    found = _parse(plain)
    changes: list[tuple[int, int, str]] = []
    new = ""
    for key, text in words.items():
        languages = {**found.words.get(key, {}), DEFAULT: text}
        if key in found.spans:
            start, end = found.spans[key]
            changes.append((start, end, _property(key, languages)))
        else:
            new += f"   {_property(key, languages)}\n"
    if new:
        about = escape(found.about, {'"': "&quot;"})
        changes.append(
            (
                found.rdf_end,
                found.rdf_end,
                f' <rdf:Description xmlns:rdf="{RDF}" rdf:about="{about}">\n{new}'
                "  </rdf:Description>\n ",
            )
        )
    result = plain
    for start, end, text in sorted(changes, reverse=True):
        result = result[:start] + _encoded(text, found.encoding) + result[end:]
    if {
        key: own.get(DEFAULT) for key, own in _parse(result).words.items() if key in words
    } != words:
        raise MetadataError("its XMP has a form that cannot be changed safely")
    return result


def _property(key: str, languages: Languages) -> str:
    space, prefix, name = _PROPERTIES[key]
    items = "".join(
        f'<rdf:li xml:lang="{escape(language, {chr(34): "&quot;"})}">{_text(languages[language])}'
        "</rdf:li>"
        for language in sorted(languages, key=lambda language: language != DEFAULT)
    )
    return (
        f'<{prefix}:{name} xmlns:{prefix}="{space}" xmlns:rdf="{RDF}">'
        f"<rdf:Alt>{items}</rdf:Alt></{prefix}:{name}>"
    )


def _text(text: str) -> str:
    return escape(text, {"\r": "&#13;"})


@dataclass
class _Parsed:
    """What a packet holds and where: byte spans of properties, and where rdf:RDF ends."""

    words: dict[str, Languages] = field(default_factory=dict)
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)
    rdf_end: int = -1
    about: str = ""
    encoding: str = "utf-8"


def _plain(packet: bytes) -> bytes:
    """Return a packet in an encoding that has ASCII in it, without padding."""
    for mark, encoding in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if packet.startswith(mark):
            try:
                text = packet[len(mark) :].decode(encoding)
            except UnicodeDecodeError as error:
                raise MetadataError(f"its XMP is damaged ({error.reason})") from None
            if encoding != "utf-8" and text.startswith("<?xml"):
                text = text[text.find("?>") + 2 :].lstrip()
            return text.encode()
    return packet.rstrip(b"\0")


def _parse(packet: bytes) -> _Parsed:
    reader = _Reader(packet)
    try:
        reader.parser.Parse(packet, True)
    except expat.ExpatError as error:
        raise MetadataError(f"its XMP is damaged ({error})") from None
    if reader.found.rdf_end < 0:
        raise MetadataError("it holds no XMP (no rdf:RDF)")
    return reader.found


class _Reader:
    """Follows the parser through rdf:RDF / rdf:Description / property / rdf:Alt / rdf:li."""

    def __init__(self, packet: bytes) -> None:
        self.packet = packet
        self.found = _Parsed()
        self.parser = parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = self._doctype
        parser.XmlDeclHandler = self._declaration
        self._path: list[str] = []
        self._key: str | None = None
        self._begin = 0
        self._language = DEFAULT
        self._text: list[str] = []

    def _doctype(self, *_: object) -> None:
        raise MetadataError("its XMP has a document type, which XMP never has")

    def _declaration(self, _: str, encoding: str | None, __: int) -> None:
        self.found.encoding = (encoding or "utf-8").lower()

    def _in_description(self) -> bool:
        return self._path[-2:] == [f"{RDF} RDF", f"{RDF} Description"]

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if self._path[-1:] == [f"{RDF} RDF"] and name == f"{RDF} Description":
            self.found.about = attributes.get(f"{RDF} about", self.found.about)
            for attribute, value in attributes.items():
                if attribute in _FIELD_OF:
                    self.found.words[_FIELD_OF[attribute]] = {DEFAULT: value}
        elif self._key is None and name in _FIELD_OF and self._in_description():
            self._key = _FIELD_OF[name]
            self._begin = self.parser.CurrentByteIndex
            self._text = []
        elif self._key is not None and name == f"{RDF} li":
            self._language = attributes.get(_LANG, DEFAULT)
            self._text = []
        self._path.append(name)

    def _characters(self, text: str) -> None:
        if self._key is not None:
            self._text.append(text)

    def _end(self, name: str) -> None:
        self._path.pop()
        at = self.parser.CurrentByteIndex
        if name == f"{RDF} RDF":
            self.found.rdf_end = at
        elif self._key is not None and name == f"{RDF} li":
            self._keep("".join(self._text))
        elif self._key is not None and name in _FIELD_OF and self._in_description():
            text = "".join(self._text).strip()
            if self._key not in self.found.words and text:  # plain text, without rdf:Alt
                self._keep(text)
            self.found.spans[self._key] = (self._begin, self.packet.find(b">", at) + 1)
            self._key = None

    def _keep(self, text: str) -> None:
        assert self._key is not None
        self.found.words.setdefault(self._key, {})[self._language] = text
        self._language, self._text = DEFAULT, []


def _encoded(text: str, encoding: str) -> bytes:
    if encoding in ("utf-8", "utf8"):
        return text.encode()
    return text.encode("ascii", "xmlcharrefreplace")
