"""Read caption fields from an XMP packet, and set them without changing any other byte.

XMP (ISO 16684-1) stores these fields as language alternatives. A sidecar may contain settings of
other programs, so showtell never rebuilds it: an XML parser locates the properties, and only the
bytes of those that change are replaced.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from showtell.errors import MetadataError
from showtell.photos.metadata.xmp_tree import (
    RDF_NAMESPACE,
    Element,
    Packet,
    parse_packet,
    rdf_name,
)

TextByLanguage = dict[str, str]
DEFAULT_LANGUAGE = "x-default"  # the text that programs show
_PROPERTIES = {  # field -> namespace, prefix, name
    "description": ("http://purl.org/dc/elements/1.1/", "dc", "description"),
    "alt": ("http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/", "Iptc4xmpCore", "AltTextAccessibility"),
}
_FIELD_BY_PROPERTY = {
    f"{namespace} {name}": key for key, (namespace, _, name) in _PROPERTIES.items()
}
_LANGUAGE_ATTRIBUTE = "http://www.w3.org/XML/1998/namespace lang"
_ABOUT = rdf_name("about")
_EMPTY_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""


def read_fields(packet: bytes) -> dict[str, TextByLanguage]:
    """Return the caption fields in a packet, each as a text by language.

    All forms that RDF allows are read: an attribute, plain text, `rdf:Alt`, and lists. If a
    language has several texts, they are joined by line ends.
    Raises MetadataError if it is not XMP.
    """
    return _fields(_occurrences(parse_packet(packet)))


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
    original = parse_packet(_EMPTY_PACKET.encode() if packet is None else packet)
    occurrences = _occurrences(original)
    edits: list[tuple[int, int, str]] = []  # start, end, new text
    new_properties = ""
    for key, text in texts.items():
        occurrence = occurrences[key]
        if alternatives := occurrence.single_alternatives():
            edits += _default_item_edits(original, alternatives, text)
            continue
        languages = {**occurrence.texts(), DEFAULT_LANGUAGE: text}
        edits += [(*span, "") for span in occurrence.attribute_spans]
        edits += [(element.start, element.end, "") for element in occurrence.elements[1:]]
        if occurrence.elements:
            first = occurrence.elements[0]
            edits.append((first.start, first.end, _property_xml(key, languages)))
        else:
            new_properties += f"   {_property_xml(key, languages)}\n"
    if new_properties:
        edits.append(_new_description_edit(original, new_properties))
    result = original.data
    for start, end, text in sorted(edits, reverse=True):
        result = result[:start] + original.encode(text) + result[end:]
    read_back = read_fields(result)
    if any(read_back[key].get(DEFAULT_LANGUAGE) != text for key, text in texts.items()) or (
        other_content(original.data, texts) != other_content(result, texts)
    ):
        raise MetadataError("its XMP has a form that cannot be changed safely")
    return result


def other_content(packet: bytes | None, fields: Collection[str]) -> list[object]:
    """Return all that a packet contains apart from the default language of `fields`.

    Two packets with equal results differ in nothing else, apart from spaces and comments. None
    is an empty packet.
    """
    parsed = parse_packet(_EMPTY_PACKET.encode() if packet is None else packet)
    occurrences = _occurrences(parsed)
    ours = {f"{_PROPERTIES[key][0]} {_PROPERTIES[key][2]}" for key in fields}
    skipped = {id(element) for key in fields for element in occurrences[key].elements}
    content: list[object] = []
    for node in parsed.rdf.children:
        attributes = {name: value for name, value in node.attributes.items() if name not in ours}
        children = [child for child in node.children if id(child) not in skipped]
        if children or node.name != rdf_name("Description") or set(attributes) - {_ABOUT}:
            content.append((node.name, attributes))
            content += [line for child in children for line in _lines(child)]
    for key in sorted(fields):
        texts = occurrences[key].texts()
        others = {
            language: text for language, text in texts.items() if language != DEFAULT_LANGUAGE
        }
        content.append((key, others))
    return content


def _lines(element: Element) -> Iterator[tuple[int, str, dict[str, str], str]]:
    for depth, inner in element.walk():
        text = inner.text.strip() if inner.children else inner.text
        yield depth, inner.name, inner.attributes, text


@dataclass
class _Occurrences:
    """Where a packet contains a field: as elements, and as attributes of rdf:Description."""

    elements: list[Element] = field(default_factory=list)
    attribute_texts: list[str] = field(default_factory=list)
    attribute_spans: list[tuple[int, int]] = field(default_factory=list)

    def texts(self) -> TextByLanguage:
        """Return the field's texts by language, without blank ones."""
        texts: dict[str, dict[str, None]] = {}
        pairs = [(DEFAULT_LANGUAGE, text) for text in self.attribute_texts]
        pairs += [pair for element in self.elements for pair in _language_texts(element)]
        for language, text in pairs:
            if text.strip():
                texts.setdefault(language, {})[text] = None
        return {language: "\n".join(values) for language, values in texts.items()}

    def single_alternatives(self) -> Element | None:
        """Return the field's rdf:Alt if that is its only form, and it has items."""
        if len(self.elements) != 1 or self.attribute_spans:
            return None
        element = self.elements[0]
        alternatives = element.named("Alt")
        is_single = len(element.children) == len(alternatives) == 1
        return alternatives[0] if is_single and alternatives[0].named("li") else None


