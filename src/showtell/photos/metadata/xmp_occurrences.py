"""Find the fields that showtell writes in an XMP packet, and read their values.

XMP (ISO 16684-1) stores captions as language alternatives, and keywords as a list.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from showtell.photos.metadata.field_values import KEYWORDS
from showtell.photos.metadata.xmp_tree import Element, Packet, rdf_name

TextByLanguage = dict[str, str]
DEFAULT_LANGUAGE = "x-default"  # the text that programs show
PROPERTIES = {  # field -> namespace, prefix, name
    "description": ("http://purl.org/dc/elements/1.1/", "dc", "description"),
    "alt": ("http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/", "Iptc4xmpCore", "AltTextAccessibility"),
    KEYWORDS: ("http://purl.org/dc/elements/1.1/", "dc", "subject"),
}
_FIELD_BY_PROPERTY = {
    f"{namespace} {name}": key for key, (namespace, _, name) in PROPERTIES.items()
}
_LANGUAGE_ATTRIBUTE = "http://www.w3.org/XML/1998/namespace lang"


@dataclass
class Occurrences:
    """Where a packet contains a field: as elements, and as attributes of rdf:Description."""

    list_names: tuple[str, ...]  # of RDF, that the field may keep
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

    def items(self) -> tuple[str, ...]:
        """Return the field's texts in their order, without blank ones."""
        pairs = (pair for element in self.elements for pair in _language_texts(element))
        texts = [*self.attribute_texts, *(text for _, text in pairs)]
        return tuple(text.strip() for text in texts if text.strip())

    def single_list(self) -> Element | None:
        """Return the field's list if that is its only form, and it has items."""
        if len(self.elements) != 1 or self.attribute_spans:
            return None
        element = self.elements[0]
        lists = element.named(*self.list_names)
        is_single = len(element.children) == len(lists) == 1
        return lists[0] if is_single and lists[0].named("li") else None


def find_occurrences(packet: Packet) -> dict[str, Occurrences]:
    """Find the fields in the descriptions of a packet, by field."""
    occurrences = {
        key: Occurrences(("Bag", "Seq") if key == KEYWORDS else ("Alt",)) for key in PROPERTIES
    }
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


def _language_texts(element: Element) -> Iterator[tuple[str, str]]:
    """Yield the texts of a property, each with its language."""
    lists = element.named("Alt", "Seq", "Bag")
    if not lists:
        yield language_tag_of(element), value_of(element).strip()
    for container in lists:
        for item in container.named("li"):
            yield language_tag_of(item), value_of(item)


def language_tag_of(element: Element) -> str:
    """Return the language of a property or item."""
    language = element.attributes.get(_LANGUAGE_ATTRIBUTE, DEFAULT_LANGUAGE)
    return DEFAULT_LANGUAGE if language.lower() == DEFAULT_LANGUAGE else language


def value_of(element: Element) -> str:
    """Return the text of a property or item: with qualifiers, it is in rdf:value."""
    for node in (element, *element.named("Description")):
        if rdf_name("value") in node.attributes:
            return node.attributes[rdf_name("value")]
        for value in node.named("value"):
            return value.text
    return element.attributes.get(rdf_name("resource"), element.text)
