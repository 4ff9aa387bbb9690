"""Which images of HTML have a finding, by the rules of WCAG and of the HTML standard."""

from __future__ import annotations

import pytest

from showtell.alt.html_images import html_images
from showtell.alt.judge import judge
from showtell.alt.rules import RULES
from showtell.alt.templates import mask_template


def rules_of(text: str, *, is_template: bool = False) -> list[str]:
    references = html_images(mask_template(text, is_template=is_template))
    problems = [judge(reference) for reference in references]
    return [problem.rule.id for problem in problems if problem is not None]


FINDINGS = [
    ("missing-alt", "<img src=a.png>"),
    ("missing-alt", "<IMG SRC='a.png'/>"),
    ("missing-alt", "<image src=a.png>"),
    ("missing-alt", "<picture><source srcset=a.webp><img src=a.png></picture>"),
    ("missing-alt", '<input type="image" src=a.png>'),
    ("missing-alt", '<input type="image" src=a.png alt="">'),
    ("missing-alt", "<map><area href=x></map>"),
    ("missing-alt", '<object data="a.svg"></object>'),
    ("missing-alt", '<svg role="img"><path/></svg>'),
    ("missing-alt", '<div role="img" class="icon"></div>'),
    ("missing-alt", "<figure><img src=a><img src=b alt=B><figcaption>Two</figcaption></figure>"),
    ("missing-alt", "<figure><img src=a>more<figcaption>Caption</figcaption></figure>"),
    ("missing-alt", "<a href=x>text <img src=a.png></a>"),
    ("missing-alt", "<noscript><img src=a.png></noscript>"),
    ("missing-alt", "<svg><foreignObject><img src=a></foreignObject></svg>"),
    ("missing-alt", "<img src='{{ url }}'>"),
    ("missing-alt", "<img {% if lazy %}loading=lazy{% endif %} src=a>"),
    ("linked-image", '<a href=x><img src=a.png alt=""></a>'),
    ("linked-image", "<a href=x> <img src=a.png> </a>"),
    ("linked-image", '<button><img src=a.png alt=""></button>'),
    ("linked-image", "<a href=x><img src=a.png alt=''>&nbsp;</a>"),
    ("linked-image", "<a href=x><svg><path/></svg></a>"),
    ("linked-image", '<a href=x><img src=a alt=""><i aria-hidden="true">›</i></a>'),
    ("linked-image", "<a href=x><img src=a><!-- a comment --></a>"),
    ("file-name", "<img src=a.png alt=a.png>"),
    ("file-name", "<img src='my%20photo.jpg' alt='my photo.jpg'>"),
    ("file-name", "<img src=a.png alt=IMG_20230101>"),
    ("file-name", "<img src=x/dsc_plot.png alt=dsc_plot>"),
    ("placeholder", "<img src=a.png alt=image>"),
    ("placeholder", "<img src=a.png alt='[Image]'>"),
    ("placeholder", "<img src=a.png alt='Photo 3'>"),
    ("blank-alt", "<img src=a.png alt=' '>"),
    ("decoration-with-title", "<img src=a.png alt='' title='A dog'>"),
    ("hidden-alt", "<img src=a.png alt='A dog' role=presentation>"),
    ("unreviewed", "<img src=a.png alt='unreviewed: a dog'>"),
    ("image-of", "<img src=a.png alt='Image of a dog'>"),
    (
        "repeated-text",
        "<figure><img src=a alt='A dog'><figcaption>A dog.</figcaption></figure>",
    ),
    (
        "repeated-text",
        "<figure><img src=a alt='A café'><figcaption>A caf&eacute;</figcaption></figure>",
    ),
]


@pytest.mark.parametrize(("rule", "text"), FINDINGS)
def test_an_image_breaks_a_rule(rule: str, text: str) -> None:
    assert rules_of(text) == [rule]


def test_every_rule_of_html_is_tested() -> None:
    assert {rule for rule, _ in FINDINGS} | {"empty-alt"} == set(RULES)