def _occurrences(packet: Packet) -> dict[str, _Occurrences]:
    """Find the fields in the descriptions of a packet, by field."""
    occurrences = {key: _Occurrences() for key in _PROPERTIES}
    for node in packet.rdf.children:
        for name, value in node.attributes.items():
            if name in _FIELD_BY_PROPERTY:
                occurrence = occurrences[_FIELD_BY_PROPERTY[name]]
                occurrence.attribute_texts.append(value)
                occurrence.attribute_spans.append(packet.attribute_span(node, name))
        for child in node.children:
            if child.name in _FIELD_BY_PROPERTY:
                occurrences[_FIELD_BY_PROPERTY[child.name]].elements.append(child)
    return occurrences


def _fields(occurrences: dict[str, _Occurrences]) -> dict[str, TextByLanguage]:
    fields = {key: occurrence.texts() for key, occurrence in occurrences.items()}
    return {key: texts for key, texts in fields.items() if texts}


def _language_texts(element: Element) -> Iterator[tuple[str, str]]:
    """Yield the texts of a property, each with its language."""
    lists = element.named("Alt", "Seq", "Bag")
    if not lists:
        yield _language(element), _value(element).strip()
    for container in lists:
        for item in container.named("li"):
            yield _language(item), _value(item)


def _language(element: Element) -> str:
    language = element.attributes.get(_LANGUAGE_ATTRIBUTE, DEFAULT_LANGUAGE)
    return DEFAULT_LANGUAGE if language.lower() == DEFAULT_LANGUAGE else language


def _value(element: Element) -> str:
    """Return the text of a property or item: with qualifiers, it is in rdf:value."""
    for node in (element, *element.named("Description")):
        if rdf_name("value") in node.attributes:
            return node.attributes[rdf_name("value")]
        for value in node.named("value"):
            return value.text
    return element.attributes.get(rdf_name("resource"), element.text)


def _default_item_edits(
    packet: Packet, alternatives: Element, text: str
) -> Iterable[tuple[int, int, str]]:
    """Yield the edits that make `text` the default language, and keep all other items."""
    name = packet.tag_name(alternatives).removesuffix("Alt") + "li"
    item = f'<{name} xml:lang="{DEFAULT_LANGUAGE}">{_escape_text(text)}</{name}>'
    items = alternatives.named("li")
    defaults = [element for element in items if _language(element) == DEFAULT_LANGUAGE]
    if not defaults:
        yield items[0].start, items[0].start, item
    for element in defaults:
        yield element.start, element.end, item
        item = ""


def _new_description_edit(packet: Packet, properties: str) -> tuple[int, int, str]:
    """Return the edit that adds properties at the end of rdf:RDF."""
    rdf = packet.rdf
    about = next(
        (
            node.attributes[name]
            for node in rdf.children
            for name in (_ABOUT, "about")
            if name in node.attributes
        ),
        "",
    )
    description = (
        f' <rdf:Description xmlns:rdf="{RDF_NAMESPACE}" rdf:about="{_escape_attribute(about)}">\n'
        f"{properties}  </rdf:Description>\n "
    )
    if rdf.end == rdf.content_start:  # <rdf:RDF/>
        return rdf.end - 2, rdf.end, f">\n {description}</{packet.tag_name(rdf)}>"
    return rdf.content_end, rdf.content_end, description


def _property_xml(key: str, languages: TextByLanguage) -> str:
    namespace, prefix, name = _PROPERTIES[key]
    items = "".join(
        f'<rdf:li xml:lang="{_escape_attribute(language)}">'
        f"{_escape_text(languages[language])}</rdf:li>"
        for language in sorted(languages, key=lambda language: language != DEFAULT_LANGUAGE)
    )
    return (
        f'<{prefix}:{name} xmlns:{prefix}="{namespace}" xmlns:rdf="{RDF_NAMESPACE}">'
        f"<rdf:Alt>{items}</rdf:Alt></{prefix}:{name}>"
    )


def _escape_text(text: str) -> str:
    return escape(text, {"\r": "&#13;"})


def _escape_attribute(text: str) -> str:
    return escape(text, {'"': "&quot;", "\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})
