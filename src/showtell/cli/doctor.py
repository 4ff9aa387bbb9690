"""`showtell doctor`: what is installed, what is missing for what, and how to get it."""

from __future__ import annotations

import click

FAILED = 1
MARKS = {"ok": "ok", "missing": "--", "broken": "!!"}


@click.command()
@click.pass_context
def doctor(ctx: click.Context) -> None:
    """Say what is installed, what is missing for what, and how to get it.

    Exit code 0 where photos can be captioned, 1 where not (the lines marked !!). What is marked
    -- is optional.
    """
    from showtell.doctor import can_caption, examine

    findings = []
    topic = ""
    for finding in examine():
        if finding.topic != topic:
            topic = finding.topic
            click.echo(topic)
        click.echo(f"  {MARKS[finding.state]} {finding.name:<14} {finding.text}")
        if finding.remedy:
            click.echo(f"     {'':<14} -> {finding.remedy}")
        findings.append(finding)
    if not can_caption(findings):
        click.echo("showtell cannot caption here: see the lines marked !!", err=True)
        ctx.exit(FAILED)