@pytest.mark.parametrize(
    "text",
    [
        "<img src=a.png alt=''>",
        "<img src=a.png alt>",
        "<img src=a.png role=none>",
        "<img src=a.png aria-hidden=true>",
        "<div aria-hidden='true'><p><img src=a.png></div>",
        "<div Aria-Hidden='true'><img src=a.png></div>",
        "<img src=a.png aria-label='A dog'>",
        "<img src=a.png title='A dog'>",
        "<img src=a.png alt='A dog'>",
        "<img src=a.png alt='-'>",
        "<img src=scikit-learn.png alt=scikit-learn>",
        "<img data-src=a.png alt='A dog'><noscript><img src=a.png alt='A dog'></noscript>",
        "<figure><img src=a.png><figcaption>A <b>dog</b></figcaption></figure>",
        "<figure><a href=x><img src=a.png alt=Dog></a><figcaption>A dog</figcaption></figure>",
        "<a href=x><img src=a.png alt=''> text</a>",
        "<a href=x aria-label=Home><img src=a.png alt=''></a>",
        "<a href=x><img src=a alt=''><img src=b alt='Home'></a>",
        "<a href=x><img src=a alt=''><svg><title>Home</title></svg></a>",
        "<A HREF=x><SPAN TITLE=Home></SPAN><IMG SRC=a ALT=''></A>",
        "<a href=x><code>x</code><!-- </a> --><img src=a alt=''></a>",
        "<a href=x><svg aria-label=Home></svg></a>",
        "<a href=x><svg/>Home</a>",
        "<a name=x><img src=a alt=''></a>",
        "<svg><path/></svg>",
        "<svg role=img><title>A chart</title></svg>",
        "<svg role=img aria-labelledby=t></svg>",
        "<span role=img aria-label=smile></span>",
        "<area>",
        "<input type=text>",
        "<object data=a.svg>A chart</object>",
        "<object data=a.svg><img src=a.png alt='A chart'></object>",
        "<object data=a.pdf></object>",
        "<script>'<img src=a.png>'</script>",
        "<!-- <img src=a.png> --><style><img></style><textarea><img></textarea>",
        "<p title='<img src=a.png>'>",
        "<img src=a.png {{ attributes }}>",
        "<img src=a.png alt={{ text }}>",
        "<img src=a.png alt='{% trans \"Dog\" %}'>",
        "<img src=a.png {% if alt %}alt='{{ alt }}'{% endif %}>",
        "{# <img src=a.png> #}{{ x }}{% comment %}<img src=a.png>{% endcomment %}",
        "<a href=x>{{ text }}<img src=a.png alt=''></a>",
        "<img :alt='text' src=a.png><img [attr.alt]=text src=a.png>",
        "<img alt={text} src={source} />",
        "<img src=a.png",
    ],
)
def test_an_image_breaks_no_rule(text: str) -> None:
    assert rules_of(text) == []


def test_an_unclosed_link_ends_at_the_next_one() -> None:
    assert rules_of("<a href=x>text<a href=y><img src=a alt=''>") == ["linked-image"]


def test_the_code_in_raw_blocks_of_a_template_is_markup() -> None:
    assert rules_of("{% raw %}<img src='{{ a }}'>{% endraw %}") == ["missing-alt"]


@pytest.mark.parametrize(
    "text",
    [
        "{# <img src=a.png> #}",
        "{{! <img src=a.png> }}",
        "{{!-- {{#if x}}<img src=a.png>{{/if}} --}}",
        "<a href=x>{{ text }}<img src=a.png alt=''></a>",
    ],
)
def test_images_in_comments_of_templates_are_not_read(text: str) -> None:
    assert rules_of(text, is_template=True) == []


def test_a_comment_of_a_template_does_not_name_a_link() -> None:
    text = "<a href=x>{{! home }}<img src=a.png alt=''></a>"
    assert rules_of(text, is_template=True) == ["linked-image"]
    assert rules_of(text) == []  # a negation of Angular


def test_image_addresses_come_largest_and_lazy_first() -> None:
    [reference] = html_images(
        "<picture><source srcset='c.webp'><img src=tiny.gif data-src=a.jpg"
        " srcset='b.jpg 1x, b2.jpg 2x'></picture>"
    )
    assert reference.sources == ("a.jpg", "tiny.gif", "b2.jpg", "b.jpg", "c.webp")
