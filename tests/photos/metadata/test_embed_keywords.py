"""Keywords in the XMP and IPTC of photos and sidecars: new ones join those that are there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.errors import MetadataError
from showtell.photos.catalogue.caption_text import clean_text
from showtell.photos.metadata.container import parse_container
from showtell.photos.metadata.current_metadata import read_photo_metadata
from showtell.photos.metadata.embed import embed_fields
from showtell.photos.metadata.embedding_check import check_embedded
from showtell.photos.metadata.field_values import FieldValues
from showtell.photos.metadata.xmp import read_fields, read_keywords, set_fields
from support.jpeg_metadata import UTF8_MARKER, iptc_block, photoshop, resource, with_segments
from support.odd_photos import encoded
from support.photo_library import exiftool, picture

IPTC = 0x0404
words = st.text(min_size=1, max_size=12).map(lambda text: clean_text(text).strip()).filter(bool)
word_lists = st.lists(words, max_size=5, unique=True).map(tuple)


def packet_with(properties: str, attributes: str = "") -> bytes:
    return (
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        ' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
        '  <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/"'
        f' xmlns:xmp="http://ns.adobe.com/xap/1.0/"{attributes}>\n{properties}'
        "  </rdf:Description>\n </rdf:RDF>\n</x:xmpmeta>"
    ).encode()


def with_iptc(*datasets: tuple[tuple[int, int], bytes]) -> bytes:
    photo = encoded(picture(1), "JPEG")
    return with_segments(photo, photoshop(resource(IPTC, iptc_block(*datasets))))


def embed(data: bytes, values: FieldValues) -> bytes:
    """Embed values in a photo, and check that nothing else changes."""
    result = embed_fields(data, values)
    check_embedded(data, result, values)
    return result


def keywords_in(photo: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the keywords in the XMP and in the IPTC of a photo."""
    metadata = read_photo_metadata(photo, parse_container(photo))
    return metadata.keywords, metadata.iptc.keywords


def exiftool_keywords(path: Path) -> dict[str, list[str]]:
    """Return the keywords that exiftool reads in a file, by group."""
    output = exiftool("-j", "-G", "-struct", "-XMP-dc:Subject", "-IPTC:Keywords", path)
    values = json.loads(output)[0]
    del values["SourceFile"]
    return {
        name: [str(word) for word in (value if isinstance(value, list) else [value])]
        for name, value in values.items()
    }


def test_new_keywords_follow_those_in_a_list_whose_bytes_stay() -> None:
    items = (
        "   <dc:subject>\n    <rdf:Bag>\n     <rdf:li>Anna &amp; Bo</rdf:li>\n"
        "     <rdf:li rdf:parseType='Resource'><rdf:value>Rom</rdf:value></rdf:li>\n"
    )
    packet = packet_with(items + "    </rdf:Bag>\n   </dc:subject>\n")
    assert read_keywords(packet) == ("Anna & Bo", "Rom")
    changed = set_fields(packet, {"keywords": ("Anna & Bo", "Rom", "dog", "<cat>")})
    assert changed == packet_with(
        f"{items}     <rdf:li>dog</rdf:li>\n     <rdf:li>&lt;cat&gt;</rdf:li>\n"
        "    </rdf:Bag>\n   </dc:subject>\n"
    )
    assert set_fields(changed, {"keywords": ("Anna & Bo", "Rom")}) == packet


@pytest.mark.parametrize(
    "packet",
    [
        packet_with("   <dc:subject>Rome, Italy</dc:subject>\n"),
        packet_with("", ' dc:subject="Rome, Italy"'),
        packet_with("   <dc:subject><rdf:Seq><rdf:li>Rome, Italy</rdf:li></rdf:Seq></dc:subject>"),
        packet_with("   <dc:subject><rdf:Alt><rdf:li>Rome, Italy</rdf:li></rdf:Alt></dc:subject>"),
    ],
)
def test_keywords_in_any_form_that_rdf_allows_are_read_and_joined(packet: bytes) -> None:
    assert read_keywords(packet) == ("Rome, Italy",)
    assert read_fields(packet) == {}
    assert read_keywords(set_fields(packet, {"keywords": ("Rome, Italy", "dog")})) == (
        "Rome, Italy",
        "dog",
    )


def test_removing_all_keywords_removes_the_property_and_nothing_else() -> None:
    rating = "   <xmp:Rating>4</xmp:Rating>\n"
    packet = set_fields(packet_with(rating), {"keywords": ("dog",), "alt": "two dogs"})
    assert read_keywords(packet) == ("dog",)
    cleared = set_fields(packet, {"keywords": ()})
    assert b"subject" not in cleared
    assert rating.encode() in cleared
    assert read_fields(cleared) == {"alt": {"x-default": "two dogs"}}


