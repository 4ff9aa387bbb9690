"""The command `showtell doctor`."""

from __future__ import annotations

import click

from showtell.files.printable_names import printable

FAILED = 1
MARKS = {"ok": "ok", "missing": "--", "broken": "!!"}


@click.command()
@click.pass_context
def doctor(ctx: click.Context) -> None:
    """Check what is installed, and say how to install what is missing.

    Lines marked -- are about optional parts. Exit code 0: photos can be captioned; 1: they
    cannot, because of the lines marked !!.
    """
    from showtell.doctor import can_caption, examine

    findings = []
    topic = ""
    for finding in examine():
        if finding.topic != topic:
            topic = finding.topic
            click.echo(topic)
        click.echo(f"  {MARKS[finding.state]} {finding.name:<14} {printable(finding.text)}")
        if finding.remedy:
            click.echo(f"     {'':<14} -> {printable(finding.remedy)}")
        findings.append(finding)
    if not can_caption(findings):
        click.echo("showtell cannot caption here: see the lines marked !!", err=True)
        ctx.exit(FAILED)
