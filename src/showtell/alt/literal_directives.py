"""Directives of Sphinx and its extensions that hold code, diagrams or names, and no markup."""

from __future__ import annotations

_LITERAL_NAMES = (
    "code code-block code-cell sourcecode literalinclude highlight math raw mermaid graphviz plot"
    " digraph graph uml plantuml prompt doctest testcode testsetup testcleanup testoutput ipython"
    " jupyter-execute productionlist parsed-literal csv-table bibliography toctree exec_code"
    " program-output click autoclass automodule autofunction autosummary include video iframe"
)
LITERAL = frozenset(_LITERAL_NAMES.split())