@given(word_lists, word_lists)
def test_any_keywords_read_back_and_replace_each_other(
    one: tuple[str, ...], two: tuple[str, ...]
) -> None:
    packet = set_fields(None, {"keywords": one, "description": "a dog"})
    assert read_keywords(packet) == one
    joined = one + tuple(word for word in two if word not in one)
    assert read_keywords(set_fields(packet, {"keywords": joined})) == joined
    assert read_keywords(set_fields(packet, {"keywords": one[1:]})) == one[1:]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exiftool_reads_embedded_keywords(tmp_path: Path, kind: str) -> None:
    photo = encoded(picture(1), kind)
    values: FieldValues = {"keywords": ("Hund", "naß", "東京")}
    if kind == "JPEG":
        values = {**values, "iptc_keywords": ("Hund", "naß", "東京")}
    path = tmp_path / "photo"
    path.write_bytes(embed(photo, values))
    expected = ["Hund", "naß", "東京"]
    assert exiftool_keywords(path) == (
        {"XMP:Subject": expected, "IPTC:Keywords": expected}
        if kind == "JPEG"
        else {"XMP:Subject": expected}
    )


def test_an_ascii_keyword_keeps_every_byte_of_unmarked_keywords() -> None:
    people = (((2, 25), b"Z\xfcrich"), ((2, 25), "Höhe".encode()), ((2, 90), b"K\xf6ln"))
    photo = with_iptc(*people)
    assert keywords_in(photo) == ((), ("Zürich", "Höhe"))
    changed = embed(photo, {"iptc_keywords": ("Zürich", "Höhe", "dog")})
    assert iptc_block(*people[:2], ((2, 25), b"dog"), people[2]) in changed
    assert embed(changed, {"iptc_keywords": ("Zürich", "Höhe")}) == photo


def test_unmarked_latin_1_becomes_utf_8_with_a_marker_if_a_keyword_needs_it() -> None:
    photo = with_iptc(((2, 25), b"Z\xfcrich"), ((2, 90), b"K\xf6ln"))
    changed = embed(photo, {"iptc_keywords": ("Zürich", "東京")})
    block = (UTF8_MARKER, ((2, 25), "Zürich".encode()), ((2, 25), "東京".encode()))
    assert iptc_block(*block, ((2, 90), "Köln".encode())) in changed


def test_a_marked_character_set_is_used_for_new_keywords(tmp_path: Path) -> None:
    latin_2 = ((1, 90), b"\x1b.B")
    photo = with_iptc(latin_2, ((2, 25), "Łódź".encode("iso-8859-2")))
    changed = embed(photo, {"iptc_keywords": ("Łódź", "żaba")})
    assert iptc_block(latin_2, *(((2, 25), w.encode("iso-8859-2")) for w in ("Łódź", "żaba"))) in (
        changed
    )
    path = tmp_path / "photo.jpg"
    path.write_bytes(embed(with_iptc(UTF8_MARKER, ((2, 25), b"Rom")), {"iptc_keywords": ("Rom",)}))
    assert exiftool_keywords(path) == {"IPTC:Keywords": ["Rom"]}


def test_keywords_in_further_blocks_of_iptc_stay_there() -> None:
    blocks = [iptc_block(((2, 25), b"Rom")), iptc_block(((2, 25), b"Anna"), ((2, 25), b"dog"))]
    photo = with_segments(
        encoded(picture(1), "JPEG"), photoshop(*(resource(IPTC, block) for block in blocks))
    )
    assert keywords_in(photo)[1] == ("Rom", "Anna", "dog")
    changed = embed(photo, {"iptc_keywords": ("Rom", "Anna", "sea")})
    assert blocks[0] in changed
    assert iptc_block(((2, 25), b"Anna"), ((2, 25), b"sea")) in changed


@given(word_lists, word_lists, st.booleans())
def test_any_keywords_join_those_in_iptc(
    one: tuple[str, ...], two: tuple[str, ...], marked: bool
) -> None:
    marker = [UTF8_MARKER] if marked else []
    photo = with_iptc(*marker, *(((2, 25), word.encode()) for word in one), ((2, 90), b"Ulm"))
    assert keywords_in(photo)[1] == one
    joined = one + tuple(word for word in two if word not in one)
    changed = embed(photo, {"iptc_keywords": joined, "keywords": two})
    assert keywords_in(changed) == (two, joined)
    assert keywords_in(embed(changed, {"iptc_keywords": one}))[1] == one


def test_embedding_that_loses_a_keyword_is_refused() -> None:
    photo = embed_fields(encoded(picture(1), "JPEG"), {"iptc_keywords": ("Rom", "Anna")})
    changed = embed_fields(photo, {"iptc_keywords": ("Rom", "dog")})
    with pytest.raises(MetadataError, match="iptc_keywords does not read back"):
        check_embedded(photo, changed, {"iptc_keywords": ("Rom", "Anna", "dog")})
    with pytest.raises(MetadataError, match="would change its IPTC"):
        check_embedded(photo, changed, {"description": "a dog"})


def test_keywords_in_extended_xmp_are_not_written_a_second_time() -> None:
    guid = b"0" * 32
    rest = packet_with("   <dc:subject><rdf:Bag><rdf:li>Rom</rdf:li></rdf:Bag></dc:subject>\n")
    header = b"http://ns.adobe.com/xmp/extension/\0" + guid
    content = header + len(rest).to_bytes(4, "big") + bytes(4) + rest
    photo = with_segments(
        encoded(picture(1), "JPEG"),
        b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content,
    )
    with pytest.raises(MetadataError, match="keywords are in extended XMP"):
        embed_fields(photo, {"keywords": ("dog",)})
