from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from showtell.photos.catalogue.journal import WrittenKeywords
from showtell.photos.catalogue.keywords import word_key
from showtell.photos.keyword_plan import KeywordLists, plan_keywords

NOTHING = WrittenKeywords()
words = st.sampled_from(["dog", "Dog", "DOG", "cat", "Cat", "sea", "Straße", "strasse", "東京"])
word_lists = st.lists(words, max_size=5).map(tuple)
given_lists = st.lists(words, max_size=4, unique_by=word_key).map(tuple)


def after(lists: KeywordLists, changes: KeywordLists) -> dict[str, tuple[str, ...]]:
    return {**lists, **changes}


def test_given_keywords_follow_a_persons_and_are_not_written_twice_in_another_case() -> None:
    plan = plan_keywords({"keywords": ("Anna", "Dog")}, ["cat", "dog", "CAT"], NOTHING)
    assert plan.lists == {"keywords": ("Anna", "Dog", "cat")}
    assert plan.written == WrittenKeywords(("cat",))


def test_keywords_by_showtell_that_are_no_longer_given_are_removed() -> None:
    lists = {"keywords": ("dog", "Anna", "cat"), "iptc_keywords": ("Anna", "dog", "cat")}
    plan = plan_keywords(lists, ["cat", "sea"], WrittenKeywords(("dog", "cat")))
    assert plan.lists == {
        "keywords": ("Anna", "cat", "sea"),
        "iptc_keywords": ("Anna", "cat", "sea"),
    }
    assert plan.written == WrittenKeywords(("cat", "sea"))


def test_a_persons_keyword_stays_also_if_showtell_gave_the_same() -> None:
    plan = plan_keywords({"keywords": ("Dog", "dog")}, [], WrittenKeywords(("dog",)))
    assert plan.lists == {"keywords": ("Dog",)}
    plan = plan_keywords({"keywords": ("dog",), "iptc_keywords": ("dog", "Anna")}, [], NOTHING)
    assert plan.lists == {}


def test_a_list_without_a_persons_keywords_gets_those_of_the_other_list() -> None:
    plan = plan_keywords({"keywords": (), "iptc_keywords": ("Anna", "Rom")}, ["dog"], NOTHING)
    assert plan.lists == {
        "keywords": ("Anna", "Rom", "dog"),
        "iptc_keywords": ("Anna", "Rom", "dog"),
    }
    assert plan.written == WrittenKeywords(("dog",))
    plan = plan_keywords({"keywords": ()}, ["dog"], NOTHING, ["Anna", "anna", "DOG"])
    assert plan.lists == {}
    plan = plan_keywords({"keywords": ()}, ["dog", "cat"], NOTHING, ["Anna", "anna", "DOG"])
    assert plan.lists == {"keywords": ("Anna", "DOG", "cat")}
    assert plan.written == WrittenKeywords(("cat",))


def test_a_keyword_by_showtell_that_a_person_removed_is_not_written_again() -> None:
    earlier = WrittenKeywords(("dog", "cat"))
    plan = plan_keywords({"keywords": ("cat",)}, ["dog", "cat", "sea"], earlier)
    assert plan.lists == {"keywords": ("cat", "sea")}
    assert plan.written == WrittenKeywords(("cat", "sea"), ("dog",))
    again = plan_keywords(plan.lists, ["dog", "sea"], plan.written)
    assert again.lists == {"keywords": ("sea",)}
    by_person = plan_keywords({"keywords": ("cat", "dog")}, [], plan.written)
    assert by_person.lists == {"keywords": ("dog",)}


def test_a_file_without_any_keyword_by_showtell_was_replaced_and_gets_all() -> None:
    plan = plan_keywords({"keywords": ("Anna",)}, ["dog"], WrittenKeywords(("dog", "cat")))
    assert plan.lists == {"keywords": ("Anna", "dog")}


def test_keywords_too_long_for_iptc_are_written_to_xmp_only() -> None:
    long = "a" * 65
    plan = plan_keywords({"keywords": (), "iptc_keywords": ()}, [long, "dog"], NOTHING)
    assert plan.lists == {"keywords": (long, "dog"), "iptc_keywords": ("dog",)}


@given(word_lists, word_lists, given_lists, given_lists)
def test_a_persons_keywords_keep_their_order_and_the_second_write_changes_nothing(
    in_xmp: tuple[str, ...], in_iptc: tuple[str, ...], first: tuple[str, ...], then: tuple[str, ...]
) -> None:
    lists = {"keywords": in_xmp, "iptc_keywords": in_iptc}
    plan = plan_keywords(lists, first, NOTHING)
    written = after(lists, plan.lists)
    for field, words in lists.items():
        assert written[field][: len(words)] == words
        keys = [word_key(word) for word in written[field][len(words) :]]
        assert len({*keys}) == len(keys)
        assert not {*keys} & {word_key(word) for word in words}
    assert plan_keywords(written, first, plan.written).lists == {}
    later = plan_keywords(written, then, plan.written)
    written = after(written, later.lists)
    for field, words in lists.items():
        assert written[field][: len(words)] == words
    for word in first:
        if word_key(word) not in map(word_key, (*in_xmp, *in_iptc, *then)):
            assert word not in {*written["keywords"], *written["iptc_keywords"]}
    assert plan_keywords(written, then, later.written).lists == {}
