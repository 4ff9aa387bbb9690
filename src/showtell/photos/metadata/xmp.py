"""Read caption fields from an XMP packet, and set them without changing any other byte.

XMP (ISO 16684-1) stores these fields as language alternatives. A sidecar may contain settings of
other programs, so showtell never rebuilds it: an XML parser locates the properties, and only the
bytes of those that change are replaced.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import escape

from showtell.errors import MetadataError

TextByLanguage = dict[str, str]
DEFAULT_LANGUAGE = "x-default"  # the text that programs show
_RDF_NAMESPACE = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_PROPERTIES = {  # field -> namespace, prefix, name
    "description": ("http://purl.org/dc/elements/1.1/", "dc", "description"),
    "alt": ("http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/", "Iptc4xmpCore", "AltTextAccessibility"),
}
_FIELD_BY_PROPERTY = {
    f"{namespace} {name}": key for key, (namespace, _, name) in _PROPERTIES.items()
}
_LANGUAGE_ATTRIBUTE = "http://www.w3.org/XML/1998/namespace lang"
_EMPTY_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""


def read_fields(packet: bytes) -> dict[str, TextByLanguage]:
    """Return the caption fields in a packet, each as a text by language.

    Raises MetadataError if it is not XMP.
    """
    return _parse(_normalize(packet)).fields


def find_packet(data: bytes) -> bytes | None:
    """Return the first XMP packet in a file of any format, or None."""
    start = data.find(b"<x:xmpmeta")
    end = data.find(b"</x:xmpmeta>", start)
    return data[start : end + len(b"</x:xmpmeta>")] if 0 <= start < end else None


def set_fields(packet: bytes | None, texts: dict[str, str]) -> bytes:
    """Return the packet with `texts` as the default language of their fields.

    None creates a new packet. All other bytes stay the same, and so do other languages of the
    same fields; but UTF-16 becomes UTF-8.

    Raises MetadataError if the packet is not XMP, or cannot be changed safely.
    """
    original = _EMPTY_PACKET.encode() if packet is None else _normalize(packet)
    parsed = _parse(original)
    replacements: list[tuple[int, int, str]] = []  # start, end, new text
    new_properties = ""
    for key, text in texts.items():
        languages = {**parsed.fields.get(key, {}), DEFAULT_LANGUAGE: text}
        if key in parsed.spans:
            replacements.append((*parsed.spans[key], _property_xml(key, languages)))
        else:
            new_properties += f"   {_property_xml(key, languages)}\n"
    if new_properties:
        about = _escape_attribute(parsed.about)
        description = (
            f' <rdf:Description xmlns:rdf="{_RDF_NAMESPACE}" rdf:about="{about}">\n'
            f"{new_properties}  </rdf:Description>\n "
        )
        replacements.append((parsed.rdf_end, parsed.rdf_end, description))
    result = original
    for start, end, text in sorted(replacements, reverse=True):
        result = result[:start] + _encode(text, parsed.encoding) + result[end:]
    read_back = _parse(result).fields
    if any(read_back.get(key, {}).get(DEFAULT_LANGUAGE) != text for key, text in texts.items()):
        raise MetadataError("its XMP has a form that cannot be changed safely")
    return result


def _property_xml(key: str, languages: TextByLanguage) -> str:
    namespace, prefix, name = _PROPERTIES[key]
    items = "".join(
        f'<rdf:li xml:lang="{_escape_attribute(language)}">'
        f"{_escape_text(languages[language])}</rdf:li>"
        for language in sorted(languages, key=lambda language: language != DEFAULT_LANGUAGE)
    )
    return (
        f'<{prefix}:{name} xmlns:{prefix}="{namespace}" xmlns:rdf="{_RDF_NAMESPACE}">'
        f"<rdf:Alt>{items}</rdf:Alt></{prefix}:{name}>"
    )


def _escape_text(text: str) -> str:
    return escape(text, {"\r": "&#13;"})


def _escape_attribute(text: str) -> str:
    return escape(text, {'"': "&quot;"})


@dataclass
class _ParsedPacket:
    """A packet's caption fields, the byte spans of their properties, and where rdf:RDF ends."""

    fields: dict[str, TextByLanguage] = field(default_factory=dict)
    spans: dict[str, tuple[int, int]] = field(default_factory=dict)
    rdf_end: int = -1
    about: str = ""
    encoding: str = "utf-8"


