"""`raypipe keys`: who may call the service from elsewhere."""

import asyncio
import time
from typing import TYPE_CHECKING, Annotated

import typer

from raypipe.cli.options import AsJson

if TYPE_CHECKING:
    from rich.console import Console

    from raypipe.journal import ApiKey

app = typer.Typer(
    no_args_is_help=True,
    help="Make, list and revoke keys of the HTTP API.\n\n"
    "Who calls from this machine needs none, unless RAYPIPE_REQUIRE_KEYS or RAYPIPE_PUBLIC_URL is set. Each key "
    "belongs to a tenant, who sees its own videos alone.",
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="What it is called: letters, digits, . @ _ -")]


@app.command()
def create(
    name: Name,
    tenant: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Whose videos it opens; left out: its own alone.", show_default=False
        ),
    ] = None,
    in_flight: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Videos that the tenant may have made at once.")
    ] = None,
    per_day: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Videos that the tenant may submit a day (UTC).")
    ] = None,
    daily_budget: Annotated[
        float | None,
        typer.Option(min=0, metavar="USD", help="US dollars that the tenant may spend a day (UTC)."),
    ] = None,
) -> None:
    """Make a key and print it. It is shown this once, and kept nowhere."""
    from pydantic import ValidationError

    from raypipe.cli.lookup import open_for_writing
    from raypipe.cli.request import read_settings
    from raypipe.errors import InvalidRequest
    from raypipe.journal import ApiKey

    try:
        limits = {"most_in_flight": in_flight, "most_per_day": per_day, "daily_budget": daily_budget}
        key = ApiKey(name=name, tenant=tenant or name, **limits)
    except ValidationError as error:
        field = error.errors()[0]["loc"][0]
        if field == "daily_budget":
            raise InvalidRequest("--daily-budget: it must be a finite sum of US dollars.") from error
        raise InvalidRequest(
            f"{field}: it must be up to {80 if field == 'name' and tenant else 40} letters, digits or . @ _ -"
        ) from error
    journal = open_for_writing(read_settings())
    try:
        print(asyncio.run(journal.keys.create(key)))
    finally:
        journal.close()


@app.command(name="list")
def list_keys(as_json: AsJson = False) -> None:
    """List the keys, revoked ones too."""
    import json

    from rich.console import Console

    from raypipe.cli.lookup import open_journal
    from raypipe.cli.request import read_settings

    journal = open_journal(read_settings())
    keys = journal.keys.all() if journal else []
    if as_json:
        print(json.dumps([key.model_dump() for key in keys], indent=2))
    elif keys:
        _print_table(keys, Console())
    else:
        print("There are no keys yet. Make one: raypipe keys create NAME")


@app.command()
def revoke(name: Name) -> None:
    """Have a key open nothing any more. Its tenant's videos go on."""
    from raypipe.cli.lookup import open_for_writing
    from raypipe.cli.request import read_settings

    journal = open_for_writing(read_settings())
    try:
        asyncio.run(journal.keys.revoke(name))
    finally:
        journal.close()
    print(f"Revoked {name}: from within two seconds on it opens nothing.")


def _print_table(keys: "list[ApiKey]", console: "Console") -> None:
    from rich.table import Table

    from raypipe.text import dollars

    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("name", "tenant", "made", "at once", "a day", "spends a day", "state"):
        table.add_column(column)
    for key in keys:
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(key.created_at))
        usd = None if key.daily_budget is None else dollars(key.daily_budget)
        limits = (
            "any" if each is None else str(each) for each in (key.most_in_flight, key.most_per_day, usd)
        )
        table.add_row(key.name, key.tenant, made, *limits, "valid" if key.revoked_at is None else "revoked")
    console.print(table)
