from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import escape, quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from showtell.errors import MetadataError
from showtell.photos.catalogue.caption_text import clean_text
from showtell.photos.metadata.xmp import (
    find_packet,
    other_content,
    read_fields,
    set_fields,
)
from showtell.photos.metadata.xmp_occurrences import DEFAULT_LANGUAGE
from support.photo_library import exiftool

LIGHTROOM = """\ufeff<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 5.6">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <!-- by hand -->
  <rdf:Description rdf:about="uuid:1"
    xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"
    xmlns:d="http://purl.org/dc/elements/1.1/"
   crs:Exposure2012="+0.35" crs:Note="two&#10;lines &gt; one">
   <d:description>
    <rdf:Alt>
     <rdf:li xml:lang="x-default">Otters &amp; ice</rdf:li>
     <rdf:li xml:lang="de">Otter auf Eis</rdf:li>
    </rdf:Alt>
   </d:description>
   <d:subject><rdf:Bag><rdf:li>otter</rdf:li></rdf:Bag></d:subject>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""

sentences = st.text(min_size=1).map(clean_text).filter(bool)


@given(sentences, sentences, sentences)
def test_fields_read_back_as_they_were_set(one: str, two: str, three: str) -> None:
    packet = set_fields(None, {"description": one, "alt": two})
    assert read_fields(packet) == {
        "description": {DEFAULT_LANGUAGE: one},
        "alt": {DEFAULT_LANGUAGE: two},
    }
    changed = set_fields(packet, {"description": three})
    assert read_fields(changed) == {
        "description": {DEFAULT_LANGUAGE: three},
        "alt": {DEFAULT_LANGUAGE: two},
    }
    assert set_fields(changed, {"description": one}) == set_fields(packet, {"description": one})


def test_setting_fields_keeps_all_other_bytes_of_a_sidecar() -> None:
    packet = LIGHTROOM.encode()
    assert read_fields(packet)["description"] == {
        DEFAULT_LANGUAGE: "Otters & ice",
        "de": "Otter auf Eis",
    }
    changed = set_fields(packet, {"description": "Two <otters>", "alt": "two otters"})
    assert read_fields(changed) == {
        "description": {DEFAULT_LANGUAGE: "Two <otters>", "de": "Otter auf Eis"},
        "alt": {DEFAULT_LANGUAGE: "two otters"},
    }
    before, rest = LIGHTROOM.split('     <rdf:li xml:lang="x-default">')
    middle, end = rest.split("Otters &amp; ice</rdf:li>")[1].split("</rdf:RDF>")
    written = changed.decode()
    assert written.startswith(before)
    assert middle in written
    assert written.endswith(f"</rdf:RDF>{end}")
    assert 'rdf:about="uuid:1"' in written.split(middle)[1]


def test_sidecars_in_other_encodings_are_read_and_changed() -> None:
    text = LIGHTROOM.removeprefix("\ufeff")
    for data in (
        b"\xff\xfe" + text.encode("utf-16-le"),
        b"\xfe\xff" + ('<?xml version="1.0" encoding="UTF-16"?>\n' + text).encode("utf-16-be"),
        ('<?xml version="1.0" encoding="ISO-8859-1"?>' + text.replace("\ufeff", "")).encode(),
    ):
        changed = set_fields(data, {"description": "Grüße, 東京"})
        assert read_fields(changed)["description"] == {
            DEFAULT_LANGUAGE: "Grüße, 東京",
            "de": "Otter auf Eis",
        }


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"no xml",
        b"<x/>",
        LIGHTROOM.encode()[:-200],
        b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><x>&b;</x>',
        b"\xff\xfe\x00",
    ],
)
def test_invalid_xmp_is_rejected(packet: bytes) -> None:
    with pytest.raises(MetadataError):
        set_fields(packet, {"description": "words"})


def test_plain_text_instead_of_language_alternatives_is_read_and_replaced() -> None:
    packet = (
        b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><r:RDF xmlns:r='http://www.w3.org/1999/02/22-rdf-"
        b"syntax-ns#'><r:Description xmlns:dc='http://purl.org/dc/elements/1.1/'>"
        b"<dc:description>plain</dc:description></r:Description></r:RDF></x:xmpmeta>"
    )
    assert read_fields(packet) == {"description": {DEFAULT_LANGUAGE: "plain"}}
    changed = set_fields(packet, {"description": "better"})
    assert read_fields(changed) == {"description": {DEFAULT_LANGUAGE: "better"}}
    assert b"plain" not in changed


def test_packet_is_found_in_any_file_format() -> None:
    packet = set_fields(None, {"alt": "words"})
    extracted = find_packet(b"II*\0" + bytes(99) + packet + bytes(99))
    assert extracted is not None
    assert read_fields(extracted) == {"alt": {DEFAULT_LANGUAGE: "words"}}
    assert find_packet(b"</x:xmpmeta><x:xmpmeta") is None


def test_exiftool_reads_and_validates_written_sidecars(tmp_path: Path) -> None:
    new, changed = tmp_path / "new.xmp", tmp_path / "changed.xmp"
    texts = {"description": "Grüße aus 東京 <&>", "alt": "Ďáblice"}
    new.write_bytes(set_fields(None, texts))
    changed.write_bytes(set_fields(LIGHTROOM.removeprefix("\ufeff").encode(), texts))
    for path in (new, changed):
        output = exiftool(
            "-s3",
            "-charset",
            "utf8",
            "-XMP-dc:Description",
            "-XMP-iptcCore:AltTextAccessibility",
            "-validate",
            path,
        )
        assert output.splitlines() == [*texts.values(), "OK"]
    assert exiftool("-s3", "-XMP-crs:all", changed).splitlines() == ["+0.35", "two.lines > one"]


RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
DC = "http://purl.org/dc/elements/1.1/"


def packet_with(properties: str, attributes: str = "", declaration: str = "") -> bytes:
    """Return a packet whose only rdf:Description has some properties and attributes."""
    return (
        f"{declaration}<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='{RDF}'>"
        f"<rdf:Description rdf:about='' xmlns:dc='{DC}' xmlns:q='urn:q' {attributes}>"
        f"{properties}<dc:format>image/jpeg</dc:format></rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


@pytest.mark.parametrize(
    ("properties", "attributes", "text"),
    [
        ("<dc:description/>", "", None),
        ("<dc:description ></dc:description >", "", None),
        ("<dc:description><rdf:Alt/></dc:description>", "", None),
        ("<dc:description><rdf:Alt></rdf:Alt></dc:description>", "", None),
        ("<dc:description><rdf:Alt><rdf:li/></rdf:Alt></dc:description>", "", None),
        ("", "dc:description='a &gt; b'", "a > b"),
        ("", 'dc:title="dc:description=&apos;x&apos;" dc:description = "by hand"', "by hand"),
        ("<dc:description>plain/></dc:description>", "", "plain/>"),
        ("<dc:description><![CDATA[<b> & ]]></dc:description>", "", "<b> &"),
        (
            "<dc:description><rdf:Alt><rdf:li>bare</rdf:li></rdf:Alt></dc:description>",
            "",
            "bare",
        ),
        (
            "<dc:description><rdf:Seq><rdf:li>one</rdf:li><rdf:li>two</rdf:li></rdf:Seq>"
            "</dc:description>",
            "",
            "one\ntwo",
        ),
        ("<dc:description><rdf:Bag><rdf:li>bag</rdf:li></rdf:Bag></dc:description>", "", "bag"),
        (
            "<dc:description rdf:parseType='Resource'><rdf:value>v</rdf:value><q:a>b</q:a>"
            "</dc:description>",
            "",
            "v",
        ),
        (
            "<dc:description><rdf:Description rdf:value='v' q:a='b'/></dc:description>",
            "",
            "v",
        ),
        (
            "<dc:description><rdf:Alt><rdf:li xml:lang='X-Default' rdf:parseType='Resource'>"
            "<rdf:value>v</rdf:value><q:a>b</q:a></rdf:li></rdf:Alt></dc:description>",
            "",
            "v",
        ),
        ("<dc:description>two</dc:description>", "dc:description='one'", "one\ntwo"),
        (
            "<dc:description>one</dc:description><dc:description>one</dc:description>",
            "",
            "one",
        ),
    ],
)
def test_every_form_of_a_description_is_read_and_replaced_once(
    properties: str, attributes: str, text: str | None
) -> None:
    packet = packet_with(properties, attributes)
    fields = {} if text is None else {"description": {DEFAULT_LANGUAGE: text}}
    assert read_fields(packet) == fields
    changed = set_fields(packet, {"description": "ours"})
    assert read_fields(changed) == {"description": {DEFAULT_LANGUAGE: "ours"}}
    assert changed.count(b"ours") == 1
    assert changed.count(b"<dc:description") == 1
    assert b"<dc:format>image/jpeg</dc:format>" in changed
    assert other_content(packet, ["description"]) == other_content(changed, ["description"])
    assert set_fields(changed, {"description": "ours"}) == changed


def test_other_languages_stay_with_their_qualifiers_whether_or_not_there_is_a_default() -> None:
    german = "<rdf:li xml:lang='de' q:by='Ada'>deutsch</rdf:li>"
    for default in ("", "<rdf:li xml:lang='x-default'>one</rdf:li>"):
        packet = packet_with(
            f"<dc:description><rdf:Alt>{german}{default}</rdf:Alt></dc:description>"
        )
        changed = set_fields(packet, {"description": "ours"})
        assert german.encode() in changed
        assert read_fields(changed)["description"] == {DEFAULT_LANGUAGE: "ours", "de": "deutsch"}
    plain = packet_with("<dc:description xml:lang='de'>deutsch</dc:description>")
    changed = set_fields(plain, {"description": "ours"})
    assert read_fields(changed)["description"] == {DEFAULT_LANGUAGE: "ours", "de": "deutsch"}


def test_descriptions_in_several_blocks_and_an_empty_rdf_are_understood() -> None:
    block = f"<r:Description xmlns='{DC}'><description>{{}}</description></r:Description>"
    two_blocks = f"<r:RDF xmlns:r='{RDF}'>{block.format('one')}{block.format('two')}</r:RDF>"
    assert read_fields(two_blocks.encode()) == {"description": {DEFAULT_LANGUAGE: "one\ntwo"}}
    changed = set_fields(two_blocks.encode(), {"description": "ours"})
    assert read_fields(changed) == {"description": {DEFAULT_LANGUAGE: "ours"}}
    empty = set_fields(f"<rdf:RDF xmlns:rdf='{RDF}' />".encode(), {"description": "ours"})
    assert read_fields(empty) == {"description": {DEFAULT_LANGUAGE: "ours"}}


XML_TEXT = st.text(
    st.characters(
        codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="\ufffe\uffff"
    ),
    max_size=12,
)
LANGUAGES = st.sampled_from(["x-default", "de", "en-GB", "X-DEFAULT"])


@st.composite
def described_blocks(draw: st.DrawFn) -> str:
    """Draw descriptions in any form of RDF, among other properties."""
    text = draw(XML_TEXT)
    quoted, escaped = quoteattr(text), escape(text)
    item = f"<rdf:li xml:lang='{draw(LANGUAGES)}'>{escaped}</rdf:li>"
    list_name = draw(st.sampled_from(["Alt", "Seq", "Bag"]))
    form = draw(
        st.sampled_from(
            [
                "",
                "<dc:description/>",
                f"<dc:description>{escaped}</dc:description>",
                f"<dc:description rdf:value={quoted} q:by='Ada'/>",
                f"<dc:description><rdf:{list_name}>{item}{item}</rdf:{list_name}></dc:description>",
            ]
        )
    )
    attribute = draw(st.sampled_from(["", f" dc:description={quoted}", f" q:note={quoted}"]))
    other = escape(draw(XML_TEXT))
    return (
        f"<rdf:Description rdf:about='' xmlns:dc='{DC}' xmlns:q='urn:q'{attribute}>"
        f"<q:first>{other}</q:first>{form}<q:second q:of='{len(form)}'/></rdf:Description>"
    )


def others_of(packet: bytes) -> list[tuple[str, str | None, dict[str, str]]]:
    """Return the elements and attributes that are not of a description, read independently."""
    root = ElementTree.fromstring(packet)
    notes = [
        (element.tag, element.text, element.attrib)
        for element in root.iter()
        if element.tag.startswith("{urn:q}")
    ]
    return notes + [
        ("note", value, {})
        for element in root.iter()
        for name, value in element.attrib.items()
        if name == "{urn:q}note"
    ]


@given(st.lists(described_blocks(), max_size=3), sentences, st.sampled_from(["utf-8", "utf-16"]))
def test_any_packet_takes_a_description_and_keeps_everything_else(
    blocks: list[str], text: str, encoding: str
) -> None:
    packet = (f"<rdf:RDF xmlns:rdf='{RDF}'>" + "".join(blocks) + "</rdf:RDF>").encode(encoding)
    before = read_fields(packet).get("description", {})
    changed = set_fields(packet, {"description": text})
    after = read_fields(changed)["description"]
    assert after == {**before, DEFAULT_LANGUAGE: text}
    assert others_of(changed) == others_of(packet)
    assert set_fields(changed, {"description": text}) == changed


@pytest.mark.parametrize(
    "encoding", ["utf-7", "UTF-7", "big5", "idna", "base64", "punycode", "rot13", "x-no-such", ""]
)
def test_encodings_that_xmp_does_not_use_are_refused_by_name(encoding: str) -> None:
    packet = packet_with("", declaration=f"<?xml version='1.0' encoding='{encoding}'?>")
    with pytest.raises(MetadataError, match=f"in the encoding '{encoding}': save it as UTF-8"):
        read_fields(packet)


def test_wide_encodings_are_read_with_and_without_a_byte_order_mark() -> None:
    text = packet_with("<dc:description>é東</dc:description>").decode()
    for encoding in ("utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        packet = text.encode(encoding)
        assert read_fields(packet) == {"description": {DEFAULT_LANGUAGE: "é東"}}
        changed = set_fields(packet, {"description": "ours"})
        assert read_fields(changed) == {"description": {DEFAULT_LANGUAGE: "ours"}}


@pytest.mark.parametrize(
    ("properties", "reason"),
    [
        ("<q:a>&unknown;</q:a>", "damaged"),
        ("<q:a>" * 500 + "</q:a>" * 500, "200 deep"),
        ("<q:a/>" * 100_000, "100,000 elements"),
        (" " * (16 << 20), "larger than 16 MB"),
    ],
    ids=["entity", "deep", "many", "long"],
)
def test_xmp_that_no_program_writes_is_refused(properties: str, reason: str) -> None:
    with pytest.raises(MetadataError, match=reason):
        read_fields(packet_with(properties))
