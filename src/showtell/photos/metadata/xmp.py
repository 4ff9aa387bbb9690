"""Read captions and keywords from an XMP packet, and set them without changing any other byte.

A sidecar may contain settings of other programs, so showtell never rebuilds it: an XML parser
locates the properties, and only the bytes of those that change are replaced.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from xml.sax.saxutils import escape

from showtell.errors import MetadataError
from showtell.photos.metadata.field_values import KEYWORDS, FieldValue, FieldValues
from showtell.photos.metadata.xmp_occurrences import (
    DEFAULT_LANGUAGE,
    PROPERTIES,
    Occurrences,
    TextByLanguage,
    find_occurrences,
    language_tag_of,
    value_of,
)
from showtell.photos.metadata.xmp_tree import (
    RDF_NAMESPACE,
    Element,
    Packet,
    parse_packet,
    rdf_name,
)

_ABOUT = rdf_name("about")
_EMPTY_PACKET = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>
"""
_Edit = tuple[int, int, str]  # start, end, new text


def read_fields(packet: bytes) -> dict[str, TextByLanguage]:
    """Return the caption fields in a packet, each as a text by language.

    All forms that RDF allows are read: an attribute, plain text, `rdf:Alt`, and lists. If a
    language has several texts, they are joined by line ends.
    Raises MetadataError if it is not XMP.
    """
    return _fields(find_occurrences(parse_packet(packet)))


def field_names(packet: bytes) -> set[str]:
    """Return the fields that a packet has.

    Raises MetadataError if it is not XMP.
    """
    occurrences = find_occurrences(parse_packet(packet))
    return {key for key, occurrence in occurrences.items() if occurrence.items()}


def find_packet(data: bytes) -> bytes | None:
    """Return the first XMP packet in a file of any format, or None."""
    start = data.find(b"<x:xmpmeta")
    end = data.find(b"</x:xmpmeta>", start)
    return data[start : end + len(b"</x:xmpmeta>")] if 0 <= start < end else None


def read_keywords(packet: bytes) -> tuple[str, ...]:
    """Return the keywords in a packet (dc:subject), in their order.

    Raises MetadataError if it is not XMP.
    """
    return find_occurrences(parse_packet(packet))[KEYWORDS].items()


def set_fields(packet: bytes | None, values: FieldValues) -> bytes:
    """Return the packet with texts as the default language of their fields, and with keywords.

    None creates a new packet. All other bytes stay the same, and so do other languages of the
    same fields, and keywords that are in the packet already; but UTF-16 becomes UTF-8.

    Raises MetadataError if the packet is not XMP, or cannot be changed safely.
    """
    original = parse_packet(_EMPTY_PACKET.encode() if packet is None else packet)
    occurrences = find_occurrences(original)
    edits: list[_Edit] = []
    new_properties = ""
    for key, value in values.items():
        occurrence = occurrences[key]
        if (container := occurrence.single_list()) and value:
            edits += _item_edits(original, container, value)
            continue
        edits += [(*span, "") for span in occurrence.attribute_spans]
        edits += [(element.start, element.end, "") for element in occurrence.elements[1:]]
        element_xml = _property_xml(key, value, occurrence)
        if occurrence.elements:
            first = occurrence.elements[0]
            edits.append((first.start, first.end, element_xml))
        elif element_xml:
            new_properties += f"   {element_xml}\n"
    if new_properties:
        edits.append(_new_description_edit(original, new_properties))
    result = original.data
    for start, end, text in sorted(edits, reverse=True):
        result = result[:start] + original.encode(text) + result[end:]
    if not _reads_back(result, values) or (
        other_content(original.data, values) != other_content(result, values)
    ):
        raise MetadataError("its XMP has a form that cannot be changed safely")
    return result


def _reads_back(packet: bytes, values: FieldValues) -> bool:
    occurrences = find_occurrences(parse_packet(packet))
    return all(
        occurrences[key].items() == value
        if isinstance(value, tuple)
        else occurrences[key].texts().get(DEFAULT_LANGUAGE) == value
        for key, value in values.items()
    )


