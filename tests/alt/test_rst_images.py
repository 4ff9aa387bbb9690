"""Images of reStructuredText, also below directives and roles that only Sphinx knows."""

from __future__ import annotations

import pytest

from showtell.alt.rst_images import rst_images
from support.alt_texts import rules_in, written

PAGE = """Title
=====

.. image:: a.png

.. figure:: b.png
   :width: 3

   A caption with :ref:`label` and |name|.

.. |image0| image:: c.png
.. |logo| image:: https://example.org/
   long.png

* item

  .. image:: d.png
     :alt: d.png
     :scale: 3

.. image::
   e.png

.. tab-set::

   .. tab-item:: One
      :sync: x

      .. only:: html

         .. image:: f.png

.. list-table:: Table
   :header-rows: 1

   * - .. image:: g.png
     - .. figure:: h.png

+-----------------+-----------------+
| .. image:: i.png| .. image:: j.png|
+-----------------+-----------------+

.. raw:: html

   <p><img src="k.png"></p>

.. py:function:: f(x)

   :param x: y

   .. image:: l.png
      :target: https://example.org
"""


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_images_are_found_and_texts_written_below_their_address(line_end: str) -> None:
    page = PAGE.replace("\n", line_end)
    names = [image.sources[0].removesuffix(".png") for image in rst_images(page)]
    assert names == ["a", "b", "c", "https://example.org/long", *"defghijkl"]
    assert [rule for rule, _ in rules_in("page.rst", page)] == [
        *("missing-alt", "missing-alt", "placeholder", "file-name"),
        *("missing-alt",) * 7,
        "linked-image",
    ]
    lines = written("page.rst", page).split(line_end)
    added = [line for line in lines if ":alt:" in line]
    assert [len(line) - len(line.lstrip()) for line in added] == [3, 3, 5, 3, 12, 10, 10]
    assert lines[lines.index(".. figure:: b.png") + 1] == "   :alt: A dog"
    assert lines[lines.index("   e.png") + 1] == "   :alt: A dog"
    assert '   <p><img src="k.png" alt="A dog"></p>' in lines
    assert "| .. image:: i.png| .. image:: j.png|" in lines


@pytest.mark.parametrize(
    "text",
    [
        ".. image:: a.png\n   :alt:\n",
        ".. image:: a.png\n   :alt: A dog\n      at sea\n",
        ".. code-block:: rst\n\n   .. image:: a.png\n",
        "::\n\n   .. image:: a.png\n",
        ".. comment\n\n   .. image:: a.png\n",
        ".. |logo| image:: a.png\n",
        ".. raw:: latex\n\n   <img src='a.png'>\n",
        ".. include:: /etc/passwd\n\n.. image:: a.png\n   :alt: A dog\n",
    ],
)
def test_restructured_text_without_findings(text: str) -> None:
    assert rules_in("page.rst", text) == []


def test_lines_are_counted_over_form_feeds_and_separators_of_unicode() -> None:
    text = "a\f\u2028b\n\n.. image:: a.png\n"
    assert rules_in("page.rst", text) == [("missing-alt", 3)]
    assert written("page.rst", text) == f"{text[:-1]}\n   :alt: A dog\n"