def _normalize(packet: bytes) -> bytes:
    """Return the packet in an ASCII-compatible encoding, without trailing NULs.

    UTF-16 becomes UTF-8. A byte order mark is removed. Raises MetadataError if the packet cannot
    be decoded.
    """
    for byte_order_mark, encoding in (
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ):
        if packet.startswith(byte_order_mark):
            try:
                text = packet[len(byte_order_mark) :].decode(encoding)
            except UnicodeDecodeError as error:
                raise MetadataError(f"its XMP is damaged ({error.reason})") from None
            if encoding != "utf-8" and text.startswith("<?xml"):
                text = text[text.find("?>") + 2 :].lstrip()
            return text.encode()
    return packet.rstrip(b"\0")


def _parse(packet: bytes) -> _ParsedPacket:
    reader = _PacketReader(packet)
    try:
        reader.parser.Parse(packet, True)
    except expat.ExpatError as error:
        raise MetadataError(f"its XMP is damaged ({error})") from None
    if reader.parsed.rdf_end < 0:
        raise MetadataError("it contains no XMP (no rdf:RDF)")
    return reader.parsed


class _PacketReader:
    """Handles the parser's events for rdf:RDF / rdf:Description / property / rdf:Alt / rdf:li."""

    def __init__(self, packet: bytes) -> None:
        self.packet = packet
        self.parsed = _ParsedPacket()
        self.parser = parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        parser.StartDoctypeDeclHandler = self._doctype
        parser.XmlDeclHandler = self._declaration
        self._open_elements: list[str] = []
        self._field: str | None = None
        self._property_start = 0
        self._language = DEFAULT_LANGUAGE
        self._text: list[str] = []

    def _doctype(self, *_: object) -> None:
        raise MetadataError("its XMP has a document type declaration, which XMP does not allow")

    def _declaration(self, _: str, encoding: str | None, __: int) -> None:
        self.parsed.encoding = (encoding or "utf-8").lower()

    def _in_description(self) -> bool:
        return self._open_elements[-2:] == [
            f"{_RDF_NAMESPACE} RDF",
            f"{_RDF_NAMESPACE} Description",
        ]

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if (
            self._open_elements[-1:] == [f"{_RDF_NAMESPACE} RDF"]
            and name == f"{_RDF_NAMESPACE} Description"
        ):
            self.parsed.about = attributes.get(f"{_RDF_NAMESPACE} about", self.parsed.about)
            for attribute, value in attributes.items():
                if attribute in _FIELD_BY_PROPERTY:
                    self.parsed.fields[_FIELD_BY_PROPERTY[attribute]] = {DEFAULT_LANGUAGE: value}
        elif self._field is None and name in _FIELD_BY_PROPERTY and self._in_description():
            self._field = _FIELD_BY_PROPERTY[name]
            self._property_start = self.parser.CurrentByteIndex
            self._text = []
        elif self._field is not None and name == f"{_RDF_NAMESPACE} li":
            self._language = attributes.get(_LANGUAGE_ATTRIBUTE, DEFAULT_LANGUAGE)
            self._text = []
        self._open_elements.append(name)

    def _characters(self, text: str) -> None:
        if self._field is not None:
            self._text.append(text)

    def _end(self, name: str) -> None:
        self._open_elements.pop()
        position = self.parser.CurrentByteIndex
        if name == f"{_RDF_NAMESPACE} RDF":
            self.parsed.rdf_end = position
        elif self._field is not None and name == f"{_RDF_NAMESPACE} li":
            self._store("".join(self._text))
        elif self._field is not None and name in _FIELD_BY_PROPERTY and self._in_description():
            text = "".join(self._text).strip()
            if self._field not in self.parsed.fields and text:  # plain text, without rdf:Alt
                self._store(text)
            end = self.packet.find(b">", position) + 1
            self.parsed.spans[self._field] = (self._property_start, end)
            self._field = None

    def _store(self, text: str) -> None:
        assert self._field is not None
        self.parsed.fields.setdefault(self._field, {})[self._language] = text
        self._language, self._text = DEFAULT_LANGUAGE, []


def _encode(text: str, encoding: str) -> bytes:
    if encoding in ("utf-8", "utf8"):
        return text.encode()
    return text.encode("ascii", "xmlcharrefreplace")