def other_content(packet: bytes | None, fields: Collection[str]) -> list[object]:
    """Return all that a packet contains apart from `fields` in their default language.

    Two packets with equal results differ in nothing else, apart from spaces and comments. None
    is an empty packet.
    """
    parsed = parse_packet(_EMPTY_PACKET.encode() if packet is None else packet)
    occurrences = find_occurrences(parsed)
    ours = {f"{PROPERTIES[key][0]} {PROPERTIES[key][2]}" for key in fields}
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


def _fields(occurrences: dict[str, Occurrences]) -> dict[str, TextByLanguage]:
    fields = {key: occurrence.texts() for key, occurrence in occurrences.items()}
    return {key: texts for key, texts in fields.items() if texts and key != KEYWORDS}


def _item_edits(packet: Packet, container: Element, value: FieldValue) -> Iterable[_Edit]:
    """Return the edits of a list's items that give it a value."""
    if isinstance(value, tuple):
        return _keyword_edits(packet, container, value)
    return _default_item_edits(packet, container, value)


def _default_item_edits(packet: Packet, alternatives: Element, text: str) -> Iterable[_Edit]:
    """Yield the edits that make `text` the default language, and keep all other items."""
    name = _item_name(packet, alternatives)
    item = f'<{name} xml:lang="{DEFAULT_LANGUAGE}">{_escape_text(text)}</{name}>'
    items = alternatives.named("li")
    defaults = [element for element in items if language_tag_of(element) == DEFAULT_LANGUAGE]
    if not defaults:
        yield items[0].start, items[0].start, item
    for element in defaults:
        yield element.start, element.end, item
        item = ""


def _keyword_edits(packet: Packet, bag: Element, keywords: tuple[str, ...]) -> Iterable[_Edit]:
    """Yield the edits that remove items which are not among `keywords`, and append new ones."""
    items = bag.named("li")
    texts = [value_of(item).strip() for item in items]
    for item, text in zip(items, texts, strict=True):
        if text and text not in keywords:
            yield item.start - len(_space_before(packet, item)), item.end, ""
    name, space = _item_name(packet, bag), _space_before(packet, items[-1])
    new = "".join(
        f"{space}<{name}>{_escape_text(keyword)}</{name}>"
        for keyword in keywords
        if keyword not in texts
    )
    yield items[-1].end, items[-1].end, new


def _space_before(packet: Packet, element: Element) -> str:
    before = packet.data[: element.start]
    return before[len(before.rstrip()) :].decode("ascii")


def _item_name(packet: Packet, container: Element) -> str:
    """Return the name of a list's items as the packet spells it, with its prefix."""
    prefix, colon, _ = packet.tag_name(container).rpartition(":")
    return f"{prefix}{colon}li"


def _new_description_edit(packet: Packet, properties: str) -> _Edit:
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


def _property_xml(key: str, value: FieldValue, occurrence: Occurrences) -> str:
    """Return a property as an element; without keywords it is empty."""
    if not value:
        return ""
    namespace, prefix, name = PROPERTIES[key]
    if isinstance(value, tuple):
        items = "".join(f"<rdf:li>{_escape_text(keyword)}</rdf:li>" for keyword in value)
        content = f"<rdf:Bag>{items}</rdf:Bag>"
    else:
        languages = {**occurrence.texts(), DEFAULT_LANGUAGE: value}
        items = "".join(
            f'<rdf:li xml:lang="{_escape_attribute(language)}">'
            f"{_escape_text(languages[language])}</rdf:li>"
            for language in sorted(languages, key=lambda language: language != DEFAULT_LANGUAGE)
        )
        content = f"<rdf:Alt>{items}</rdf:Alt>"
    return (
        f'<{prefix}:{name} xmlns:{prefix}="{namespace}" xmlns:rdf="{RDF_NAMESPACE}">'
        f"{content}</{prefix}:{name}>"
    )


def _escape_text(text: str) -> str:
    return escape(text, {"\r": "&#13;"})


def _escape_attribute(text: str) -> str:
    return escape(text, {'"': "&quot;", "\n": "&#10;", "\r": "&#13;", "\t": "&#9;"})
